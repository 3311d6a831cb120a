#pragma once
// Draft: the state being edited in the current batch (see apply.h).
//
// Owner: the engine, one per batch; one thread. It starts as a copy of the last snapshot; put_ and erase_ are the only
// way rows change, and keep every derived index true. begin_command()/roll_back() bracket one command: a copy of the
// state is O(1), and the tables copy what is still shared, so rolling back is an assignment.

#include <memory>
#include <unordered_set>
#include <utility>
#include <vector>

#include "model/snapshot.h"

namespace tutti::state {

class Draft {
 public:
  // The next revision of `base`, at time `now`.
  Draft(const Snapshot& base, Time now);

  const Snapshot& state() const { return state_; }
  Time now() const { return state_.now; }
  Revision revision() const { return state_.revision; }
  uint64_t new_id() { return state_.next_id++; }

  void begin_command();
  void roll_back();
  // A part of a command that may have to be taken back, as if it had never been: restore() what save() gave, or drop
  // it.
  struct Told {
    size_t instances = 0;
    size_t untold = 0;
  };
  struct Saved {
    Snapshot state;
    size_t touched = 0;
    Told told;
  };
  Saved save();
  void restore(Saved saved);
  // Rows touched by the command under way.
  size_t command_rows() const { return touched_.size() - before_command_.touched; }
  // Events about instances in this batch: the number of this one; and those that were not written.
  size_t tell_instance() { return ++told_.instances; }
  void leave_untold() { ++told_.untold; }
  size_t untold_instances() const { return told_.untold; }
  bool changed() const { return !touched_.empty(); }
  size_t touched() const { return touched_.size(); }
  // Every row touched in the batch, each once, by table and id.
  std::vector<RowChange> rows() const;
  Snapshot take() { return std::move(state_); }

  void put(Pool pool);
  void put(Project row);
  void put(Node row);
  void put(Job row);
  void put(JobVersion row);
  void put(Instance row);
  void put(Volume row);
  void put(Image row);
  void put(Token row);
  void put(Operation row);
  void put(Event row);
  void put(IdempotencyRecord row);
  void erase(TableId table, uint64_t id);

  // Derived indexes from the tables alone; for load and audit.
  void rebuild_indexes();

 private:
  void touch(TableId table, uint64_t id);
  void index_instance(const Instance* before, const Instance* after);
  void count_instance(const Instance* before, const Instance* after);
  void index_job(const Job& row, bool add);
  void index_name(HashIndex& index, uint64_t key, uint64_t id, bool add);
  void set_member(Table<IdSet>& table, uint64_t key, uint64_t id, bool member);
  // Of a derived table, to be changed; a new one where there was none.
  template <class Row>
  Row& row_of(Table<Row>& table, uint64_t key) {
    Row* row = table.edit(edit_, key);
    if (row != nullptr) return *row;
    table.put(edit_, key, Row{});
    return *table.edit(edit_, key);
  }
  void charge_limits(const Instance& i, int64_t sign);
  void charge_devices(const Instance& instance, int64_t sign);
  void charge_node(NodeId node, const Resources& more, const Resources& less, int instances,
                   const std::vector<PortBinding>* take, const std::vector<PortBinding>* give);

  Snapshot state_;
  TableEdit edit_;
  std::vector<RowChange> touched_;
  std::unordered_set<uint64_t> touched_set_;  // by key_of; never iterated
  Told told_;
  Saved before_command_;
};

// Holds room on its node: placed there and not yet gone from it.
bool on_node(const Instance& instance);
// Wants a node (or its own again) and has not been admitted.
bool is_pending(const Instance& instance);
// What it holds there (model/instance.h charge()); while it waits to start again, its disk.
Resources held_resources(const Snapshot& snapshot, const Instance& instance);
// Whether it holds its host ports.
bool holds_ports(const Instance& instance);

}  // namespace tutti::state
