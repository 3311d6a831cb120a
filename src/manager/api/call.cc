#include "manager/api/call.h"

#include <algorithm>

#include "base/text.h"
#include "manager/api/hub.h"
#include "manager/api/refusal.h"
#include "manager/api/views.h"
#include "net/authority.h"

namespace tutti::manager {
namespace {

constexpr size_t kPrefixLettersMin = 4;

// By name, by id, or by a unique beginning of an id.
// ": did you mean 'shop'?", or nothing.
template <class Row, class Visible, class NameOf>
std::string suggestion(const Table<Row>& table, const std::string& text, Visible visible, NameOf name_of) {
  std::vector<std::string> names;
  table.for_each([&](uint64_t, const Row& row) {
    if (visible(row)) names.push_back(name_of(row));
    return names.size() < kNamesComparedMax;
  });
  const std::string_view nearest = nearest_word(text, {names.begin(), names.end()});
  return nearest.empty() ? "" : ": did you mean '" + std::string(nearest) + "'?";
}

// Null where there is none, or where it is not clear which (`several`).
template <class Row, class Named, class Visible>
const Row* seek_row(const Table<Row>& table, const std::string& text, Named named, Visible visible, bool& several) {
  if (const Row* row = named(text); row != nullptr && visible(*row)) return row;
  if (Result<uint64_t> id = parse_id_text(text)) {
    const Row* row = table.find(*id);
    if (row != nullptr && visible(*row)) return row;
  }
  const Row* found = nullptr;
  several = false;
  if (text.size() >= kPrefixLettersMin && text.size() < 12) {
    table.for_each([&](uint64_t id, const Row& row) {
      if (!id_text(id).starts_with(text) || !visible(row)) return true;
      several = found != nullptr;
      found = &row;
      return !several;
    });
  }
  return several ? nullptr : found;
}

template <class Row, class Named, class Visible, class NameOf>
const Row* find_row(const Call& call, std::string_view kind, const Table<Row>& table, const std::string& text,
                    Named named, Visible visible, NameOf name_of) {
  bool several = false;
  const Row* found = seek_row(table, text, named, visible, several);
  if (several) {
    answer_error(call,
                 Error{ErrorCode::conflict,
                       "several " + std::string(kind) + "s have an id that begins with " + text + ": write more of it",
                       {},
                       0});
    return nullptr;
  }
  if (found == nullptr)
    answer_error(call, Error{ErrorCode::not_found,
                             "no " + std::string(kind) + " '" + text + "'" + suggestion(table, text, visible, name_of),
                             {},
                             0});
  return found;
}

std::string operation_body(const Call& call, const state::Outcome& outcome, const Snapshot& s) {
  std::string object = render_row(s, outcome.table, outcome.id, call.services.clock().now());
  std::string operation = outcome.operation
                              ? render_row(s, TableId::operation, outcome.operation.value, call.services.clock().now())
                              : std::string();
  return "{\"object\":" + (object.empty() ? "null" : object) +
         ",\"operation\":" + (operation.empty() ? "null" : operation) + "}";
}

std::vector<std::pair<std::string, std::string>> outcome_headers(const state::Outcome& outcome) {
  std::vector<std::pair<std::string, std::string>> headers;
  headers.emplace_back("ETag", "\"" + std::to_string(outcome.version) + "\"");
  if (outcome.replayed) headers.emplace_back("Idempotent-Replay", "true");
  if (outcome.operation) headers.emplace_back("Location", "/v1/operations/" + to_text(outcome.operation));
  return headers;
}

}  // namespace

bool Call::flag(const std::string& name) const {
  auto at = request->query.find(name);
  return at != request->query.end() && at->second != "0" && at->second != "false";
}

void answer_json(const Call& call, int status, std::string body,
                 std::vector<std::pair<std::string, std::string>> headers) {
  net::Response response;
  response.status = status;
  response.body = std::move(body);
  response.headers = std::move(headers);
  response.headers.emplace_back("X-Request-Id", call.request_id);
  call.responder->send(std::move(response));
}

void answer_error(const Call& call, const Error& error) {
  call.responder->send(refusal(error, call.request_id));
}

state::CommandMeta meta_of(const Call& call) {
  state::CommandMeta meta;
  meta.identity = call.identity.text;
  meta.idempotency_key = call.request->header("idempotency-key").substr(0, 128);
  if (!meta.idempotency_key.empty()) {
    meta.request_hash = net::sha256_hex(call.request->method + " " + call.request->target + "\n" + call.request->body);
  }
  return meta;
}

void commit_object(CallPtr call, state::Command command, int status) {
  call->services.submit(std::move(command), meta_of(*call), [call, status](Result<state::Outcome> outcome) {
    if (!outcome) return answer_error(*call, outcome.error());
    const auto s = call->services.snapshot();
    std::string body = render_row(*s, outcome->table, outcome->id, call->services.clock().now());
    answer_json(*call, body.empty() ? 204 : status, std::move(body), outcome_headers(*outcome));
  });
}

void commit_operation(CallPtr call, state::Command command) {
  Duration wait{};
  if (const std::string text = call->query("wait"); !text.empty()) {
    Result<Duration> parsed = parse_duration(text);
    if (!parsed) return answer_error(*call, parsed.error());
    wait = std::min(*parsed, seconds(600));
  }
  call->services.submit(std::move(command), meta_of(*call), [call, wait](Result<state::Outcome> outcome) {
    if (!outcome) return answer_error(*call, outcome.error());
    auto finish = [call, outcome = *outcome] {
      answer_json(*call, 202, operation_body(*call, outcome, *call->services.snapshot()), outcome_headers(outcome));
    };
    if (wait.ns == 0 || !outcome->operation) return finish();
    const BootTime until = call->services.clock().boot_now() + wait;
    Status added =
        call->hub.add(call->identity, CommitHub::For::answer, [call, finish, until, id = outcome->operation] {
          const Operation* operation = call->services.snapshot()->operations.find(id.value);
          const bool over = operation == nullptr || operation->state != OperationState::running ||
                            call->services.clock().boot_now() > until;
          if (over) finish();
          return over;
        });
    if (!added) finish();
  });
}

void compute(const CallPtr& call, std::function<void()> work) {
  if (Status taken = call->services.compute(std::move(work)); !taken) answer_error(*call, taken.error());
}

Error token_ended() {
  return {ErrorCode::unauthenticated,
          "the token that this was opened with has ended: it was revoked, or its time is over; 'tutti login' again",
          {},
          0};
}

bool sees(const Identity& identity, ProjectId project, const Snapshot& state) {
  if (identity.project.empty() || !project) return true;
  const Project* row = state.projects.find(project.value);
  return row != nullptr && row->name == identity.project;
}

const Project* project_of(const Call& call) {
  std::string name = call.query("project");
  if (name.empty()) name = call.identity.project.empty() ? "default" : call.identity.project;
  const Project* project = call.state->project_by_name(name);
  if (project == nullptr || !sees(call.identity, project->id, *call.state)) {
    answer_error(call, Error{ErrorCode::not_found, "no project '" + name + "'", {}, 0});
    return nullptr;
  }
  return project;
}

const Job* find_job(const Call& call, const std::string& text) {
  const Project* project = project_of(call);
  if (project == nullptr) return nullptr;
  return find_row(
      call, "job", call.state->jobs, text,
      [&](const std::string& name) { return call.state->job_by_name(project->id, name); },
      [&](const Job& job) { return sees(call.identity, job.project, *call.state); },
      [](const Job& job) { return job.name; });
}

namespace {

// An instance's name counts within the project that is asked for; without one, in all that the identity sees.
struct InstanceSearch {
  const Call& call;
  const Project* project;

  bool within(const Job& job) const {
    return sees(call.identity, job.project, *call.state) && (project == nullptr || job.project == project->id);
  }
  bool visible(const Instance& i) const {
    const Job* job = call.state->jobs.find(i.job.value);
    return job != nullptr && within(*job);
  }
  // A name is a job's, a group's and a slot; of several in a slot the one that lives is meant, else the newest.
  const Instance* named(const std::string& name) const {
    const Snapshot& s = *call.state;
    const Instance* best = nullptr;
    s.jobs.for_each([&](uint64_t id, const Job& job) {
      if (!name.starts_with(job.name + "-") || !within(job)) return;
      const IdSet* ids = s.instances_by_job.find(id);
      if (ids == nullptr) return;
      ids->for_each([&](uint64_t instance_id, const Unit&) {
        const Instance* i = s.instances.find(instance_id);
        if (i == nullptr || s.name_of(*i) != name) return;
        const bool live = !i->finished && i->presence != Presence::given_up;
        const bool best_live = best != nullptr && !best->finished && best->presence != Presence::given_up;
        if (best == nullptr || (live && !best_live) || (live == best_live && i->id > best->id)) best = i;
      });
    });
    return best;
  }
};

}  // namespace

const Instance* seek_instance(const Call& call, const std::string& text) {
  const InstanceSearch search{
      call, call.query("project").empty() ? nullptr : call.state->project_by_name(call.query("project"))};
  bool several = false;
  return seek_row(
      call.state->instances, text, [&](const std::string& name) { return search.named(name); },
      [&](const Instance& i) { return search.visible(i); }, several);
}

const Instance* find_instance(const Call& call, const std::string& text) {
  const Project* project = nullptr;
  if (!call.query("project").empty() && (project = project_of(call)) == nullptr) return nullptr;
  const InstanceSearch search{call, project};
  return find_row(
      call, "instance", call.state->instances, text, [&](const std::string& name) { return search.named(name); },
      [&](const Instance& i) { return search.visible(i); }, [&](const Instance& i) { return call.state->name_of(i); });
}

const Project* find_project(const Call& call, const std::string& text) {
  return find_row(
      call, "project", call.state->projects, text,
      [&](const std::string& name) { return call.state->project_by_name(name); },
      [&](const Project& project) { return sees(call.identity, project.id, *call.state); },
      [](const Project& project) { return project.name; });
}

const Node* find_node(const Call& call, const std::string& text) {
  return find_row(
      call, "node", call.state->nodes, text, [&](const std::string& name) { return call.state->node_by_name(name); },
      [](const Node&) { return true; }, [](const Node& node) { return node.name; });
}

const Operation* find_operation(const Call& call, const std::string& text) {
  return find_row(
      call, "operation", call.state->operations, text,
      [](const std::string&) { return static_cast<const Operation*>(nullptr); },
      [&](const Operation& o) { return sees(call.identity, o.project, *call.state); },
      [](const Operation& o) { return to_text(o.id); });
}

std::optional<uint64_t> if_match(const Call& call, bool& bad) {
  std::string text = call.request->header("if-match");
  bad = false;
  if (text.empty() || text == "*") return std::nullopt;
  std::erase(text, '"');
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos || text.size() > 18) {
    bad = true;
    answer_error(call, Error{ErrorCode::invalid, "If-Match holds the version of the object, like \"3\"", {}, 0});
    return std::nullopt;
  }
  return std::stoull(text);
}

}  // namespace tutti::manager
