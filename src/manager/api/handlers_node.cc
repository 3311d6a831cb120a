// Nodes: wishes, join tokens, and the join itself.
#include "base/limits.h"
#include "base/random.h"
#include "manager/api/list.h"
#include "manager/api/requests.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"

namespace tutti::manager {

void list_nodes(CallPtr call) {
  if (call->flag("watch")) return watch_table(call, TableId::node);
  const bool summary = call->query("fields") != "*";
  answer_list(
      call, call->state->nodes, [](const Node&) { return true; },
      [call, summary](const Node& node) { return render(*call->state, node, summary); });
}

void get_node(CallPtr call) {
  const Node* node = find_node(*call, call->param("node"));
  if (node != nullptr)
    answer_json(*call, 200, render(*call->state, *node), {{"ETag", "\"" + std::to_string(node->version) + "\""}});
}

// The whole spec, as GET shows it, with changes; eligibility has its verbs but may come along.
void patch_node(CallPtr call) {
  const Node* node = find_node(*call, call->param("node"));
  if (node == nullptr) return;
  Result<NodeSpec> spec = from_json<NodeSpec>(call->request->body, {.what = "node spec"});
  if (!spec) return answer_error(*call, spec.error());
  bool bad = false;
  auto version = if_match(*call, bad);
  if (!bad) commit_object(call, state::UpdateNode{node->id, std::move(*spec), version}, 200);
}

void operate_node(CallPtr call) {
  const Node* node = find_node(*call, call->param("node"));
  if (node == nullptr) return;
  NodeSpec spec = node->spec;
  const std::string& verb = call->param("verb");
  if (verb == "cordon")
    spec.eligibility = Eligibility::cordoned;
  else if (verb == "uncordon" || verb == "enable")
    spec.eligibility = Eligibility::eligible, spec.drain_deadline = {};
  else if (verb == "disable")
    spec.eligibility = Eligibility::disabled;
  else if (verb == "drain") {
    auto body = body_of<DrainRequest>(*call);
    if (!body) return;
    spec.eligibility = Eligibility::draining;
    spec.drain_deadline = body->deadline.ns > 0 ? call->services.clock().now() + body->deadline : Time{};
  } else {
    return answer_error(*call, Error{ErrorCode::not_found,
                                     "a node has no verb '" + verb + "'",
                                     {{"verb", "unknown", "cordon, uncordon, drain, disable, enable"}},
                                     0});
  }
  commit_operation(call, state::UpdateNode{node->id, std::move(spec), node->version});
}

void remove_node(CallPtr call) {
  const Node* node = find_node(*call, call->param("node"));
  if (node != nullptr) commit_operation(call, state::RemoveNode{node->id, call->flag("fenced")});
}

void node_resources(CallPtr call) {
  answer_rows(*call, resource_rows(*call->state));
}

void list_schedulers(CallPtr call) {
  answer_rows(*call, call->services.schedulers());
}

void scheduler_session(CallPtr call) {
  call->services.accept_scheduler(call->identity, call->responder);
}

void create_join_token(CallPtr call) {
  auto body = body_of<JoinTokenRequest>(*call);
  if (!body) return;
  if (body->uses == 0 || body->uses < -1)
    return answer_error(
        *call,
        Error{ErrorCode::invalid, "uses is a number above 0, or -1 for no limit", {{"uses", "out of range", "1"}}, 0});
  const std::string secret = secure_random_hex(24);
  const bool scheduler = body->role == JoinRole::scheduler;
  Token token;
  token.kind = scheduler ? TokenKind::api : TokenKind::join;
  token.name = !body->name.empty() ? body->name : scheduler ? "scheduler" : "join";
  token.secret_hash = net::sha256_hex(secret);
  if (scheduler)
    token.role = Role::scheduler;
  else
    token.uses_left = body->uses;
  token.node_name = body->node_name;
  const Duration ttl = body->ttl.value_or(scheduler ? Duration{} : seconds(3600));
  if (ttl.ns > 0) token.expires = call->services.clock().now() + ttl;
  call->services.submit(
      state::CreateToken{std::move(token)}, meta_of(*call), [call, secret, scheduler](Result<state::Outcome> outcome) {
        if (!outcome) return answer_error(*call, outcome.error());
        auto pin = net::certificate_sha256(call->services.server_authority());
        if (!pin) return answer_error(*call, pin.error());
        const std::string id = id_text(outcome->id);
        const std::string first = scheduler ? "tutti_" + id + "_" : id + ".";
        answer_json(*call, 201,
                    "{\"id\":\"" + id + "\",\"token\":\"" + first + (outcome->replayed ? "shown-once" : secret) + "." +
                        *pin + "\",\"address\":\"" + call->services.public_address() + "\"}");
      });
}

// Open to all: the token in the body is the right.
void join(CallPtr call) {
  Result<JoinRequest> body = from_json<JoinRequest>(call->request->body, {.what = "join request"});
  if (!body) return answer_error(*call, body.error());
  const Error refused{ErrorCode::unauthenticated,
                      "this join token is unknown, expired or used: make one with 'tutti node token'",
                      {},
                      0};
  const size_t dot = body->token.find('.');
  Result<uint64_t> id = parse_id_text(std::string_view(body->token).substr(0, dot));
  if (dot == std::string::npos || !id) return answer_error(*call, refused);
  const Token* token = call->state->tokens.find(*id);
  if (token == nullptr || token->kind != TokenKind::join ||
      !net::secrets_equal(token->secret_hash, net::sha256_hex(body->token.substr(dot + 1)))) {
    return answer_error(*call, refused);
  }
  Result<std::string> fingerprint = net::key_fingerprint_of_request(body->request);
  if (!fingerprint)
    return answer_error(
        *call, Error{ErrorCode::invalid, "request is not a signing request: " + fingerprint.error().message, {}, 0});
  state::CommandMeta meta;
  meta.identity = "join:" + to_text(token->id);
  call->services.submit(
      state::JoinNode{token->id, body->name, *fingerprint}, meta,
      [call, request = body->request](Result<state::Outcome> outcome) {
        if (!outcome) return answer_error(*call, outcome.error());
        const auto s = call->services.snapshot();
        const Node* node = s->nodes.find(outcome->id);
        if (node == nullptr)
          return answer_error(*call, Error{ErrorCode::conflict, "the node was removed meanwhile", {}, 0});
        auto certificate = net::sign_client(call->services.authority(), request, to_text(node->id),
                                            call->services.clock().now(), seconds(limits::kCertificateSeconds));
        if (!certificate) return answer_error(*call, certificate.error());
        JoinAnswer answer{to_text(node->id), node->name, *certificate, call->services.server_authority(),
                          call->services.worker_address()};
        answer_json(*call, 201, to_json(answer));
      });
}

}  // namespace tutti::manager
