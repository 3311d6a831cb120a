#pragma once
// Call: one request on its way through a handler, and the helpers every handler answers with.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "manager/api/services.h"
#include "model/codec.h"

namespace tutti::manager {

class CommitHub;

struct Call {
  Services& services;
  CommitHub& hub;
  std::shared_ptr<const net::Request> request;
  std::shared_ptr<net::Responder> responder;
  Identity identity;
  std::map<std::string, std::string> params;  // from the path
  std::string request_id;
  std::shared_ptr<const Snapshot> state;

  const std::string& param(const std::string& name) const { return params.at(name); }
  std::string query(const std::string& name) const { return request->query_value(name); }
  bool flag(const std::string& name) const;
};
using CallPtr = std::shared_ptr<Call>;
using RouteHandler = void (*)(CallPtr);

void answer_json(const Call& call, int status, std::string body,
                 std::vector<std::pair<std::string, std::string>> headers = {});
void answer_error(const Call& call, const Error& error);
std::string problem_json(const Error& error, const std::string& request_id);

// The body as T, or the error was answered and the result is empty. An empty body is T{}.
template <class T>
std::optional<T> body_of(const Call& call) {
  if (call.request->body.empty()) return T{};
  Result<T> value = from_json<T>(call.request->body, {.what = "request body"});
  if (value) return std::move(*value);
  answer_error(call, value.error());
  return std::nullopt;
}

state::CommandMeta meta_of(const Call& call);

// Commits, then answers 202 {object, operation}; with ?wait=30s after the operation has ended or the time is over.
void commit_operation(CallPtr call, state::Command command);
// Commits, then answers `status` with the object.
void commit_object(CallPtr call, state::Command command, int status);

// Beside the I/O thread (Services::compute), for what looks at the whole pool. `work` answers; where it is refused,
// that was answered.
void compute(const CallPtr& call, std::function<void()> work);

// The project of a request: ?project=, the identity's, or "default". Empty and an answered error when it is not there.
const Project* project_of(const Call& call);
// By name or by (part of an) id; null and an answered 404 or 409 otherwise.
const Job* find_job(const Call& call, const std::string& text);
const Instance* find_instance(const Call& call, const std::string& text);
// The same without an answer where there is none.
const Instance* seek_instance(const Call& call, const std::string& text);
// How many names a wrong one is compared with, to suggest the right one.
inline constexpr size_t kNamesComparedMax = 5'000;
const Project* find_project(const Call& call, const std::string& text);
const Node* find_node(const Call& call, const std::string& text);
const Operation* find_operation(const Call& call, const std::string& text);

// Whether the job's project allows what this version of it wants, today; else the error was answered. For what was
// stored earlier and is asked for again.
bool still_allowed(const Call& call, const Job& job, const JobVersion& version);

// What is said to whoever had something open with a token when that ended.
Error token_ended();

// Whether this identity sees rows of that project.
bool sees(const Identity& identity, ProjectId project, const Snapshot& state);

std::optional<uint64_t> if_match(const Call& call, bool& bad);

}  // namespace tutti::manager
