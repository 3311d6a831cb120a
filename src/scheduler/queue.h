#pragma once
// Queue: what waits for a node, in lanes. Pure; owner: one Scheduler, on its thread.
//
// A lane holds what has the same priority, is of the same project and asks for the same: one search answers for all of
// it. Within a lane who waits longest comes first. A lane in which nothing found a place is blocked: it is not looked
// at again before something happens on a node that it could use, so that a long queue costs nothing while it is stuck.
//
// Order between lanes: priority, then the project that holds the smallest share of the pool (of cpu or memory,
// whichever is larger), then who waits longest, then the id.

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "model/snapshot.h"
#include "scheduler/shape.h"

namespace tutti::scheduler {

struct Waiting {
  Time since;
  InstanceId id;
  JobId job;
  NodeId avoid;
  uint32_t generation = 1;
  uint16_t group = 0;
};

struct Lane {
  using Key = std::tuple<int32_t, ProjectId, std::string>;  // 100 − priority; what is asked for
  Key key;
  int32_t priority = 0;
  ProjectId project;
  std::shared_ptr<const Ask> ask;  // of the first that came; in what matters here the same for all
  NodeId own;                      // only this node: pinned, or its disk is there
  JobId together;                  // all of this job at once: placed together, or on one node
  bool mixed = false;              // where `together`: they do not all ask for the same
  bool preempts = false;           // may push others aside
  std::deque<Waiting> waiting;     // by (since, id)
  size_t next = 0;                 // of the round: how many were dealt with
  bool blocked = false;
  bool ready = false;  // stands in Queue::ready() as `head`
  std::pair<Time, InstanceId> head;
};

// Lanes by whom they would serve next.
using Line = std::map<std::pair<Time, InstanceId>, Lane*>;
using Ready = std::map<int32_t, std::map<ProjectId, Line>>;  // 100 − priority → project → lanes

class Queue {
 public:
  void clear();
  void add(const Snapshot& snapshot, const Instance& instance);
  // `instance` as it was added, of a snapshot that knows its version still.
  void remove(const Snapshot& snapshot, const Instance& instance);
  // Those whose time has come stand in their lanes from now on.
  void wake(const Snapshot& snapshot, Time now);
  // The earliest that waits for its time.
  Time next_wake(Time now) const;
  // Something happened on these nodes.
  void touched(const Snapshot& snapshot, Columns& columns, const std::vector<uint32_t>& nodes);
  void unblock_all();

  // ---- a round
  Ready& ready() { return ready_; }
  // The lane's first, or all of it, was dealt with.
  void advance(Lane& lane);
  void advance_all(Lane& lane);
  // Nothing in this lane finds a place.
  void block(Lane& lane);
  void unblock(Lane& lane);
  // The round is over: nothing of it has happened yet.
  void restore();
  // What a group of a job version asks for; the reference holds until the next add().
  const std::shared_ptr<const Ask>& ask(const Snapshot& snapshot, const JobVersion& version, uint16_t group);

 private:
  static constexpr size_t kAsksMax = 50'000;
  Lane::Key key_of(const Snapshot& snapshot, const Instance& instance);
  Lane& lane_of(const Snapshot& snapshot, const Instance& instance);
  static bool could_use(const Snapshot& snapshot, Columns& columns, const Lane& lane, uint32_t node);
  void stand(Lane& lane);
  void step_aside(Lane& lane);

  std::map<Lane::Key, Lane> lanes_;
  std::map<Lane::Key, Lane*> blocked_;
  Ready ready_;
  std::vector<Lane*> moved_;  // of the round
  std::set<std::pair<Time, InstanceId>> later_;
  std::map<std::pair<JobVersionId, uint16_t>, std::shared_ptr<const Ask>> asks_;
};

}  // namespace tutti::scheduler
