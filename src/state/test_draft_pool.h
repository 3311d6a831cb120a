#pragma once
// DraftPool: a state and what apply makes of commands, without an engine, for tests. One thread.

#include <gtest/gtest.h>

#include <memory>

#include "state/apply.h"
#include "state/draft.h"

namespace tutti::state {

struct DraftPool {
  std::shared_ptr<const Snapshot> at = std::make_shared<const Snapshot>();
  Time now{1'800'000'000'000'000'000};
  Duration step;         // of the clock, before each command
  bool changed = false;  // by the last command
  ProjectId project;     // default

  explicit DraftPool(Duration clock_step) : step(clock_step) {
    Pool pool;
    pool.pool_id = "abcdef";
    pool.network = "10.86.0.0/16";
    EXPECT_TRUE(run(InitializePool{pool}));
    project = at->project_by_name("default")->id;
  }
  // Every state that a command leaves is what its tables say.
  Result<Outcome> run(const Command& command, const CommandMeta& meta = {}) {
    now = now + step;
    Draft draft(*at, now);
    Result<Outcome> out = apply(draft, command, meta, now);
    conclude(draft);
    changed = draft.changed();
    if (out) at = std::make_shared<const Snapshot>(draft.take());
    const Status audited = audit(*at);
    EXPECT_TRUE(audited) << audited.error().to_string();
    return out;
  }
  NodeId join(const Inventory& inventory) {
    Token token;
    token.kind = TokenKind::join;
    const TokenId id{run(CreateToken{token})->id};
    const std::string key = "key" + std::to_string(at->next_id);
    const NodeId joined{run(JoinNode{id, "", key})->id};
    EXPECT_TRUE(run(BeginSession{joined, key, inventory, {}}));
    return joined;
  }
};

}  // namespace tutti::state
