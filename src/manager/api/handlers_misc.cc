// The pool, identities, events, operations, documents.
#include <algorithm>
#include <boost/describe/enum_to_string.hpp>

#include "base/random.h"
#include "base/text.h"
#include "manager/api/hub.h"
#include "manager/api/list.h"
#include "manager/api/requests.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"

namespace tutti::manager {

void health(CallPtr call) {
  answer_json(*call, 200, "{\"status\":\"ok\"}");
}
void get_pool(CallPtr call) {
  if (call->flag("watch")) return watch_table(call, std::nullopt);
  answer_json(*call, 200, render_pool(*call->state),
              {{"ETag", "\"" + std::to_string(call->state->pool.version) + "\""}});
}

void patch_pool(CallPtr call) {
  auto body = body_of<PoolSpec>(*call);
  if (!body) return;
  bool bad = false;
  const auto version = if_match(*call, bad);
  if (bad) return;
  if (!body->policy)
    return answer_error(*call,
                        Error{ErrorCode::invalid, "say what to change", {{"policy", "is missing", "spread"}}, 0});
  commit_object(call, state::UpdatePool{*body->policy, version}, 200);
}
void get_openapi(CallPtr call) {
  answer_json(*call, 200, openapi_json());
}

void list_projects(CallPtr call) {
  answer_list(
      call, call->state->projects, [call](const Project& p) { return sees(call->identity, p.id, *call->state); },
      [call](const Project& p) { return render(*call->state, p); });
}

void get_project(CallPtr call) {
  if (const Project* project = find_project(*call, call->param("project")))
    answer_json(*call, 200, render(*call->state, *project));
}

// What a project allows; what the body leaves out stays as it is.
void patch_project(CallPtr call) {
  auto body = body_of<ProjectSpec>(*call);
  if (!body) return;
  const Project* present = find_project(*call, call->param("project"));
  if (present == nullptr) return;
  Project project = *present;
  if (body->allow_privileged) project.allow_privileged = *body->allow_privileged;
  if (body->preemption) project.preemption = *body->preemption;
  if (body->host_paths) project.host_paths = *body->host_paths;
  for (size_t i = 0; i < project.host_paths.size(); ++i) {
    const std::string& path = project.host_paths[i];
    if (!path.starts_with('/') || path.find("..") != std::string::npos) {
      return answer_error(*call, Error{ErrorCode::invalid,
                                       "a host path is absolute and goes up nowhere",
                                       {{"host_paths[" + std::to_string(i) + "]", "not such a path", "/srv/shared"}},
                                       0});
    }
  }
  commit_object(call, state::PutProject{std::move(project)}, 200);
}

void whoami(CallPtr call) {
  std::string role = boost::describe::enum_to_string(call->identity.role, "");
  if (role.ends_with('_')) role.pop_back();
  std::string body = "{\"identity\":";
  append_json_string(body, call->identity.text);
  body += ",\"role\":\"" + role + "\",\"project\":";
  append_json_string(body, call->identity.project);
  answer_json(*call, 200, body + ",\"token\":\"" + to_text(call->identity.token) + "\"}");
}

namespace {

void answer_new_token(CallPtr call, Token token, std::function<void()> then) {
  const std::string secret = secure_random_hex(32);
  token.secret_hash = net::sha256_hex(secret);
  call->services.submit(
      state::CreateToken{std::move(token)}, meta_of(*call), [call, secret, then](Result<state::Outcome> outcome) {
        if (!outcome) return answer_error(*call, outcome.error());
        if (then) then();
        const std::string id = id_text(outcome->id);
        const std::string text = outcome->replayed ? "" : "tutti_" + id + "_" + secret;  // a secret is shown once
        answer_json(*call, 201, "{\"id\":\"" + id + "\",\"token\":\"" + text + "\"}");
      });
}

}  // namespace

// The first login replaces the bootstrap credential; later ones make further tokens of the same right.
void create_session(CallPtr call) {
  auto body = body_of<SessionRequest>(*call);
  if (!body) return;
  const Token* used = call->state->tokens.find(call->identity.token.value);
  const bool bootstrap = used != nullptr && used->kind == TokenKind::bootstrap;
  Token token;
  token.name = !body->name.empty()                                    ? body->name
               : bootstrap || used == nullptr || !is_name(used->name) ? "admin"
                                                                      : used->name;
  token.role = call->identity.role;
  token.project = call->identity.project;
  const TokenId id = call->identity.token;
  // The bootstrap credential ends with this; of any other token the session is a part.
  if (!bootstrap && used != nullptr) {
    token.parent = id;
    token.expires = used->expires;
  }
  answer_new_token(call, std::move(token), [call, bootstrap, id] {
    if (!bootstrap) return;
    call->services.submit(state::RevokeToken{id}, {}, [call](Result<state::Outcome> revoked) {
      if (revoked) call->services.bootstrap_used();
    });
  });
}

void list_tokens(CallPtr call) {
  answer_list(
      call, call->state->tokens, [](const Token& t) { return !t.revoked; },
      [call](const Token& t) { return render(*call->state, t); });
}

void create_token(CallPtr call) {
  auto body = body_of<TokenRequest>(*call);
  if (!body) return;
  if (!body->project.empty() && call->state->project_by_name(body->project) == nullptr) {
    return answer_error(*call, Error{ErrorCode::not_found, "no project '" + body->project + "'", {}, 0});
  }
  Token token;
  token.name = body->name;
  token.role = body->role;
  token.project = body->project;
  if (body->ttl.ns > 0) token.expires = call->services.clock().now() + body->ttl;
  answer_new_token(call, std::move(token), {});
}

void revoke_token(CallPtr call) {
  Result<uint64_t> id = parse_id_text(call->param("token"));
  if (!id) return answer_error(*call, id.error());
  commit_object(call, state::RevokeToken{TokenId{*id}}, 200);
}

void list_events(CallPtr call) {
  if (call->flag("watch")) return watch_table(call, TableId::event);
  const Snapshot& s = *call->state;
  const std::string object = call->query("object");
  const auto keep = [call, object](const Event& event) {
    return sees(call->identity, event.project, *call->state) &&
           (object.empty() || event.object_name == object || id_text(event.object) == object);
  };
  // Without a cursor: the newest ones, oldest of them first.
  if (call->query("cursor").empty()) {
    size_t limit = 200;
    if (const std::string text = call->query("limit"); !text.empty()) {
      const long wanted = std::atol(text.c_str());
      if (wanted < 1 || wanted > static_cast<long>(limits::kListRowsMax))
        return answer_error(*call, Error{ErrorCode::invalid,
                                         "limit is a number from 1 to " + std::to_string(limits::kListRowsMax) +
                                             " where there is no cursor",
                                         {{"limit", "'" + text + "' is not one", "limit=100"}},
                                         0});
      limit = static_cast<size_t>(wanted);
    }
    std::vector<const Event*> rows;
    s.events.for_each([&](uint64_t, const Event& event) {
      if (keep(event)) rows.push_back(&event);
    });
    std::string body = "{\"items\":[";
    for (size_t i = rows.size() > limit ? rows.size() - limit : 0, first = i; i < rows.size(); ++i)
      body += (i == first ? "" : ",") + render(s, *rows[i]);
    return answer_json(*call, 200, body + "],\"revision\":\"" + to_text(Cursor{s.epoch, s.revision}) + "\"}");
  }
  answer_list(call, s.events, keep, [call](const Event& event) { return render(*call->state, event); });
}

namespace {

bool about_nodes(const Operation& operation) {
  return operation.kind.starts_with("node.") || operation.kind == kRebalanceKind;
}

// Those of one project see that it goes on; what is moved by it, and from where, is not theirs to read.
std::string render_for(const Call& call, const Snapshot& s, const Operation& operation) {
  return render(s, operation, call.services.clock().now(), call.identity.project.empty() || !about_nodes(operation));
}

}  // namespace

void list_operations(CallPtr call) {
  if (call->flag("watch")) return watch_table(call, TableId::operation);
  answer_list(
      call, call->state->operations,
      [call](const Operation& o) { return sees(call->identity, o.project, *call->state); },
      [call](const Operation& o) { return render_for(*call, *call->state, o); });
}

void get_operation(CallPtr call) {
  const Operation* operation = find_operation(*call, call->param("operation"));
  if (operation == nullptr) return;
  auto answer = [call, id = operation->id] {
    const auto s = call->services.snapshot();
    const Operation* row = s->operations.find(id.value);
    if (row == nullptr)
      return answer_error(*call, Error{ErrorCode::not_found, "the operation is no longer kept", {}, 0});
    answer_json(*call, 200, render_for(*call, *s, *row));
  };
  const std::string text = call->query("wait");
  if (text.empty()) return answer();
  Result<Duration> wait = parse_duration(text);
  if (!wait) return answer_error(*call, wait.error());
  if (operation->state != OperationState::running) return answer();
  const BootTime until = call->services.clock().boot_now() + std::min(*wait, seconds(600));
  Status added = call->hub.add(call->identity, CommitHub::For::answer, [call, answer, until, id = operation->id] {
    const Operation* now = call->services.snapshot()->operations.find(id.value);
    const bool over =
        now == nullptr || now->state != OperationState::running || call->services.clock().boot_now() > until;
    if (over) answer();
    return over;
  });
  if (!added) answer_error(*call, added.error());
}

namespace {

// Who may not ask for something may not ask for it again either, nor take it back.
bool may_ask(const Call& call, const Operation& operation) {
  if (!about_nodes(operation) || pool_admin(call.identity)) return true;
  answer_error(call, Error{ErrorCode::forbidden,
                           "this operation is about nodes: that needs the role admin of the whole pool; " +
                               call.identity.text + " does not have it",
                           {},
                           0});
  return false;
}

}  // namespace

void cancel_operation(CallPtr call) {
  const Operation* operation = find_operation(*call, call->param("operation"));
  if (operation != nullptr && may_ask(*call, *operation))
    commit_object(call, state::CancelOperation{operation->id}, 200);
}

// Asks again for what the operation was about.
void retry_operation(CallPtr call) {
  const Operation* found = find_operation(*call, call->param("operation"));
  if (found == nullptr || !may_ask(*call, *found)) return;
  const Operation& o = *found;
  if (o.state == OperationState::running)
    return answer_error(*call, Error{ErrorCode::conflict, "the operation is still running: cancel it first", {}, 0});
  const Snapshot& s = *call->state;
  if (o.kind == "job.submit") {
    const JobVersion* version = s.version_of(JobId{o.target}, o.target_version);
    const Job* job = s.jobs.find(o.target);
    if (version == nullptr || job == nullptr)
      return answer_error(*call, Error{ErrorCode::conflict, "that version is no longer there", {}, 0});
    if (!still_allowed(*call, *job, *version)) return;
    return commit_operation(call, state::SubmitJob{*version->spec, job->project, version->images, {}});
  }
  if (o.kind == "job.stop" || o.kind == "job.start")
    return commit_operation(call, state::SetJobStopped{JobId{o.target}, o.kind == "job.stop"});
  if (o.kind == "job.promote") return commit_operation(call, state::PromoteJob{JobId{o.target}});
  if (o.kind == "job.abort") return commit_operation(call, state::AbortJob{JobId{o.target}});
  if (o.kind == "job.delete") return commit_operation(call, state::DeleteJob{JobId{o.target}});
  if (o.kind == "job.scale") {
    const size_t at = o.argument.find('=');
    return commit_operation(
        call, state::ScaleJob{JobId{o.target}, o.argument.substr(0, at), std::atoll(o.argument.c_str() + at + 1)});
  }
  if (o.kind == "node.drain") {
    const Node* node = s.nodes.find(o.target);
    if (node == nullptr) return answer_error(*call, Error{ErrorCode::not_found, "the node was removed", {}, 0});
    NodeSpec spec = node->spec;
    spec.eligibility = Eligibility::draining;
    return commit_operation(call, state::UpdateNode{node->id, std::move(spec), node->version});
  }
  if (o.kind == "image.fetch") return start_pull(call, o.argument);
  if (o.kind == "image.push") {
    const size_t at = o.argument.find(' ');
    return start_push(call, {o.argument.substr(0, at), o.argument.substr(at + 1), {}, {}});
  }
  if (o.kind == "image.prune") {
    Result<Duration> grace = parse_duration(o.argument);
    return start_prune(call, grace ? *grace : seconds(limits::kPruneGraceSeconds));
  }
  answer_error(
      *call,
      Error{
          ErrorCode::unprocessable, "an operation of kind " + o.kind + " cannot be retried: ask for it again", {}, 0});
}

}  // namespace tutti::manager
