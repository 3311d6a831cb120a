#pragma once
// Leeway: how much of each node could be had at most if less important work were pushed aside (J07), by priority.
//
// A bound, not an answer: it adds up cpu, memory, disk and devices, and knows nothing of ports, of countable limits or
// of which device is which. What it refuses cannot be had; where it does not, preempt.h looks at the node's instances.
// Kept from round to round, and made anew only for nodes that something happened to: who is stuck and may push others
// aside would else cost a look at every instance of the pool, as often as room becomes free anywhere.
//
// Owner: one Scheduler, on its thread. Memory: about 100 bytes for each node that was asked about.

#include <limits>
#include <vector>

#include "model/snapshot.h"
#include "scheduler/columns.h"

namespace tutti::scheduler {

// What an instance is to those that push others aside. `as_if`: as if this project allowed it.
enum class Standing : uint8_t { stays, leaves, may_be_pushed };
Standing standing_of(const Snapshot& snapshot, const Instance& instance, ProjectId as_if = {});

class Leeway {
 public:
  static constexpr int32_t kNobody = std::numeric_limits<int32_t>::min();  // as a priority: only what leaves anyway

  struct Amount {
    Resources resources;
    int64_t devices = 0;  // thousandths, of any kind
    Amount& operator+=(const Amount& o);
  };
  static Amount asked_by(const Request& request);

  explicit Leeway(ProjectId as_if = {}) : as_if_(as_if) {}
  ProjectId as_if() const { return as_if_; }
  void clear() { nodes_.clear(); }
  // Something happened to what is on it.
  void forget(uint32_t index) {
    if (index < nodes_.size()) nodes_[index].known = false;
  }
  // How many that ask for so much could be there at most, were all gone that are less important; no more than `most`.
  int64_t room_for(const Snapshot& snapshot, const Columns& columns, uint32_t index, const Amount& asked,
                   int32_t priority, int64_t most);
  // Those for whom others leave this node.
  const std::vector<InstanceId>& awaited(const Snapshot& snapshot, const Columns& columns, uint32_t index) {
    return node(snapshot, columns, index).awaited;
  }

 private:
  struct Level {
    int32_t priority = 0;
    Amount freed;  // by all up to this priority, and by those that leave
  };
  struct Node {
    bool known = false;
    Amount leaving;
    std::vector<Level> levels;  // by priority
    std::vector<InstanceId> awaited;
  };
  const Node& node(const Snapshot& snapshot, const Columns& columns, uint32_t index);
  void read(const Snapshot& snapshot, NodeId id, Node& node) const;

  ProjectId as_if_;
  std::vector<Node> nodes_;  // by index of the columns
};

}  // namespace tutti::scheduler
