#pragma once
// The route table: what the API is. The router, the OpenAPI document and the tests read it.

#include <span>
#include <string_view>

#include "manager/api/call.h"

namespace tutti::manager {

enum class Right : uint8_t {
  nobody,
  any,
  viewer,
  operator_,
  admin,
  scheduler
};  // nobody: open to all (health, join, docs)

// What a 2XX answer holds. An object is {kind, id, name, …, spec, status}; `answer` names the schema of its status.
enum class Shape : uint8_t {
  none,   // nothing, or bytes
  plain,  // the schema itself
  object,
  list,      // {items: objects, revision, cursor while there are more}
  rows,      // {items: the schema itself}
  accepted,  // 202 {object, operation}
};

struct Route {
  std::string_view method;
  std::string_view path;  // "/v1/jobs/{job}:scale"; {name...} takes the rest
  Right right;
  std::string_view tag;
  std::string_view summary;
  std::string_view body;  // schema name of the request body; empty: none
  Shape shape;
  std::string_view answer;  // schema name of the answer; one that ends in Spec is the object's spec, not its status
  std::string_view
      query;  // names of its parameters behind '?', between blanks; query.cc explains them, others are refused
  std::string_view example;  // of the request, for people: a curl path or a body
  RouteHandler handler;
};

std::span<const Route> routes();

// Fills `params`; false if it does not match.
bool match_path(std::string_view pattern, std::string_view path, std::map<std::string, std::string>& params);

std::string openapi_json();

struct PushRequest;

// Handlers, by file.
void list_jobs(CallPtr), submit_job(CallPtr), get_job(CallPtr), delete_job(CallPtr), scale_job(CallPtr),
    stop_job(CallPtr), start_job(CallPtr), list_versions(CallPtr), list_job_instances(CallPtr), validate_job(CallPtr),
    plan_job(CallPtr), diff_job(CallPtr), revert_job(CallPtr), promote_job(CallPtr), abort_job(CallPtr),
    dispatch_job(CallPtr), force_job(CallPtr);
void list_instances(CallPtr), get_instance(CallPtr), operate_instance(CallPtr), delete_instance(CallPtr),
    explain_instance(CallPtr), instance_logs(CallPtr), instance_exec(CallPtr), instance_attach(CallPtr),
    instance_signal(CallPtr), instance_get_files(CallPtr), instance_put_files(CallPtr);
void list_nodes(CallPtr), get_node(CallPtr), patch_node(CallPtr), operate_node(CallPtr), remove_node(CallPtr),
    node_resources(CallPtr), list_schedulers(CallPtr), scheduler_session(CallPtr), create_join_token(CallPtr),
    join(CallPtr), rebalance(CallPtr);
void list_images(CallPtr), get_image(CallPtr), delete_image(CallPtr), import_image(CallPtr), pull_image(CallPtr),
    push_image(CallPtr), prune_images(CallPtr);
// What a retry of their operations asks for again.
void start_pull(CallPtr call, const std::string& reference);
void start_push(CallPtr call, const PushRequest& request);
void start_prune(CallPtr call, Duration grace);
void get_pool(CallPtr), patch_pool(CallPtr), whoami(CallPtr), create_session(CallPtr), list_tokens(CallPtr),
    create_token(CallPtr), revoke_token(CallPtr), list_events(CallPtr), list_operations(CallPtr),
    get_operation(CallPtr), cancel_operation(CallPtr), retry_operation(CallPtr), list_projects(CallPtr),
    get_project(CallPtr), patch_project(CallPtr), health(CallPtr), get_openapi(CallPtr), get_docs(CallPtr);

// SSE from a cursor, for one table or (with none) all of them.
void watch_table(CallPtr call, std::optional<TableId> table);

}  // namespace tutti::manager
