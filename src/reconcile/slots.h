#pragma once
// What a job has, by group and slot: the picture that reconcile decides on. Built in one pass over the job's instances.
//
//   base      the version that follows what leaves its slot (model/deployment.h)
//   live      wanted, and holding its slot: not finished, not given up, not told to go. A stopped or suspended one is
//             live too, finished or not: it keeps its disk and comes back by a start-over
//   leaving   told to go and not yet finished: still holds its slot
//   past      finished or given up, newest first kept apart: it decides whether and when a successor comes
//
// Owner: one call of reconcile. Pointers live as long as the snapshot.

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/snapshot.h"

namespace tutti::reconcile {

struct Slot {
  uint32_t number = 0;
  const Instance* live = nullptr;
  const Instance* leaving = nullptr;
  const Instance* last = nullptr;    // the newest past one
  const Instance* beside = nullptr;  // live, next to the one that holds the slot: its successor in an update or move
  const Instance* beside_leaving = nullptr;
  const Instance* beside_last = nullptr;  // the newest past one that never took the slot
  const Instance* completed = nullptr;    // batch: the newest past one of the active version that completed
  uint32_t past = 0;                      // how many past ones it has
  NodeId pinned;                          // system: the node it stands for
  bool surplus = false;                   // above the count, or its node should have none
  bool coming = false;                    // its next one is made by this very call
  bool may_start = true;                  // system: its node takes new work
};

struct Group {
  std::string name;
  const GroupView* view = nullptr;       // in the active version; null: the active version has no such group
  uint16_t index = 0;                    // in the active version
  const GroupView* base_view = nullptr;  // in the base version; null: the base version has no such group
  uint16_t base_index = 0;
  int64_t count = 0;        // service and batch: slots 0..count-1
  std::vector<Slot> slots;  // by number; service and batch: dense below count
  // The slot of that number; made when missing. Only while the table is built; valid until the next call.
  Slot& at(uint32_t number);
  std::unordered_map<uint32_t, size_t> sparse;  // numbers beyond the dense part → index; looked up, never iterated
};

struct Past {
  uint32_t group = 0;  // in SlotTable::groups
  const Instance* instance = nullptr;
};

struct SlotTable {
  std::vector<Group> groups;                // those of the active version, in its order; then the others by name
  std::vector<const Instance*> duplicates;  // live ones whose slot has an older live one: a broken pool heals
  std::vector<Past> past;                   // every past one, oldest first
  Group& group_named(const std::string& name);
};

bool is_given_up(const Instance& instance);
// Holds its slot and is meant to go on (or to wait for its user).
bool is_live(const Instance& instance);
bool is_leaving(const Instance& instance);
// Nothing of it is left on any node.
bool remains_gone(const Instance& instance);

// `job` must be of the snapshot; `active` may be null (no version yet). `base`: the version whose groups stay, and
// follow what leaves its slot; the active one unless a deployment is not promoted or has failed.
SlotTable slots_of(const Snapshot& snapshot, const Job& job, const JobVersion* active, const JobVersion* base,
                   Time now);

}  // namespace tutti::reconcile
