#include "manager/control/controller.h"

#include "reconcile/reconcile.h"

namespace tutti::manager {
namespace {

// Beyond these the state thread would hold up others; the control thread does it in a commit of its own.
constexpr size_t kJobsAtOnce = 8;
constexpr size_t kInstancesAtOnce = 128;

}  // namespace

std::vector<state::Command> decide_at_once(const ChangeSet& changes, Time now) {
  const std::vector<JobId> jobs = reconcile::concerned_jobs(changes);
  std::vector<state::Command> out;
  if (jobs.size() > kJobsAtOnce) return out;
  for (const JobId job : jobs) {
    const IdSet* present = changes.after->instances_by_job.find(job.value);
    if (!changes.after->jobs.contains(job.value) || (present != nullptr && present->size() > kInstancesAtOnce))
      continue;
    Actions actions = reconcile::reconcile(*changes.after, job, now);
    if (!actions.empty() && actions.create.size() <= kInstancesAtOnce)
      out.push_back(state::ApplyActions{std::move(actions)});
  }
  return out;
}

void Controller::rebuild(std::shared_ptr<const Snapshot> snapshot) {
  snapshot_ = std::move(snapshot);
  due_.clear();
  under_way_.clear();
  wake_at_.clear();
  wakes_.clear();
  snapshot_->jobs.for_each([&](uint64_t id, const Job&) { due_.insert(JobId{id}); });
}

void Controller::follow(const ChangeSet& changes) {
  snapshot_ = changes.after;
  for (JobId job : reconcile::concerned_jobs(changes)) due_.insert(job);
}

void Controller::set_wake(JobId job, Time at) {
  auto old = wake_at_.find(job);
  if (old != wake_at_.end()) {
    wakes_.erase({old->second, job});
    wake_at_.erase(old);
  }
  if (at) {
    wake_at_[job] = at;
    wakes_.insert({at, job});
  }
}

std::vector<Controller::Work> Controller::step(Time now, size_t most) {
  while (!wakes_.empty() && wakes_.begin()->first <= now) {
    const JobId job = wakes_.begin()->second;
    set_wake(job, {});
    due_.insert(job);
  }
  std::vector<Work> out;
  for (auto at = due_.begin(); at != due_.end() && out.size() < most;) {
    const JobId job = *at;
    if (under_way_.contains(job)) {
      ++at;
      continue;
    }
    at = due_.erase(at);
    if (snapshot_->jobs.find(job.value) == nullptr) {
      set_wake(job, {});
      continue;
    }
    Actions actions = reconcile::reconcile(*snapshot_, job, now);
    set_wake(job, actions.wake);
    if (actions.empty()) continue;
    under_way_.insert(job);
    out.push_back({job, state::ApplyActions{std::move(actions)}});
  }
  return out;
}

void Controller::done(JobId job, bool committed, Time now) {
  under_way_.erase(job);
  if (committed) {
    due_.insert(job);
  } else {
    set_wake(job, now + milliseconds(500));  // refused or no room in the queue: not at once again
  }
}

Time Controller::wake() const {
  for (JobId job : due_) {
    if (!under_way_.contains(job)) return Time{1};
  }
  return wakes_.empty() ? Time{} : wakes_.begin()->first;
}

}  // namespace tutti::manager
