// U01: the OpenAPI 3.1 document, from the route table and the described structs.
#include <map>
#include <set>

#include "base/hash.h"
#include "base/text.h"
#include "base/version.h"
#include "manager/api/query.h"
#include "manager/api/requests.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"
#include "manager/assets/assets.h"
#include "manager/job_plan.h"

namespace tutti::manager {
namespace {

std::map<std::string, std::string> all_schemas() {
  std::map<std::string, std::string> out;
  auto add = [&](std::vector<NamedSchema> schemas) {
    for (NamedSchema& schema : schemas) out[schema.name] = std::move(schema.json);
  };
  add(schemas_of<JobSpec>());
  add(schemas_of<NodeSpec>());
  add(schemas_of<Explanation>());
  add(schemas_of<PoolStatus>());
  add(schemas_of<ResourceRow>());
  add(schemas_of<SchedulerStatus>());
  add(schemas_of<JobStatus>());
  add(schemas_of<InstanceStatus>());
  add(schemas_of<InstanceSummary>());
  add(schemas_of<NodeStatus>());
  add(schemas_of<VersionStatus>());
  add(schemas_of<ImageStatus>());
  add(schemas_of<OperationStatus>());
  add(schemas_of<TokenStatus>());
  add(schemas_of<EventStatus>());
  add(schemas_of<ScaleRequest>());
  add(schemas_of<DispatchRequest>());
  add(schemas_of<RevertRequest>());
  add(schemas_of<PoolSpec>());
  add(schemas_of<ProjectSpec>());
  add(schemas_of<JobPlan>());
  add(schemas_of<DrainRequest>());
  add(schemas_of<RebalanceRequest>());
  add(schemas_of<RebalanceStatus>());
  add(schemas_of<JoinTokenRequest>());
  add(schemas_of<TokenRequest>());
  add(schemas_of<SessionRequest>());
  add(schemas_of<SignalRequest>());
  add(schemas_of<PullRequest>());
  add(schemas_of<PushRequest>());
  add(schemas_of<PruneRequest>());
  add(schemas_of<JoinRequest>());
  add(schemas_of<JoinAnswer>());
  out["Object"] =
      R"({"type":"object","required":["kind","id","name"],"properties":{"kind":{"type":"string"},"id":{"type":"string"},"name":{"type":"string"},)"
      R"("project":{"type":"string"},"version":{"type":"integer","description":"of the spec; If-Match compares this one"},"revision":{"type":"integer"},)"
      R"("created":{"type":"string","format":"date-time"},"updated":{"type":"string","format":"date-time"},)"
      R"("labels":{"type":"object","additionalProperties":{"type":"string"}},"spec":{"type":"object"},"status":{"type":"object"}}})";
  out["Problem"] =
      R"({"type":"object","properties":{"type":{"type":"string"},"title":{"type":"string"},"status":{"type":"integer"},)"
      R"("detail":{"type":"string"},"errors":{"type":"array","items":{"type":"object","properties":{"path":{"type":"string"},)"
      R"("message":{"type":"string"},"hint":{"type":"string"}}}},"request_id":{"type":"string"}}})";
  return out;
}

// "/v1/jobs/{job}:scale" as OpenAPI writes it, and its parameters.
std::string openapi_path(std::string_view path, std::vector<std::string>& params) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    out += path[i];
    if (path[i] != '{') continue;
    const size_t end = path.find('}', i);
    std::string name(path.substr(i + 1, end - i - 1));
    if (name.ends_with("...")) name.resize(name.size() - 3);
    params.push_back(name);
    out += name + "}";
    i = end;
  }
  return out;
}

std::string_view schema_type(QueryType type) {
  switch (type) {
    case QueryType::text: return "string";
    case QueryType::number: return "integer";
    case QueryType::truth: return "boolean";
  }
  return "string";
}

std::string parameter(std::string_view name, std::string_view in, std::string_view type, std::string_view what,
                      std::string_view only = {}) {
  std::string out = "{\"name\":\"" + std::string(name) + "\",\"in\":\"" + std::string(in) +
                    "\",\"schema\":{\"type\":\"" + std::string(type) + "\"" +
                    (only.empty() ? "" : ",\"enum\":[\"" + std::string(only) + "\"]") + "}";
  if (in == "path") out += ",\"required\":true";
  if (!what.empty()) {
    out += ",\"description\":";
    append_json_string(out, what);
  }
  return out + "}";
}

std::string parameters(const Route& route, const std::vector<std::string>& path_names) {
  std::vector<std::string> all;
  for (const std::string& name : path_names) all.push_back(parameter(name, "path", "string", ""));
  for (const std::string& name : split(route.query, ' ')) {
    if (name.empty()) continue;
    const QueryWord* word = query_word(name);
    TUTTI_INVARIANT(word != nullptr, "a route with a query word that query.cc does not explain");
    all.push_back(parameter(name, "query", schema_type(word->type), word->what, word->only));
  }
  if (route.method == "POST" && route.right != Right::nobody)
    all.push_back(parameter("Idempotency-Key", "header", "string",
                            "The same key again within a day is answered with what the first one did"));
  if (route.handler == patch_node || route.handler == patch_pool || route.handler == submit_job)
    all.push_back(parameter("If-Match", "header", "string",
                            "The version that this change is meant for; 412 when it is another by now"));
  std::string out;
  for (const std::string& each : all) out += (out.empty() ? "" : ",") + each;
  return out;
}

std::string reference(std::string_view schema) {
  return "{\"$ref\":\"#/components/schemas/" + std::string(schema) + "\"}";
}

// An object with the status, or the spec, of this schema.
std::string object_schema(std::string_view schema) {
  const std::string_view part = schema.ends_with("Spec") ? "spec" : "status";
  return R"({"allOf":[{"$ref":"#/components/schemas/Object"},{"type":"object","properties":{")" + std::string(part) +
         "\":" + reference(schema) + "}}]}";
}

std::string answer_schema(const Route& route) {
  switch (route.shape) {
    case Shape::none: return {};
    case Shape::plain: return reference(route.answer);
    case Shape::object: return object_schema(route.answer);
    case Shape::list:
      return R"({"type":"object","required":["items"],"properties":{"items":{"type":"array","items":)" +
             object_schema(route.answer) +
             R"(},"revision":{"type":"string","description":"where a watch goes on from"},"cursor":{"type":"string","description":"of the next page, while there is one"}}})";
    case Shape::rows:
      return R"({"type":"object","required":["items"],"properties":{"items":{"type":"array","items":)" +
             reference(route.answer) + "}}}";
    case Shape::accepted:
      return R"({"type":"object","properties":{"object":{"anyOf":[)" + object_schema(route.answer) +
             R"(,{"type":"null"}]},"operation":{"anyOf":[)" + object_schema("OperationStatus") +
             R"(,{"type":"null"}]}}})";
  }
  return {};
}

std::string operation(const Route& route, const std::vector<std::string>& params) {
  std::string id = to_lower(route.method);
  for (char c : route.path) id += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  std::string out = "{\"tags\":[\"" + std::string(route.tag) + "\"],\"operationId\":\"" + id + "\",\"summary\":";
  append_json_string(out, route.summary);
  out += ",\"description\":";
  const char* rights[] = {"Open to all.", "Any token, the bootstrap credential too.",
                          "Role viewer.", "Role operator.",
                          "Role admin.",  "Role scheduler, or admin of the whole pool."};
  append_json_string(out,
                     std::string(rights[static_cast<int>(route.right)]) + " Example: " + std::string(route.example));
  if (route.right == Right::nobody) out += ",\"security\":[]";
  if (const std::string all = parameters(route, params); !all.empty()) out += ",\"parameters\":[" + all + "]";
  if (!route.body.empty())
    out += R"(,"requestBody":{"content":{"application/json":{"schema":)" + reference(route.body) + "}}}";
  out +=
      R"(,"responses":{")" + std::string(route.shape == Shape::accepted ? "202" : "2XX") + R"(":{"description":"done")";
  if (const std::string schema = answer_schema(route); !schema.empty())
    out += R"(,"content":{"application/json":{"schema":)" + schema + "}}";
  out += "}";
  constexpr std::string_view kProblem =
      R"(,"content":{"application/problem+json":{"schema":{"$ref":"#/components/schemas/Problem"}}}})";
  auto problem = [&](std::string_view status, std::string_view what) {
    out += ",\"" + std::string(status) + R"(":{"description":")" + std::string(what) + "\"" + std::string(kProblem);
  };
  if (route.right != Right::nobody) problem("401", "no identity");
  if (route.right == Right::operator_ || route.right == Right::admin) problem("403", "not allowed");
  if (!params.empty()) problem("404", "not there, or not visible");
  problem("default", "what was wrong");
  return out + "}}";
}

}  // namespace

std::string openapi_json() {
  std::map<std::string, std::map<std::string, std::string>> paths;
  for (const Route& route : routes()) {
    std::vector<std::string> params;
    const std::string path = openapi_path(route.path, params);
    paths[path][to_lower(route.method)] = operation(route, params);
  }
  std::string out = R"({"openapi":"3.1.0","info":{"title":"tutti","version":")" + std::string(program_version()) +
                    R"(","license":{"name":"Apache-2.0","identifier":"Apache-2.0"},)"
                    R"("description":"Containers, virtual machines and processes on a pool of machines."},)"
                    R"("servers":[{"url":"/"}],"security":[{"token":[]}],"paths":{)";
  bool first_path = true;
  for (const auto& [path, methods] : paths) {
    if (!std::exchange(first_path, false)) out += ',';
    append_json_string(out, path);
    out += ":{";
    bool first = true;
    for (const auto& [method, text] : methods) {
      if (!std::exchange(first, false)) out += ',';
      out += "\"" + method + "\":" + text;
    }
    out += '}';
  }
  out += R"(},"components":{"securitySchemes":{"token":{"type":"http","scheme":"bearer"}},"schemas":{)";
  bool first = true;
  for (const auto& [name, schema] : all_schemas()) {
    if (!std::exchange(first, false)) out += ',';
    append_json_string(out, name);
    out += ":" + schema;
  }
  return out + "}}}";
}

void get_docs(CallPtr call) {
  const auto asset = find_asset(call->param("file"));
  if (!asset)
    return answer_error(*call, Error{ErrorCode::not_found, "no such file; the page is /swagger/index.html", {}, 0});
  net::Response response;
  response.content_type = asset->media_type;
  // The bytes are those of this executable, so their hash is their version.
  const std::string tag = "\"" + std::to_string(fnv1a(asset->gzip)) + "\"";
  response.headers = {
      {"ETag", tag},
      {"Cache-Control", "no-cache"},
      {"Vary", "Accept-Encoding"},
      {"X-Content-Type-Options", "nosniff"},
      // Swagger UI writes style attributes and shows pictures from data URLs.
      {"Content-Security-Policy",
       "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"}};
  if (call->request->header("if-none-match") == tag) {
    response.status = 304;
  } else if (call->request->header("accept-encoding").find("gzip") != std::string::npos) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    response.body = asset->gzip;
  } else {
    response.body = unpack(*asset);
  }
  call->responder->send(std::move(response));
}

}  // namespace tutti::manager
