// Work that begins later, in the simulation: periodic and parameterized jobs, tasks and jobs that wait for others.
#include <algorithm>

#include "sim_world.h"

namespace tutti::sim {
namespace {

JobSpec batch(Simulation& sim, const std::string& name, size_t tasks) {
  JobSpec job;
  job.job = name;
  job.type = JobType::batch;
  for (size_t i = 0; i < tasks; ++i) {
    TaskSpec task;
    task.name = "t" + std::to_string(i);
    task.driver = "fake";
    task.count = static_cast<int64_t>(1 + sim.random.below(2));
    task.resources = {{50}, {16 << 20}, {}};
    task.restart.attempts = static_cast<int32_t>(sim.random.below(2));
    task.restart.delay = milliseconds(500);
    task.reschedule.attempts = static_cast<int32_t>(sim.random.below(2));
    task.reschedule.delay = seconds(1);
    task.stop_grace = seconds(static_cast<int64_t>(sim.random.below(4)));
    task.options["life_ms"] = std::to_string(sim.random.below(8'000));
    job.tasks.push_back(std::move(task));
  }
  return job;
}

// Every slot of the group has completed in this version, and nothing has changed of that for so many commits.
bool completed(const Snapshot& state, const Job& job, const JobVersion& version, const std::string& task,
               uint64_t commits_ago = 0) {
  const auto spec = std::ranges::find(version.spec->tasks, task, &TaskSpec::name);
  std::set<uint32_t> done;
  if (const IdSet* ids = state.instances_by_job.find(job.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance& i = *state.instances.find(id);
      const bool well = i.finished && i.state == TaskState::completed && i.presence != Presence::given_up;
      if (i.revision.value + commits_ago > state.revision.value) return;
      if (well && i.job_version == version.number && state.group_of(i).name == task) done.insert(i.slot);
    });
  }
  return static_cast<int64_t>(done.size()) >= spec->count;
}

}  // namespace

void SimWorld::submit_launcher() {
  JobSpec job;
  switch (sim.random.below(4)) {
    case 0: {
      const uint64_t which = sim.random.below(3);
      job = batch(sim, "per" + std::to_string(which), 1);
      job.periodic = PeriodicSpec{.cron = "@every " + std::to_string(2 + sim.random.below(20)) + "s",
                                  .overlap = static_cast<OverlapPolicy>(which),
                                  .missed = sim.chance(2) ? MissedPolicy::skip : MissedPolicy::run_once,
                                  .keep = static_cast<int32_t>(sim.random.below(4))};
      break;
    }
    case 1:
      job = batch(sim, "par", 1);
      job.parameterized = ParameterizedSpec{.meta_optional = {"a"}, .keep = 2};
      break;
    default:
      job = batch(sim, "dag" + std::to_string(sim.random.below(3)), 3);
      for (size_t i = 1; i < job.tasks.size(); ++i)
        job.tasks[i].after.push_back(
            {"t" + std::to_string(sim.random.below(i)), static_cast<AfterCondition>(sim.random.below(4))});
      if (sim.chance(2)) job.after.push_back({"dag" + std::to_string(sim.random.below(3)), AfterCondition::ended});
      if (sim.chance(3)) job.deadline = seconds(static_cast<int64_t>(5 + sim.random.below(60)));
      if (sim.chance(3)) job.ttl = seconds(static_cast<int64_t>(1 + sim.random.below(30)));
      break;
  }
  sim.trace("user submits " + job.job);
  ask(state::SubmitJob{std::move(job), project_, {}, {}}, [](const auto&) {});  // a circle may be refused
}

void SimWorld::touch_launcher() {
  const Job* job =
      manager->state().job_by_name(project_, sim.chance(2) ? "par" : "per" + std::to_string(sim.random.below(3)));
  if (job == nullptr) return;
  sim.trace("user launches " + job->name);
  if (job->name == "par") {
    const std::string key = "request " + std::to_string(++requests_);
    return ask_until_answered(state::DispatchJob{job->id, {{"a", key}}, ""}, key, [this](const auto& result) {
      if (result && result->replayed) sim.count("requests answered again");
    });
  }
  ask(state::ForceJob{job->id}, [](const auto&) {});
}

// What is launched again and again would never come to rest.
void SimWorld::stop_launchers() {
  manager->state().jobs.for_each([&](uint64_t, const Job& job) {
    const JobVersion* newest = manager->state().version_of(job.id, static_cast<uint32_t>(job.version));
    if (newest != nullptr && is_parent(*newest->spec) && !job.stopped)
      ask(state::SetJobStopped{job.id, true}, [](const auto&) {});
  });
}

void SimWorld::check_launches(const ChangeSet& changes) {
  const Snapshot& state = *changes.after;
  for (const RowChange& row : changes.rows) {
    if (row.table == TableId::job) check_launch(*changes.before, state, JobId{row.id});
    const Instance* i = row.table == TableId::instance ? state.instances.find(row.id) : nullptr;
    if (i != nullptr && !changes.before->instances.contains(row.id)) check_order(*changes.before, state, *i);
  }
}

void SimWorld::check_launch(const Snapshot& before, const Snapshot& state, JobId id) {
  const Job* is = state.jobs.find(id.value);
  if (is == nullptr || !is->parent || before.jobs.contains(id.value)) return;
  sim.count("launches");
  if (is->launch == LaunchKind::periodic && !launched_.emplace(is->parent, is->launched_for).second)
    sim.broken("two launches of " + to_text(is->parent) + " for " + format_time(is->launched_for));
  if (is->launch == LaunchKind::dispatched) {
    const JobVersion* made = state.version_of(is->id, static_cast<uint32_t>(is->version));
    auto key = made->spec->meta.find("a");
    if (key != made->spec->meta.end() && !dispatched_.emplace(key->second, is->id).second)
      sim.broken("a request with a key was carried out twice");
  }
  const Job* parent = state.jobs.find(is->parent.value);
  if (parent == nullptr) return sim.broken("a child without its parent: " + is->name);
  const JobVersion* version = state.version_of(parent->id, parent->active_version);
  if (!version->spec->periodic || version->spec->periodic->overlap == OverlapPolicy::allow) return;
  state.children.find(parent->id.value)->for_each([&](uint64_t other, const Unit&) {
    const Job& child = *state.jobs.find(other);
    // One that a user started over in this very commit had ended when the launch was decided.
    const Job* was = before.jobs.find(other);
    const bool had_ended = was != nullptr && was->result != JobResult::none;
    if (child.id != id && child.result == JobResult::none && !had_ended)
      sim.broken(is->name + " was launched beside " + child.name);
  });
}

// The first instance of a group: what it waits for has come true. Counts that users change meanwhile are left aside.
void SimWorld::check_order(const Snapshot& before, const Snapshot& state, const Instance& made) {
  const Job* job = before.jobs.find(made.job.value);
  const JobVersion* version = state.version_of(made);
  const Job* now = state.jobs.find(made.job.value);  // scaled in this very commit, perhaps
  if (now != nullptr && !now->counts.empty()) return;
  if (job == nullptr || version == nullptr || !job->counts.empty() || version->spec->type != JobType::batch) return;
  bool first = true;
  if (const IdSet* ids = before.instances_by_job.find(made.job.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance& i = *before.instances.find(id);
      first = first && !(i.job_version == made.job_version && i.group == made.group);
    });
  }
  if (!first) return;
  for (const After& after : state.group_of(made).after) {
    // Before the commit or in it: what was decided then holds, though somebody starts the other one over just now.
    const bool done = completed(before, *job, *version, after.name) || completed(state, *job, *version, after.name);
    if (after.when == AfterCondition::complete && !done)
      sim.broken(state.name_of(made) + " started before " + after.name + " had completed");
    // What was decided some commits ago, and then waited for a slow disk, holds as well.
    if (after.when == AfterCondition::failed && completed(before, *job, *version, after.name, 50))
      sim.broken(state.name_of(made) + " started though " + after.name + " had completed");
  }
}

}  // namespace tutti::sim
