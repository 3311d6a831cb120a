#pragma once
// Reconcile: job + observed instances + now → actions. Pure and total: called again with the state its actions
// made, it has nothing left to say. It is the only thing that creates, replaces, stops or forgets instances (H05).
//
//   service  count live instances per group; a finished or given-up one is replaced (H02: after the reschedule
//            policy's delay, not on the node it failed on if there is another)
//   batch    each slot runs to completion once; failed ones are rescheduled as the policy says
//   system   one per eligible node, pinned to it
//   update   a new active version replaces the old one by one: the next slot only when the one before is running
//            (stop first, then start: a slot never holds two)
//   nodes    lost → give up and replace in one command; draining → move, one instance of a job at a time;
//            disabled/cordoned → nothing moves
//   override of a user on an instance wins over the job; a stopped job's instances are stopped and removed
//
// A node's loss is decided elsewhere (health == lost in the snapshot); what waits (`on_lost`) is decided here.

#include "base/time.h"
#include "model/plan.h"
#include "model/snapshot.h"

namespace tutti::reconcile {

// Cost grows with the instances of the job. `actions.wake` is the earliest time at which the answer may change by
// itself.
Actions reconcile(const Snapshot& snapshot, JobId job, Time now);

// Which jobs a commit may concern: those whose rows, versions or instances changed, and, for a node whose health,
// eligibility or existence changed, the jobs with instances on it and every system job. Sorted, each once.
std::vector<JobId> concerned_jobs(const ChangeSet& changes);

}  // namespace tutti::reconcile
