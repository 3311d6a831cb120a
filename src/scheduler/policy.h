#pragma once
// Policies: how good a node is for a request, as quantised integers that every scan agrees on. Pure.
//
// Every score is a sum of products of a node's factors and a request's (scan.h), so that a node is measured once per
// change and a request once. Lower is better. `f` is the free fraction of a node, `r` what is asked as a fraction of
// the pool's largest node; both in 4,096ths; one unit is kUnit.
//
//   binpack     10^(f_cpu − r_cpu) + 10^(f_memory − r_memory): Google's BestFit v3 as in Nomad; less
//   150·d_node·d_asked,
//               where d = (cpu − memory) / √(cpu² + memory²) is how lopsided what is free, or asked, is beside all that
//               is asked for in the pool (the mix): what wants much memory goes where much memory is left beside the
//               cpu, and the average piece of work anywhere; and 10 more on a node that holds nothing
//   spread      the first part of that, upside down; the instances of a job keep apart before that (shape.h)
//   epvm        marginal cost: asked · d/du 10^u at the node's use u, summed over cpu and memory, weighed by the node's
//               size (Amir et al., "An opportunity cost approach for job assignment", to first order)
//   roundrobin  the node with the fewest instances: each in turn
//   greedy      the first that will do, by id
//   fragmentation  where the least GPU is made useless for what else is asked for: a valuation of its own
//   (valuation.h),
//                  node by node
//
// On top come costs per node that the policy knows nothing of: affinities and spreads (costs below).

#include <algorithm>
#include <cstdint>
#include <vector>

#include "model/job.h"
#include "model/objects.h"

namespace tutti::scheduler {

inline constexpr int64_t kUnit = 10'000'000;
inline constexpr int64_t kBinpackUnit = kUnit / 20;
// More than any two nodes differ by in spread: one more instance of the job costs as much. A weight of 100 too.
inline constexpr int64_t kCountCost = 20 * kUnit;

// All that is asked for in a pool: what is placed, and what waits for a place.
struct Demand {
  int64_t cpu = 0;         // millicores
  int64_t memory_mib = 0;  // of each rounded down, so that millions of them cannot overflow
  void add(const Resources& asked, int sign);
};
// Memory per cpu of that, or of the pool while nothing is asked for: in eighths of a power of two of MiB per millicore,
// so that factors last while it drifts.
int32_t mix_of(const Demand& demand, const Resources& pool);

// What factors are measured by.
struct Scale {
  Resources largest;  // of the pool's nodes, of each kind of resource
  int32_t mix = 0;
};

// The node's factors that a policy reads; binpack and spread share theirs.
enum class Family : uint8_t { packing, marginal, count, none };
inline constexpr size_t kFamilies = 3;  // that are columns

struct Factors {
  uint32_t ab = 0;  // two signed 16-bit numbers, low and high
  uint32_t cd = 0;
  bool operator==(const Factors&) const = default;
};

// Never default_.
PlacementPolicy policy_of(const Pool& pool);
PlacementPolicy policy_of(const JobSpec& spec, const Pool& pool);
Family family_of(PlacementPolicy policy);
Factors node_factors(Family family, const Resources& free, const Resources& all, const Scale& scale,
                     uint32_t instances);
Factors request_factors(PlacementPolicy policy, const Resources& asked, const Scale& scale);
// Turns the order around (scan.h).
int32_t flip_of(PlacementPolicy policy);

// A score of scan.h (score_of) in its parts, with the words for them; their sum orders nodes as the score does.
struct ScorePart {
  const char* name;
  int64_t cost;
};
std::vector<ScorePart> parts_of(PlacementPolicy policy, const Factors& node, const Factors& asked);
// A valuation's cost beside affinities: the whole range is less than twice kCountCost.
constexpr int32_t score_of_valuation(int32_t cost) {
  return std::clamp(cost, -16'000, 16'000) * 10'000;
}

// What an affinity of this weight is worth where it matches.
constexpr int64_t affinity_cost(int32_t weight) {
  return -weight * kCountCost / 100;
}
// What it is worth, as a weight, that images of so many bytes need not be fetched: under what a used node is before an
// empty one for small ones, more than all that binpack tells nodes apart by for those of a gigabyte. Not for policies
// that go by an order of their own.
constexpr int32_t kImageWeightMax = 20;
constexpr int32_t image_weight(int64_t bytes) {
  return static_cast<int32_t>(std::min<int64_t>(2 + (bytes >> 26), kImageWeightMax));
}
constexpr bool likes_images(PlacementPolicy policy) {
  return policy == PlacementPolicy::binpack || policy == PlacementPolicy::spread || policy == PlacementPolicy::epvm;
}

// What one more instance costs a value that has `instances` of the job and should have `share` of every `largest_share`
// that the best off should have. Highest averages (D'Hondt): the values fill in proportion.
constexpr int64_t spread_cost(int32_t weight, int64_t instances, int64_t share, int64_t largest_share) {
  if (share <= 0) return 1'000'000 * kCountCost;
  return (instances + 1) * kCountCost * weight / 100 * largest_share / share;
}

// The same for shares in any unit; a value that has next to none costs no more than a hundred times as much.
constexpr int64_t spread_cost_by_share(int32_t weight, int64_t instances, int64_t share, int64_t largest_share) {
  if (share <= 0) return spread_cost(weight, 0, 0, 1);
  return spread_cost(weight, instances, 1'000, std::min<int64_t>(largest_share * 1'000 / share, 100'000));
}

}  // namespace tutti::scheduler
