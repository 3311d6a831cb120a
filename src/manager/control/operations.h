#pragma once
// Operations: their progress, derived from the state they wait for (J13). Pure.
//
// An operation is a fact ("shop v3 was asked for"); nobody drives it. Whenever its target changes it is measured
// again; when what it waits for is true, or can no longer become true, it ends.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "base/time.h"
#include "model/snapshot.h"
#include "state/command.h"

namespace tutti::manager {

// The update that this snapshot calls for; none while nothing changed.
std::optional<state::UpdateOperation> measure(const Snapshot& snapshot, const Operation& operation, Time now);

class OperationTracker {
 public:
  void rebuild(const Snapshot& snapshot);
  // Which running operations a commit has ended. Progress, and large jobs, are left for catch_up().
  std::vector<state::UpdateOperation> follow(const ChangeSet& changes, Time now);
  // Every running one, measured: for what follow() cannot see, which is updates that were refused, and what ended in
  // the commits before a crash. Every few seconds.
  std::vector<state::UpdateOperation> sweep(const Snapshot& snapshot, Time now);
  // What follow() left, once it is due. Every turn.
  std::vector<state::UpdateOperation> catch_up(const Snapshot& snapshot, Time now);
  // When catch_up() has something to do; 0: nothing is left.
  Time wake() const;

 private:
  std::set<OperationId> running_;
  std::map<OperationId, Time> late_;  // to be measured, from when on
};

}  // namespace tutti::manager
