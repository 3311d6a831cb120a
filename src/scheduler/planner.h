#pragma once
// Planner: when to schedule, around a Scheduler; a machine without threads or I/O.
//
//   commits ──follow()──► due? ──step()──► a plan, one at a time ──applied()──► due again
//
// Owner: whoever plans: the scheduler thread of the manager, a scheduler process, a simulation. It plans when a commit
// may have made room or brought work, when something's time has come, and a little later when a plan collided: twice as
// late whenever it collides again, so that what the store or apply keeps refusing is not proposed for ever.

#include <memory>
#include <optional>
#include <string>

#include "scheduler/learner.h"
#include "scheduler/scheduler.h"

namespace tutti::scheduler {

class Planner {
 public:
  static constexpr size_t kPlacementsPerPlan = 512;
  Planner() : scheduler_(make_scheduler()) {}

  void rebuild(std::shared_ptr<const Snapshot> snapshot);
  // False: this commit is not the next one, rebuild() is needed. One that is known already is passed over.
  bool follow(const ChangeSet& changes);
  // Several schedulers share the work by job: this one takes those that fall to it. {0, 1}: all of it.
  void take_share(Share share);
  // The next plan, unless there is nothing to propose or one is under way.
  std::optional<Plan> step(Time now);
  // What became of it: how much of it holds, as Outcome::number counts.
  void applied(size_t placed, Time now);
  // ---- the policy fragmentation
  // What is to be taught now, by whoever has a thread for it; taught() is told what came of it.
  std::optional<Lesson> lesson(Time now);
  void taught(Taught taught, Time now);
  // What it goes by, in a line for people; empty where nobody places by it.
  std::string learned() const { return learner_.state(); }
  // When step() has something to do even if nothing is committed; 0: never.
  Time wake() const { return under_way_ ? Time{} : at_; }
  Revision revision() const { return revision_; }

 private:
  std::unique_ptr<Scheduler> scheduler_;
  Learner learner_;
  Revision revision_;
  bool due_ = false;
  bool under_way_ = false;
  size_t proposed_ = 0;
  bool more_ = false;
  Duration after_collision_;
  Time at_;
};

}  // namespace tutti::scheduler
