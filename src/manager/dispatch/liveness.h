#pragma once
// Liveness: which nodes are heard, a machine without I/O. Heartbeats live here, in the leader's memory, never in the
// store.
//
// A node silent for kUnknownAfterMs is unknown; after kLostAfterMs its lease has ended whatever the network does
// (the lease counts from when the worker sent the beat, this clock from when it was heard) and it is lost.
// A new leader gives everyone one whole lease before it judges.

#include <map>
#include <memory>
#include <vector>

#include "base/time.h"
#include "model/snapshot.h"
#include "state/command.h"

namespace tutti::manager {

class Liveness {
 public:
  void rebuild(const Snapshot& snapshot, BootTime now);
  void follow(const ChangeSet& changes, BootTime now);
  // Any byte of a live session counts. False: the node is called lost, or is about to be. Its work may be given up in
  // that very commit, so no lease may be granted (no beat acknowledged) before it is called ready again.
  [[nodiscard]] bool heard(NodeId node, BootTime now);
  // This process itself did not run for so long (stopped, starved): nobody is blamed for it.
  void excuse(Duration stall);
  // What has to be committed; each once until the snapshot shows it or was refused.
  std::vector<state::SetNodeHealth> tick(BootTime now);
  // What became of one of these, behind the ChangeSet of its commit. Not committed: judge again.
  void answered(NodeId node, NodeHealth health, bool committed);

 private:
  struct Entry {
    BootTime heard;
    NodeHealth health = NodeHealth::joining;  // as committed
    NodeHealth asked = NodeHealth::joining;   // as asked for last
    uint64_t session = 0;
    int lost_under_way = 0;  // asked for, and not answered yet
  };
  std::map<NodeId, Entry> nodes_;
};

}  // namespace tutti::manager
