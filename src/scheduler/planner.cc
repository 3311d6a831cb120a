#include "scheduler/planner.h"

#include "base/hash.h"

namespace tutti::scheduler {
namespace {

constexpr Duration kAfterCollision = milliseconds(50);
constexpr Duration kAfterCollisionsMost = seconds(2);

}  // namespace

void Planner::rebuild(std::shared_ptr<const Snapshot> snapshot) {
  revision_ = snapshot->revision;
  scheduler_->rebuild(std::move(snapshot));
  due_ = true;
}

bool Planner::follow(const ChangeSet& changes) {
  if (changes.after->revision <= revision_) return true;
  if (changes.before->revision != revision_) return false;
  revision_ = changes.after->revision;
  scheduler_->follow(changes);
  due_ = due_ || may_place(changes);
  return true;
}

void Planner::take_share(Share share) {
  scheduler_->take_share(share);
  due_ = true;
}

std::optional<Plan> Planner::step(Time now) {
  if (revision_.value == 0 || under_way_ || !(due_ || (at_ && at_ <= now))) return std::nullopt;
  due_ = false;
  at_ = scheduler_->next_wake(now);
  Plan plan = scheduler_->schedule_all_pending(fnv1a(std::to_string(revision_.value)), now, kPlacementsPerPlan);
  if (plan.placements.empty() && plan.push_aside.empty()) return std::nullopt;
  under_way_ = true;
  proposed_ = plan.placements.size() + plan.push_aside.size();
  more_ = plan.more;
  return plan;
}

void Planner::applied(size_t placed, Time now) {
  under_way_ = false;
  if (more_ && placed > 0) due_ = true;
  if (placed == proposed_) {
    after_collision_ = {};
    return;
  }
  after_collision_ = std::clamp(after_collision_ * 2, kAfterCollision, kAfterCollisionsMost);
  const Time again = now + after_collision_;
  if (!at_ || again < at_) at_ = again;
}

std::optional<Lesson> Planner::lesson(Time now) {
  return learner_.due(now, scheduler_->fleet(), [this] { return scheduler_->seen(); });
}

void Planner::taught(Taught taught, Time now) {
  scheduler_->use(learner_.done(std::move(taught), now));
  due_ = true;
}

}  // namespace tutti::scheduler
