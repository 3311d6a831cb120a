// What an admin says of the pool and of its projects.
#include <optional>

#include "cli/requests.h"
#include "cli/session.h"
#include "model/codec.h"

namespace tutti::cli {
namespace {

int show(Session& s, const std::string& path) {
  auto answer = s.call("GET", path);
  return answer ? print_object(s, *answer) : complain(answer.error());
}

// Only what was named is sent; the rest stays as it is.
template <class Body>
int change(Session& s, const std::string& path, const Body& body) {
  const std::string text = to_json(body, {.omit_defaults = true});
  if (text == "{}")
    return complain({ErrorCode::invalid, "say what to change; usage: " + usage_line(*s.invocation.usage), {}, 0});
  auto answer = s.call("PATCH", path, text);
  if (!answer) return complain(answer.error());
  return s.flag("quiet") ? 0 : print_object(s, *answer);
}

std::optional<bool> choice(const Session& s, const std::string& name) {
  if (s.option(name).empty()) return std::nullopt;
  return s.flag(name);
}

}  // namespace

int pool(Session& s, const std::string& verb) {
  if (verb == "show") return show(s, "/v1/pool");
  PoolBody body;
  if (!s.option("policy").empty()) body.policy = s.option("policy");
  return change(s, "/v1/pool", body);
}

int project(Session& s, const std::string& verb) {
  if (verb == "list")
    return list_command(s, "/v1/projects?limit=1000",
                        {{"PROJECT", "name"},
                         {"PREEMPTION", "spec.preemption"},
                         {"PRIVILEGED", "spec.allow_privileged"},
                         {"HOST PATHS", "~words:spec.host_paths"},
                         {"AGE", "~age:created"}});
  const std::string path = path_of("/v1/projects", s.words[0]);
  if (verb == "show") return show(s, path);
  ProjectBody body{
      .allow_privileged = choice(s, "privileged"), .preemption = choice(s, "preemption"), .host_paths = {}};
  for (const auto& [name, value] : s.invocation.repeated) {
    if (name != "host-path") continue;
    if (!body.host_paths) body.host_paths.emplace();
    if (!value.empty()) body.host_paths->push_back(value);
  }
  return change(s, path, body);
}

}  // namespace tutti::cli
