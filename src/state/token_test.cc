// Tokens and sessions: what one token's owner can cost the pool, and what ends with what.
#include "model/token.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "state/test_draft_pool.h"

namespace tutti::state {
namespace {

struct Bare : DraftPool {
  Bare() : DraftPool(Duration{}) {}
  Result<Outcome> make(TokenId parent = {}, const std::string& name = "ci", Duration ttl = {}) {
    Token token;
    token.name = name;
    token.parent = parent;
    if (ttl.ns > 0) token.expires = now + ttl;
    return run(CreateToken{token});
  }
  TokenId made(TokenId parent = {}) {
    now = now + seconds(1);
    const auto out = make(parent);
    EXPECT_TRUE(out) << out.error().to_string();
    return out ? TokenId{out->id} : TokenId{};
  }
  bool works(TokenId token) const { return still_works(*at, token, now); }
};

TEST(Tokens, OneTokenHasSoManySessionsAndTheOldestEnds) {
  Bare pool;
  const TokenId root = pool.made();
  const TokenId other = pool.made();
  const TokenId others = pool.made(other);
  std::vector<TokenId> sessions;
  for (size_t i = 0; i < limits::kSessionsMax; ++i) sessions.push_back(pool.made(i % 2 == 0 ? root : sessions[i - 1]));
  pool.now = pool.now + seconds(limits::kSessionSecondsMin);
  const TokenId one_more = pool.made(root);
  EXPECT_FALSE(pool.works(sessions[0]));
  EXPECT_FALSE(pool.works(sessions[1])) << "it was made with the one that ended";
  EXPECT_TRUE(pool.works(sessions[2]) && pool.works(one_more) && pool.works(root) && pool.works(others));
  EXPECT_FALSE(pool.at->tokens.contains(sessions[0].value) || pool.at->tokens.contains(sessions[1].value))
      << "no row is left";
  EXPECT_EQ(pool.at->tokens.size(), 3 + limits::kSessionsMax - 1);
}

TEST(Tokens, SessionsInALoopAreRefusedAndFillNothing) {
  Bare pool;
  const TokenId root = pool.made();
  size_t made = 0;
  Error last;
  for (size_t i = 0; i < 500; ++i) {
    pool.now = pool.now + milliseconds(10);
    const auto out = pool.make(root);
    made += out ? 1 : 0;
    if (!out) last = out.error();
  }
  EXPECT_EQ(made, limits::kSessionsMax);
  EXPECT_EQ(last.code, ErrorCode::too_many);
  EXPECT_NE(last.message.find("kSessionsMax"), std::string::npos);
  EXPECT_GT(last.retry_after_ms, 0);
}

TEST(Tokens, ASessionDoesNotEndItself) {
  Bare pool;
  TokenId at = pool.made();
  for (size_t i = 0; i < limits::kSessionsMax; ++i) at = pool.made(at);
  pool.now = pool.now + seconds(3600);
  EXPECT_EQ(pool.make(at).error().code, ErrorCode::conflict);
  EXPECT_TRUE(pool.works(at));
}

TEST(Tokens, WhatNoLongerWorksCountsForNothing) {
  Bare pool;
  std::vector<TokenId> all;
  while (pool.at->tokens.size() < limits::kTokensMax) all.push_back(TokenId{pool.make()->id});
  EXPECT_EQ(pool.make().error().code, ErrorCode::unprocessable);
  ASSERT_TRUE(pool.run(RevokeToken{all[7]}));
  EXPECT_TRUE(pool.make());
  EXPECT_EQ(pool.at->tokens.size(), limits::kTokensMax);
  EXPECT_EQ(pool.make().error().code, ErrorCode::unprocessable);
}

TEST(Tokens, SessionsGoWithTheirToken) {
  Bare pool;
  const TokenId root = pool.made();
  const TokenId session = pool.made(root);
  const TokenId second = pool.made(session);
  const TokenId beside = pool.made(root);
  ASSERT_TRUE(pool.run(RevokeToken{session}));
  EXPECT_FALSE(pool.at->tokens.contains(session.value) || pool.at->tokens.contains(second.value));
  EXPECT_TRUE(pool.works(beside));
  ASSERT_TRUE(pool.run(RevokeToken{root}));
  EXPECT_FALSE(pool.works(beside) || pool.works(root));
  EXPECT_TRUE(pool.at->tokens.contains(root.value)) << "history";
  EXPECT_EQ(pool.at->tokens.size(), 1u);
  EXPECT_EQ(pool.make(root).error().code, ErrorCode::unauthenticated);
}

TEST(Tokens, ExpiredSessionsAreTrimmedAtOnce) {
  Bare pool;
  const TokenId root{pool.make({}, "ci", seconds(10))->id};
  const TokenId session{pool.make(root, "s", seconds(10))->id};
  EXPECT_TRUE(pool.run(TrimHistory{})->unchanged);
  pool.now = pool.now + seconds(11);
  EXPECT_FALSE(pool.works(session));
  EXPECT_EQ(pool.run(TrimHistory{})->number, 1u);
  EXPECT_FALSE(pool.at->tokens.contains(session.value));
}

TEST(Tokens, NamesAreNames) {
  Bare pool;
  for (const std::string& name : {std::string(64, 'a'), std::string(3u << 20, 'a'), std::string("a\nb"),
                                  std::string("Admin"), std::string("token:admin")}) {
    EXPECT_EQ(pool.make({}, name).error().code, ErrorCode::invalid) << name.substr(0, 70);
  }
  EXPECT_TRUE(pool.make({}, ""));
}

TEST(Tokens, NobodyIsTakenForAnother) {
  Bare pool;
  const TokenId one = pool.made();
  const TokenId other = pool.made();
  const std::string first = identity_text(*pool.at->tokens.find(one.value));
  const std::string second = identity_text(*pool.at->tokens.find(other.value));
  EXPECT_NE(first, second);
  EXPECT_TRUE(first.starts_with("token:ci#"));
  Token old;
  old.id = TokenId{7};
  old.name = "admin#" + std::string(1000, 'x');  // from before names were checked
  EXPECT_EQ(identity_text(old), "token:#" + to_text(old.id));
}

}  // namespace
}  // namespace tutti::state
