#pragma once
// What a scheduler of another process may propose. Apply looks at what can be taken away in the meantime (room, ports,
// devices); here is looked at what the job asks of a node and the node is or is not (constraints, node pool, drivers,
// feature level), by the scheduler's own rule. And whether a scheduler leaves undone what it could do. Pure.

#include "model/plan.h"
#include "model/snapshot.h"
#include "scheduler/scheduler.h"

namespace tutti::manager {

// The plan without what may not be: a view that is behind costs a retry. Of those placed together with one, none is
// left.
Plan without_forbidden(const Snapshot& state, Plan plan);

// Whether something of that share has waited since `since`, and a scheduler that looked now would place it. As dear as
// starting a scheduler.
bool leaves_undone(const std::shared_ptr<const Snapshot>& state, scheduler::Share share, Time since, Time now);

}  // namespace tutti::manager
