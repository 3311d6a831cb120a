#include "scheduler/shape.h"

#include <algorithm>
#include <bit>

namespace tutti::scheduler {
namespace {

const Scan kScan = fastest_scan();

bool has(const Mask& mask, uint32_t index) {
  return (mask[index / 64] >> (index % 64) & 1) != 0;
}

}  // namespace

Shape::Shape(Columns& columns, Request request, Mask mask, JobId job, std::map<uint32_t, uint32_t> counts, size_t seen)
    : columns_(columns),
      request_(std::move(request)),
      scan_request_(columns.scan_request(request_.resources, static_cast<bool>(job))),
      job_(job),
      counts_(std::move(counts)),
      seen_(seen) {
  std::map<uint32_t, Mask> masks;
  for (const auto& [index, count] : counts_) {
    if (!has(mask, index)) continue;
    mask[index / 64] &= ~(uint64_t{1} << (index % 64));
    Mask& level = masks.try_emplace(count, Mask(mask.size(), 0)).first->second;
    level[index / 64] |= uint64_t{1} << (index % 64);
  }
  levels_.emplace(0, make_level(std::move(mask)));
  for (auto& [count, level] : masks) levels_.emplace(count, make_level(std::move(level)));
}

Shape::Level Shape::make_level(Mask mask) const {
  Level level;
  level.mask = std::move(mask);
  level.words.resize(level.mask.size());
  for (size_t word = 0; word < level.mask.size(); ++word) {
    level.nodes += static_cast<size_t>(std::popcount(level.mask[word]));
    scan_word(level, word);
  }
  return level;
}

void Shape::scan_word(Level& level, size_t word) const {
  ScanBest& out = level.words[word];
  out = {};
  if (level.mask[word] == 0) return;
  ScanColumns one = columns_.view(level.mask);
  one.ab += word * 64, one.cpu += word * 64, one.memory += word * 64, one.disk += word * 64;
  one.mask += word;
  one.words = 1;
  out = kScan(one, scan_request_);
  if (out.index != UINT32_MAX) out.index += static_cast<uint32_t>(word * 64);
}

std::optional<uint32_t> Shape::best_of(const Level& level) {
  ScanBest best;
  for (const ScanBest& word : level.words) {
    if (word.index != UINT32_MAX && (best.index == UINT32_MAX || word.score < best.score)) best = word;
  }
  return best.index == UINT32_MAX ? std::nullopt : std::optional(best.index);
}

std::optional<uint32_t> Shape::best_without(const Level& level, uint32_t avoid) const {
  Level without = level;
  without.mask[avoid / 64] &= ~(uint64_t{1} << (avoid % 64));
  scan_word(without, avoid / 64);
  return best_of(without);
}

std::optional<uint32_t> Shape::best(uint32_t avoid) {
  if (exhausted_) return std::nullopt;
  bool avoided = false;
  for (const auto& [count, level] : levels_) {
    const bool here = avoid < columns_.size() && has(level.mask, avoid);
    avoided = avoided || here;
    if (auto found = here ? best_without(level, avoid) : best_of(level)) return found;
  }
  // Only the one to avoid is left, if that.
  if (avoided) {
    for (const auto& [count, level] : levels_) {
      if (auto found = best_of(level)) return found;
    }
  }
  exhausted_ = true;
  return std::nullopt;
}

void Shape::exclude(uint32_t index) {
  for (auto& [count, level] : levels_) {
    if (!has(level.mask, index)) continue;
    level.mask[index / 64] &= ~(uint64_t{1} << (index % 64));
    scan_word(level, index / 64);
  }
}

void Shape::catch_up(const std::vector<Taken>& placed) {
  for (; seen_ < placed.size(); ++seen_) {
    if (job_ && placed[seen_].job == job_)
      count_up(placed[seen_].index);
    else
      rescan(placed[seen_].index);
  }
}

void Shape::rescan(uint32_t index) {
  for (auto& [count, level] : levels_) {
    if (has(level.mask, index)) scan_word(level, index / 64);
  }
}

void Shape::count_up(uint32_t index) {
  const bool candidate =
      std::any_of(levels_.begin(), levels_.end(), [&](const auto& level) { return has(level.second.mask, index); });
  if (!candidate) return;
  exclude(index);
  const uint32_t count = ++counts_[index];
  auto at = levels_.find(count);
  if (at == levels_.end()) at = levels_.emplace(count, make_level(Mask(columns_.words(), 0))).first;
  at->second.mask[index / 64] |= uint64_t{1} << (index % 64);
  scan_word(at->second, index / 64);
}

}  // namespace tutti::scheduler
