#pragma once
// Shape: the search for one kind of request within a round: the same group of the same job version, or of any job that
// asks for the same, one instance after the other.
//
// A node costs its score (policy.h) and, where the job has wishes, a sum of affinities and spreads. Nodes that cost the
// same on top form a class. A class keeps the best of every word of 64 nodes in a tournament; a placement changes one
// node, so only that is compared with the best of its word, and the word is looked at again if it was the best itself.
// An attribute with few values makes classes of its own, whose cost changes in place; of one with many values (the node
// itself, for the policy spread) a value's nodes move to another class. Pure; lives for a round.

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "scheduler/columns.h"

namespace tutti::scheduler {

// One placement of a round.
struct Taken {
  uint32_t index = 0;
  bool again = false;  // the node was given more after this
  JobId job;
};

// What a group asks for, compiled once per job version.
struct Ask {
  Request request;
  std::string kind;   // the same for all that may run on the same nodes
  std::string shape;  // the same for all that are searched for alike
  PlacementPolicy policy = PlacementPolicy::binpack;
  PlacementSpec wishes;
  std::vector<std::string> images;  // digests, where the policy goes by them
  JobId job;                        // whose instances are spread; 0: none are
};
// Placed as one: all of the job that wait.
inline bool is_together(const PlacementSpec& wishes) {
  return wishes.same_node || wishes.all_or_nothing;
}
// Where the rest of the job is that stays together; 0: nowhere.
NodeId node_of_job(const Snapshot& snapshot, JobId job);
// The instance would be apart from the rest of a job that stays together. It may have its disk there all the same, from
// when the rest had ended.
bool apart_from_job(const Snapshot& snapshot, const Instance& instance, NodeId node);
Ask ask_of(const Snapshot& snapshot, const JobVersion& version, uint16_t group);

// The nodes of a job's instances, by index.
using Counts = std::map<uint32_t, int64_t>;

// What a spread gives each value of its attribute, by the index in `values`: even, or by the targets. "" has none.
std::vector<int64_t> shares_of(const SpreadOver& over, const std::vector<std::string>& values,
                               const std::vector<bool>& present);

// The best word of a class, by a winner tree.
class Tournament {
 public:
  explicit Tournament(size_t words = 0);
  void set(size_t word, ScanBest best);
  void fill(const std::vector<ScanBest>& best);
  const ScanBest& top() const { return tree_[1]; }
  const ScanBest& at(size_t word) const { return tree_[leaves_ + word]; }

 private:
  size_t leaves_ = 1;
  std::vector<ScanBest> tree_;
};

class Shape {
 public:
  // `counts`: where the job's instances are, those of the round's first `seen` placements too.
  Shape(const Snapshot& snapshot, Columns& columns, const Ask& ask, const Counts& counts, size_t seen);

  // The best node by scan, not yet checked to the byte; nothing if there is none. `avoid` comes last: size() for none.
  std::optional<uint32_t> best(uint32_t avoid);
  // Which of the node's GPUs a share goes to, by number among them; nothing where the policy does not say.
  std::optional<size_t> gpu(uint32_t index) const;
  // What a node costs by the wishes alone, and all in all as the columns are now; nothing where there is no room. For
  // who compares nodes himself (rebalance.h).
  int64_t wishes_on(uint32_t index) const;
  std::optional<int64_t> cost_on(uint32_t index) const;
  // It will not do after all, in this round.
  void exclude(uint32_t index);
  // What was placed in this round so far; looked at from where this shape left off. After placements were taken back,
  // or a node was charged by anybody else: touch().
  void catch_up(const std::vector<Taken>& placed);
  void touch(uint32_t index);

 private:
  struct Class {
    int64_t cost = 0;  // of its group and its own
    uint32_t group = 0;
    Mask mask;
    Tournament words;
  };
  // An attribute that the job is spread over.
  struct Dimension {
    int32_t weight = 100;
    bool moves = false;                   // many values: their nodes move between classes
    std::vector<uint32_t> value_of;       // node → value; empty: the node itself
    std::vector<int64_t> counts, shares;  // by value
    int64_t largest_share = 1;
    std::vector<std::vector<uint32_t>> nodes;   // by value, where it moves; empty: the node itself
    std::vector<std::vector<uint32_t>> groups;  // by value, where it does not
    uint32_t value(uint32_t index) const { return value_of.empty() ? index : value_of[index]; }
    int64_t cost(uint32_t value) const;
  };
  void add_dimensions(const Snapshot& snapshot, const Ask& ask, const Mask& mask, const Counts& counts);
  void add_groups(const Snapshot& snapshot, const Ask& ask);
  int64_t moving_cost(uint32_t index) const;
  int64_t group_dimensions_cost(uint32_t group) const;
  Class& class_of(uint32_t index);
  void add_classes(const Mask& mask);
  Class& class_at(uint32_t group, int64_t moving);
  void scan_word(Class& of, size_t word) const;
  ScanBest scan_costs(uint64_t bits, uint32_t first) const;
  ScanBest scan(const Class& of, size_t word) const;
  ScanBest measure(uint32_t index) const;
  const Class* best_class() const;
  void count(uint32_t index);
  void move(uint32_t index);

  Columns& columns_;
  const Scan scan_;
  const Family family_;
  const Resources asked_;
  Machines::Costs* costs_ = nullptr;  // with the policy fragmentation
  const ScanRequest request_;
  ScanColumns view_;
  const JobId job_;
  std::vector<Dimension> dimensions_;
  std::vector<int64_t> affinity_of_;           // by group
  std::vector<std::vector<uint32_t>> values_;  // by group, of each dimension that does not move
  std::vector<uint32_t> group_of_;             // by node; empty: one group
  std::vector<int64_t> moving_of_;             // by node: its cost by dimensions that move; empty: there are none
  std::vector<std::vector<std::pair<int64_t, Class*>>> by_group_;  // group → its classes, by cost of what moves
  std::vector<std::unique_ptr<Class>> classes_;
  size_t seen_ = 0;  // of the round's placements
};

}  // namespace tutti::scheduler
