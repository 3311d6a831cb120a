#include "cli/session.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/printable.h"
#include "base/random.h"
#include "base/text.h"
#include "cli/say.h"
#include "model/codec.h"
#include "model/problem.h"
#include "model/values.h"

namespace tutti::cli {

Result<Json> Json::parse(const std::string& text) {
  TUTTI_TRY(Document document, parse_json_document(text.empty() ? "{}" : text));
  Json out;
  out.document_ = std::make_shared<const Document>(std::move(document));
  out.index_ = 0;
  return out;
}

Json Json::operator[](std::string_view path) const {
  Json at = *this;
  for (const std::string& name : split(path, '.')) {
    if (!at.exists()) return at;
    const Document& d = *document_;
    uint32_t found = UINT32_MAX;
    if (d[at.index_].kind == DocKind::map) {
      for (uint32_t i = at.index_ + 1; i < d[at.index_].next; i = d[i].next) {
        if (d[i].key == name) found = i;
      }
    }
    at.index_ = found;
  }
  return at;
}

std::vector<Json> Json::items() const {
  std::vector<Json> out;
  if (!exists()) return out;
  const Document& d = *document_;
  for (uint32_t i = index_ + 1; i < d[index_].next; i = d[i].next) {
    Json item = *this;
    item.index_ = i;
    out.push_back(item);
  }
  return out;
}

std::string Json::key() const {
  return exists() ? std::string((*document_)[index_].key) : std::string();
}

int64_t Json::number() const {
  return exists() && (*document_)[index_].kind == DocKind::integer ? (*document_)[index_].integer : 0;
}

std::string Json::text() const {
  if (!exists()) return {};
  const DocNode& node = (*document_)[index_];
  switch (node.kind) {
    case DocKind::null: return {};
    case DocKind::boolean: return node.boolean ? "true" : "false";
    case DocKind::integer: return std::to_string(node.integer);
    case DocKind::unsigned_integer: return std::to_string(node.unsigned_integer);
    case DocKind::real: return std::to_string(node.real);
    case DocKind::string:
    case DocKind::plain: return std::string(node.text);
    case DocKind::list:
    case DocKind::map: return raw();
  }
  return {};
}

std::string Json::raw() const {
  if (!exists()) return "null";
  const DocNode& node = (*document_)[index_];
  if (node.kind == DocKind::string || node.kind == DocKind::plain) return json_text(node.text);
  if (node.kind == DocKind::null) return "null";
  if (node.kind != DocKind::list && node.kind != DocKind::map) return text();
  const bool map = node.kind == DocKind::map;
  std::string out(1, map ? '{' : '[');
  for (const Json& item : items()) {
    if (out.size() > 1) out += ',';
    if (map) out += json_text((*document_)[item.index_].key) + ":";
    out += item.raw();
  }
  return out + (map ? '}' : ']');
}

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

Status Session::connect() {
  const char* named = std::getenv("TUTTI_CONTEXT");
  auto loaded = load_context(option("context", named != nullptr ? named : ""));
  if (loaded) context = *loaded;
  const char* address = std::getenv("TUTTI_ADDRESS");
  const char* token = std::getenv("TUTTI_TOKEN");
  if (!option("address").empty() || address != nullptr)
    context.address = option("address", address != nullptr ? address : "");
  if (!option("token").empty() || token != nullptr) context.token = option("token", token != nullptr ? token : "");
  if (const char* project = std::getenv("TUTTI_PROJECT")) context.project = project;
  if (!option("project").empty()) context.project = option("project");
  if (context.address.empty())
    return tl::make_unexpected(loaded ? Error{ErrorCode::unavailable, "no address", {}, 0} : loaded.error());
  return {};
}

net::Request Session::request(const std::string& method, const std::string& path) const {
  net::Request out;
  out.method = method;
  out.target = path;
  // The other routes are about what is of no project, and refuse parameters that they do not know.
  const bool of_project = path.starts_with("/v1/jobs") || path.starts_with("/v1/instances");
  if (of_project && !context.project.empty())
    out.target +=
        (path.find('?') == std::string::npos ? "?project=" : "&project=") + net::percent_encode(context.project);
  out.path = path.substr(0, path.find('?'));
  out.headers["authorization"] = "Bearer " + context.token;
  return out;
}

Result<std::unique_ptr<net::Client>> Session::client() const {
  TUTTI_TRY(const net::Endpoint endpoint, net::parse_endpoint(context.address));
  return net::make_client(endpoint, {context.authority, {}, {}, {}});
}

Error problem_of(const net::Response& response) {
  return tutti::problem_of(response.status, response.body);
}

Error placed_in_file(Error error, const std::string& file) {
  const std::string name = file == "-" ? "standard input" : file;
  if (error.message.starts_with("job file"))
    error.message.replace(0, 8, name);
  else if (!error.details.empty())
    error.message = name + ": " + error.message;
  for (ErrorDetail& detail : error.details) {
    int line = 0;
    int column = 0;
    int length = 0;
    const size_t at = detail.message.find(" (line ");
    if (at == std::string::npos ||
        std::sscanf(detail.message.c_str() + at, " (line %d, column %d)%n", &line, &column, &length) != 2 ||
        length == 0)
      continue;
    detail.message.erase(at, static_cast<size_t>(length));
    detail.path = name + ":" + std::to_string(line) + ":" + std::to_string(column) +
                  (detail.path.empty() ? "" : ": " + detail.path);
  }
  return error;
}

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid: return 2;
    case ErrorCode::not_found: return 3;
    case ErrorCode::timeout: return 4;
    case ErrorCode::unavailable: return 5;
    default: return 1;
  }
}

int complain(const Error& error) {
  say(stderr, "tutti: %s\n", error.message.c_str());
  for (const ErrorDetail& d : error.details) {
    say(stderr, "  %s%s%s%s%s\n", d.path.c_str(), d.path.empty() ? "" : ": ", d.message.c_str(),
        d.hint.empty() ? "" : " — ", d.hint.c_str());
  }
  return exit_code_of(error.code);
}

namespace {

constexpr Duration kRetryFor = seconds(5);

// The connection ended on the way. That nobody listens is no such case, except right after one that was: then the
// manager is about to come back.
bool broke(const Result<net::Response>& asked, bool once_broken) {
  if (asked) return false;
  const Error& error = asked.error();
  if (error.code == ErrorCode::unavailable) {  // also what is wrong with a certificate, which stays wrong
    for (const char* lost : {"closed the connection", "Connection reset by peer", "Broken pipe"})
      once_broken = once_broken || error.message.find(lost) != std::string::npos;
    return once_broken;
  }
  return error.code == ErrorCode::io;
}

}  // namespace

Result<Json> Session::call(const std::string& method, const std::string& path, const std::string& body,
                           const std::string& type, const std::string& if_match) {
  if (!http) {
    TUTTI_TRY(http, client());
  }
  net::Request wanted = request(method, path);
  wanted.body = body;
  if (!body.empty()) wanted.headers["content-type"] = type;
  if (!if_match.empty()) wanted.headers["if-match"] = if_match;
  if (method == "POST") wanted.headers["idempotency-key"] = secure_random_hex(16);
  // A manager that was just killed or restarted breaks the connection, and what it had begun may have been stored or
  // not. GET, PUT and DELETE may be asked again, POST too by its key; PATCH may not. The new manager is there within
  // seconds.
  const SystemClock clock;
  const BootTime until = clock.boot_now() + kRetryFor;
  Result<net::Response> asked = http->call(wanted, seconds(700));
  for (int tries = 0; method != "PATCH" && broke(asked, tries > 0) && clock.boot_now() < until; ++tries) {
    ::usleep(static_cast<useconds_t>(std::min(50 << std::min(tries, 4), 500)) * 1000);
    TUTTI_TRY(http, client());
    asked = http->call(wanted, seconds(700));
  }
  TUTTI_TRY(const net::Response answer, std::move(asked));
  if (answer.status >= 400) return tl::make_unexpected(problem_of(answer));
  return Json::parse(answer.body);
}

namespace {

constexpr useconds_t kSettleUs = 1'000'000;

// What has just started may be gone the next moment: a service is looked at once more before it is called a success.
int settled(Session& s, const Json& answer) {
  const std::string kind = answer["operation.status.operation"].text();
  const std::string type = answer["object.status.type"].text();
  const bool starts = kind == "job.submit" || kind == "job.start" || kind == "job.scale";
  if (!starts || (type != "service" && type != "system")) return 0;
  ::usleep(kSettleUs);
  auto now = s.call("GET", path_of("/v1/jobs", answer["object.name"].text()) + "/instances?limit=1000");
  if (!now) return complain(now.error());
  const auto asked = parse_time(answer["operation.created"].text());
  for (const Json& instance : (*now)["items"].items()) {
    const auto made = parse_time(instance["created"].text());
    if (!asked || !made || *made < *asked) continue;  // what it went through before is not of this
    const bool current = instance["status.job_version"].number() == answer["object.version"].number() &&
                         instance["status.desired"].text() == "running";
    const bool over = instance["status.finished"].text() == "true" || instance["status.state"].text() == "restarting";
    if (!current || (!over && instance["status.restarts"].number() == 0)) continue;
    const std::string name = instance["name"].text();
    say(stderr, "tutti: %s is %s: %s (%s restarts); 'tutti explain %s' says more\n", name.c_str(),
        over ? instance["status.state"].text().c_str() : "up again",
        instance["status.reason"].text().empty() ? "it ended at once" : instance["status.reason"].text().c_str(),
        instance["status.restarts"].text().c_str(), name.c_str());
    return 1;
  }
  return 0;
}

}  // namespace

int Session::wait_operation(const Json& answer) {
  const std::string id = answer["operation.id"].text();
  if (id.empty() || flag("no-wait")) return 0;
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  std::string last;
  const std::string timeout = option("timeout", "10m");
  auto limit = parse_duration(timeout);
  if (!limit) return complain(limit.error());
  const SystemClock clock;
  const BootTime until = clock.boot_now() + *limit;
  while (true) {
    auto now = call("GET", "/v1/operations/" + id + "?wait=1s");
    if (!now) return complain(now.error());
    const std::string state = (*now)["status.state"].text();
    const std::string message = (*now)["status.message"].text();
    if (!flag("quiet") && message != last) {
      if (terminal)
        std::fprintf(stderr, "\r\033[K%3lld%% %s", static_cast<long long>((*now)["status.progress"].number()),
                     printable(message).c_str());
      else
        say(stderr, "%s\n", message.c_str());
      last = message;
    }
    if (state != "running") {
      if (terminal && !last.empty()) say(stderr, "\n");
      if (state == "succeeded") return settled(*this, answer);
      say(stderr, "tutti: %s: %s\n", state.c_str(), message.c_str());
      return 1;
    }
    if (clock.boot_now() > until) {
      if (terminal) say(stderr, "\n");
      say(stderr, "tutti: still running after %s: 'tutti operation wait %s' waits on\n", timeout.c_str(), id.c_str());
      return 4;
    }
  }
}

}  // namespace tutti::cli
