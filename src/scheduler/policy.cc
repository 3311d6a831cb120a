#include "scheduler/policy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

namespace tutti::scheduler {
namespace {

constexpr int64_t kSteps = 4'096;  // of a fraction

// Binpack: 150·d_node·d_asked, and 10 for a node that holds nothing, in kBinpackUnit.
constexpr double kLeanOfNode = 30'000;
constexpr double kLeanOfRequest = -150.0 * kBinpackUnit / kLeanOfNode;
constexpr int64_t kNothingThere = 1'000;
constexpr int64_t kOpening = 10 * kBinpackUnit / kNothingThere;

constexpr int32_t kMixSteps = 8;
constexpr int32_t kMixMost = 30 * kMixSteps;

// 10^(i / kSteps), from 1 to 10.
std::array<double, kSteps + 1> powers() {
  std::array<double, kSteps + 1> out{};
  for (size_t i = 0; i <= kSteps; ++i) out[i] = std::pow(10.0, static_cast<double>(i) / kSteps);
  return out;
}

struct Tables {
  std::array<uint16_t, kSteps + 1> up{};    // 1,000 · 10^x
  std::array<uint16_t, kSteps + 1> down{};  // 10,000 · 10^-x
  std::array<uint16_t, kSteps + 1> down_binpack{};
  std::array<double, 2 * kMixMost + 1> cpu_per_byte{};  // by mix
  Tables() {
    const auto exact = powers();
    for (size_t i = 0; i <= kSteps; ++i) {
      up[i] = static_cast<uint16_t>(std::lround(1'000 * exact[i]));
      down[i] = static_cast<uint16_t>(std::lround(kUnit / 1'000 / exact[i]));
      down_binpack[i] = static_cast<uint16_t>(std::lround(kBinpackUnit / 1'000 / exact[i]));
    }
    for (int32_t mix = -kMixMost; mix <= kMixMost; ++mix)
      cpu_per_byte[static_cast<size_t>(mix + kMixMost)] = std::exp2(-static_cast<double>(mix) / kMixSteps) / (1 << 20);
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

// −1: all memory; 1: all cpu; 0: in the proportion of the mix.
double lean_of(const Resources& of, int32_t mix) {
  const auto cpu = static_cast<double>(std::max<int64_t>(of.cpu.value, 0));
  const double memory = static_cast<double>(std::max<int64_t>(of.memory.value, 0)) *
                        kTables.cpu_per_byte[static_cast<size_t>(mix + kMixMost)];
  const double length = std::sqrt(cpu * cpu + memory * memory);
  return length > 0 ? (cpu - memory) / length : 0;
}

// A node's marginal cost: 10^use, dearer on a smaller node.
int64_t marginal(size_t free, int64_t all, int64_t largest) {
  if (all <= 0) return INT16_MAX;
  const int64_t size = std::min<int64_t>(largest * 10 / all, 1'000);  // tenths
  return std::min<int64_t>(kTables.up[kSteps - free] * size / 30, INT16_MAX);
}

}  // namespace

PlacementPolicy policy_of(const Pool& pool) {
  for (const auto& [word, policy] : kWords)
    if (word == pool.policy) return policy;
  return PlacementPolicy::binpack;
}

PlacementPolicy policy_of(const JobSpec& spec, const Pool& pool) {
  return spec.policy != PlacementPolicy::default_ ? spec.policy : policy_of(pool);
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

void Demand::add(const Resources& asked, int sign) {
  cpu += sign * asked.cpu.value;
  memory_mib += sign * (asked.memory.value >> 20);
}

int32_t mix_of(const Demand& demand, const Resources& pool) {
  const bool known = demand.cpu > 0 && demand.memory_mib > 0;
  const auto cpu = static_cast<double>(known ? demand.cpu : pool.cpu.value);
  const auto memory = static_cast<double>(known ? demand.memory_mib : pool.memory.value >> 20);
  if (cpu <= 0 || memory <= 0) return 0;
  return std::clamp(static_cast<int32_t>(std::lround(std::log2(memory / cpu) * kMixSteps)), -kMixMost, kMixMost);
}

Factors node_factors(Family family, const Resources& free, const Resources& all, const Scale& scale,
                     uint32_t instances) {
  const size_t cpu = fraction(free.cpu.value, all.cpu.value);
  const size_t memory = fraction(free.memory.value, all.memory.value);
  switch (family) {
    case Family::packing:
      return {pair_of(kTables.up[cpu], kTables.up[memory]),
              pair_of(std::lround(kLeanOfNode * lean_of(free, scale.mix)), instances == 0 ? kNothingThere : 0)};
    case Family::marginal:
      return {pair_of(marginal(cpu, all.cpu.value, scale.largest.cpu.value),
                      marginal(memory, all.memory.value, scale.largest.memory.value)),
              0};
    case Family::count: return {std::min<uint32_t>(instances, INT16_MAX), 0};
    case Family::none: return {};
  }
  return {};
}

Factors request_factors(PlacementPolicy policy, const Resources& asked, const Scale& scale) {
  const auto cpu = fraction(asked.cpu.value, scale.largest.cpu.value);
  const auto memory = fraction(asked.memory.value, scale.largest.memory.value);
  switch (policy) {
    case PlacementPolicy::default_:
    case PlacementPolicy::binpack:
      return {pair_of(kTables.down_binpack[cpu], kTables.down_binpack[memory]),
              pair_of(std::lround(kLeanOfRequest * lean_of(asked, scale.mix)), kOpening)};
    case PlacementPolicy::spread: return {pair_of(kTables.down[cpu], kTables.down[memory]), 0};
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

std::vector<ScorePart> parts_of(PlacementPolicy policy, const Factors& node, const Factors& asked) {
  auto low = [](uint32_t a, uint32_t b) {
    return int64_t{static_cast<int16_t>(a & 0xffff)} * static_cast<int16_t>(b & 0xffff);
  };
  auto high = [](uint32_t a, uint32_t b) {
    return int64_t{static_cast<int16_t>(a >> 16)} * static_cast<int16_t>(b >> 16);
  };
  const int64_t first = low(node.ab, asked.ab) + high(node.ab, asked.ab);
  switch (policy) {
    case PlacementPolicy::default_:
    case PlacementPolicy::binpack:
      return {{"room left over", first},
              {"kind of room left", low(node.cd, asked.cd)},
              {"nothing there yet", high(node.cd, asked.cd)}};
    case PlacementPolicy::spread: return {{"room left over", -first}};
    case PlacementPolicy::epvm: return {{"added load", first}};
    case PlacementPolicy::roundrobin: return {{"instances there", first}};
    case PlacementPolicy::fragmentation:
    case PlacementPolicy::greedy: return {};
  }
  return {};
}

int32_t flip_of(PlacementPolicy policy) {
  return policy == PlacementPolicy::spread ? INT32_MAX : 0;
}

}  // namespace tutti::scheduler
