#pragma once
// Decider: one call of reconcile() for one job. What it has found and decided so far, and the steps that decide.
//
// Private to the folder; its steps are in reconcile.cc (slots, history), update.cc (a new version), drain.cc (moves),
// after.cc (what waits for what, and the end of a batch job).
// Every step reads the table, adds to the actions, and keeps the table true for the steps behind it. Lives for one
// call.

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "model/plan.h"
#include "reconcile/slots.h"

namespace tutti::reconcile {

// Whether a group may have instances yet (J06), in the order in which one of several decides.
enum class GateState : uint8_t { open, waits, skipped, blocked };
struct Gate {
  GateState state = GateState::open;
  std::string reason;  // for people: what it waits for, or why it never starts
};

class Decider {
 public:
  Decider(const Snapshot& snapshot, const Job& job, Time now);
  Actions run();

 private:
  // ---- slots (reconcile.cc)
  void wind_down();
  void keep_up();
  void keep_up_slot(const Group& group, Slot& slot);
  void keep_up_live(Slot& slot);
  void keep_up_beside(Slot& slot);
  void follow_override(const Instance& live);
  bool timed_out(const Instance& live);
  void succeed(const Group& group, Slot& slot);
  bool account(const ReschedulePolicy& policy, const Instance& last, CreateInstance& next) const;
  void trim_history();
  bool wants_to_go(const Instance& past) const;
  bool is_proof(const Instance& past) const;

  // ---- a new version (update.cc)
  void adopt();
  void update(Group& group);
  void drop_besides(Group& group);
  void swap(Group& group);
  void add_canaries(Group& group);
  void replace(Group& group);
  void stand_beside(const Group& group, const Slot& slot, NodeId avoid);
  void judge();
  bool old_one_left() const;
  // Of the version that is meant to hold slots now.
  bool as_asked(const Instance& instance) const;
  bool takes_place(const Slot& slot);
  size_t canaries_of(const Group& group) const;

  // ---- draining nodes (drain.cc)
  void move_from_draining();
  void move_from_draining(const Group& group, Slot& slot, const Node& node);
  // Of what stands beside another because a rebalance wants it on its node: why that comes to nothing. Empty: go on.
  std::string why_not_to(const Instance& beside);

  // ---- order and end (after.cc)
  void find_gates();
  Gate find_gate(size_t index, const Gate& job_gate);
  Gate gate_of_job() const;
  Gate gate_of_task(const After& after, const Gate& job_gate);
  bool released(const Group& group) const;
  bool held_back(const Group& group) const;
  bool is_over(const Group& group, const Slot& slot) const;
  bool ends_its_line(const Group& group, const Instance& last) const;
  bool beside_is_over(const Group& group, const Slot& slot) const;
  // "web-0 failed: exit code 3".
  std::string failure_of(const Instance& last, std::string_view how) const;
  JobResult end_of(const Group& group) const;
  std::string why_failed(const Group& group) const;
  void check_deadline();
  std::string deadline_reason() const;
  void conclude();
  void conclude_stopped();
  void tell(JobResult result, std::string reason);
  void check_ttl(const JobVersion& version);

  // ---- who serves, for both
  struct Service {
    int64_t served = 0;   // slots that had a place before, or have one still
    int64_t running = 0;  // slots that serve now, in either version
    // More serve than did where the new version has more slots: no reason to replace more at a time.
    int64_t missing() const { return std::max<int64_t>(0, served - running); }
  };
  Service service_of(const Group& group);
  bool set_aside(const Slot& slot) const;
  bool serves(const Slot& slot);
  bool had_a_place(const Slot& slot) const;
  bool healthy(const Instance& instance);

  // ---- single steps
  bool room(size_t rows);
  bool change(ChangeInstance step);
  bool give_up(const Instance& instance);
  bool let_go(const Instance& instance, const std::string& why);
  void remove_remains(const Instance& past, const std::string& why);
  void drop(const Instance& past, const std::string& why);
  void forgive(const Instance& past, const std::string& why);
  // The slot's live one was told to go: for the rest of this call it is leaving.
  static void leave(Slot& slot);
  void wake(Time at);

  bool lost(const Instance& instance) const;
  bool draining(NodeId id) const;
  bool reachable(const Instance& instance) const;
  std::string surplus_reason(const Group& group) const;
  std::string new_version_reason() const { return "replaced by version " + std::to_string(active_->number); }
  std::string node_name(NodeId id) const;

  const Snapshot& snapshot_;
  const Job& job_;
  Time now_;
  const JobVersion* active_;
  const JobVersion* base_;  // what follows in a slot that is left: the active one, or the one that served before
  const UpdatePolicy* policy_ = nullptr;
  bool tracked_ = false;     // the job's deployment is that of the active version, and under way
  bool halted_ = false;      // it has failed or was cancelled: nothing more is replaced
  bool adopting_ = false;    // rows change their version in this call: what follows from it is for the next
  bool recreating_ = false;  // nothing new while an old one is there
  bool expired_ = false;     // batch: its deadline has passed before its end
  SlotTable table_;
  std::vector<std::optional<Gate>> gates_;  // by group of the table
  Actions actions_;
  int64_t moving_ = 0;  // slots without service, or on their way from draining nodes, where there are any
};

bool waits_for_user(const Instance& i);
// Gone because it was told to, so its end says nothing about the work.
bool let_go_before(const Instance& last);
// Not held by a wish of its user.
bool follows_job(const Instance& live);

}  // namespace tutti::reconcile
