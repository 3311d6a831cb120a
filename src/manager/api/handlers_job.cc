// Jobs: submitted by name, as JSON or as a job file.
#include <algorithm>

#include "manager/api/list.h"
#include "manager/api/requests.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"
#include "manager/images.h"
#include "manager/job_plan.h"
#include "model/security.h"
#include "model/validate.h"

namespace tutti::manager {

namespace {

Result<JobSpec> read_spec(const Call& call) {
  const std::string type = call.request->header("content-type");
  const bool json = type.find("json") != std::string::npos;
  Result<JobSpec> spec =
      json ? from_json<JobSpec>(call.request->body, {.what = "job"}) : parse_job_file(call.request->body, "");
  if (!spec) return spec;
  apply_defaults(*spec);
  TUTTI_CHECK(validate(*spec));
  return spec;
}

const Project* project_for(const Call& call, const JobSpec& spec) {
  if (spec.project.empty()) return project_of(call);
  const Project* project = call.state->project_by_name(spec.project);
  if (project == nullptr || !sees(call.identity, project->id, *call.state)) {
    answer_error(call, Error{ErrorCode::not_found,
                             "no project '" + spec.project + "'",
                             {{"project", "there is no such project", ""}},
                             0});
    return nullptr;
  }
  return project;
}

state::SubmitJob command_of(const Call& call, JobSpec spec, const Project& project) {
  state::SubmitJob command{std::move(spec), project.id, {}, {}};
  for (const TaskSpec& task : command.spec.tasks) {
    if (task.image.empty() || task.pull == PullPolicy::always) continue;
    if (auto known = find_in_catalog(*call.state, task.image)) command.images[task.image] = *known;
  }
  return command;
}

// By number; null and an answered error where it is not kept any more.
const JobVersion* find_version(const Call& call, const Job& job, uint64_t number) {
  const JobVersion* version =
      number >> 20 == 0 ? call.state->version_of(job.id, static_cast<uint32_t>(number)) : nullptr;
  if (version == nullptr) {
    answer_error(call,
                 Error{ErrorCode::not_found,
                       "job " + job.name + " has no version " + std::to_string(number) + " (any more)",
                       {{"version", "not there", "'tutti job history " + job.name + "' lists those that are kept"}},
                       0});
  }
  return version;
}

// The newest version below that number that is kept; 0: there is none.
uint32_t version_before(const Snapshot& s, const Job& job, uint64_t number) {
  uint32_t best = 0;
  if (const IdSet* ids = s.versions_by_job.find(job.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const uint32_t each = s.versions.find(id)->number;
      if (each < number) best = std::max(best, each);
    });
  }
  return best;
}

// A version's number from the query; nothing and an answered error if it is none.
std::optional<uint64_t> version_query(const Call& call, const std::string& name, uint64_t fallback) {
  const std::string text = call.query(name);
  if (text.empty()) return fallback;
  if (text.size() <= 7 && text.find_first_not_of("0123456789") == std::string::npos) return std::stoull(text);
  answer_error(call, Error{ErrorCode::invalid, "'" + text + "' is not a version", {{name, "not a number", "1"}}, 0});
  return std::nullopt;
}

}  // namespace

bool still_allowed(const Call& call, const Job& job, const JobVersion& version) {
  const Project* project = call.state->projects.find(job.project.value);
  Status ok = project != nullptr ? allowed_in(*project, *version.spec)
                                 : fail(ErrorCode::not_found, "the project of job " + job.name + " is gone");
  if (!ok) answer_error(call, ok.error());
  return ok.has_value();
}

void list_jobs(CallPtr call) {
  if (call->flag("watch")) return watch_table(call, TableId::job);
  const Project* project = nullptr;
  if (!call->query("project").empty() && (project = project_of(*call)) == nullptr) return;
  const bool whole = call->query("fields") == "*";
  JobId parent;
  if (const std::string name = call->query("parent"); !name.empty()) {
    const Job* found = find_job(*call, name);
    if (found == nullptr) return;
    parent = found->id;
  }
  answer_list(
      call, call->state->jobs,
      [call, project, parent](const Job& job) {
        return sees(call->identity, job.project, *call->state) && (project == nullptr || job.project == project->id) &&
               (!parent || job.parent == parent);
      },
      [call, whole](const Job& job) { return render(*call->state, job, !whole); });
}

void submit_job(CallPtr call) {
  Result<JobSpec> spec = read_spec(*call);
  if (!spec) return answer_error(*call, spec.error());
  const Project* project = project_for(*call, *spec);
  if (project == nullptr) return;
  if (Status ok = allowed_in(*project, *spec); !ok) return answer_error(*call, ok.error());
  bool bad = false;
  const auto version = if_match(*call, bad);
  if (bad) return;
  state::SubmitJob command = command_of(*call, std::move(*spec), *project);
  command.if_version = version;
  if (call->flag("dry_run")) return answer_json(*call, 200, "{\"object\":null,\"operation\":null,\"valid\":true}");
  commit_operation(call, std::move(command));
}

void validate_job(CallPtr call) {
  Result<JobSpec> spec = read_spec(*call);
  if (!spec) return answer_error(*call, spec.error());
  answer_json(*call, 200, to_json(*spec));
}

void plan_job(CallPtr call) {
  Result<JobSpec> spec = read_spec(*call);
  if (!spec) return answer_error(*call, spec.error());
  const Project* project = project_for(*call, *spec);
  if (project == nullptr) return;
  if (Status ok = allowed_in(*project, *spec); !ok) return answer_error(*call, ok.error());
  compute(call, [call, command = command_of(*call, std::move(*spec), *project)]() mutable {
    Result<JobPlan> plan = plan_job(*call->state, std::move(command), call->services.clock().now());
    if (!plan) return answer_error(*call, plan.error());
    answer_json(*call, 200, to_json(*plan));
  });
}

void diff_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job == nullptr) return;
  const auto to = version_query(*call, "to", job->version);
  if (!to) return;
  const auto from = version_query(*call, "from", version_before(*call->state, *job, *to));
  if (!from) return;
  const JobVersion* after = find_version(*call, *job, *to);
  const JobVersion* before = after == nullptr || *from == 0 ? nullptr : find_version(*call, *job, *from);
  if (after == nullptr || (before == nullptr && *from != 0)) return;
  std::string body = "{\"from\":" + std::to_string(*from) + ",\"to\":" + std::to_string(*to) + ",\"items\":[";
  bool first = true;
  for (const FieldChange& change : diff(before == nullptr ? JobSpec{} : *before->spec, *after->spec)) {
    if (!std::exchange(first, false)) body += ',';
    append_json(body, change);
  }
  answer_json(*call, 200, body + "]}");
}

void revert_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job == nullptr) return;
  auto body = body_of<RevertRequest>(*call);
  if (!body) return;
  const uint64_t number = body->version != 0 ? body->version : version_before(*call->state, *job, job->version);
  if (number == 0)
    return answer_error(
        *call, Error{ErrorCode::conflict, "job " + job->name + " has no earlier version to go back to", {}, 0});
  const JobVersion* version = find_version(*call, *job, number);
  if (version == nullptr || !still_allowed(*call, *job, *version)) return;
  bool bad = false;
  const auto if_version = if_match(*call, bad);
  if (!bad) commit_operation(call, state::SubmitJob{*version->spec, job->project, version->images, if_version});
}

void get_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job == nullptr) return;
  answer_json(*call, 200, render(*call->state, *job), {{"ETag", "\"" + std::to_string(job->version) + "\""}});
}

void delete_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job != nullptr) commit_operation(call, state::DeleteJob{job->id});
}

void scale_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job == nullptr) return;
  auto body = body_of<ScaleRequest>(*call);
  if (body) commit_operation(call, state::ScaleJob{job->id, body->group, body->count});
}

void stop_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job != nullptr) commit_operation(call, state::SetJobStopped{job->id, true});
}

void start_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job != nullptr) commit_operation(call, state::SetJobStopped{job->id, false});
}

void promote_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job != nullptr) commit_operation(call, state::PromoteJob{job->id});
}

void abort_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job != nullptr) commit_operation(call, state::AbortJob{job->id});
}

void dispatch_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job == nullptr) return;
  auto body = body_of<DispatchRequest>(*call);
  if (body) commit_operation(call, state::DispatchJob{job->id, std::move(body->meta), std::move(body->payload)});
}

void force_job(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job != nullptr) commit_operation(call, state::ForceJob{job->id});
}

void list_versions(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job == nullptr) return;
  const Snapshot& s = *call->state;
  const IdSet* ids = s.versions_by_job.find(job->id.value);
  answer_list(
      call, ids != nullptr ? *ids : IdSet{}, [](uint64_t) { return true; },
      [call](uint64_t id) { return render(*call->state, *call->state->versions.find(id)); });
}

void list_job_instances(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job == nullptr) return;
  const Snapshot& s = *call->state;
  const IdSet* ids = s.instances_by_job.find(job->id.value);
  answer_list(
      call, ids != nullptr ? *ids : IdSet{}, [](uint64_t) { return true; },
      [call](uint64_t id) { return render(*call->state, *call->state->instances.find(id)); });
}

}  // namespace tutti::manager
