// Jobs: submitted by name, as JSON or as a job file.
#include <algorithm>

#include "manager/api/list.h"
#include "manager/api/requests.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"
#include "manager/images.h"
#include "model/validate.h"

namespace tutti::manager {
namespace {

// What a project does not allow is refused before anything is stored.
Status allowed_in(const Project& project, const JobSpec& spec) {
  std::vector<ErrorDetail> details;
  for (size_t i = 0; i < spec.tasks.size(); ++i) {
    const TaskSpec& task = spec.tasks[i];
    const std::string path = "tasks[" + std::to_string(i) + "]";
    if (task.security.privileged && !project.allow_privileged) {
      details.push_back({path + ".security.privileged", "project " + project.name + " does not allow privileged tasks", "an admin can allow it for the project"});
    }
    for (size_t v = 0; v < task.volumes.size(); ++v) {
      const VolumeMount& mount = task.volumes[v];
      if (mount.kind != VolumeKind::host) continue;
      const bool listed = std::any_of(project.host_paths.begin(), project.host_paths.end(), [&](const std::string& prefix) {
        return mount.source == prefix || mount.source.starts_with(prefix.ends_with('/') ? prefix : prefix + "/");
      });
      if (!listed || mount.source.find("..") != std::string::npos) {
        details.push_back({path + ".volumes[" + std::to_string(v) + "].source", mount.source + " is not on the allow list of project " + project.name,
                           "use a local volume, or ask an admin to list the path"});
      }
    }
  }
  if (details.empty()) return {};
  return fail(ErrorCode::forbidden, "the project does not allow this job", std::move(details));
}

Result<JobSpec> read_spec(const Call& call) {
  const std::string type = call.request->header("content-type");
  const bool json = type.find("json") != std::string::npos;
  Result<JobSpec> spec = json ? from_json<JobSpec>(call.request->body, {.what = "job"}) : parse_job_file(call.request->body, "job file");
  if (!spec) return spec;
  apply_defaults(*spec);
  TUTTI_CHECK(validate(*spec));
  return spec;
}

const Project* project_for(const Call& call, const JobSpec& spec) {
  if (spec.project.empty()) return project_of(call);
  const Project* project = call.state->project_by_name(spec.project);
  if (project == nullptr || !sees(call.identity, project->id, *call.state)) {
    answer_error(call, Error{ErrorCode::not_found, "no project '" + spec.project + "'", {{"project", "there is no such project", ""}}, 0});
    return nullptr;
  }
  return project;
}

}  // namespace

void list_jobs(CallPtr call) {
  if (call->flag("watch")) return watch_table(call, TableId::job);
  const Project* project = nullptr;
  if (!call->query("project").empty() && (project = project_of(*call)) == nullptr) return;
  const Snapshot& s = *call->state;
  const bool whole = call->query("fields") == "*";
  answer_list(*call, s.jobs, [&](const Job& job) { return sees(call->identity, job.project, s) && (project == nullptr || job.project == project->id); },
              [&](const Job& job) { return render(s, job, !whole); });
}

void submit_job(CallPtr call) {
  Result<JobSpec> spec = read_spec(*call);
  if (!spec) return answer_error(*call, spec.error());
  const Project* project = project_for(*call, *spec);
  if (project == nullptr) return;
  if (Status ok = allowed_in(*project, *spec); !ok) return answer_error(*call, ok.error());
  bool bad = false;
  state::SubmitJob command{std::move(*spec), project->id, {}, if_match(*call, bad)};
  if (bad) return;
  for (const TaskSpec& task : command.spec.tasks) {
    if (task.image.empty() || task.pull == PullPolicy::always) continue;
    if (auto known = find_in_catalog(*call->state, task.image)) command.images[task.image] = *known;
  }
  if (call->flag("dry_run")) return answer_json(*call, 200, "{\"object\":null,\"operation\":null,\"valid\":true}");
  commit_operation(call, std::move(command));
}

void validate_job(CallPtr call) {
  Result<JobSpec> spec = read_spec(*call);
  if (!spec) return answer_error(*call, spec.error());
  answer_json(*call, 200, to_json(*spec));
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

void list_versions(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job == nullptr) return;
  const Snapshot& s = *call->state;
  const IdSet* ids = s.versions_by_job.find(job->id.value);
  answer_list(*call, ids != nullptr ? *ids : IdSet{}, [](uint64_t) { return true; }, [&](uint64_t id) { return render(s, *s.versions.find(id)); });
}

void list_job_instances(CallPtr call) {
  const Job* job = find_job(*call, call->param("job"));
  if (job == nullptr) return;
  const Snapshot& s = *call->state;
  const IdSet* ids = s.instances_by_job.find(job->id.value);
  answer_list(*call, ids != nullptr ? *ids : IdSet{}, [](uint64_t) { return true; }, [&](uint64_t id) { return render(s, *s.instances.find(id)); });
}

}  // namespace tutti::manager
