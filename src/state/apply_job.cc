// Jobs: submit, activate, scale, stop, delete.
#include <algorithm>
#include <set>

#include "base/limits.h"
#include "model/security.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

const JobVersion* newest_version(const Snapshot& state, const Job& job) {
  return state.version_of(job.id, static_cast<uint32_t>(job.version));
}

Result<const Job*> find_job(const Snapshot& state, JobId id) {
  const Job* job = state.jobs.find(id.value);
  if (job == nullptr) return fail(ErrorCode::not_found, "no job " + to_text(id));
  return job;
}

// Asked for again after it failed, it is tried again.
bool gave_up_on(const Job& job) {
  return job.deployment.state == DeploymentState::failed || job.deployment.state == DeploymentState::cancelled;
}

bool all_images_known(const JobSpec& spec, const std::map<std::string, std::string>& images) {
  return std::all_of(spec.tasks.begin(), spec.tasks.end(),
                     [&](const TaskSpec& task) { return task.image.empty() || images.contains(task.image); });
}

// Versions that no instance uses any more go, beyond the newest kJobVersionsKept.
void forget_old_versions(ApplyContext& c, const Job& job) {
  const IdSet* ids = c.state().versions_by_job.find(job.id.value);
  if (ids == nullptr || ids->size() <= limits::kJobVersionsKept) return;
  std::set<uint32_t> used{job.active_version, static_cast<uint32_t>(job.version), job.stable_version,
                          job.deployment.from};
  if (const IdSet* instances = c.state().instances_by_job.find(job.id.value)) {
    instances->for_each([&](uint64_t id, const Unit&) { used.insert(c.state().instances.find(id)->job_version); });
  }
  std::vector<uint64_t> gone;
  size_t left = ids->size();
  ids->for_each([&](uint64_t id, const Unit&) {
    const JobVersion* version = c.state().versions.find(id);
    if (left > limits::kJobVersionsKept && !used.contains(version->number)) gone.push_back(id), --left;
  });
  for (uint64_t id : gone) c.draft.erase(TableId::version, id);
}

// A scale lasts until a version changes that group's own count.
void forget_scales(Job& job, const JobSpec* before, const JobSpec& after) {
  if (before == nullptr) return;
  const std::vector<GroupView> old_groups = groups_of(*before);
  for (const GroupView& group : groups_of(after)) {
    for (const GroupView& old : old_groups) {
      if (old.name == group.name && old.count != group.count) job.counts.erase(group.name);
    }
  }
}

void begin_anew(Job& job, Time now) {
  job.begun = now;
  job.result = JobResult::none;
  job.ended = {};
  job.reason.clear();
}

void activate(Job& job, const JobVersion& version, const JobVersion* active, Time now) {
  forget_scales(job, active != nullptr ? active->spec.get() : nullptr, *version.spec);
  // What a schedule would have done before it was there was not missed.
  const bool rescheduled = active == nullptr || active->spec->periodic != version.spec->periodic;
  if (version.spec->periodic && rescheduled) job.launches.seen = now;
  job.active_version = version.number;
  job.deployment = begin_deployment(job, version, now);
  job.waits_for = version.waits_for;
  begin_anew(job, now);
}

// What a job is called by others would mean something else.
Status same_kind(const Job& present, const JobSpec& before, const JobSpec& after) {
  if (present.parent) {
    return fail(ErrorCode::conflict,
                "job " + present.name + " was launched by another job and stays as it is: take another name");
  }
  if (before.periodic.has_value() == after.periodic.has_value() &&
      before.parameterized.has_value() == after.parameterized.has_value())
    return {};
  return fail(ErrorCode::conflict,
              "job " + present.name +
                  " cannot become, or cease to be, periodic or parameterized: delete it first, or take another name");
}

// All its groups together, with the counts that they were scaled to.
int64_t instances_of(const Job& job, const std::vector<GroupView>& groups) {
  int64_t sum = 0;
  for (const GroupView& group : groups) sum += std::clamp<int64_t>(count_of(job, group), 0, limits::kCountMax);
  return sum;
}

Status within_instances(const Job& job, const JobSpec& spec) {
  if (spec.type == JobType::system) return {};  // its instances are as many as nodes
  const int64_t sum = instances_of(job, groups_of(spec));
  if (sum <= limits::kInstancesPerJobMax) return {};
  return fail(
      ErrorCode::unprocessable,
      fmt::format(
          "job {} would have {} instances in all, more than {} (limit kInstancesPerJobMax): make several jobs of it",
          spec.job, sum, limits::kInstancesPerJobMax));
}

}  // namespace

Status still_allowed(const Snapshot& state, const Job& job, const JobVersion* version) {
  const Project* project = state.projects.find(job.project.value);
  if (project == nullptr) return fail(ErrorCode::not_found, "the project of job " + job.name + " is gone");
  return version == nullptr ? Status{} : allowed_in(*project, *version->spec);
}

Status still_allowed(const Snapshot& state, const Job& job) {
  TUTTI_CHECK(still_allowed(state, job, newest_version(state, job)));
  return still_allowed(state, job, state.version_of(job.id, job.active_version));
}

Result<JobVersion> add_version(ApplyContext& c, Job& job, std::shared_ptr<const JobSpec> spec,
                               std::map<std::string, std::string> images) {
  job.version += 1;
  if (job.version >> 20 != 0)
    return fail(ErrorCode::unprocessable,
                "job " + job.name + " has used up its version numbers: delete it, then submit it again");
  job.stopped = job.deleted = false;
  JobVersion version;
  version.id = JobVersionId{c.draft.new_id()};
  version.job = job.id;
  version.number = static_cast<uint32_t>(job.version);
  version.created = c.now;
  version.state = all_images_known(*spec, images) ? VersionState::active : VersionState::resolving;
  version.images = std::move(images);
  version.waits_for = resolve_after(c.state(), job.project, *spec);
  version.spec = std::move(spec);
  if (version.state == VersionState::active)
    activate(job, version, c.state().version_of(job.id, job.active_version), c.now);
  c.draft.put(version);
  c.draft.put(job);
  forget_old_versions(c, job);
  return version;
}

Result<Outcome> apply_one(ApplyContext& c, const SubmitJob& command) {
  const Project* project = c.state().projects.find(command.project.value);
  if (project == nullptr) {
    return fail(ErrorCode::not_found,
                "no project " + to_text(command.project) + " to submit job " + command.spec.job + " to");
  }
  TUTTI_CHECK(allowed_in(*project, command.spec));
  const Job* present = c.state().job_by_name(command.project, command.spec.job);
  if (command.if_version && *command.if_version != (present != nullptr ? present->version : 0)) {
    return fail(ErrorCode::stale, fmt::format("job {} is at version {}, not {}: read it again", command.spec.job,
                                              present != nullptr ? present->version : 0, *command.if_version));
  }
  if (present == nullptr && c.state().jobs.size() >= limits::kJobsMax) {
    return fail(ErrorCode::unprocessable,
                fmt::format("the pool holds {} jobs (limit kJobsMax): delete some first", limits::kJobsMax));
  }
  if (present != nullptr && present->type != command.spec.type) {
    return fail(ErrorCode::conflict,
                fmt::format("job {} has another type: delete it first, or take another name", command.spec.job));
  }
  const JobVersion* newest = present != nullptr ? newest_version(c.state(), *present) : nullptr;
  if (newest != nullptr) TUTTI_CHECK(same_kind(*present, *newest->spec, command.spec));
  TUTTI_CHECK(check_after(c.state(), command.project, command.spec));
  Job scaled = present != nullptr ? *present : Job{};
  if (const JobVersion* active = c.state().version_of(scaled.id, scaled.active_version))
    forget_scales(scaled, active->spec.get(), command.spec);
  TUTTI_CHECK(within_instances(scaled, command.spec));
  Outcome outcome{.table = TableId::job};
  if (newest != nullptr && !present->stopped && !present->deleted && *newest->spec == command.spec &&
      newest->state != VersionState::failed &&
      (newest->images == command.images || newest->state == VersionState::resolving) &&
      (present->type != JobType::batch || is_parent(command.spec)) && !gave_up_on(*present)) {
    outcome.id = present->id.value;
    outcome.version = present->version;
    outcome.number = present->version;
    outcome.unchanged = true;
    const auto number = static_cast<uint32_t>(present->version);
    outcome.operation = present_operation(c.state(), "job.submit", present->id.value, number);
    if (!outcome.operation)
      outcome.operation = start_operation(c, "job.submit", TableId::job, present->id.value, present->project, number);
    return outcome;
  }
  Job job = present != nullptr ? *present : Job{};
  if (present == nullptr) {
    job.id = JobId{c.draft.new_id()};
    job.project = command.project;
    job.name = command.spec.job;
    job.created = c.now;
    job.creator = c.meta.identity;
    job.type = command.spec.type;
  }
  TUTTI_TRY(const JobVersion version,
            add_version(c, job, std::make_shared<const JobSpec>(command.spec), command.images));
  outcome.id = job.id.value;
  outcome.version = outcome.number = job.version;
  outcome.operation = start_operation(c, "job.submit", TableId::job, job.id.value, job.project, version.number);
  emit(c, "job.submitted", "info", TableId::job, job.id.value, job.name, job.project,
       fmt::format("version {} submitted by {}", job.version, c.meta.identity));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const ActivateVersion& command) {
  const JobVersion* present = c.state().versions.find(command.version.value);
  if (present == nullptr) return fail(ErrorCode::not_found, "no such job version");
  Outcome outcome{.table = TableId::job, .id = present->job.value, .version = present->number};
  if (present->state != VersionState::resolving) {
    outcome.unchanged = true;
    return outcome;
  }
  JobVersion version = *present;
  Job job = *c.state().jobs.find(version.job.value);
  version.images = command.images;
  version.error = command.error;
  // Its images may have taken a while.
  if (Status allowed = still_allowed(c.state(), job, &version); !allowed && version.error.empty())
    version.error = allowed.error().to_string();
  version.state = version.error.empty() ? VersionState::active : VersionState::failed;
  if (version.state == VersionState::failed) {
    emit(c, "job.failed", "error", TableId::job, job.id.value, job.name, job.project, version.error);
  } else if (version.number > job.active_version) {
    activate(job, version, c.state().version_of(job.id, job.active_version), c.now);
    c.draft.put(job);
  }
  c.draft.put(std::move(version));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const ScaleJob& command) {
  TUTTI_TRY(const Job* present, find_job(c.state(), command.job));
  if (present->type == JobType::system) {
    return fail(ErrorCode::unprocessable,
                "job " + present->name + " is a system job: it runs once on every node and has no count");
  }
  const JobVersion* version = newest_version(c.state(), *present);
  const std::vector<GroupView> groups = groups_of(*version->spec);
  std::string group = command.group;
  if (group.empty() && groups.size() == 1) group = groups[0].name;
  const auto view = std::ranges::find(groups, group, &GroupView::name);
  if (view == groups.end()) {
    std::string names;
    for (const GroupView& g : groups) names += (names.empty() ? "" : ", ") + g.name;
    return fail(ErrorCode::invalid, group.empty() ? "say which of the tasks to scale: " + names
                                                  : "no task '" + group + "': there are " + names);
  }
  if (command.count < 0 || command.count > limits::kCountMax) {
    return fail(ErrorCode::invalid, fmt::format("a count is 0 to {} (limit kCountMax)", limits::kCountMax));
  }
  Job job = *present;
  if (command.count > count_of(job, *view)) TUTTI_CHECK(still_allowed(c.state(), job));
  job.counts[group] = command.count;
  TUTTI_CHECK(within_instances(job, *version->spec));
  const PlacementSpec& placement = version->spec->placement;
  if (placement.all_or_nothing || placement.same_node) {
    const int64_t together = instances_of(job, groups);
    if (together > limits::kTogetherMax) {
      return fail(ErrorCode::unprocessable,
                  fmt::format("job {} is placed at once ({}): {} instances are more than {} (limit kTogetherMax)",
                              job.name, placement.same_node ? "placement.same_node" : "placement.all_or_nothing",
                              together, limits::kTogetherMax));
    }
  }
  c.draft.put(job);
  Outcome outcome{.table = TableId::job, .id = job.id.value, .version = job.version};
  outcome.operation = start_operation(c, "job.scale", TableId::job, job.id.value, job.project,
                                      static_cast<uint32_t>(job.version), group + "=" + std::to_string(command.count));
  emit(c, "job.scaled", "info", TableId::job, job.id.value, job.name, job.project,
       fmt::format("{} to {} by {}", group, command.count, c.meta.identity));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const SetJobStopped& command) {
  TUTTI_TRY(const Job* present, find_job(c.state(), command.job));
  Job job = *present;
  if (!command.stopped && job.deleted)
    return fail(ErrorCode::conflict, "job " + job.name + " is being deleted: submit it again");
  Outcome outcome{.table = TableId::job, .id = job.id.value, .version = job.version};
  outcome.unchanged = job.stopped == command.stopped;
  if (outcome.unchanged)
    outcome.operation = present_operation(c.state(), command.stopped ? "job.stop" : "job.start", job.id.value);
  if (outcome.operation) return outcome;
  if (!command.stopped) TUTTI_CHECK(still_allowed(c.state(), job));
  job.stopped = command.stopped;
  if (!job.stopped && under_way(job.deployment)) job.deployment.progressed = c.now;
  job.launches.waiting = {};
  if (!job.stopped) begin_anew(job, c.now), job.launches.seen = c.now;
  c.draft.put(job);
  outcome.operation = start_operation(c, command.stopped ? "job.stop" : "job.start", TableId::job, job.id.value,
                                      job.project, static_cast<uint32_t>(job.version));
  emit(c, command.stopped ? "job.stopped" : "job.started", "info", TableId::job, job.id.value, job.name, job.project,
       "by " + c.meta.identity);
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const DeleteJob& command) {
  TUTTI_TRY(const Job* present, find_job(c.state(), command.job));
  Job job = *present;
  Outcome outcome{.table = TableId::job, .id = job.id.value, .version = job.version};
  outcome.unchanged = job.deleted;
  if (outcome.unchanged) outcome.operation = present_operation(c.state(), "job.delete", job.id.value);
  if (outcome.operation) return outcome;
  job.stopped = job.deleted = true;
  c.draft.put(job);
  outcome.operation = start_operation(c, "job.delete", TableId::job, job.id.value, job.project);
  emit(c, "job.deleted", "info", TableId::job, job.id.value, job.name, job.project, "by " + c.meta.identity);
  return outcome;
}

}  // namespace tutti::state
