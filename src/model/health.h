#pragma once
// Health checks of a task (H03): what is asked of it while it runs, and what becomes of the answers. Plain values.
//
//   kind        while it fails                                    after `failures` in a row
//   startup     the other checks wait                             the task is restarted by its restart policy
//   liveness    nothing yet                                       likewise
//   readiness   nothing yet                                       unhealthy: an update does not count it as there
//
// `successes` in a row make a check pass; one that passes goes on doing so until it has failed `failures` times in a
// row. A startup check that has passed is not asked again in that run. A task is healthy when all of its checks pass.
// Performed by the worker, every `interval` from begin to begin, never twice at once. Limits: base/limits.h.

#include <boost/describe.hpp>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tutti {

enum class CheckKind : uint8_t { readiness, liveness, startup };
BOOST_DESCRIBE_ENUM(CheckKind, readiness, liveness, startup)

enum class CheckType : uint8_t { http, tcp, grpc, exec };
BOOST_DESCRIBE_ENUM(CheckType, http, tcp, grpc, exec)

// Of a task that has checks, while it runs; none: it has none, or does not run.
enum class HealthState : uint8_t { none, starting, healthy, unhealthy };
BOOST_DESCRIBE_ENUM(HealthState, none, starting, healthy, unhealthy)

struct HealthCheck {
  std::string name;  // unique in the task; empty: "readiness", "readiness-2" …
  CheckKind kind = CheckKind::readiness;
  CheckType type = CheckType::http;
  std::string port;            // the name of one of the task's ports, or a number; empty: its only TCP port
  std::string path = "/";      // http: with the query
  std::string method = "GET";  // http: GET, HEAD, POST …
  std::map<std::string, std::string> headers;  // http: Host among them
  std::string status = "200-399";              // http: what is well: "200", "200-299,401"
  std::string service;                         // grpc: asked for by this name; empty: the server as a whole
  std::vector<std::string> command;            // exec: beside the task, in its namespaces; well: exit code 0
  Duration interval = seconds(10);
  Duration timeout = seconds(2);
  Duration initial_delay;  // before the first
  int32_t failures = 3;
  int32_t successes = 1;
  bool operator==(const HealthCheck&) const = default;
};
BOOST_DESCRIBE_STRUCT(HealthCheck, (),
                      (name, kind, type, port, path, method, headers, status, service, command, interval, timeout,
                       initial_delay, failures, successes))

// "200-299,401" as ranges from 100 to 599. Errors: invalid.
Result<std::vector<std::pair<int, int>>> parse_statuses(std::string_view text);
bool is_expected(const HealthCheck& check, int status);

}  // namespace tutti
