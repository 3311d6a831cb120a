#include "model/token.h"

#include "base/text.h"

namespace tutti {

bool still_works(const Snapshot& state, const Token& token, Time now) {
  for (const Token* at = &token; at != nullptr; at = state.tokens.find(at->parent.value)) {
    if (at->revoked || (at->expires && at->expires <= now)) return false;
    if (!at->parent) return true;
  }
  return false;  // a parent has gone
}

bool still_works(const Snapshot& state, TokenId token, Time now) {
  const Token* row = state.tokens.find(token.value);
  return row != nullptr && still_works(state, *row, now);
}

TokenId root_of(const Snapshot& state, TokenId token) {
  const Token* at = state.tokens.find(token.value);
  while (at != nullptr && at->parent) token = at->parent, at = state.tokens.find(token.value);
  return token;
}

std::string identity_text(const Token& token) {
  return "token:" + (is_name(token.name) ? token.name : std::string()) + "#" + to_text(token.id);
}

}  // namespace tutti
