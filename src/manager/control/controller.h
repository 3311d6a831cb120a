#pragma once
// Controller: keeps every job reconciled, a machine without I/O around reconcile() (docs/life-of-a-job.md, step 4).
//
// Owner: the control thread of the manager, or a simulation. Follows the ChangeSets, remembers which jobs a commit
// may concern and when a job wants to be looked at again, and says the commands. One command per job is under way
// at a time; its commit (or refusal) makes the job due again.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/time.h"
#include "model/plan.h"
#include "model/snapshot.h"
#include "state/command.h"

namespace tutti::manager {

// What a small commit calls for at once, so that a job just asked for gets its instances in the commit that stores it:
// the same decisions as step(), for jobs of few instances. Pure.
std::vector<state::Command> decide_at_once(const ChangeSet& changes, Time now);

class Controller {
 public:
  void rebuild(std::shared_ptr<const Snapshot> snapshot);
  void follow(const ChangeSet& changes);

  struct Work {
    JobId job;
    state::ApplyActions command;
  };
  // At most `most` commands; jobs that need nothing cost a reconcile and drop out.
  std::vector<Work> step(Time now, size_t most);
  // The command of this job was committed or refused.
  void done(JobId job, bool committed, Time now);
  // When step() has something to do even if nothing is committed; Time{}: never. In the past: now.
  Time wake() const;

 private:
  std::shared_ptr<const Snapshot> snapshot_;
  std::set<JobId> due_;
  std::set<JobId> under_way_;
  std::map<JobId, Time> wake_at_;
  std::set<std::pair<Time, JobId>> wakes_;
  void set_wake(JobId job, Time at);
};

}  // namespace tutti::manager
