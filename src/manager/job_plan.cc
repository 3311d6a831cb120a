#include "manager/job_plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/limits.h"
#include "model/schedule.h"
#include "reconcile/reconcile.h"
#include "scheduler/scheduler.h"
#include "state/apply.h"
#include "state/draft.h"

namespace tutti::manager {
namespace {

// One per kCommandRowsMax rows, twice for what stops and what starts; the largest job needs a hundred or so.
constexpr int kRoundsMax = 1000;

bool lives(const Instance& i) {
  return !i.finished && i.presence != Presence::given_up && i.desired != Desired::removed;
}

std::map<std::string, const Instance*> live_by_name(const Snapshot& s, JobId job) {
  std::map<std::string, const Instance*> out;
  const IdSet* ids = s.instances_by_job.find(job.value);
  if (ids == nullptr) return out;
  ids->for_each([&](uint64_t id, const Unit&) {
    const Instance* i = s.instances.find(id);
    if (i != nullptr && lives(*i)) out[s.name_of(*i)] = i;
  });
  return out;
}

std::string node_name(const Snapshot& s, NodeId id) {
  const Node* node = id ? s.nodes.find(id.value) : nullptr;
  return node == nullptr ? std::string() : node->name;
}

// Every worker has done what it was told; what waits may be placed now.
void do_as_told(state::Draft& draft, JobId job) {
  std::vector<Instance> changed;
  const IdSet* ids = draft.state().instances_by_job.find(job.value);
  if (ids == nullptr) return;
  ids->for_each([&](uint64_t id, const Unit&) {
    Instance row = *draft.state().instances.find(id);
    if (row.desired == Desired::removed && !row.finished) {
      row.finished = row.cleared = true;
      if (!is_terminal(row.state)) row.state = TaskState::stopped;
      changed.push_back(std::move(row));
    } else if (lives(row) && row.not_before) {
      row.not_before = {};
      changed.push_back(std::move(row));
    }
  });
  for (Instance& row : changed) draft.put(std::move(row));
}

// What an update only replaces by and by. True if there was any.
bool end_old_ones(state::Draft& draft, JobId job) {
  const uint32_t active = draft.state().jobs.find(job.value)->active_version;
  std::vector<Instance> old;
  const IdSet* ids = draft.state().instances_by_job.find(job.value);
  if (ids == nullptr) return false;
  ids->for_each([&](uint64_t id, const Unit&) {
    const Instance& row = *draft.state().instances.find(id);
    if (lives(row) && row.job_version != active && row.override_ == Override::none) old.push_back(row);
  });
  for (Instance& row : old) {
    row.desired = Desired::removed;
    draft.put(row);
  }
  return !old.empty();
}

// The state once everybody has done what the new version asks for, but for the placing.
Result<std::shared_ptr<const Snapshot>> state_after(const Snapshot& snapshot, const state::SubmitJob& submit, Time now,
                                                    state::Outcome& submitted) {
  state::Draft draft(snapshot, now);
  TUTTI_TRY(submitted, state::apply(draft, submit, {}, now));
  const JobId job{submitted.id};
  for (int round = 0; round < kRoundsMax; ++round) {
    Actions actions = reconcile::reconcile(draft.state(), job, now);
    if (actions.empty() && !end_old_ones(draft, job)) break;
    TUTTI_CHECK(state::apply(draft, state::ApplyActions{std::move(actions)}, {}, now).map([](const auto&) {}));
    do_as_told(draft, job);
  }
  return std::make_shared<const Snapshot>(draft.take());
}

// Digests that are not known yet are taken to be those of the version before, where it has them.
void guess_images(state::SubmitJob& submit, const JobVersion* newest) {
  for (const TaskSpec& task : submit.spec.tasks) {
    if (task.image.empty()) continue;
    const bool had = newest != nullptr && newest->images.contains(task.image);
    submit.images.try_emplace(task.image, had ? newest->images.at(task.image) : task.image);
  }
}

std::string why_nowhere(const Snapshot& s, InstanceId id) {
  std::string out;
  for (const Reason& reason : scheduler::reasons_against(s, id)) {
    out += (out.empty() ? "" : ", ") + reason.reason + " (" + std::to_string(reason.nodes) +
           (reason.nodes == 1 ? " node)" : " nodes)");
  }
  return out.empty() ? "no node has room for it beside the others" : out;
}

class Comparison {
 public:
  Comparison(const Snapshot& before, const Snapshot& after, JobPlan& plan)
      : before_(before), after_(after), plan_(plan) {}

  void add(const std::string& name, const Instance* was, const Instance* is,
           const std::map<InstanceId, NodeId>& placed) {
    PlannedInstance out{name, step_of(was, is), was != nullptr ? node_name(before_, was->node) : "", {}, {}};
    if (out.step == PlannedStep::keep || out.step == PlannedStep::update) out.to = out.node;
    if (is != nullptr && !is->admitted) {
      const auto at = placed.find(is->id);
      if (at != placed.end()) {
        out.to = node_name(after_, at->second);
      } else {
        ++plan_.unplaced;
        if (plan_.instances.size() < limits::kListRowsMax) out.reason = why(*is);
      }
    }
    count(out.step);
    if (plan_.instances.size() < limits::kListRowsMax) plan_.instances.push_back(std::move(out));
  }

 private:
  static PlannedStep step_of(const Instance* was, const Instance* is) {
    if (is == nullptr) return PlannedStep::stop;
    if (was == nullptr) return PlannedStep::start;
    if (was->id != is->id) return PlannedStep::replace;
    return was->job_version == is->job_version ? PlannedStep::keep : PlannedStep::update;
  }
  // Every node is looked at once for all that are alike: a pool has many, and so has a job.
  const std::string& why(const Instance& i) {
    const NodeId only = i.node && !i.cleared ? i.node : i.pinned;
    std::string& known = why_[{i.job_version, i.group, only}];
    if (known.empty()) known = why_nowhere(after_, i.id);
    return known;
  }
  void count(PlannedStep step) {
    switch (step) {
      case PlannedStep::start: ++plan_.start; return;
      case PlannedStep::replace: ++plan_.replace; return;
      case PlannedStep::update: ++plan_.update; return;
      case PlannedStep::keep: ++plan_.keep; return;
      case PlannedStep::stop: ++plan_.stop; return;
    }
  }

  const Snapshot& before_;
  const Snapshot& after_;
  JobPlan& plan_;
  std::map<std::tuple<uint32_t, uint16_t, NodeId>, std::string> why_;  // by version, group and the only node
};

}  // namespace

Result<JobPlan> plan_job(const Snapshot& snapshot, state::SubmitJob submit, Time now) {
  JobPlan plan;
  plan.job = submit.spec.job;
  const Job* present = snapshot.job_by_name(submit.project, submit.spec.job);
  const JobVersion* newest =
      present == nullptr ? nullptr : snapshot.version_of(present->id, static_cast<uint32_t>(present->version));
  plan.changes = diff(newest == nullptr ? JobSpec{} : *newest->spec, submit.spec);
  for (const TaskSpec& task : submit.spec.tasks) {
    const bool unknown = !task.image.empty() && !submit.images.contains(task.image);
    if (unknown && std::ranges::find(plan.images, task.image) == plan.images.end()) plan.images.push_back(task.image);
  }
  if (submit.spec.periodic) {
    TUTTI_TRY(const Schedule schedule, Schedule::of(*submit.spec.periodic));
    plan.next_launch = schedule.next_after(now).value_or(Time{});
  }
  guess_images(submit, newest);
  state::Outcome submitted;
  TUTTI_TRY(const std::shared_ptr<const Snapshot> after, state_after(snapshot, submit, now, submitted));
  const JobId job{submitted.id};
  plan.version = submitted.version;
  plan.unchanged = submitted.unchanged;
  auto scheduler = scheduler::make_scheduler();
  scheduler->rebuild(after);
  std::vector<InstanceId> waiting;
  const auto is = live_by_name(*after, job);
  for (const auto& [name, instance] : is) {
    if (!instance->admitted) waiting.push_back(instance->id);
  }
  std::map<InstanceId, NodeId> placed;
  for (const Placement& placement : scheduler->schedule(waiting, 1, now, waiting.size()).placements)
    placed[placement.instance] = placement.node;
  const auto was = live_by_name(snapshot, job);
  Comparison comparison(snapshot, *after, plan);
  auto of = [](const auto& map, const std::string& name) { return map.contains(name) ? map.at(name) : nullptr; };
  for (const auto& [name, instance] : is) comparison.add(name, of(was, name), instance, placed);
  for (const auto& [name, instance] : was) {
    if (!is.contains(name)) comparison.add(name, instance, nullptr, placed);
  }
  return plan;
}

}  // namespace tutti::manager
