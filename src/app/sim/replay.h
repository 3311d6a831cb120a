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

// In percent.
struct ReplayFigures {
  double at_90 = 0, at_100 = 0, at_130 = 0;
};

// One seed. `learned`: what the policy fragmentation is told to expect; null for other policies.
Result<ReplayFigures> replay(const Trace& trace, const std::string& policy,
                             std::shared_ptr<const scheduler::Learned> learned, uint64_t seed);

// The trace as what learning starts from.
scheduler::Fleet fleet_of(const Trace& trace);
scheduler::Workload workload_of(const Trace& trace);

}  // namespace tutti::app
