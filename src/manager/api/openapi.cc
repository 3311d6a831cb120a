// U01: the OpenAPI 3.1 document, from the route table and the described structs.
#include <map>
#include <set>

#include "base/hash.h"
#include "base/text.h"
#include "manager/api/requests.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"
#include "manager/assets/assets.h"

namespace tutti::manager {
namespace {

std::map<std::string, std::string> all_schemas() {
  std::map<std::string, std::string> out;
  auto add = [&](std::vector<NamedSchema> schemas) {
    for (NamedSchema& schema : schemas) out[schema.name] = std::move(schema.json);
  };
  add(schemas_of<JobSpec>());
  add(schemas_of<NodeSpec>());
  add(schemas_of<Project>());
  add(schemas_of<Explanation>());
  add(schemas_of<PoolStatus>());
  add(schemas_of<ResourceRow>());
  add(schemas_of<JobStatus>());
  add(schemas_of<InstanceStatus>());
  add(schemas_of<NodeStatus>());
  add(schemas_of<VersionStatus>());
  add(schemas_of<ImageStatus>());
  add(schemas_of<OperationStatus>());
  add(schemas_of<TokenStatus>());
  add(schemas_of<EventStatus>());
  add(schemas_of<ScaleRequest>());
  add(schemas_of<DrainRequest>());
  add(schemas_of<JoinTokenRequest>());
  add(schemas_of<TokenRequest>());
  add(schemas_of<SessionRequest>());
  add(schemas_of<SignalRequest>());
  add(schemas_of<PullRequest>());
  add(schemas_of<PushRequest>());
  add(schemas_of<PruneRequest>());
  add(schemas_of<JoinRequest>());
  add(schemas_of<JoinAnswer>());
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

std::string operation(const Route& route, const std::vector<std::string>& params) {
  std::string id = to_lower(route.method);
  for (char c : route.path) id += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  std::string out = "{\"tags\":[\"" + std::string(route.tag) + "\"],\"operationId\":\"" + id + "\",\"summary\":";
  append_json_string(out, route.summary);
  out += ",\"description\":";
  const char* rights[] = {"Open to all.", "Any token, the bootstrap credential too.", "Role viewer.", "Role operator.",
                          "Role admin."};
  append_json_string(out,
                     std::string(rights[static_cast<int>(route.right)]) + " Example: " + std::string(route.example));
  if (route.right == Right::nobody) out += ",\"security\":[]";
  if (!params.empty()) {
    out += ",\"parameters\":[";
    for (size_t i = 0; i < params.size(); ++i) {
      out += (i > 0 ? "," : "") + std::string("{\"name\":\"") + params[i] +
             "\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}";
    }
    out += ']';
  }
  if (!route.body.empty()) {
    out += R"(,"requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/)" +
           std::string(route.body) + "\"}}}}";
  }
  out += R"(,"responses":{"2XX":{"description":"done")";
  if (!route.answer.empty())
    out +=
        R"(,"content":{"application/json":{"schema":{"type":"object","properties":{"status":{"$ref":"#/components/schemas/)" +
        std::string(route.answer) + "\"}}}}}";
  out +=
      R"(},"default":{"description":"what was wrong","content":{"application/problem+json":{"schema":{"$ref":"#/components/schemas/Problem"}}}}}})";
  return out;
}

}  // namespace

std::string openapi_json() {
  std::map<std::string, std::map<std::string, std::string>> paths;
  for (const Route& route : routes()) {
    std::vector<std::string> params;
    const std::string path = openapi_path(route.path, params);
    paths[path][to_lower(route.method)] = operation(route, params);
  }
  std::string out =
      R"({"openapi":"3.1.0","info":{"title":"tutti","version":"0.1.0","license":{"name":"Apache-2.0","identifier":"Apache-2.0"},)"
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
