#pragma once
// S05 for those that are placed as one (S07): what would make all of them run. Pure; straight from the snapshot.
//
// It looks for room as the scheduler does, so that what it says of preemption (J07) is what will happen.

#include <vector>

#include "model/plan.h"
#include "model/snapshot.h"

namespace tutti::scheduler {

// It waits with others of its job, all or none; not what is for one node alone, which waits by itself.
bool is_placed_as_one(const Snapshot& snapshot, const Instance& instance);
// How many were told to go for these, and have not ended yet.
int64_t leaving_for(const Snapshot& snapshot, const std::vector<InstanceId>& waiting);
// Adds to the remedies.
void tell_together(const Snapshot& snapshot, const Instance& instance, Time now, Explanation& out);

}  // namespace tutti::scheduler
