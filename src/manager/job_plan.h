#pragma once
// JobPlan: what submitting a job would change, and where each instance would go, without doing it (J08). Pure.
//
// The new version is applied to a copy of the snapshot in memory, reconcile says what follows from it, and the
// scheduler places what it can. The end is shown, not the way there: however the update paces itself, every old
// instance that has to go is taken as gone. Cost grows with the instances of the job and the nodes of the pool. Any
// thread.

#include <boost/describe.hpp>
#include <string>
#include <vector>

#include "model/diff.h"
#include "model/snapshot.h"
#include "state/command.h"

namespace tutti::manager {

enum class PlannedStep : uint8_t { start, replace, update, keep, stop };  // update: taken over as it runs
BOOST_DESCRIBE_ENUM(PlannedStep, start, replace, update, keep, stop)

struct PlannedInstance {
  std::string name;
  PlannedStep step = PlannedStep::keep;
  std::string node;    // where it is
  std::string to;      // where it would go; empty: nowhere now, or it goes away
  std::string reason;  // why there is no place for it
};
BOOST_DESCRIBE_STRUCT(PlannedInstance, (), (name, step, node, to, reason))

struct JobPlan {
  std::string job;
  uint64_t version = 0;    // that it would be
  bool unchanged = false;  // the same spec and images as the newest version
  std::vector<FieldChange> changes;
  int64_t start = 0;
  int64_t replace = 0;
  int64_t update = 0;
  int64_t keep = 0;
  int64_t stop = 0;
  int64_t unplaced = 0;                    // of those to start or replace
  Time next_launch;                        // of a periodic job; 0: none
  std::vector<std::string> images;         // not known yet: they would be fetched first
  std::vector<PlannedInstance> instances;  // by name; at most kListRowsMax
};
BOOST_DESCRIBE_STRUCT(JobPlan, (),
                      (job, version, unchanged, changes, start, replace, update, keep, stop, unplaced, next_launch,
                       images, instances))

// What submitting would be refused for, this is refused for too.
Result<JobPlan> plan_job(const Snapshot& snapshot, state::SubmitJob submit, Time now);

}  // namespace tutti::manager
