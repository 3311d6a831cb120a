// Tokens: how many there may be, and how they end (model/token.h).
//
// Who has a token may make sessions, so what they cost is bounded by what their token's owner may cost: at most
// kSessionsMax of one token, the oldest goes. A session that has ended leaves no row; another token's row stays for a
// while, as history.
#include <vector>

#include "base/limits.h"
#include "base/text.h"
#include "model/token.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

// Whether `token` is, or was made with, the other one, at whatever distance.
bool comes_from(const Snapshot& state, const Token& token, TokenId other) {
  for (const Token* at = &token; at != nullptr; at = state.tokens.find(at->parent.value)) {
    if (at->id == other) return true;
    if (!at->parent) return false;
  }
  return false;
}

// The sessions made with it, and with those. An older version may have left very many: the rest is trimmed later.
void forget_sessions_of(ApplyContext& c, TokenId token) {
  std::vector<uint64_t> gone;
  c.state().tokens.for_each([&](uint64_t id, const Token& each) {
    if (each.id != token && comes_from(c.state(), each, token)) gone.push_back(id);
    return gone.size() < limits::kTrimRowsMax;
  });
  for (const uint64_t id : gone) c.draft.erase(TableId::token, id);
}

// A session's row goes with it.
void end_token(ApplyContext& c, const Token& present, const std::string& why) {
  Token token = present;
  forget_sessions_of(c, token.id);
  emit(c, "token.revoked", "info", TableId::token, token.id.value, token.name, {}, why);
  if (token.parent) return c.draft.erase(TableId::token, token.id.value);
  token.revoked = true;
  c.draft.put(std::move(token));
}

// One more session of the same token: the oldest makes room, unless they are all just made, or it would end itself.
Status room_for_session(ApplyContext& c, const Token& wanted) {
  if (!still_works(c.state(), wanted.parent, c.now))
    return fail(ErrorCode::unauthenticated,
                "the token that this session was to be made with has ended: 'tutti login' again");
  const TokenId root = root_of(c.state(), wanted.parent);
  size_t sessions = 0;
  const Token* oldest = nullptr;
  c.state().tokens.for_each([&](uint64_t, const Token& each) {
    if (!each.parent || root_of(c.state(), each.id) != root || !still_works(c.state(), each, c.now)) return;
    ++sessions;
    if (oldest == nullptr && !comes_from(c.state(), *c.state().tokens.find(wanted.parent.value), each.id))
      oldest = &each;
  });
  if (sessions < limits::kSessionsMax) return {};
  if (oldest == nullptr) {
    return fail(ErrorCode::conflict, fmt::format("this session was made with a session, and that with another, {} "
                                                 "times (limit kSessionsMax): log in with the token itself",
                                                 sessions));
  }
  if (c.now - oldest->created < seconds(limits::kSessionSecondsMin)) {
    return tl::make_unexpected(Error{ErrorCode::too_many,
                                     fmt::format("{} sessions were made with this token within {} s (limits "
                                                 "kSessionsMax, kSessionSecondsMin): use one of them, or wait",
                                                 sessions, limits::kSessionSecondsMin),
                                     {},
                                     (seconds(limits::kSessionSecondsMin) - (c.now - oldest->created)).ms() + 1'000});
  }
  end_token(c, *oldest, fmt::format("the oldest of {} sessions of one token (limit kSessionsMax)", sessions));
  return {};
}

// Only those that work count; of the others the oldest gives its row.
Status room_for_token(ApplyContext& c) {
  if (c.state().tokens.size() < limits::kTokensMax) return {};
  uint64_t over = 0;
  c.state().tokens.for_each([&](uint64_t id, const Token& each) {
    if (!still_works(c.state(), each, c.now)) over = id;
    return over == 0;
  });
  if (over == 0)
    return fail(ErrorCode::unprocessable,
                fmt::format("the pool holds {} tokens that work (limit kTokensMax): revoke some", limits::kTokensMax));
  c.draft.erase(TableId::token, over);
  return {};
}

}  // namespace

Result<Outcome> apply_one(ApplyContext& c, const CreateToken& command) {
  const Token& wanted = command.token;
  if (!wanted.name.empty() && !is_name(wanted.name)) {
    return fail(
        ErrorCode::invalid,
        fmt::format("a token's name is a-z, 0-9 and '-', at most {} (limit kNameLengthMax)", limits::kNameLengthMax),
        {{"name", "not a name", "ci-runner"}});
  }
  if (wanted.uses_left > limits::kTokenUsesMax) {
    return fail(ErrorCode::invalid,
                fmt::format("a join token is for at most {} nodes (limit kTokenUsesMax), or -1: without limit",
                            limits::kTokenUsesMax));
  }
  if (wanted.parent) TUTTI_CHECK(room_for_session(c, wanted));
  TUTTI_CHECK(room_for_token(c));
  Token token = wanted;
  token.id = TokenId{c.draft.new_id()};
  token.created = c.now;
  Outcome outcome{.table = TableId::token, .id = token.id.value};
  emit(c, "token.created", "info", TableId::token, token.id.value, token.name, {}, "by " + c.meta.identity);
  c.draft.put(std::move(token));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const RevokeToken& command) {
  const Token* present = c.state().tokens.find(command.token.value);
  if (present == nullptr) return fail(ErrorCode::not_found, "no token " + to_text(command.token));
  Outcome outcome{.table = TableId::token, .id = command.token.value, .unchanged = present->revoked};
  if (!outcome.unchanged) end_token(c, *present, "by " + c.meta.identity);
  return outcome;
}

}  // namespace tutti::state
