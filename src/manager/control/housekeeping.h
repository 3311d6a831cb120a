#pragma once
// Housekeeping: what a manager does by itself from time to time, as a machine without I/O.
//
// Owner: the control thread of Manager. Trims the history in small batches (state::TrimHistory), goes on with removals
// of nodes that one command could not finish (Node::removing: the row remembers, so a crash in between changes
// nothing), and says when the catalog is to be pruned. Every command is asked again until it was answered; none is
// needed for correctness, so a refusal only waits for the next round.

#include <map>
#include <vector>

#include "base/time.h"
#include "model/snapshot.h"
#include "state/command.h"

namespace tutti::manager {

class Housekeeping {
 public:
  static constexpr Duration kTrimEvery = seconds(60);
  static constexpr Duration kPruneEvery = seconds(3600);
  static constexpr Duration kRetryAfter = seconds(5);

  void rebuild(const Snapshot& snapshot);
  void follow(const ChangeSet& changes);

  // What is due now; each is under way until answered() is told.
  std::vector<state::Command> step(BootTime now);
  void answered(const state::Command& command, const Result<state::Outcome>& result, BootTime now);

  // True once per kPruneEvery; the first time that long after start.
  bool prune_due(BootTime now);

 private:
  struct Round {
    bool under_way = false;
    BootTime due;  // 0: at once
  };
  Round trim_;
  BootTime prune_at_;
  std::map<NodeId, Round> removals_;
};

}  // namespace tutti::manager
