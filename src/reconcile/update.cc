// A new version: what is taken over as it runs, what is replaced and when, and what becomes of the deployment.
#include <algorithm>

#include "model/diff.h"
#include "reconcile/decider.h"

namespace tutti::reconcile {
namespace {

// A first version is looked at this often: following every start of a large one would cost n².
constexpr Duration kFirstVersionLook = seconds(3);
constexpr Duration kFirstVersionLookMost =
    seconds(60);  // also where clocks were set and it seems to have begun long ago

// What its worker says of the first task that does not do well; empty: nothing.
std::string complaint_of(const Instance& instance) {
  for (const TaskStatus& task : instance.detail->tasks) {
    const bool ends_badly = task.position.state == TaskState::failed || task.position.state == TaskState::rejected;
    if ((task.health == HealthState::unhealthy || ends_badly) && !task.reason.empty()) return ": " + task.reason;
  }
  return {};
}

}  // namespace

bool Decider::as_asked(const Instance& instance) const {
  return instance.job_version == active_->number || instance.job_version == base_->number;
}

size_t Decider::canaries_of(const Group& group) const {
  if (group.base_view == nullptr || job_.deployment.promoted) return 0;
  const size_t all = group.slots.size();
  return policy_->strategy == UpdateStrategy::blue_green ? all : std::min(all, static_cast<size_t>(policy_->canary));
}

// The same work under another version's number goes on as it runs.
void Decider::adopt() {
  if (job_.type == JobType::batch) return;
  for (const Group& group : table_.groups) {
    if (group.view == nullptr) continue;
    uint32_t last = 0;
    bool last_same = false;
    for (const Slot& slot : group.slots) {
      for (const Instance* i : {slot.live, slot.beside}) {
        if (slot.surplus || i == nullptr || i->job_version == active_->number) continue;
        const JobVersion* version = snapshot_.version_of(*i);
        if (version == nullptr) continue;
        if (i->job_version != last)
          last = i->job_version, last_same = same_work(*version, snapshot_.group_of(*i), *active_, *group.view);
        if (!last_same) continue;
        adopting_ = true;
        if (!change({.instance = i->id, .version = active_->number, .group = group.index})) return;
      }
    }
  }
}

bool Decider::old_one_left() const {
  for (const Group& group : table_.groups) {
    for (const Slot& slot : group.slots) {
      const bool leaving = slot.leaving != nullptr && slot.leaving->job_version != active_->number;
      // One that its user holds stays as it is, unless its slot goes.
      const bool live = slot.live != nullptr && slot.live->job_version != active_->number &&
                        (slot.surplus || follows_job(*slot.live));
      if (leaving || live) return true;
      for (const Instance* i : {slot.beside, slot.beside_leaving})
        if (i != nullptr && i->job_version != active_->number) return true;
    }
  }
  return false;
}

void Decider::update(Group& group) {
  drop_besides(group);
  if (group.view == nullptr) return;
  swap(group);
  if (halted_) return;
  add_canaries(group);
  replace(group);
}

// Whatever stands beside without a reason.
void Decider::drop_besides(Group& group) {
  const size_t canaries = canaries_of(group);
  for (Slot& slot : group.slots) {
    if (slot.beside == nullptr) continue;
    const Instance& i = *slot.beside;
    std::string why;
    if (i.job_version != active_->number || group.view == nullptr)
      why = new_version_reason();
    else if (!job_.deployment.promoted && base_ != active_ && slot.number >= canaries)
      why = "not among the canaries any more";
    else if (halted_ && slot.live != nullptr)
      why = "version " + std::to_string(active_->number) + " is not brought in";
    else if (slot.live != nullptr && !follows_job(*slot.live))
      why = "its user holds the one it stands beside";
    else if (slot.live != nullptr && i.pinned)
      why = why_not_to(i);
    else if (slot.live != nullptr && slot.live->job_version == active_->number && !i.admitted &&
             !draining(slot.live->node))
      why = "not needed any more";
    if (why.empty() || !let_go(i, why)) continue;
    slot.beside_leaving = slot.beside;
    slot.beside = nullptr;
  }
}

// The old one goes once the one beside it is healthy.
void Decider::swap(Group& group) {
  for (Slot& slot : group.slots) {
    if (slot.beside == nullptr || slot.live == nullptr || slot.surplus) continue;
    const bool move = slot.live->job_version == slot.beside->job_version;
    if (!move && (!job_.deployment.promoted || halted_)) continue;
    if (!follows_job(*slot.live) || !reachable(*slot.live) || !healthy(*slot.beside)) continue;
    if (!let_go(*slot.live, move ? "moved" : new_version_reason())) return;
    leave(slot);
  }
}

void Decider::add_canaries(Group& group) {
  const size_t canaries = canaries_of(group);
  for (const Slot& slot : group.slots) {
    if (slot.number >= canaries || slot.surplus || slot.live == nullptr) continue;
    if (slot.live->job_version == active_->number || !follows_job(*slot.live)) continue;
    if (slot.beside == nullptr && slot.beside_leaving == nullptr) stand_beside(group, slot, {});
  }
}

// A successor that waits beside its predecessor until it is healthy.
void Decider::stand_beside(const Group& group, const Slot& slot, NodeId avoid) {
  CreateInstance next{.job = job_.id,
                      .job_version = active_->number,
                      .group = group.index,
                      .slot = slot.number,
                      .avoid = avoid,
                      .beside = true};
  const Instance* last = slot.beside_last;
  if (last != nullptr && last->job_version == active_->number && last->desired != Desired::removed) {
    if (!next.avoid) next.avoid = last->node;
    if (!account(active_->spec->tasks[group.view->tasks.front()].reschedule, *last, next)) return;
  }
  if (room(1)) actions_.create.push_back(next);
}

// One slot after the other, no more at a time than the policy allows.
void Decider::replace(Group& group) {
  const bool recreate = policy_->strategy == UpdateStrategy::recreate;
  const bool start_first = policy_->start_first && job_.type == JobType::service && base_ == active_;
  const Service service = service_of(group);
  int64_t in_flight = 0;
  for (const Slot& slot : group.slots) in_flight += slot.beside != nullptr && !slot.surplus ? 1 : 0;
  // A new one that failed, or ended, for good is out of service as well.
  int64_t over = 0;
  for (const Slot& slot : group.slots)
    over += !slot.surplus && (is_over(group, slot) || beside_is_over(group, slot)) ? 1 : 0;
  int64_t budget = moving_ > 0 ? 0 : policy_->max_parallel - service.missing() - over - (start_first ? in_flight : 0);
  for (Slot& slot : group.slots) {
    if (slot.surplus || slot.live == nullptr || as_asked(*slot.live)) continue;
    const Instance& old = *slot.live;
    if (!follows_job(old) || !reachable(old)) continue;
    if (recreate || job_.type == JobType::batch || !works(old)) {
      if (!let_go(old, new_version_reason())) return;
      leave(slot);
    } else if (budget > 0 && slot.beside == nullptr) {
      --budget;
      if (start_first && slot.beside_leaving == nullptr) {
        stand_beside(group, slot, {});
      } else {
        if (!let_go(old, new_version_reason())) return;
        leave(slot);
      }
    }
  }
}

// In an empty slot: whether the one beside it takes it over, rather than another being made.
bool Decider::takes_place(const Slot& slot) {
  if (slot.beside == nullptr || slot.beside->job_version != active_->number || lost(*slot.beside)) return false;
  return base_ == active_ || (job_.deployment.promoted && healthy(*slot.beside));
}

// What has become of the deployment, once everything is as it is in this snapshot.
void Decider::judge() {
  const Deployment& d = job_.deployment;
  const bool first = d.state == DeploymentState::failed && d.from == 0 && d.version == active_->number;
  if (job_.type == JobType::batch || adopting_ || (!tracked_ && !first)) return;
  bool all = true;       // every slot is as asked, and healthy
  bool canaries = true;  // every one that stands beside is
  Time progressed = d.progressed;
  std::string late;
  std::string complaint;
  std::string failed;  // for good
  for (const Group& group : table_.groups) {
    const size_t wanted = canaries_of(group);
    for (const Slot& slot : group.slots) {
      if (slot.surplus || group.view == nullptr) {
        all = all && slot.live == nullptr && slot.leaving == nullptr;
        continue;
      }
      for (const Instance* i : {slot.live, slot.beside}) {
        if (i == nullptr || i->job_version != active_->number || !follows_job(*i)) continue;
        const Health health = health_of(*i, policy_->min_healthy_time, now_);
        if (health.healthy)
          progressed = std::max(progressed, health.from);
        else if (health.from)
          wake(health.from);
        else if (complaint.empty())
          complaint = complaint_of(*i);
        if (health.healthy || health.from || !i->admitted || policy_->healthy_deadline.ns <= 0 || !i->detail->placed)
          continue;
        const Time due = std::max(i->detail->placed, d.progressed) + policy_->healthy_deadline;
        if (now_ >= due)
          late = snapshot_.name_of(*i), complaint = complaint_of(*i);
        else
          wake(due);
      }
      const bool canary = slot.number < wanted && slot.live != nullptr && slot.live->job_version != active_->number &&
                          follows_job(*slot.live);
      if (canary) canaries = canaries && slot.beside != nullptr && healthy(*slot.beside);
      if (set_aside(slot)) continue;
      for (const Instance* last :
           {is_over(group, slot) ? slot.last : nullptr, beside_is_over(group, slot) ? slot.beside_last : nullptr})
        if (failed.empty() && last != nullptr)
          failed = failure_of(*last, last->state == TaskState::completed ? " ended for good" : " failed for good");
      const bool done = slot.live != nullptr && slot.live->job_version == active_->number && slot.leaving == nullptr &&
                        slot.beside == nullptr && reachable(*slot.live) && healthy(*slot.live);
      all = all && done;
    }
  }
  ChangeDeployment next{
      .job = job_.id, .version = d.version, .state = DeploymentState::running, .promoted = d.promoted};
  if (all) {
    next.state = DeploymentState::succeeded;
    next.promoted = true;
  } else if (!tracked_) {
    return;
  } else if (!d.promoted && canaries) {
    next.promoted = policy_->auto_promote;
    next.progressed = next.promoted;
    if (!next.promoted)
      next.state = DeploymentState::waiting, next.reason = "the new ones are healthy: 'tutti job promote " + job_.name +
                                                           "' goes on, 'tutti job abort " + job_.name + "' goes back";
  } else if (d.state == DeploymentState::waiting) {
    next.progressed = true;
    next.reason = "not all of the new ones are healthy any more";
  } else {
    const Time due = progressed + policy_->progress_deadline;
    if (!failed.empty())
      next.reason = failed;
    else if (!late.empty())
      next.reason = late + " did not become healthy within " + format_duration(policy_->healthy_deadline) + complaint;
    else if (policy_->progress_deadline.ns > 0 && now_ >= due)
      next.reason = "nothing more became healthy within " + format_duration(policy_->progress_deadline) + complaint;
    else if (policy_->progress_deadline.ns > 0)
      wake(due);
    if (next.reason.empty()) {
      if (job_.version == 1)
        wake(now_ + std::clamp(Duration{(now_ - d.started).ns / 4}, kFirstVersionLook, kFirstVersionLookMost));
      return;
    }
    next.state = DeploymentState::failed;
    next.revert = policy_->auto_revert;
  }
  const bool same = next.state == d.state && next.promoted == d.promoted;
  if (!same && room(1)) actions_.deployments.push_back(std::move(next));
}

}  // namespace tutti::reconcile
