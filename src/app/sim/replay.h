#pragma once
// Replay: a trace (trace.h) played through the real scheduler and the real apply, in memory, and how much of the GPUs
// it gave out. The measurement is that of "Beware of Fragmentation" (USENIX ATC 2023), so that figures compare:
//
// The list is shuffled, then lengthened by draws from it until 130 % of the GPUs are asked for; the machines stand in
// an order drawn once. Requests arrive one by one; none leaves; one that fits nowhere is dropped. After each arrival
// the part asked for and the part given out are noted; "at 100 %" is the mean of the second where the first rounds to
// 100.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/sim/trace.h"
#include "scheduler/learning.h"

namespace tutti::app {

// In percent of all GPU: what was given out when about 90, 100 and 130 % of it had been asked for.
struct ReplayFigures {
  double at_90 = 0, at_100 = 0, at_130 = 0;
  double asked_at_90 = 0;        // what was asked for meanwhile: no policy can give out more
  int64_t refused_but_fits = 0;  // requests that found no place though a machine had room: a fault
};

// One seed. `learned`: what the policy fragmentation is told to expect; null for other policies.
Result<ReplayFigures> replay(const Trace& trace, const std::string& policy,
                             std::shared_ptr<const scheduler::Learned> learned, uint64_t seed);

// Seeds 1 to `seeds` and their mean. The policies of the scheduler, and "fgd": fragmentation with nothing learned;
// fragmentation learns before the first run.
struct Replayed {
  std::vector<ReplayFigures> runs;
  ReplayFigures mean;  // of refused_but_fits: the sum
  bool learned = false;
  double learn_seconds = 0, seconds = 0;
};
Result<Replayed> replay_all(const Trace& trace, const std::string& policy, int64_t seeds, int64_t rounds);

// The trace as what learning starts from.
scheduler::Fleet fleet_of(const Trace& trace);
scheduler::Workload workload_of(const Trace& trace);

}  // namespace tutti::app
