#include "manager/api/auth.h"

#include "model/token.h"
#include "net/authority.h"

namespace tutti::manager {
namespace {

Error refused(std::string why) {
  return {ErrorCode::unauthenticated, std::move(why), {}, 0};
}

std::string credential_of(const net::Request& request) {
  const std::string header = request.header("authorization");
  if (header.starts_with("Bearer ")) return header.substr(7);
  if (!header.starts_with("Basic ")) return {};
  const std::string pair = net::base64_decode(header.substr(6));
  const size_t colon = pair.find(':');
  return colon == std::string::npos ? std::string() : pair.substr(colon + 1);
}

}  // namespace

Result<Identity> identify(const Snapshot& state, const net::Request& request, Time now, bool bootstrap_allowed) {
  const std::string credential = credential_of(request);
  if (credential.empty())
    return tl::make_unexpected(
        refused("who are you? Send a token: 'Authorization: Bearer tutti_…' ('tutti login' makes one)"));
  constexpr std::string_view kPrefix = "tutti_";
  const Error unknown = refused("this token is unknown, expired or revoked: 'tutti login' again");
  if (!credential.starts_with(kPrefix) || credential.size() > 200 || credential.size() < kPrefix.size() + 13)
    return tl::make_unexpected(unknown);
  Result<uint64_t> id = parse_id_text(std::string_view(credential).substr(kPrefix.size(), 12));
  if (!id) return tl::make_unexpected(unknown);
  const Token* token = state.tokens.find(*id);
  const std::string hash = net::sha256_hex(std::string_view(credential).substr(kPrefix.size() + 13));
  if (token == nullptr || !net::secrets_equal(token->secret_hash, hash)) return tl::make_unexpected(unknown);
  if (token->kind == TokenKind::join || !still_works(state, *token, now)) return tl::make_unexpected(unknown);
  if (token->kind == TokenKind::bootstrap && !bootstrap_allowed) {
    return tl::make_unexpected(
        refused("the bootstrap credential is only for the first login: 'tutti login' makes a token of it"));
  }
  Identity identity;
  identity.text = identity_text(*token);
  identity.role = token->role;
  identity.project = token->project;
  identity.token = token->id;
  return identity;
}

Result<Identity> identify_worker(const Snapshot& state, const net::Request& request) {
  Result<uint64_t> id = parse_id_text(request.peer_common_name);
  const Node* node = id ? state.nodes.find(*id) : nullptr;
  if (node == nullptr)
    return fail(ErrorCode::forbidden, "this node was removed from the pool: join again with a new token");
  if (!net::secrets_equal(node->key_fingerprint, request.peer_fingerprint)) {
    return fail(ErrorCode::forbidden, "this certificate does not belong to node " + node->name);
  }
  if (request.peer_expired && request.path != kRenewPath) {
    return fail(ErrorCode::unauthenticated, "the certificate of node " + node->name +
                                                " has expired: all that it is good for is POST " +
                                                std::string(kRenewPath));
  }
  Identity identity;
  identity.text = "node:" + node->name;
  identity.role = Role::viewer;
  identity.node = node->id;
  return identity;
}

}  // namespace tutti::manager
