#include "reconcile/reconcile.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "reconcile/decider.h"
#include "reconcile/periodic.h"

namespace tutti::reconcile {
namespace {

// A batch job that does not say how often it may be rescheduled gets one more try after a failure.
constexpr int32_t kBatchAttemptsDefault = 1;
constexpr size_t kActionsMax = limits::kCommandRowsMax;
// A look at a job costs what it holds. Where ten thousand become healthy one after the other, it is not looked at as
// often: per slot, so that a job never takes more than a small part of a core.
constexpr int64_t kLookNsPerSlot = 100'000;

Desired desired_of(Override wish) {
  switch (wish) {
    case Override::none: return Desired::running;
    case Override::stop: return Desired::stopped;
    case Override::pause: return Desired::paused;
    case Override::suspend: return Desired::suspended;
    case Override::delete_: return Desired::removed;
  }
  return Desired::running;
}

// Before the n-th successor, n counting from 0.
Duration backoff(const ReschedulePolicy& policy, int32_t before) {
  auto delay = static_cast<double>(policy.delay.ns);
  const auto most = static_cast<double>(policy.max_delay.ns);
  double earlier = delay;
  for (int32_t i = 0; i < before && delay < most; ++i) {
    switch (policy.function) {
      case Backoff::constant: return std::min(policy.delay, policy.max_delay);
      case Backoff::exponential: delay *= std::max(policy.backoff, 1.0); break;
      case Backoff::fibonacci: delay += std::exchange(earlier, delay); break;
    }
  }
  return Duration{static_cast<int64_t>(std::min(delay, most))};
}

// Counting starts anew after a run that outlasted the longest wait.
bool ran_long(const Instance& instance, const ReschedulePolicy& policy) {
  for (const TaskStatus& task : instance.detail->tasks) {
    if (!task.started || !task.finished || task.finished - task.started <= policy.max_delay) return false;
  }
  return !instance.detail->tasks.empty();
}

bool failed(const Instance& last) {
  return last.desired == Desired::running && last.state != TaskState::completed && static_cast<bool>(last.node);
}

// A rebalance told it to go, for another node.
bool moved_away(const Instance& last) {
  return last.desired == Desired::removed && last.node && last.detail->avoid == last.node;
}

}  // namespace

bool let_go_before(const Instance& last) {
  return last.desired == Desired::removed || last.override_ == Override::delete_;
}

bool waits_for_user(const Instance& i) {
  return i.desired == Desired::stopped || i.desired == Desired::suspended;
}

bool follows_job(const Instance& live) {
  return live.desired == Desired::running && live.override_ == Override::none;
}

Decider::Decider(const Snapshot& snapshot, const Job& job, Time now)
    : snapshot_(snapshot),
      job_(job),
      now_(now),
      active_(job.active_version == 0 ? nullptr : snapshot.version_of(job.id, job.active_version)),
      base_(active_) {
  const Deployment& d = job.deployment;
  if (active_ == nullptr) return;
  policy_ = &active_->spec->update;
  if (d.version != active_->number || d.state == DeploymentState::none) return;
  tracked_ = under_way(d);
  halted_ = d.state == DeploymentState::failed || d.state == DeploymentState::cancelled;
  const JobVersion* before = d.from == 0 ? nullptr : snapshot.version_of(job.id, d.from);
  if (before != nullptr && (halted_ || !d.promoted)) base_ = before;
}

Actions Decider::run() {
  const bool ending = job_.stopped || job_.deleted;
  if (active_ == nullptr && !ending) {
    const JobVersion* newest = snapshot_.version_of(job_.id, static_cast<uint32_t>(job_.version));
    const bool failed = newest != nullptr && newest->state == VersionState::failed;
    if (failed && job_.type == JobType::batch) tell(JobResult::failed, newest->error);
    if (failed) check_ttl(*newest);
    return std::move(actions_);
  }
  table_ = slots_of(snapshot_, job_, active_, base_, now_);
  if (ending) {
    wind_down();
  } else {
    keep_up();
  }
  if (active_ != nullptr) check_ttl(*active_);
  if (actions_.wake) {
    size_t slots = 0;
    for (const Group& group : table_.groups) slots += group.slots.size();
    actions_.wake = std::max(actions_.wake, now_ + Duration{static_cast<int64_t>(slots) * kLookNsPerSlot});
  }
  return std::move(actions_);
}

// ---- a stopped or deleted job
void Decider::wind_down() {
  const std::string why = job_.deleted ? "job deleted" : "job stopped";
  for (const Instance* instance : table_.duplicates) let_go(*instance, why);
  for (Group& group : table_.groups) {
    for (Slot& slot : group.slots) {
      if (slot.leaving != nullptr && lost(*slot.leaving)) give_up(*slot.leaving);
      if (slot.beside_leaving != nullptr && lost(*slot.beside_leaving)) give_up(*slot.beside_leaving);
      if (slot.beside != nullptr) let_go(*slot.beside, why);
      if (slot.live != nullptr) let_go(*slot.live, why);
      // What went before is no longer counted: a start begins anew. A completed batch run stays done.
      if (!job_.deleted && slot.last != nullptr && slot.last != slot.completed && !wants_to_go(*slot.last))
        forgive(*slot.last, why);
    }
  }
  if (!job_.deleted) {
    conclude_stopped();
    return trim_history();
  }
  for (const Past& past : table_.past) drop(*past.instance, why);
  const IdSet* left = snapshot_.instances_by_job.find(job_.id.value);
  if (left == nullptr || left->size() == 0) actions_.forget_jobs.push_back(job_.id);
}

// ---- a job that is to run
void Decider::keep_up() {
  for (const Instance* instance : table_.duplicates) let_go(*instance, "a second one in its slot");
  for (Group& group : table_.groups) {
    // Surplus slots go highest first.
    for (auto slot = group.slots.rbegin(); slot != group.slots.rend(); ++slot) {
      if (!slot->surplus) continue;
      for (const Instance* i : {slot->beside, slot->live})
        if (i != nullptr) let_go(*i, surplus_reason(group));
    }
  }
  adopt();
  find_gates();
  check_deadline();
  recreating_ =
      policy_->strategy == UpdateStrategy::recreate && !halted_ && job_.type != JobType::batch && old_one_left();
  for (Group& group : table_.groups)
    for (Slot& slot : group.slots) keep_up_slot(group, slot);
  move_from_draining();
  if (!adopting_)
    for (Group& group : table_.groups) update(group);
  judge();
  trim_history();
  conclude();
}

void Decider::keep_up_slot(const Group& group, Slot& slot) {
  if (slot.leaving != nullptr && lost(*slot.leaving)) {
    if (!slot.surplus && slot.live == nullptr && !room(2)) return;
    if (!give_up(*slot.leaving)) return;
    slot.last = slot.leaving;
    slot.leaving = nullptr;
  }
  keep_up_beside(slot);
  if (slot.surplus) return;
  if (slot.live != nullptr) keep_up_live(slot);
  if (slot.live != nullptr || slot.leaving != nullptr) return;
  if (!takes_place(slot)) return succeed(group, slot);
  if (!change({.instance = slot.beside->id, .take_place = true})) return;
  slot.live = slot.beside;
  slot.beside = nullptr;
}

// It has no claim to be replaced: who put it there decides whether there shall be another.
void Decider::keep_up_beside(Slot& slot) {
  if (slot.beside_leaving != nullptr && lost(*slot.beside_leaving)) {
    if (!give_up(*slot.beside_leaving)) return;
    slot.beside_last = slot.beside_leaving;
    slot.beside_leaving = nullptr;
  }
  if (slot.beside == nullptr || slot.surplus) return;
  const Instance& beside = *slot.beside;
  if (lost(beside)) {
    if (!give_up(beside)) return;
    slot.beside_last = &beside;
    slot.beside = nullptr;
  } else if (beside.override_ == Override::delete_) {
    if (!let_go(beside, "deleted by its user")) return;
    slot.beside_leaving = &beside;
    slot.beside = nullptr;
  } else {
    follow_override(beside);
  }
}

// May turn the slot's live one into its last one, for which there is a successor in the same command.
void Decider::keep_up_live(Slot& slot) {
  const Instance& live = *slot.live;
  if (live.override_ == Override::delete_) {
    let_go(live, "deleted by its user");
    return leave(slot);
  }
  if (lost(live)) {
    // A stopped one lies on its disk and waits for the node, as long as there is hope.
    const bool wanted = live.override_ == Override::none;
    if (!wanted && waits_for_user(live) && snapshot_.nodes.find(live.node.value) != nullptr) return;
    if (!room(2)) return;
    give_up(live);
    slot.last = &live;
    slot.live = nullptr;
    return;
  }
  if (timed_out(live)) {
    change({.instance = live.id,
            .give_up = true,
            .reason =
                "pending for longer than its pending_timeout of " + format_duration(active_->spec->pending_timeout)});
    return leave(slot);
  }
  if (expired_) {
    let_go(live, deadline_reason());
    return leave(slot);
  }
  follow_override(live);
}

void Decider::follow_override(const Instance& live) {
  const Desired wanted = desired_of(live.override_);
  if (wanted == live.desired) return;
  switch (wanted) {
    case Desired::running:
      // Started over only once it has come to rest: until then it holds its room for the generation that stops.
      if (waits_for_user(live) && !live.finished) return;
      change({.instance = live.id,
              .desired = wanted,
              .start_over = waits_for_user(live),
              .reason = "started by its user"});
      return;
    case Desired::paused:
      if (waits_for_user(live)) return;  // nothing runs that could be paused
      change({.instance = live.id, .desired = wanted, .reason = "paused by its user"});
      return;
    case Desired::stopped: change({.instance = live.id, .desired = wanted, .reason = "stopped by its user"}); return;
    case Desired::suspended:
      change({.instance = live.id, .desired = wanted, .reason = "suspended by its user"});
      return;
    case Desired::removed: return;
  }
}

bool Decider::timed_out(const Instance& live) {
  const Duration most = active_->spec->pending_timeout;
  if (most.ns <= 0 || live.node || live.admitted || live.finished || live.desired != Desired::running) return false;
  const Time deadline = std::max(live.pending_since, live.not_before) + most;
  if (now_ >= deadline) return true;
  wake(deadline);
  return false;
}

// The next one of an empty slot, if and when the policy lets it have one.
void Decider::succeed(const Group& group, Slot& slot) {
  const bool base = group.base_view != nullptr;
  const JobVersion& version = base ? *base_ : *active_;
  if (!slot.may_start || slot.completed != nullptr || recreating_ || held_back(group)) return;
  CreateInstance next{.job = job_.id,
                      .job_version = version.number,
                      .group = base ? group.base_index : group.index,
                      .slot = slot.number,
                      .pinned = slot.pinned};
  const Instance* last = slot.last;
  if (last != nullptr && !slot.pinned &&
      (is_given_up(*last) || failed(*last) || draining(last->node) || moved_away(*last)))
    next.avoid = last->node;
  const GroupView& view = base ? *group.base_view : *group.view;
  const ReschedulePolicy& policy = version.spec->tasks[view.tasks.front()].reschedule;
  if (last != nullptr && last->job_version == version.number && !let_go_before(*last) && !account(policy, *last, next))
    return;
  if (last != nullptr && draining(last->node)) ++moving_;
  if (!room(1)) return;
  actions_.create.push_back(next);
  slot.coming = true;
}

// Counts the predecessor against the policy; false when there shall be no other.
bool Decider::account(const ReschedulePolicy& policy, const Instance& last, CreateInstance& next) const {
  const bool system = job_.type == JobType::system;
  int32_t before = last.detail->reschedules;
  next.counted_since = last.detail->counted_since ? last.detail->counted_since : now_;
  if (policy.interval.ns > 0 && now_ - next.counted_since > policy.interval) before = 0, next.counted_since = now_;
  // Given up before, or by these very actions: it is not its own fault, so its successor does not wait.
  if (is_given_up(last) || !last.finished) {
    if (!last.node) return false;  // it waited in vain
    next.reschedules = policy.attempts < 0 ? before : before + 1;
    return system || policy.attempts < 0 || before < policy.attempts;
  }
  if (job_.type != JobType::batch && ran_long(last, policy)) before = 0;
  const int32_t most = policy.attempts < 0 && job_.type == JobType::batch ? kBatchAttemptsDefault : policy.attempts;
  if (most >= 0 && before >= most) return false;
  next.reschedules = before + 1;
  next.not_before = now_ + backoff(policy, before);
  return true;
}

// ---- who serves
bool Decider::set_aside(const Slot& slot) const {
  if (slot.leaving != nullptr) return false;
  return slot.live != nullptr ? slot.live->desired != Desired::running : !slot.may_start;
}
bool Decider::serves(const Slot& slot) {
  if (slot.live == nullptr || !works(*slot.live)) return false;
  return reachable(*slot.live) && (slot.live->job_version != active_->number || healthy(*slot.live));
}
bool Decider::had_a_place(const Slot& slot) const {
  if (slot.leaving != nullptr) return slot.leaving->admitted;
  if (slot.live != nullptr && slot.live->admitted && slot.live->job_version != active_->number) return true;
  return slot.last != nullptr && static_cast<bool>(slot.last->node);
}

// A slot that nothing comes into any more (restarts exhausted) is not waited for.
Decider::Service Decider::service_of(const Group& group) {
  Service out;
  for (const Slot& slot : group.slots) {
    const bool over = slot.live == nullptr && slot.leaving == nullptr && !slot.coming;
    if (slot.surplus || over || set_aside(slot)) continue;
    // Not tied to a slot: where room is short, one that never had a place may have taken another's.
    out.served += had_a_place(slot) ? 1 : 0;
    out.running += serves(slot) ? 1 : 0;
  }
  return out;
}

bool Decider::healthy(const Instance& instance) {
  const Health health = health_of(instance, policy_->min_healthy_time, now_);
  if (!health.healthy && health.from) wake(health.from);
  return health.healthy;
}

// ---- history
void Decider::trim_history() {
  bool due = false;
  for (const Group& group : table_.groups)
    for (const Slot& slot : group.slots) due = due || slot.past > limits::kFinishedInstancesKeptPerSlot;
  for (const Past& past : table_.past) due = due || wants_to_go(*past.instance);
  if (!due) return;
  std::vector<Past> order = table_.past;
  std::sort(order.begin(), order.end(), [](const Past& a, const Past& b) {
    if (a.group != b.group) return a.group < b.group;
    if (a.instance->slot != b.instance->slot) return a.instance->slot < b.instance->slot;
    return a.instance->id > b.instance->id;  // newest first
  });
  size_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const Instance& instance = *order[i].instance;
    const bool same = i > 0 && order[i - 1].group == order[i].group && order[i - 1].instance->slot == instance.slot;
    rank = same ? rank + 1 : 0;
    if (is_proof(instance)) continue;
    if (rank >= limits::kFinishedInstancesKeptPerSlot)
      drop(instance, "history is full");
    else if (wants_to_go(instance))
      drop(instance, "deleted by its user");
  }
}

// Deleted by its user, or of a system job on a node that is no more.
bool Decider::wants_to_go(const Instance& past) const {
  if (is_proof(past)) return false;
  if (past.override_ == Override::delete_) return true;
  return job_.type == JobType::system && past.node && snapshot_.nodes.find(past.node.value) == nullptr;
}

// A batch slot is done because this row says so.
bool Decider::is_proof(const Instance& past) const {
  return job_.type == JobType::batch && past.state == TaskState::completed && !is_given_up(past) &&
         past.job_version == job_.active_version && !job_.deleted;
}

// ---- single steps
bool Decider::room(size_t rows) {
  const size_t used = actions_.create.size() + actions_.change.size() + actions_.forget.size();
  if (used + rows <= kActionsMax) return true;
  actions_.more = true;
  return false;
}

bool Decider::change(ChangeInstance step) {
  if (!room(1)) return false;
  actions_.change.push_back(std::move(step));
  return true;
}

bool Decider::give_up(const Instance& instance) {
  return change({.instance = instance.id, .give_up = true, .reason = "node " + node_name(instance.node) + " lost"});
}

// It shall go: told so, or given up where nobody listens any more.
bool Decider::let_go(const Instance& instance, const std::string& why) {
  if (lost(instance)) return give_up(instance);
  return change({.instance = instance.id, .desired = Desired::removed, .reason = why});
}

// A given-up one is final: its node clears it away untold, should it come back.
void Decider::remove_remains(const Instance& past, const std::string& why) {
  if (!is_given_up(past) && past.desired != Desired::removed)
    change({.instance = past.id, .desired = Desired::removed, .reason = why});
}

void Decider::drop(const Instance& past, const std::string& why) {
  if (!remains_gone(past)) return remove_remains(past, why);
  if (room(1)) actions_.forget.push_back(past.id);
}

// Its end shall not count against its successor.
void Decider::forgive(const Instance& past, const std::string& why) {
  if (!is_given_up(past)) return remove_remains(past, why);
  if (remains_gone(past) && room(1)) actions_.forget.push_back(past.id);
}

// The slot's live one was told to go: for the rest of this call it is leaving.
void Decider::leave(Slot& slot) {
  slot.leaving = slot.live;
  slot.live = nullptr;
}

void Decider::wake(Time at) {
  if (!actions_.wake || at < actions_.wake) actions_.wake = at;
}

bool Decider::lost(const Instance& instance) const {
  if (!instance.node || (instance.finished && !waits_for_user(instance))) return false;
  const Node* node = snapshot_.nodes.find(instance.node.value);
  return node == nullptr || node->health == NodeHealth::lost;
}
bool Decider::draining(NodeId id) const {
  const Node* node = id ? snapshot_.nodes.find(id.value) : nullptr;
  return node != nullptr && node->spec.eligibility == Eligibility::draining;
}
// Pending, or on a node that is listening.
bool Decider::reachable(const Instance& instance) const {
  if (!instance.node) return true;
  const Node* node = snapshot_.nodes.find(instance.node.value);
  return node != nullptr && node->health != NodeHealth::unknown && node->health != NodeHealth::lost;
}

std::string Decider::surplus_reason(const Group& group) const {
  if (group.view == nullptr) return "version " + std::to_string(active_->number) + " has no group " + group.name;
  if (job_.type == JobType::system) return "its node is not for this job any more";
  return "scaled to " + std::to_string(group.count);
}
std::string Decider::node_name(NodeId id) const {
  const Node* node = snapshot_.nodes.find(id.value);
  return node == nullptr ? to_text(id) : node->name;
}

Actions reconcile(const Snapshot& snapshot, JobId job, Time now) {
  const Job* row = snapshot.jobs.find(job.value);
  if (row == nullptr) return {};
  const JobVersion* active = row->active_version == 0 ? nullptr : snapshot.version_of(job, row->active_version);
  if (active != nullptr && is_parent(*active->spec)) return keep_launching(snapshot, *row, *active, now);
  return Decider(snapshot, *row, now).run();
}

}  // namespace tutti::reconcile
