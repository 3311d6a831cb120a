// Deployments: what reconcile found out about one, and what users say to it.
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

std::string_view word_of(DeploymentState state) {
  switch (state) {
    case DeploymentState::none: return "none";
    case DeploymentState::running: return "running";
    case DeploymentState::waiting: return "waiting";
    case DeploymentState::succeeded: return "succeeded";
    case DeploymentState::failed: return "failed";
    case DeploymentState::cancelled: return "cancelled";
  }
  return "";
}

void tell(ApplyContext& c, const Job& job, std::string_view what, const std::string& severity,
          const std::string& message) {
  emit(c, "deployment." + std::string(what), severity, TableId::job, job.id.value, job.name, job.project,
       fmt::format("version {}{}{}", job.deployment.version, message.empty() ? "" : ": ", message));
}

// The version that served before, as a new version. False where there is none to go back to, or it is not allowed any
// more.
bool revert(ApplyContext& c, Job& job) {
  const Deployment ended = job.deployment;
  const JobVersion* before = ended.from == 0 ? nullptr : c.state().version_of(job.id, ended.from);
  if (before == nullptr) return false;
  const JobVersion kept = *before;
  if (Status allowed = still_allowed(c.state(), job, before); !allowed) {
    tell(c, job, "not-reverted", "error",
         fmt::format("not back to version {}: {}", ended.from, allowed.error().to_string()));
    return false;
  }
  const bool stopped = job.stopped;
  if (!add_version(c, job, kept.spec, kept.images)) return false;
  job.stopped = stopped;
  job.deployment.reverting = true;
  job.deployment.promoted = true;
  job.deployment.reason =
      fmt::format("back to version {}, since version {} {}", ended.from, ended.version, word_of(ended.state));
  c.draft.put(job);
  tell(c, job, "reverting", "warning", job.deployment.reason);
  return true;
}

// Kept with the version: its deployment's place is taken by the next one's.
void remember(ApplyContext& c, const Job& job, uint32_t number, const std::string& error) {
  const JobVersion* present = c.state().version_of(job.id, number);
  if (present == nullptr || present->error == error) return;
  JobVersion version = *present;
  version.error = error;
  c.draft.put(std::move(version));
}

}  // namespace

void change_deployment(ApplyContext& c, const ChangeDeployment& wanted) {
  const Job* present = c.state().jobs.find(wanted.job.value);
  if (present == nullptr || present->deployment.version != wanted.version ||
      present->deployment.state == DeploymentState::none)
    return;
  Job job = *present;
  Deployment& d = job.deployment;
  const bool changed = d.state != wanted.state || d.promoted != wanted.promoted;
  if (wanted.promoted && !d.promoted) tell(c, job, "promoted", "info", "by itself");
  d.state = wanted.state;
  d.promoted = wanted.promoted;
  d.reason = wanted.reason;
  if (wanted.progressed) d.progressed = c.now;
  if (!under_way(d)) d.finished = c.now;
  if (d.state == DeploymentState::succeeded) job.stable_version = d.version;
  c.draft.put(job);
  if (!under_way(d)) remember(c, job, d.version, d.state == DeploymentState::failed ? d.reason : "");
  if (changed && d.state != DeploymentState::running) {
    tell(c, job, word_of(d.state), d.state == DeploymentState::failed ? "error" : "info", wanted.reason);
  }
  // Never to and fro: what failed while going back stays for its user.
  if (wanted.revert && d.state == DeploymentState::failed && !d.reverting && job.version == d.version)
    (void)revert(c, job);
}

Result<Outcome> apply_one(ApplyContext& c, const PromoteJob& command) {
  const Job* present = c.state().jobs.find(command.job.value);
  if (present == nullptr) return fail(ErrorCode::not_found, "no job " + to_text(command.job));
  Outcome outcome{.table = TableId::job, .id = present->id.value, .version = present->version};
  if (present->deployment.promoted && under_way(present->deployment)) {
    outcome.unchanged = true;
    outcome.operation = present_operation(c.state(), "job.promote", present->id.value, present->deployment.version);
    if (outcome.operation) return outcome;
  }
  if (!under_way(present->deployment) || present->deployment.promoted) {
    return fail(ErrorCode::conflict,
                "job " + present->name +
                    " has no version that waits to be promoted: submit one with strategy canary or blue-green");
  }
  TUTTI_CHECK(still_allowed(c.state(), *present));
  Job job = *present;
  job.deployment.promoted = true;
  job.deployment.state = DeploymentState::running;
  job.deployment.progressed = c.now;
  job.deployment.reason = "promoted by " + c.meta.identity;
  c.draft.put(job);
  tell(c, job, "promoted", "info", "by " + c.meta.identity);
  outcome.operation =
      start_operation(c, "job.promote", TableId::job, job.id.value, job.project, job.deployment.version);
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const AbortJob& command) {
  const Job* present = c.state().jobs.find(command.job.value);
  if (present == nullptr) return fail(ErrorCode::not_found, "no job " + to_text(command.job));
  if (!under_way(present->deployment)) {
    return fail(ErrorCode::conflict,
                "job " + present->name + " has no update under way: 'tutti job revert' brings an earlier version back");
  }
  if (present->version != present->deployment.version) {
    return fail(ErrorCode::conflict,
                fmt::format("version {} of job {} is on its way: wait for its images, or submit another",
                            present->version, present->name));
  }
  Job job = *present;
  job.deployment.state = DeploymentState::cancelled;
  job.deployment.reason = "by " + c.meta.identity;
  job.deployment.finished = c.now;
  c.draft.put(job);
  tell(c, job, "cancelled", "warning", job.deployment.reason);
  Outcome outcome{.table = TableId::job, .id = job.id.value};
  (void)revert(c, job);
  outcome.version = job.version;
  outcome.operation =
      start_operation(c, "job.abort", TableId::job, job.id.value, job.project, static_cast<uint32_t>(job.version));
  return outcome;
}

}  // namespace tutti::state
