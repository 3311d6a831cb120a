#include "scheduler/policy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

namespace tutti::scheduler {
namespace {

constexpr int64_t kSteps = 4'096;  // of a fraction

// 10^(i / kSteps), from 1 to 10.
std::array<double, kSteps + 1> powers() {
  std::array<double, kSteps + 1> out{};
  for (size_t i = 0; i <= kSteps; ++i) out[i] = std::pow(10.0, static_cast<double>(i) / kSteps);
  return out;
}

struct Tables {
  std::array<uint16_t, kSteps + 1> up{};    // 1,000 · 10^x
  std::array<uint16_t, kSteps + 1> down{};  // 10,000 · 10^-x
  Tables() {
    const auto exact = powers();
    for (size_t i = 0; i <= kSteps; ++i) {
      up[i] = static_cast<uint16_t>(std::lround(1'000 * exact[i]));
      down[i] = static_cast<uint16_t>(std::lround(10'000 / exact[i]));
    }
  }
};
const Tables kTables;

constexpr std::array<std::pair<std::string_view, PlacementPolicy>, 6> kWords{
    {{"binpack", PlacementPolicy::binpack},
     {"spread", PlacementPolicy::spread},
     {"roundrobin", PlacementPolicy::roundrobin},
     {"greedy", PlacementPolicy::greedy},
     {"epvm", PlacementPolicy::epvm},
     {"fragmentation", PlacementPolicy::fragmentation}}};

size_t fraction(int64_t part, int64_t all) {
  if (all <= 0 || part <= 0) return 0;
  return part >= all ? kSteps : static_cast<size_t>(static_cast<uint64_t>(part) * kSteps / static_cast<uint64_t>(all));
}

uint32_t pair_of(int64_t low, int64_t high) {
  return static_cast<uint32_t>(low & 0xffff) | static_cast<uint32_t>(high & 0xffff) << 16;
}

// The imbalance term 30·(d − e)², d of the node and e of the request in steps, without the part that all nodes share:
// 30·d² − 60·d·e.
Factors imbalance_of_node(int64_t d) {
  return {0, pair_of(d * d * 10'000 / (kSteps * kSteps), d * 20'000 / kSteps)};
}
uint32_t imbalance_of_request(int64_t e) {
  return pair_of(30'000, -30'000 * e / kSteps);
}

// A node's marginal cost: 10^use, dearer on a smaller node.
int64_t marginal(size_t free, int64_t all, int64_t largest) {
  if (all <= 0) return INT16_MAX;
  const int64_t size = std::min<int64_t>(largest * 10 / all, 1'000);  // tenths
  return std::min<int64_t>(kTables.up[kSteps - free] * size / 30, INT16_MAX);
}

}  // namespace

PlacementPolicy policy_of(const JobSpec& spec, const Pool& pool) {
  if (spec.policy != PlacementPolicy::default_) return spec.policy;
  for (const auto& [word, policy] : kWords)
    if (word == pool.policy) return policy;
  return PlacementPolicy::binpack;
}

Family family_of(PlacementPolicy policy) {
  switch (policy) {
    case PlacementPolicy::default_:
    case PlacementPolicy::binpack:
    case PlacementPolicy::spread: return Family::packing;
    case PlacementPolicy::epvm: return Family::marginal;
    case PlacementPolicy::roundrobin: return Family::count;
    case PlacementPolicy::fragmentation:
    case PlacementPolicy::greedy: return Family::none;
  }
  return Family::none;
}

Factors node_factors(Family family, const Resources& free, const Resources& all, const Resources& largest,
                     uint32_t instances) {
  const size_t cpu = fraction(free.cpu.value, all.cpu.value);
  const size_t memory = fraction(free.memory.value, all.memory.value);
  switch (family) {
    case Family::packing: {
      Factors out = imbalance_of_node(static_cast<int64_t>(cpu) - static_cast<int64_t>(memory));
      out.ab = pair_of(kTables.up[cpu], kTables.up[memory]);
      return out;
    }
    case Family::marginal:
      return {pair_of(marginal(cpu, all.cpu.value, largest.cpu.value),
                      marginal(memory, all.memory.value, largest.memory.value)),
              0};
    case Family::count: return {std::min<uint32_t>(instances, INT16_MAX), 0};
    case Family::none: return {};
  }
  return {};
}

Factors request_factors(PlacementPolicy policy, const Resources& asked, const Resources& largest) {
  const auto cpu = fraction(asked.cpu.value, largest.cpu.value);
  const auto memory = fraction(asked.memory.value, largest.memory.value);
  const uint32_t packing = pair_of(kTables.down[cpu], kTables.down[memory]);
  switch (policy) {
    case PlacementPolicy::default_:
    case PlacementPolicy::binpack:
      return {packing, imbalance_of_request(static_cast<int64_t>(cpu) - static_cast<int64_t>(memory))};
    case PlacementPolicy::spread: return {packing, 0};
    case PlacementPolicy::epvm:
      return {
          pair_of(static_cast<int64_t>(cpu) * INT16_MAX / kSteps, static_cast<int64_t>(memory) * INT16_MAX / kSteps),
          0};
    case PlacementPolicy::roundrobin: return {pair_of(1'000, 0), 0};
    case PlacementPolicy::fragmentation:
    case PlacementPolicy::greedy: return {};
  }
  return {};
}

int32_t flip_of(PlacementPolicy policy) {
  return policy == PlacementPolicy::spread ? INT32_MAX : 0;
}

}  // namespace tutti::scheduler
