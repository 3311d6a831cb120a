// Children of periodic and parameterized jobs, and how jobs as a whole end (model/launch.h).
//
// A launch is one commit: the child's rows and what the parent remembers of it. So a time of a schedule is launched
// exactly once, wherever a manager dies: either both are there or neither, and a time already seen is refused.
#include "base/limits.h"
#include "model/validate_launch.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

struct Launch {
  LaunchKind kind = LaunchKind::periodic;
  Time time;
  std::map<std::string, std::string> meta;
  std::string payload;
};

std::string free_name(const Snapshot& state, const Job& parent, const Launch& launch, JobId id) {
  const std::string base = child_name(parent.name, launch.kind, launch.time, id);
  std::string name = base;
  for (int i = 2; state.job_by_name(parent.project, name) != nullptr; ++i) name = base + "-" + std::to_string(i);
  return name;
}

size_t live_children(const Snapshot& state, const Job& parent) {
  size_t live = 0;
  if (const IdSet* ids = state.children.find(parent.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) { live += state.jobs.find(id)->result == JobResult::none ? 1 : 0; });
  }
  return live;
}

// Room for one more child, or why there is none.
Status room(const Snapshot& state, const Job& parent) {
  if (state.jobs.size() >= limits::kJobsMax) {
    return fail(ErrorCode::unprocessable,
                fmt::format("the pool holds {} jobs (limit kJobsMax): delete some first", limits::kJobsMax));
  }
  if (live_children(state, parent) >= limits::kChildrenLiveMax) {
    return fail(ErrorCode::unprocessable,
                fmt::format("{} jobs launched by {} have not ended (limit kChildrenLiveMax): wait, or stop some",
                            limits::kChildrenLiveMax, parent.name));
  }
  return {};
}

Job create_child(ApplyContext& c, const Job& parent, const JobVersion& version, Launch launch) {
  Job child;
  child.id = JobId{c.draft.new_id()};
  child.project = parent.project;
  child.name = free_name(c.state(), parent, launch, child.id);
  child.created = c.now;
  child.creator = launch.kind == LaunchKind::periodic ? parent.creator : c.meta.identity;
  child.type = JobType::batch;
  child.counts = parent.counts;
  child.parent = parent.id;
  child.launch = launch.kind;
  child.launched_for = launch.time;
  auto spec =
      std::make_shared<const JobSpec>(child_spec(*version.spec, child.name, launch.meta, std::move(launch.payload)));
  // Its version is its first, and the parent's images are known: neither can be refused.
  (void)add_version(c, child, std::move(spec), version.images);
  return child;
}

void tell_launched(ApplyContext& c, const Job& parent, const Job& child, const std::string& how) {
  emit(c, "job.launched", "info", TableId::job, child.id.value, child.name, child.project, parent.name + " " + how);
}

struct Parent {
  Job job;
  JobVersion version;
};

Result<Parent> ready_parent(const Snapshot& state, JobId id) {
  const Job* job = state.jobs.find(id.value);
  if (job == nullptr) return fail(ErrorCode::not_found, "no job " + to_text(id));
  if (job->stopped || job->deleted)
    return fail(ErrorCode::conflict, "job " + job->name + " is stopped: 'tutti job start " + job->name + "' first");
  const JobVersion* version = state.version_of(job->id, job->active_version);
  if (version == nullptr)
    return fail(ErrorCode::conflict, "job " + job->name + " waits for its images: try again in a moment");
  return Parent{*job, *version};
}

void stop_job(ApplyContext& c, Job job, const std::string& why) {
  if (job.stopped) return;
  job.stopped = true;
  c.draft.put(job);
  emit(c, "job.stopped", "info", TableId::job, job.id.value, job.name, job.project, why);
}

}  // namespace

void launch(ApplyContext& c, const LaunchChild& wanted) {
  auto parent = ready_parent(c.state(), wanted.parent);
  if (!parent || parent->version.number != wanted.version || !parent->version.spec->periodic) return;
  Job job = parent->job;
  LaunchRecord& record = job.launches;
  const bool waited = record.waiting == wanted.time;
  if (!waited && wanted.time <= record.seen) return;  // launched, or left out, before
  const bool alone = parent->version.spec->periodic->overlap != OverlapPolicy::allow;
  LaunchStep step = wanted.step;
  std::string reason = wanted.reason;
  if (step == LaunchStep::launch) {
    // One that was asked for by hand may have come in between: look again.
    if (alone && live_children(c.state(), job) > 0) return;
    Status ok = room(c.state(), job);
    if (ok) ok = still_allowed(c.state(), job, &parent->version);
    if (!ok) step = LaunchStep::leave_out, reason = ok.error().to_string();
  }
  const bool forced = waited && record.forced;
  record.seen = std::max(record.seen, wanted.time);
  record.waiting = step == LaunchStep::wait ? wanted.time : Time{};
  record.forced = false;
  if (step == LaunchStep::launch) record.last = wanted.time;
  c.draft.put(job);
  const std::string time = format_time(wanted.time);
  if (step == LaunchStep::launch) {
    const Job child = create_child(c, job, parent->version,
                                   {forced ? LaunchKind::forced : LaunchKind::periodic, wanted.time, {}, {}});
    tell_launched(c, job, child, forced ? "by hand" : "for " + time);
  } else if (step == LaunchStep::leave_out) {
    emit(c, "job.left-out", "warning", TableId::job, job.id.value, job.name, job.project,
         "the launch for " + time + ": " + reason);
  }
}

void change_job(ApplyContext& c, const ChangeJob& wanted) {
  const Job* present = c.state().jobs.find(wanted.job.value);
  if (present == nullptr) return;
  if (wanted.result) {
    Job job = *present;
    const bool ended = *wanted.result != JobResult::none && job.result != *wanted.result;
    if (job.result != *wanted.result) job.ended = ended ? c.now : Time{};
    job.result = *wanted.result;
    job.reason = wanted.reason;
    c.draft.put(job);
    if (ended && job.result == JobResult::completed)
      emit(c, "job.completed", "info", TableId::job, job.id.value, job.name, job.project, job.reason);
    if (ended && job.result == JobResult::failed)
      emit(c, "job.failed", "error", TableId::job, job.id.value, job.name, job.project, job.reason);
    if (ended && job.result == JobResult::skipped)
      emit(c, "job.skipped", "info", TableId::job, job.id.value, job.name, job.project, job.reason);
  }
  if (wanted.stop) stop_job(c, *c.state().jobs.find(wanted.job.value), wanted.reason);
  if (wanted.remove && !c.state().jobs.find(wanted.job.value)->deleted) {
    Job job = *c.state().jobs.find(wanted.job.value);
    job.stopped = job.deleted = true;
    c.draft.put(job);
    emit(c, "job.deleted", "info", TableId::job, job.id.value, job.name, job.project, wanted.reason);
  }
}

Result<Outcome> apply_one(ApplyContext& c, const DispatchJob& command) {
  TUTTI_TRY(const Parent parent, ready_parent(c.state(), command.job));
  TUTTI_CHECK(check_dispatch(*parent.version.spec, command.meta, command.payload));
  TUTTI_CHECK(room(c.state(), parent.job));
  TUTTI_CHECK(still_allowed(c.state(), parent.job, &parent.version));
  const Job child =
      create_child(c, parent.job, parent.version, {LaunchKind::dispatched, c.now, command.meta, command.payload});
  tell_launched(c, parent.job, child, "by " + c.meta.identity);
  Outcome outcome{.table = TableId::job, .id = child.id.value, .version = child.version, .number = child.version};
  outcome.operation = start_operation(c, "job.submit", TableId::job, child.id.value, child.project,
                                      static_cast<uint32_t>(child.version));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const ForceJob& command) {
  TUTTI_TRY(Parent parent, ready_parent(c.state(), command.job));
  if (!parent.version.spec->periodic) {
    return fail(ErrorCode::conflict,
                "job " + parent.job.name + " is not periodic" +
                    (parent.version.spec->parameterized ? ": 'tutti job dispatch' launches it" : ""));
  }
  TUTTI_CHECK(room(c.state(), parent.job));
  TUTTI_CHECK(still_allowed(c.state(), parent.job, &parent.version));
  const OverlapPolicy overlap = parent.version.spec->periodic->overlap;
  const bool busy = overlap != OverlapPolicy::allow && live_children(c.state(), parent.job) > 0;
  if (busy && overlap == OverlapPolicy::forbid) {
    return fail(ErrorCode::conflict,
                "job " + parent.job.name + " still runs, and its overlap is forbidden: wait, or stop what runs");
  }
  if (busy) {  // reconcile stops what runs and launches then
    parent.job.launches.waiting = c.now;
    parent.job.launches.forced = true;
    c.draft.put(parent.job);
    Outcome outcome{.table = TableId::job, .id = parent.job.id.value, .version = parent.job.version};
    outcome.operation = start_operation(c, "job.force", TableId::job, parent.job.id.value, parent.job.project);
    return outcome;
  }
  const Job child = create_child(c, parent.job, parent.version, {LaunchKind::forced, c.now, {}, {}});
  tell_launched(c, parent.job, child, "by " + c.meta.identity);
  parent.job.launches.last = c.now;
  c.draft.put(parent.job);
  Outcome outcome{.table = TableId::job, .id = child.id.value, .version = child.version, .number = child.version};
  outcome.operation = start_operation(c, "job.submit", TableId::job, child.id.value, child.project,
                                      static_cast<uint32_t>(child.version));
  return outcome;
}

}  // namespace tutti::state
