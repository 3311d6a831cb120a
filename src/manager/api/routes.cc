#include "manager/api/routes.h"

#include <array>

#include "base/text.h"

namespace tutti::manager {
namespace {

using enum Right;

constexpr std::array kRoutes = {
    Route{"GET", "/v1/health", nobody, "pool", "Whether the manager answers", "", Shape::none, "", "", "/v1/health",
          health},
    Route{"GET", "/v1/openapi.json", nobody, "pool", "This document", "", Shape::none, "", "", "/v1/openapi.json",
          get_openapi},
    Route{"GET", "/swagger/{file...}", nobody, "pool", "The documentation as a page", "", Shape::none, "", "",
          "/swagger/index.html", get_docs},
    Route{"GET", "/v1/pool", viewer, "pool", "The pool at a glance; ?watch follows every change", "", Shape::object,
          "PoolStatus", "watch from", "/v1/pool", get_pool},
    Route{"PATCH", "/v1/pool", admin, "pool", "The placement policy of the jobs that name none", "PoolSpec",
          Shape::object, "PoolSpec", "", R"({"policy":"spread"})", patch_pool},
    Route{"GET", "/v1/projects", viewer, "pool", "Projects, and what each allows", "", Shape::list, "ProjectSpec",
          "limit cursor", "/v1/projects", list_projects},
    Route{"GET", "/v1/projects/{project}", viewer, "pool", "One project", "", Shape::object, "ProjectSpec", "",
          "/v1/projects/default", get_project},
    Route{"PATCH", "/v1/projects/{project}", admin, "pool",
          "What a project allows: privileged tasks, host paths, preemption", "ProjectSpec", Shape::object,
          "ProjectSpec", "", R"({"allow_privileged":true})", patch_project},

    Route{"GET", "/v1/jobs", viewer, "jobs", "List jobs; ?watch&from=CURSOR follows them", "", Shape::list, "JobStatus",
          "limit cursor watch from project fields parent", "/v1/jobs?limit=100", list_jobs},
    Route{"POST", "/v1/jobs", operator_, "jobs",
          "Submit a job, as JSON or as a job file (YAML, HCL); the same name again is a new version", "JobSpec",
          Shape::accepted, "JobStatus", "project dry_run wait",
          R"({"job":"shop","tasks":[{"name":"web","image":"nginx:1.27","count":3}]})", submit_job},
    Route{"POST", "/v1/jobs:validate", viewer, "jobs", "Check a job and fill in its defaults, without storing it",
          "JobSpec", Shape::plain, "JobSpec", "project", R"({"job":"shop","tasks":[]})", validate_job},
    Route{"POST", "/v1/jobs:plan", viewer, "jobs",
          "What submitting this job would change and where each instance would go, without doing it", "JobSpec",
          Shape::plain, "JobPlan", "project",
          R"({"job":"shop","tasks":[{"name":"web","image":"nginx:1.27","count":5}]})", plan_job},
    Route{"GET", "/v1/jobs/{job}", viewer, "jobs", "One job", "", Shape::object, "JobStatus", "project",
          "/v1/jobs/shop", get_job},
    Route{"DELETE", "/v1/jobs/{job}", operator_, "jobs", "Stop a job and forget it", "", Shape::accepted, "JobStatus",
          "project wait", "/v1/jobs/shop", delete_job},
    Route{"POST", "/v1/jobs/{job}:scale", operator_, "jobs", "Change how many run, without a new version",
          "ScaleRequest", Shape::accepted, "JobStatus", "project wait", R"({"group":"web","count":5})", scale_job},
    Route{"POST", "/v1/jobs/{job}:stop", operator_, "jobs", "Stop every instance; the job stays", "", Shape::accepted,
          "JobStatus", "project wait", "/v1/jobs/shop:stop", stop_job},
    Route{"POST", "/v1/jobs/{job}:start", operator_, "jobs", "Start a stopped job", "", Shape::accepted, "JobStatus",
          "project wait", "/v1/jobs/shop:start", start_job},
    Route{"POST", "/v1/jobs/{job}:dispatch", operator_, "jobs",
          "Launch a child of a parameterized job; the payload is base64", "DispatchRequest", Shape::accepted,
          "JobStatus", "project wait", R"({"meta":{"user":"ana"},"payload":"aGVsbG8="})", dispatch_job},
    Route{"POST", "/v1/jobs/{job}:force", operator_, "jobs", "Launch a child of a periodic job now", "",
          Shape::accepted, "JobStatus", "project wait", "/v1/jobs/backup:force", force_job},
    Route{"GET", "/v1/jobs/{job}/versions", viewer, "jobs", "The versions that are kept", "", Shape::list,
          "VersionStatus", "project limit cursor", "/v1/jobs/shop/versions", list_versions},
    Route{"GET", "/v1/jobs/{job}/diff", viewer, "jobs",
          "What differs between two versions, field by field; the newest and the one before it if none are named", "",
          Shape::rows, "FieldChange", "project from to", "/v1/jobs/shop/diff?from=1&to=3", diff_job},
    Route{"POST", "/v1/jobs/{job}:revert", operator_, "jobs",
          "Submit an earlier version again, with the digests it had; 0: the one before the newest", "RevertRequest",
          Shape::accepted, "JobStatus", "project wait", R"({"version":2})", revert_job},
    Route{"POST", "/v1/jobs/{job}:promote", operator_, "jobs",
          "Let the new version that stands beside the old one (canary, blue-green) take over", "", Shape::accepted,
          "JobStatus", "project wait", "/v1/jobs/shop:promote", promote_job},
    Route{"POST", "/v1/jobs/{job}:abort", operator_, "jobs",
          "End the update under way; the version that served before comes back", "", Shape::accepted, "JobStatus",
          "project wait", "/v1/jobs/shop:abort", abort_job},
    Route{"GET", "/v1/jobs/{job}/instances", viewer, "jobs", "Its instances, past ones too", "", Shape::list,
          "InstanceStatus", "project limit cursor", "/v1/jobs/shop/instances", list_job_instances},

    Route{"GET", "/v1/instances", viewer, "instances",
          "List instances, without their tasks unless fields=*; ?job=, ?node=, ?all, ?live", "", Shape::list,
          "InstanceSummary", "limit cursor watch from project job node all live fields", "/v1/instances?job=shop",
          list_instances},
    Route{"GET", "/v1/instances/{instance}", viewer, "instances", "One instance", "", Shape::object, "InstanceStatus",
          "project", "/v1/instances/shop-web-0", get_instance},
    Route{"DELETE", "/v1/instances/{instance}", operator_, "instances",
          "Remove an instance; a service gets a new one in its slot", "", Shape::accepted, "InstanceStatus",
          "project wait", "/v1/instances/shop-web-0", delete_instance},
    Route{"POST", "/v1/instances/{instance}:signal", operator_, "instances", "Send a signal", "SignalRequest",
          Shape::none, "", "project", R"({"signal":"HUP"})", instance_signal},
    Route{"POST", "/v1/instances/{instance}:{verb}", operator_, "instances",
          "start, stop, restart, pause, unpause, suspend or resume", "", Shape::accepted, "InstanceStatus",
          "project wait", "/v1/instances/shop-web-0:restart", operate_instance},
    Route{"GET", "/v1/instances/{instance}/explain", viewer, "instances",
          "Why it is where it is, or is not anywhere; a job's name works too", "", Shape::plain, "Explanation",
          "project", "/v1/instances/shop/explain", explain_instance},
    Route{"GET", "/v1/instances/{instance}/logs", viewer, "instances", "Its output: frames of channel, length, bytes",
          "", Shape::none, "", "project task follow tail since timestamps stdout stderr",
          "/v1/instances/shop-web-0/logs?follow&tail=100", instance_logs},
    Route{"GET", "/v1/instances/{instance}/exec", operator_, "instances", "Run a command beside it (WebSocket)", "",
          Shape::none, "", "project request", R"(?request={"command":["sh"],"tty":true})", instance_exec},
    Route{"GET", "/v1/instances/{instance}/attach", operator_, "instances", "Its own input and output (WebSocket)", "",
          Shape::none, "", "project request", "/v1/instances/shop-web-0/attach", instance_attach},
    Route{"GET", "/v1/instances/{instance}/files", operator_, "instances", "Copy out of it: a tar in frames", "",
          Shape::none, "", "project task path", "/v1/instances/shop-web-0/files?path=/etc/hosts", instance_get_files},
    Route{"PUT", "/v1/instances/{instance}/files", operator_, "instances", "Copy into it: a tar", "", Shape::none, "",
          "project task path", "/v1/instances/shop-web-0/files?path=/tmp", instance_put_files},

    Route{"GET", "/v1/nodes", viewer, "nodes", "List nodes", "", Shape::list, "NodeStatus",
          "limit cursor watch from fields", "/v1/nodes", list_nodes},
    Route{"GET", "/v1/nodes/resources", viewer, "nodes", "Capacity and use by architecture, and the sum", "",
          Shape::rows, "ResourceRow", "", "/v1/nodes/resources", node_resources},
    Route{"GET", "/v1/schedulers", viewer, "nodes",
          "Who schedules: the one inside the manager, and processes of their own", "", Shape::rows, "SchedulerStatus",
          "", "/v1/schedulers", list_schedulers},
    Route{"GET", "/v1/schedulers/session", scheduler, "nodes", "A scheduler's session (WebSocket)", "", Shape::none, "",
          "", "/v1/schedulers/session", scheduler_session},
    Route{"GET", "/v1/nodes/{node}", viewer, "nodes", "One node with its inventory", "", Shape::object, "NodeStatus",
          "", "/v1/nodes/node-1", get_node},
    Route{"PATCH", "/v1/nodes/{node}", admin, "nodes", "Labels, tags, annotations, node pool, datacenter", "NodeSpec",
          Shape::object, "NodeStatus", "", R"({"labels":{"disk":"ssd"}})", patch_node},
    Route{"DELETE", "/v1/nodes/{node}", admin, "nodes", "Remove a node; ?fenced if the machine is surely off", "",
          Shape::accepted, "NodeStatus", "fenced wait", "/v1/nodes/node-1", remove_node},
    Route{"POST", "/v1/nodes/{node}:{verb}", admin, "nodes", "cordon, uncordon, drain, disable or enable",
          "DrainRequest", Shape::accepted, "NodeStatus", "wait", R"({"deadline":"10m"})", operate_node},
    Route{"POST", "/v1/rebalance", operator_, "nodes",
          "Move running work to where it is better off; with dry_run the plan only, which is not carried out. To do it "
          "needs an admin of the whole pool; the answer is then 202 {object, operation}",
          "RebalanceRequest", Shape::plain, "RebalanceStatus", "wait", R"({"dry_run":true,"max_moves":20})", rebalance},
    Route{"POST", "/v1/join-tokens", admin, "nodes", "A token for a machine to join with", "JoinTokenRequest",
          Shape::none, "", "", R"({"uses":1,"ttl":"1h"})", create_join_token},
    Route{"POST", "/v1/join", nobody, "nodes", "A worker's first call: token and signing request for a certificate",
          "JoinRequest", Shape::plain, "JoinAnswer", "", "{}", join},

    Route{"GET", "/v1/images", viewer, "images", "List the catalog; ?all with manifests that have no tag", "",
          Shape::list, "ImageStatus", "limit cursor watch from all", "/v1/images", list_images},
    Route{"POST", "/v1/images:import", operator_, "images", "Import an archive (docker, OCI, root file system)", "",
          Shape::object, "ImageStatus", "reference kind entrypoint cmd", "?reference=busybox:1.36", import_image},
    Route{"POST", "/v1/images:pull", operator_, "images", "Fetch from the registry that the reference names",
          "PullRequest", Shape::accepted, "OperationStatus", "", R"({"reference":"docker.io/library/nginx:1.27"})",
          pull_image},
    Route{"POST", "/v1/images:push", operator_, "images", "Copy an image of the catalog to a registry elsewhere",
          "PushRequest", Shape::accepted, "OperationStatus", "",
          R"({"reference":"app:1","target":"registry.example.com/app:1"})", push_image},
    Route{"POST", "/v1/images:prune", operator_, "images",
          "Remove content that no tag, no job version and no instance needs; what is younger than the grace stays",
          "PruneRequest", Shape::accepted, "OperationStatus", "", R"({"grace":"24h"})", prune_images},
    Route{"GET", "/v1/images/{repository...}", viewer, "images", "One repository's tags", "", Shape::list,
          "ImageStatus", "", "/v1/images/busybox", get_image},
    Route{"DELETE", "/v1/images/{repository...}", operator_, "images", "Remove a tag", "", Shape::object, "ImageStatus",
          "tag", "/v1/images/busybox?tag=1.36", delete_image},

    Route{"GET", "/v1/events", viewer, "events", "The newest events; ?watch follows", "", Shape::list, "EventStatus",
          "limit cursor watch from object", "/v1/events?limit=50", list_events},
    Route{"GET", "/v1/operations", viewer, "operations", "List operations", "", Shape::list, "OperationStatus",
          "limit cursor watch from", "/v1/operations", list_operations},
    Route{"GET", "/v1/operations/{operation}", viewer, "operations", "One operation; ?wait=30s waits for its end", "",
          Shape::object, "OperationStatus", "wait", "/v1/operations/ID?wait=30s", get_operation},
    Route{"POST", "/v1/operations/{operation}:cancel", operator_, "operations",
          "Wait for it no longer; takes a drain back", "", Shape::object, "OperationStatus", "",
          "/v1/operations/ID:cancel", cancel_operation},
    Route{"POST", "/v1/operations/{operation}:retry", operator_, "operations", "Ask again", "", Shape::accepted,
          "OperationStatus", "wait", "/v1/operations/ID:retry", retry_operation},

    Route{"GET", "/v1/whoami", any, "access", "Who the token says you are", "", Shape::none, "", "", "/v1/whoami",
          whoami},
    Route{"POST", "/v1/sessions", any, "access", "A token of your own right; replaces the bootstrap credential",
          "SessionRequest", Shape::none, "", "", R"({"name":"admin"})", create_session},
    Route{"GET", "/v1/tokens", admin, "access", "List tokens", "", Shape::list, "TokenStatus", "limit cursor",
          "/v1/tokens", list_tokens},
    Route{"POST", "/v1/tokens", admin, "access", "Make a token; its secret is shown once", "TokenRequest", Shape::none,
          "", "", R"({"name":"ci","role":"operator"})", create_token},
    Route{"DELETE", "/v1/tokens/{token}", admin, "access", "Revoke a token", "", Shape::object, "TokenStatus", "",
          "/v1/tokens/ID", revoke_token},
};

// One segment: literal text and at most {a} or {a}:{b} or {a}:word.
bool match_segment(std::string_view pattern, std::string_view text, std::map<std::string, std::string>& params) {
  if (pattern.find('{') == std::string_view::npos) return pattern == text;
  const size_t end = pattern.find('}');
  const std::string name(pattern.substr(1, end - 1));
  std::string_view rest = pattern.substr(end + 1);  // "", ":word" or ":{verb}"
  const size_t colon = text.rfind(':');
  if (rest.empty()) {
    if (text.empty() || colon != std::string_view::npos) return false;
    params[name] = std::string(text);
    return true;
  }
  if (colon == std::string_view::npos || colon == 0) return false;
  params[name] = std::string(text.substr(0, colon));
  const std::string_view verb = text.substr(colon + 1);
  if (rest[1] != '{') return rest.substr(1) == verb;
  params[std::string(rest.substr(2, rest.size() - 3))] = std::string(verb);
  return !verb.empty();
}

}  // namespace

std::span<const Route> routes() {
  return kRoutes;
}

bool match_path(std::string_view pattern, std::string_view path, std::map<std::string, std::string>& params) {
  params.clear();
  while (true) {
    const size_t pattern_end = pattern.find('/', 1);
    const std::string_view segment =
        pattern.substr(1, pattern_end == std::string_view::npos ? pattern_end : pattern_end - 1);
    if (path.empty() || path.front() != '/') return false;
    if (segment.ends_with("...}")) {
      params[std::string(segment.substr(1, segment.size() - 5))] = std::string(path.substr(1));
      return path.size() > 1;
    }
    const size_t path_end = path.find('/', 1);
    if (!match_segment(segment, path.substr(1, path_end == std::string_view::npos ? path_end : path_end - 1), params))
      return false;
    if ((pattern_end == std::string_view::npos) != (path_end == std::string_view::npos)) return false;
    if (pattern_end == std::string_view::npos) return true;
    pattern.remove_prefix(pattern_end);
    path.remove_prefix(path_end);
  }
}

}  // namespace tutti::manager
