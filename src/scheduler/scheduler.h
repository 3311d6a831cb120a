#pragma once
// Scheduler: turns pending instances and a view of the nodes into a plan. Pure: no clock, I/O, thread or randomness.
//
// It keeps columns derived from the snapshot (free cpu and memory per node, class masks, ports) and follows the
// stream of ChangeSets; what it has cached must give the same plan as starting cold (a property test).
// Owner: the scheduler thread of the manager, or a simulation. Not thread-safe. What it proposes is re-checked by
// apply, so a stale view costs a retry, never an over-commitment.
//
// Scores (policy.h) separate into factors of the node and of the request. They are quantised integers, so that scalar
// and vectorised scans agree; ties go to the lower node id.

#include <memory>
#include <span>
#include <vector>

#include "base/time.h"
#include "model/plan.h"
#include "model/snapshot.h"
#include "scheduler/valuation.h"

namespace tutti::scheduler {

// The part of the jobs that falls to one of several schedulers.
struct Share {
  uint32_t index = 0;
  uint32_t of = 1;
  bool operator==(const Share&) const = default;
};
bool falls_to(JobId job, Share share);

class Scheduler {
 public:
  virtual ~Scheduler() = default;

  // Starts over from a snapshot.
  virtual void rebuild(std::shared_ptr<const Snapshot> snapshot) = 0;
  // Takes one commit; `changes.before` must be the snapshot it is at, else call rebuild().
  virtual void follow(const ChangeSet& changes) = 0;

  // Places what it can of `pending` (ids pending in the snapshot it is at, in any order: it orders them by priority,
  // age, id). Instances with not_before > now are left alone. At most `most` placements. `seed` breaks no ties of
  // score; it picks among dynamic ports.
  virtual Plan schedule(std::span<const InstanceId> pending, uint64_t seed, Time now, size_t most) = 0;
  virtual Plan schedule_all_pending(uint64_t seed, Time now, size_t most) = 0;

  // ---- the policy fragmentation
  // What is expected to be asked for, and what was learned from it (learning.h), in place of what the scheduler has
  // seen itself; null: that again.
  virtual void use(std::shared_ptr<const Learned> learned) = 0;
  // What it has seen being placed by that policy, and on what. Empty where nobody does.
  virtual Workload seen() const = 0;
  virtual const Fleet& fleet() const = 0;
  // From now on schedule_all_pending() sees only what falls to it; the rest is another's.
  virtual void take_share(Share share) = 0;

  // Earliest not_before among pending instances that wait; Time{} if none.
  virtual Time next_wake(Time now) const = 0;
};

std::unique_ptr<Scheduler> make_scheduler();

// Whether a commit can let something be placed that could not be before.
bool may_place(const ChangeSet& changes);

// Why an instance is where it is or is not anywhere; straight from the snapshot, no cache.
Explanation explain(const Snapshot& snapshot, InstanceId instance, Time now);
// The `reasons` of it alone; of an instance that can go to one node only, what that node lacks. Looks at every node.
std::vector<Reason> reasons_against(const Snapshot& snapshot, InstanceId instance);
// With scores and the place in the queue, which look at every instance of the pool.
Explanation explain_fully(const Snapshot& snapshot, InstanceId instance, Time now);

}  // namespace tutti::scheduler
