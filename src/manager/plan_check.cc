#include "manager/plan_check.h"

#include <algorithm>
#include <set>

#include "scheduler/feasible.h"

namespace tutti::manager {
namespace {

constexpr size_t kPlacementsLookedAt = 512;

bool may_be(const Snapshot& state, InstanceId instance, NodeId node) {
  const Instance* row = state.instances.find(instance.value);
  const Node* place = state.nodes.find(node.value);
  if (row == nullptr || place == nullptr || state.version_of(*row) == nullptr) return false;
  return !scheduler::check_lasting(state, scheduler::request_of(state, *row), *place);
}

JobId job_of(const Snapshot& state, InstanceId instance) {
  const Instance* row = state.instances.find(instance.value);
  return row != nullptr ? row->job : JobId{};
}

bool waits_since(const Instance& row, Time since) {
  return std::max(row.pending_since, row.not_before) <= since;
}

}  // namespace

Plan without_forbidden(const Snapshot& state, Plan plan) {
  std::set<JobId> broken;
  std::vector<Placement> left;
  for (Placement& placement : plan.placements) {
    if (may_be(state, placement.instance, placement.node))
      left.push_back(std::move(placement));
    else if (placement.together)
      broken.insert(job_of(state, placement.instance));
  }
  std::erase_if(left,
                [&](const Placement& one) { return one.together && broken.contains(job_of(state, one.instance)); });
  plan.placements = std::move(left);
  for (const PushAside& one : plan.push_aside) {
    if (one.together && !may_be(state, one.instance, one.node)) broken.insert(job_of(state, one.instance));
  }
  std::erase_if(plan.push_aside, [&](const PushAside& one) {
    return !may_be(state, one.instance, one.node) || (one.together && broken.contains(job_of(state, one.instance)));
  });
  return plan;
}

bool leaves_undone(const std::shared_ptr<const Snapshot>& state, scheduler::Share share, Time since, Time now) {
  const bool none_waits = state->pending.for_each([&](uint64_t id, const Unit&) {
    const Instance& row = *state->instances.find(id);
    return !waits_since(row, since) || !scheduler::falls_to(row.job, share);
  });
  if (none_waits) return false;
  const auto fresh = scheduler::make_scheduler();
  fresh->rebuild(state);
  fresh->take_share(share);
  const Plan plan = fresh->schedule_all_pending(0, now, kPlacementsLookedAt);
  return std::ranges::any_of(plan.placements, [&](const Placement& one) {
    return waits_since(*state->instances.find(one.instance.value), since);
  });
}

}  // namespace tutti::manager
