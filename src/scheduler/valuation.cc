#include "scheduler/valuation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

namespace tutti::scheduler {
namespace {

constexpr uint16_t kUnknownShape = UINT8_MAX;
// Places for what is scarce have a price while there are fewer than kAmple times as many as are still expected to be
// wanted, and kSpare: one in kPricePart of what would be placed there, or in kPricePartOfModels.
constexpr int64_t kAmple = 2;
constexpr int64_t kSpare = 2;
constexpr int64_t kPricePart = 10;
constexpr int64_t kPricePartOfModels = 2;  // against all that could go anywhere else
constexpr int kStepBits = 17;  // 2 thousandths of a GPU make a difference; below, ties go to the first machine
constexpr int64_t kStep = int64_t{1} << kStepBits;
constexpr float kLean = 15;      // observations that a coarser mean counts for
constexpr float kBefore = 0.3F;  // the coarsest mean, of nothing

// Idle GPU, in thousandths of the pool's, that a phase ends at. Closer together where the pool is nearly full.
constexpr std::array<int64_t, kPhases - 1> kIdle{850, 700, 550, 400, 300, 220, 160, 120,
                                                 95,  80,  70,  62,  56,  50,  45,  40};

// The least changes of F, in thousandths, that each score wants: score s for (F before − F after) ≥ 1000·ln(s /
// (100−s)).
struct Scores {
  std::array<double, 101> least{};
  Scores() {
    least[0] = -1e300;
    least[100] = 1e300;
    for (size_t s = 1; s < 100; ++s) least[s] = 1'000 * std::log(static_cast<double>(s) / static_cast<double>(100 - s));
  }
};
const Scores kScores;

int cpu_fine(int64_t millicores) {
  const int64_t c = millicores / 1'000;
  if (c < 16) return static_cast<int>(c);
  if (c < 32) return static_cast<int>(16 + (c - 16) / 2);
  if (c < 64) return static_cast<int>(24 + (c - 32) / 4);
  return static_cast<int>(std::min<int64_t>(63, 32 + (c - 64) / 8));
}
int cpu_coarse(int64_t millicores) {
  constexpr std::array<int64_t, 9> kUpTo{2, 4, 8, 12, 16, 24, 32, 48, 64};
  const int64_t c = millicores / 1'000;
  return static_cast<int>(std::ranges::upper_bound(kUpTo, c) - kUpTo.begin());
}

// How many of the tasks the machine could take now.
int64_t places_of(const Machine& machine, const GpuTask& task) {
  int64_t out = 0;
  for (size_t i = 0; i < machine.gpus; ++i)
    if (takes(task, machine, i)) out += task.count > 1 ? 1 : machine.free[i] / task.share;
  out /= task.count;
  return task.cpu > 0 ? std::min(out, std::max<int64_t>(machine.cpu, 0) / task.cpu) : out;
}

uint64_t mixed(uint64_t code) {
  code = (code ^ code >> 32) * 0x9e3779b97f4a7c15U;
  code = (code ^ code >> 29) * 0xbf58476d1ce4e5b9U;
  return code ^ code >> 32;
}

}  // namespace

std::vector<Typical> typical_of(const Workload& workload, const std::vector<Device>& kinds) {
  std::map<std::tuple<int64_t, int32_t, int32_t, uint64_t>, size_t> known;
  std::vector<Typical> all;
  int64_t total = 0;
  for (const Wanted& wanted : workload) {
    GpuTask task = task_of(wanted.resources, wanted.gpu, kinds);
    task.memory = 0;
    const auto [at, fresh] = known.try_emplace({task.cpu, task.count, task.share, task.kinds}, all.size());
    if (fresh) all.push_back({task, 0});
    all[at->second].weight += wanted.weight;
    total += wanted.weight;
  }
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return std::pair(-all[i].weight, i); });
  std::vector<Typical> out;
  int64_t sum = 0;
  for (const size_t i : order) {
    const Typical& each = all[i];
    if (sum * 100 >= total * 95) break;
    sum += each.weight;
    out.push_back(each);
  }
  for (Typical& each : out) each.weight = each.weight * kWeights / std::max<int64_t>(sum, 1);
  return out;
}

Fragments::Fragments(const std::vector<Typical>& typical) {
  std::map<std::tuple<int32_t, int32_t, uint64_t>, std::map<int64_t, int64_t>> all;
  for (const Typical& each : typical) {
    weight_ += each.weight;
    if (each.task.count > 0) all[{each.task.count, each.task.share, each.task.kinds}][each.task.cpu] += each.weight;
  }
  for (const auto& [gpus, weights] : all) {
    Group& group = groups_.emplace_back();
    std::tie(group.gpus.count, group.gpus.share, group.gpus.kinds) = gpus;
    int64_t sum = 0;
    for (const auto& [cpu, weight] : weights) group.by_cpu.emplace_back(cpu, sum += weight);
  }
}

int64_t Fragments::of(const Machine& machine) const {
  int64_t idle = 0;
  for (size_t i = 0; i < machine.gpus; ++i) idle += machine.free[i];
  if (idle == 0) return 0;
  int64_t out = weight_ * idle;
  for (const Group& group : groups_) {
    if (machine.cpu < group.by_cpu.front().first) continue;
    int64_t usable = 0;
    int32_t found = 0;
    for (size_t i = 0; i < machine.gpus; ++i)
      if (takes(group.gpus, machine, i)) usable += machine.free[i], ++found;
    if (found < group.gpus.count) continue;
    int64_t weight = 0;
    for (const auto& [cpu, so_far] : group.by_cpu) {
      if (cpu > machine.cpu) break;
      weight = so_far;
    }
    out -= weight * usable;
  }
  return out;
}

int32_t fgd_score(int64_t before, int64_t after) {
  const double less = static_cast<double>(before - after) / static_cast<double>(kWeights);
  return static_cast<int32_t>(std::upper_bound(kScores.least.begin(), kScores.least.end(), less) -
                              kScores.least.begin()) -
         1;
}

int phase_of(int64_t free, int64_t all) {
  if (all <= 0) return 0;
  int phase = 0;
  while (phase < kPhases - 1 && free * 1'000 <= kIdle[static_cast<size_t>(phase)] * all) ++phase;
  return phase;
}

// ---- means

std::array<uint64_t, Means::kLevels> Means::codes_of(const Key& k) {
  const auto phase = static_cast<uint64_t>(k.phase);
  const auto idle = static_cast<uint64_t>(k.idle);
  const auto fine = static_cast<uint64_t>(cpu_fine(k.cpu));
  const auto coarse = static_cast<uint64_t>(cpu_coarse(k.cpu));
  const auto piece = static_cast<uint64_t>((k.piece + 9) / 10);
  const auto others = static_cast<uint64_t>(std::min(15, (k.others + 199) / 200));
  const auto large_piece = static_cast<uint64_t>((k.piece + 49) / 50);
  // others 4 bits, phase 5, shape 8, idle 7, cpu 6, piece 7; the level on top keeps codes apart and above 0.
  auto code = [](uint64_t level, uint64_t p, uint64_t s, uint64_t i, uint64_t c, uint64_t r) {
    return level << 48 | p << 32 | s << 24 | i << 16 | c << 8 | r;
  };
  return {code(7, phase, k.shape, idle, fine, piece) | others << 40,
          code(1, phase, k.shape, idle, fine, piece),
          code(2, phase, k.shape, idle, coarse, piece),
          code(3, phase, 0, idle, coarse, piece),
          code(4, phase, 0, 0, coarse, large_piece),
          code(5, 0, 0, 0, coarse, large_piece),
          code(6, 0, 0, 0, 0, large_piece)};
}

const Means::Cell* Means::find(uint64_t code) const {
  const size_t mask = cells_.size() - 1;
  for (size_t i = mixed(code) & mask;; i = (i + 1) & mask) {
    if (cells_[i].code == code) return &cells_[i];
    if (cells_[i].code == 0) return nullptr;
  }
}

Means::Cell& Means::at(uint64_t code) {
  if (used_ * 2 >= cells_.size()) {
    std::vector<Cell> old(cells_.size() * 2);
    old.swap(cells_);
    const size_t mask = cells_.size() - 1;
    for (const Cell& cell : old) {
      if (cell.code == 0) continue;
      size_t i = mixed(cell.code) & mask;
      while (cells_[i].code != 0) i = (i + 1) & mask;
      cells_[i] = cell;
    }
  }
  const size_t mask = cells_.size() - 1;
  size_t i = mixed(code) & mask;
  while (cells_[i].code != code && cells_[i].code != 0) i = (i + 1) & mask;
  if (cells_[i].code == 0) cells_[i].code = code, ++used_;
  return cells_[i];
}

void Means::add(const std::array<uint64_t, kLevels>& codes, float value) {
  for (const uint64_t code : codes) {
    Cell& cell = at(code);
    cell.sum += value;
    cell.count += 1;
  }
}

void Means::decay(float by) {
  for (Cell& cell : cells_) cell.sum *= by, cell.count *= by;
}

uint16_t Means::expected(const Key& key) const {
  const auto codes = codes_of(key);
  float mean = kBefore;
  for (size_t level = kLevels; level-- > 0;) {
    const Cell* cell = find(codes[level]);
    if (cell != nullptr) mean = (cell->sum + kLean * mean) / (cell->count + kLean);
  }
  return static_cast<uint16_t>(std::lround(std::clamp(mean, 0.0F, 1.0F) * UINT16_MAX));
}

// ---- valuation

Valuation::Valuation(const std::vector<Typical>& typical, std::shared_ptr<const Learned> learned, const Fleet& fleet)
    : fragments_(typical), kinds_(fleet.kinds), learned_(std::move(learned)) {
  if (learned_ == nullptr) return;
  find_scarce();
  known_.resize(1 << 16);
  for (const std::string& shape : fleet.shapes) {
    const auto at = std::ranges::find(learned_->shapes, shape);
    shape_of_.push_back(at == learned_->shapes.end() ? kUnknownShape
                                                     : static_cast<uint16_t>(at - learned_->shapes.begin()));
  }
}

uint16_t Valuation::expected(const Means::Key& key) {
  const uint64_t code = Means::codes_of(key)[0];
  Known& known = known_[mixed(code) & (known_.size() - 1)];
  if (known.code != code) known = {code, learned_->means.expected(key)};
  return known.value;
}

int64_t Valuation::idle_left(const Machine& machine, int phase) {
  int idle = 0, broken = 0;
  for (size_t i = 0; i < machine.gpus; ++i)
    machine.free[i] == kWholeDevice ? ++idle : broken += std::max<int>(machine.free[i], 0);
  Means::Key key{phase,        machine.shape < shape_of_.size() ? shape_of_[machine.shape] : kUnknownShape,
                 idle,         machine.cpu,
                 kWholeDevice, broken};
  int64_t out = idle == 0 ? 0 : idle * kWholeDevice * expected(key);
  for (size_t i = 0; i < machine.gpus; ++i) {
    key.piece = machine.free[i];
    if (key.piece <= 0 || key.piece >= kWholeDevice) continue;
    key.others = broken - key.piece;
    out += key.piece * expected(key);
  }
  return out;  // thousandths × 65,536
}

int64_t Valuation::value(const Machine& machine, int phase) {
  // The order of its GPUs does not count.
  uint64_t gpus = 0;
  for (size_t i = 0; i < machine.gpus; ++i)
    gpus += mixed(static_cast<uint64_t>(machine.free[i]) << 8 | machine.kind[i] | uint64_t{1} << 32);
  const uint64_t hash =
      mixed(mixed(gpus) ^ mixed(static_cast<uint64_t>(machine.cpu) << 20 | uint64_t{machine.shape} << 8 |
                                static_cast<uint64_t>(phase) | uint64_t{1} << 63));
  Valued& valued = valued_[hash & (valued_.size() - 1)];
  if (valued.hash != hash) valued = {hash, value_anew(machine, phase)};
  return valued.value;
}

int64_t Valuation::value_anew(const Machine& machine, int phase) {
  const int64_t fragment = fragments_.of(machine);
  if (learned_ == nullptr) return fragment;
  int64_t out = idle_left(machine, phase) + fragment / learned_->fragment_part;
  for (const Scarce& scarce : scarce_)
    if (scarce.price > 0) out -= scarce.price * places_of(machine, scarce.task);
  return out;
}

void Valuation::find_scarce() {
  std::map<std::tuple<uint64_t, int32_t, int64_t>, Scarce> all;
  uint64_t any = 0;
  for (const Wanted& wanted : learned_->workload) any |= task_of(wanted.resources, wanted.gpu, kinds_).kinds;
  for (const Wanted& wanted : learned_->workload) {
    const GpuTask task = task_of(wanted.resources, wanted.gpu, kinds_);
    asked_ += thousandths(task) * wanted.weight;
    if (task.count == 0 || task.kinds == 0 || (task.count == 1 && task.kinds == any)) continue;
    Scarce& scarce = all[{task.kinds, task.count, task.count > 1 ? task.cpu : 0}];
    scarce.weight += wanted.weight;
    scarce.task.kinds = task.kinds, scarce.task.count = task.count;
    scarce.of_models = task.kinds != any;
    scarce.task.cpu += task.cpu * wanted.weight, scarce.task.share += static_cast<int32_t>(task.share * wanted.weight);
  }
  for (auto& [key, scarce] : all) {
    scarce.task.cpu /= scarce.weight;
    scarce.task.share = std::max(1, static_cast<int32_t>(scarce.task.share / scarce.weight));
    scarce_.push_back(scarce);
  }
}

void Valuation::count(const Machine& machine, int sign) {
  for (Scarce& scarce : scarce_) scarce.places += sign * places_of(machine, scarce.task);
}

bool Valuation::reprice(int64_t free) {
  bool changed = false;
  for (Scarce& scarce : scarce_) {
    // How many of them are among what fills the rest of the pool, in hundredths.
    const int64_t wanted = asked_ == 0 ? 0 : scarce.weight * free * 100 / asked_;
    const bool short_of = scarce.places * 100 < kAmple * wanted + kSpare * 100;
    const int64_t price =
        short_of ? thousandths(scarce.task) * kWeights / (scarce.of_models ? kPricePartOfModels : kPricePart) : 0;
    changed = changed || price != scarce.price;
    scarce.price = price;
  }
  if (changed) std::ranges::fill(valued_, Valued());
  return changed;
}

Valuation::Choice Valuation::best(Machine& machine, const GpuTask& task, int phase) {
  Choice out;
  if (!has_room(machine, task)) return out;
  const int64_t before = value(machine, phase);
  const bool share = task.count == 1 && task.share < kWholeDevice;
  for (size_t i = 0; i < std::max<size_t>(machine.gpus, 1); ++i) {
    if (task.count > 0 && !takes(task, machine, i)) continue;
    bool seen = false;  // one as free as this
    for (size_t j = 0; j < i; ++j)
      seen = seen || (machine.free[j] == machine.free[i] && machine.kind[j] == machine.kind[i]);
    if (share && seen) continue;
    const Taking taking = take(machine, task, i);
    const int64_t after = value(machine, phase);
    give_back(machine, task, taking);
    // Ties of what is nearly the same go to the first machine, which packs.
    const auto cost = static_cast<int32_t>(learned_ == nullptr ? 100 - fgd_score(before, after)
                                                               : (after - before + kStep / 2) >> kStepBits);
    if (cost < out.cost) out = {cost, static_cast<uint8_t>(i)};
    if (!share) break;
  }
  return out;
}

}  // namespace tutti::scheduler
