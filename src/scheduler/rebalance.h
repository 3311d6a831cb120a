#pragma once
// Rebalance: which running work would be better off elsewhere (S08). Pure: a proposal, from a snapshot alone.
//
//   packing    (binpack, fragmentation, greedy) empties the least used nodes. A node is emptied as a whole or not at
//   all,
//              and only onto nodes that are in use anyway: each one is a node in use less.
//   balancing  (spread, roundrobin, epvm) takes from the busiest nodes what makes the load more even. Load: the part of
//   a
//              node's cpu or memory that is given out, whichever is larger; roundrobin: its number of instances.
//
// By the pool's policy; work whose job names a policy of the other kind stays. Where an instance may go and where it is
// best off is decided by the scheduler's own filter and score (feasible.h, shape.h), and its wishes (affinities,
// spread) are met no worse than where it is. No node that takes something gives anything, and room is charged while the
// old one is still there: so the moves may be made in any order, start-before-stop, and none undoes another.
//
// Every plan lowers the number of nodes in use, or the deviation from an even load, so that doing one after the other
// comes to an end. Deterministic. Cost: the nodes of the pool for every instance that is looked at; at most
// kNodesTriedMax nodes are. Any thread.

#include <boost/describe.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/objects.h"
#include "model/snapshot.h"

namespace tutti::scheduler {

struct RebalanceWish {
  std::string node_pool;  // only nodes of this pool give and take; empty: of any
  size_t max_moves = 50;
  bool include_batch = false;  // batch work too, which loses its run
};

// What was looked at and stays, and why.
struct LeftOut {
  std::string reason;
  int64_t instances = 0;
};
BOOST_DESCRIBE_STRUCT(LeftOut, (), (reason, instances))

struct RebalancePlan {
  bool packing = true;
  std::vector<Move> moves;
  // In use: with anything on it but system jobs. Of the nodes that were asked about and take work.
  int64_t nodes_used = 0;
  int64_t nodes_used_after = 0;
  // The standard deviation of their load: in thousandths of a node; roundrobin: of an instance.
  int64_t imbalance = 0;
  int64_t imbalance_after = 0;
  std::vector<LeftOut> left_out;  // most instances first
};

RebalancePlan propose_rebalance(const Snapshot& snapshot, const RebalanceWish& wish);

// Why an instance stays where it is, whatever would be better; none: it may be moved. Also asked when a move begins.
std::optional<std::string> why_not_movable(const Snapshot& snapshot, const Instance& instance, bool include_batch);
// Why it cannot go to this node as things are now; none: it can.
std::optional<std::string> why_not_to(const Snapshot& snapshot, const Instance& instance, NodeId to);

}  // namespace tutti::scheduler
