#pragma once
// What a token is worth. A session is a token with a parent: the token it was made with; it works for as long as that
// one does, and so on up to the root. Pure: a few look-ups in a snapshot (at most limits::kSessionsMax generations).

#include "model/snapshot.h"

namespace tutti {

// It and all that it was made with are there, neither revoked nor expired.
bool still_works(const Snapshot& state, const Token& token, Time now);
bool still_works(const Snapshot& state, TokenId token, Time now);
// Where its line begins: itself, unless it is a session. Whose token it is, for whatever is counted per identity.
TokenId root_of(const Snapshot& state, TokenId token);

// "token:ci#0v3kq…": the name is for people and may be another's too, the id is nobody else's. A name from before names
// were checked is left out.
std::string identity_text(const Token& token);

}  // namespace tutti
