#pragma once
// Jobs that launch others (J03): which children are due, which have been kept for long enough.
//
//   periodic       the newest time of the schedule that has come and was not seen is launched, left out or, where an
//                  earlier child has to end first, waited with; `wake` is the next time
//   parameterized  its children come by request; only their history is looked after
//   stopped        children that run are stopped; deleted: all go, and the job's own row last
//
// Pure, like all of reconcile. Cost grows with the job's children.

#include "model/plan.h"
#include "model/snapshot.h"

namespace tutti::reconcile {

// `version` is the job's active one, and is_parent(*version.spec).
Actions keep_launching(const Snapshot& snapshot, const Job& job, const JobVersion& version, Time now);

}  // namespace tutti::reconcile
