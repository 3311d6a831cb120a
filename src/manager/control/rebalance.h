#pragma once
// A rebalance on its way (S08): which of its moves begin, which are over, and when it ends. Pure.
//
// All of it is derived from the operation's row and the instances: whoever becomes the manager next goes on with it. A
// move begins in the commit that makes its successor (state/apply_rebalance.cc), reconcile sees it through, and here
// its end is found. At most max_parallel are under way, and of a job no more than its disruption policy allows,
// counting what does not run of it anyway. A move that is no longer what it was planned as is dropped with a reason. A
// cancelled rebalance begins nothing more and ends when what is under way has ended.

#include "model/snapshot.h"
#include "state/command.h"

namespace tutti::manager {

// Adds to `update` what follows for an operation of kind kRebalanceKind.
void measure_rebalance(const Snapshot& snapshot, const Operation& operation, state::UpdateOperation& update);

}  // namespace tutti::manager
