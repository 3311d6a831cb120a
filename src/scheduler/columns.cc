#include "scheduler/columns.h"

#include <algorithm>
#include <cmath>

namespace tutti::scheduler {
namespace {

constexpr int64_t kMemoryUnit = 1 << 20;
constexpr int64_t kDiskUnit = 1 << 20;

int32_t clamp32(int64_t value) {
  return static_cast<int32_t>(std::clamp<int64_t>(value, -1, INT32_MAX));
}
int32_t up(int64_t free, int64_t unit) {
  return free < 0 ? -1 : clamp32((free + unit - 1) / unit);
}
int32_t down(int64_t asked, int64_t unit) {
  return clamp32(asked / unit);
}

// 10^(part / all), from 1 to 10, in 3,000ths: fits a signed 16-bit lane.
uint32_t power_of_free(int64_t part, int64_t all) {
  const double fraction = all <= 0 ? 0 : std::clamp(static_cast<double>(part) / static_cast<double>(all), 0.0, 1.0);
  return static_cast<uint32_t>(std::lround(3'000 * std::pow(10.0, fraction)));
}
uint32_t power_of_asked(int64_t part, int64_t all) {
  const double fraction = all <= 0 ? 0 : std::clamp(static_cast<double>(part) / static_cast<double>(all), 0.0, 1.0);
  return static_cast<uint32_t>(std::lround(32'767 * std::pow(10.0, -fraction)));
}

// Whatever is free, and without ports: those depend on the moment.
Request lasting(const Request& request) {
  Request out = request;
  out.resources = {};
  out.ports.clear();
  out.pinned = out.home = {};
  return out;
}

bool lastingly_fits(const Snapshot& snapshot, const Request& request, const Node& node) {
  return !check(snapshot, request, node, {{INT64_MAX}, {INT64_MAX}, {INT64_MAX}}, {});
}

void set_bit(Mask& mask, uint32_t index, bool on) {
  const uint64_t bit = uint64_t{1} << (index % 64);
  if (on)
    mask[index / 64] |= bit;
  else
    mask[index / 64] &= ~bit;
}

}  // namespace

void Columns::rebuild(const Snapshot& snapshot) {
  ids_.clear();
  kinds_.clear();
  taken_.clear();
  snapshot.nodes.for_each([&](uint64_t id, const Node&) { ids_.push_back(NodeId{id}); });
  const size_t padded = words() * 64;
  all_.assign(ids_.size(), {});
  free_.assign(ids_.size(), {});
  ab_.assign(padded, 0);
  for (auto* column : {&cpu_, &memory_, &disk_}) column->assign(padded, -1);
  for (uint32_t i = 0; i < ids_.size(); ++i)
    set(i, *snapshot.nodes.find(ids_[i].value), snapshot.usage_of(ids_[i]).used);
  measure_largest();
}

bool Columns::follow(const ChangeSet& changes) {
  bool capacities = false;
  for (const RowChange& row : changes.rows) {
    if (row.table == TableId::instance) {
      const Instance* before = changes.before->instances.find(row.id);
      const Instance* after = changes.after->instances.find(row.id);
      for (const Instance* each : {before, after}) {
        const uint32_t index = each != nullptr && each->node ? index_of(each->node) : static_cast<uint32_t>(size());
        if (index < size())
          set(index, *changes.after->nodes.find(each->node.value), changes.after->usage_of(each->node).used);
      }
    }
    if (row.table != TableId::node) continue;
    const Node* node = changes.after->nodes.find(row.id);
    const uint32_t index = index_of(NodeId{row.id});
    if (node == nullptr || index == size()) return false;
    const Resources all = all_[index];
    set(index, *node, changes.after->usage_of(node->id).used);
    capacities = capacities || !(all == all_[index]);
    for (auto& [key, kind] : kinds_) set_bit(kind.mask, index, lastingly_fits(*changes.after, kind.request, *node));
  }
  if (capacities) measure_largest();
  return true;
}

uint32_t Columns::index_of(NodeId node) const {
  const auto at = std::lower_bound(ids_.begin(), ids_.end(), node);
  return static_cast<uint32_t>(at != ids_.end() && *at == node ? at - ids_.begin()
                                                               : static_cast<std::ptrdiff_t>(ids_.size()));
}

void Columns::set(uint32_t index, const Node& node, const Resources& used) {
  all_[index] = allocatable(node);
  free_[index] = all_[index] - used;
  refresh(index);
}

void Columns::refresh(uint32_t index) {
  const Resources& free = free_[index];
  const Resources& all = all_[index];
  ab_[index] = power_of_free(free.cpu.value, all.cpu.value) | power_of_free(free.memory.value, all.memory.value) << 16;
  cpu_[index] = clamp32(free.cpu.value);
  memory_[index] = up(free.memory.value, kMemoryUnit);
  disk_[index] = up(free.disk.value, kDiskUnit);
}

void Columns::measure_largest() {
  largest_ = {};
  for (const Resources& all : all_) {
    largest_.cpu = std::max(largest_.cpu, all.cpu);
    largest_.memory = std::max(largest_.memory, all.memory);
  }
}

void Columns::take(uint32_t index, const Resources& resources) {
  taken_.emplace_back(index, resources);
  free_[index] -= resources;
  refresh(index);
}

void Columns::undo() {
  for (const auto& [index, resources] : taken_) free_[index] += resources;
  for (const auto& [index, resources] : taken_) refresh(index);
  taken_.clear();
}

const Mask& Columns::mask_of(const Snapshot& snapshot, const Request& request, const std::string& key) {
  const auto known = kinds_.find(key);
  if (known != kinds_.end()) return known->second.mask;
  if (kinds_.size() >= kMasksMax) kinds_.clear();
  Kind kind{lasting(request), Mask(words(), 0)};
  for (uint32_t i = 0; i < ids_.size(); ++i)
    set_bit(kind.mask, i, lastingly_fits(snapshot, kind.request, *snapshot.nodes.find(ids_[i].value)));
  return kinds_.emplace(key, std::move(kind)).first->second.mask;
}

ScanRequest Columns::scan_request(const Resources& asked, bool spread) const {
  ScanRequest out;
  out.cpu = clamp32(asked.cpu.value);
  out.memory = down(asked.memory.value, kMemoryUnit);
  out.disk = down(asked.disk.value, kDiskUnit);
  out.ab = power_of_asked(asked.cpu.value, largest_.cpu.value) |
           power_of_asked(asked.memory.value, largest_.memory.value) << 16;
  out.flip = spread ? INT32_MAX : 0;
  return out;
}

ScanColumns Columns::view(const Mask& mask) const {
  return {ab_.data(), cpu_.data(), memory_.data(), disk_.data(), mask.data(), mask.size()};
}

}  // namespace tutti::scheduler
