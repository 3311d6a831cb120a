#include "manager/control/controller.h"

#include "reconcile/reconcile.h"

namespace tutti::manager {

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
