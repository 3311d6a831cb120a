// What is written and what is not, what is trimmed, and that a reload gives back exactly what was there.
#include <gtest/gtest.h>

#include <random>

#include "base/limits.h"
#include "state/apply.h"
#include "state/engine.h"
#include "state/row_codec.h"
#include "store/memory/memory_store.h"

namespace tutti::state {
namespace {

struct World {
  std::shared_ptr<store::MemoryDisk> disk = std::make_shared<store::MemoryDisk>();
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Engine> engine;
  Time now{1'800'000'000'123'456'789};

  World() {
    reopen();
    Pool pool;
    pool.pool_id = "abcdef";
    EXPECT_TRUE(run(InitializePool{pool}));
  }
  void reopen() {
    engine.reset();
    store = store::make_memory_store(disk);
    engine = make_engine(*store);
    ASSERT_TRUE(engine->open(now));
  }
  Result<Outcome> run(Command command) {
    Result<Outcome> out = fail(ErrorCode::internal, "no answer");
    engine->submit(std::move(command), {}, [&](Result<Outcome> o) { out = std::move(o); });
    now = now + Duration{7'654'321};
    (void)engine->step(now);
    return out;
  }
  const Snapshot& state() {
    held = engine->snapshot();
    return *held;
  }
  std::shared_ptr<const Snapshot> held;

  JobId job(int64_t count) {
    JobSpec spec;
    spec.job = "shop";
    TaskSpec task;
    task.name = task.group = "web";
    task.driver = "fake";
    task.count = count;
    spec.tasks.push_back(task);
    auto out = run(SubmitJob{spec, state().project_by_name("default")->id, {}, {}});
    EXPECT_TRUE(out) << out.error().to_string();
    last = *out;
    return JobId{out->id};
  }
  Outcome last;

  NodeId join(TokenId token, const std::string& key, int64_t cores = 4'000) {
    auto joined = run(JoinNode{token, "", key});
    EXPECT_TRUE(joined) << joined.error().to_string();
    Inventory inventory;
    inventory.arch = "x86_64";
    inventory.capacity = {{std::min<int64_t>(cores * 1'000, 1'000'000)}, {8LL << 40}, {100LL << 40}};
    EXPECT_TRUE(run(BeginSession{NodeId{joined->id}, key, inventory, {}}));
    return NodeId{joined->id};
  }
  TokenId token(int32_t uses) {
    Token token;
    token.kind = TokenKind::join;
    token.uses_left = uses;
    token.expires = Time{now.ns + 3'600'000'000'001};  // says more than milliseconds
    return TokenId{run(CreateToken{token})->id};
  }
  // `count` placed instances of one job on the node.
  void fill(NodeId node, JobId id, uint32_t count) {
    for (uint32_t from = 0; from < count; from += 500) {
      Actions actions;
      for (uint32_t i = from; i < std::min(count, from + 500); ++i)
        actions.create.push_back({id, 1, 0, i, {}, {}, 0, {}});
      ASSERT_TRUE(run(ApplyActions{actions}));
    }
    std::vector<Placement> all;
    state().pending.for_each([&](uint64_t i, const Unit&) {
      all.push_back({InstanceId{i}, held->instances.find(i)->generation, node, {}});
    });
    for (size_t from = 0; from < all.size(); from += 500) {
      Plan plan;
      plan.placements.assign(all.begin() + static_cast<ptrdiff_t>(from),
                             all.begin() + static_cast<ptrdiff_t>(std::min(all.size(), from + 500)));
      ASSERT_TRUE(run(ApplyPlan{plan}));
    }
  }
};

// Every time the state holds, in nanoseconds.
std::vector<int64_t> times_of(const Snapshot& s) {
  std::vector<int64_t> out{s.now.ns, s.pool.created.ns, static_cast<int64_t>(s.next_id),
                           static_cast<int64_t>(s.revision.value)};
  s.events.for_each([&](uint64_t, const Event& e) { out.push_back(e.time.ns); });
  s.operations.for_each([&](uint64_t, const Operation& o) { out.insert(out.end(), {o.created.ns, o.finished.ns}); });
  s.tokens.for_each([&](uint64_t, const Token& t) { out.insert(out.end(), {t.created.ns, t.expires.ns}); });
  s.jobs.for_each([&](uint64_t, const Job& j) { out.insert(out.end(), {j.created.ns, j.updated.ns}); });
  s.nodes.for_each([&](uint64_t, const Node& n) {
    out.insert(out.end(), {n.created.ns, n.updated.ns, n.health_since.ns, n.spec.drain_deadline.ns});
  });
  s.instances.for_each(
      [&](uint64_t, const Instance& i) { out.insert(out.end(), {i.created.ns, i.pending_since.ns, i.not_before.ns}); });
  return out;
}

TEST(StateHistory, AReloadGivesBackEveryTimeToTheBit) {
  World world;
  const NodeId node = world.join(world.token(1), "key");
  world.fill(node, world.job(3), 3);
  NodeSpec drain = world.state().nodes.find(node.value)->spec;
  drain.eligibility = Eligibility::draining;
  drain.drain_deadline = Time{world.now.ns + 123'456'789};
  ASSERT_TRUE(world.run(UpdateNode{node, drain, {}}));
  const auto before = times_of(world.state());
  EXPECT_EQ(world.held->now.ns % 1'000'000, 0);
  world.reopen();
  EXPECT_EQ(times_of(world.state()), before) << "from the log";
  ASSERT_TRUE(world.engine->checkpoint(world.now));
  world.reopen();
  EXPECT_EQ(times_of(world.state()), before) << "from a checkpoint alone";
}

TEST(StateHistory, AskingAgainForWhatIsSoWritesNothing) {
  World world;
  const NodeId node = world.join(world.token(1), "key");
  const JobId job = world.job(2);
  const OperationId submitted = world.last.operation;
  world.fill(node, job, 2);
  InstanceId instance;
  world.state().instances.for_each([&](uint64_t id, const Instance&) { instance = InstanceId{id}; });
  auto unchanged = [&](const char* what, Command command, OperationId operation) {
    const Revision revision = world.state().revision;
    auto out = world.run(std::move(command));
    ASSERT_TRUE(out) << what << out.error().to_string();
    EXPECT_TRUE(out->unchanged) << what;
    EXPECT_EQ(out->operation, operation) << what;
    EXPECT_EQ(world.state().revision, revision) << what;
  };
  const Revision revision = world.state().revision;
  EXPECT_EQ(world.job(2), job);
  EXPECT_EQ(world.last.operation, submitted);
  EXPECT_EQ(world.state().revision, revision);
  const auto stopped_one = world.run(OperateInstance{instance, InstanceVerb::stop});
  unchanged("instance stop", OperateInstance{instance, InstanceVerb::stop}, stopped_one->operation);
  const auto stopped = world.run(SetJobStopped{job, true});
  unchanged("job stop", SetJobStopped{job, true}, stopped->operation);
  // One that failed serves nobody: asking again starts another.
  UpdateOperation failed;
  failed.operation = stopped->operation;
  failed.state = OperationState::failed;
  ASSERT_TRUE(world.run(failed));
  const auto again = world.run(SetJobStopped{job, true});
  EXPECT_NE(again->operation, stopped->operation);
  const auto deleted = world.run(DeleteJob{job});
  unchanged("job delete", DeleteJob{job}, deleted->operation);
  const TokenId token = world.token(1);
  ASSERT_TRUE(world.run(RevokeToken{token}));
  unchanged("revoke", RevokeToken{token}, {});
}

TEST(StateHistory, AJoinTokenDoesNotGrowWithItsNodes) {
  World world;
  const TokenId open = world.token(-1);
  for (int i = 0; i < 20; ++i) world.join(open, "key" + std::to_string(i), 1);
  EXPECT_TRUE(world.state().tokens.find(open.value)->bound.empty());
  auto again = world.run(JoinNode{open, "", "key7"});
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->unchanged);
  EXPECT_EQ(world.state().nodes.size(), 20u);
  Token many;
  many.kind = TokenKind::join;
  many.uses_left = limits::kTokenUsesMax + 1;
  EXPECT_EQ(world.run(CreateToken{many}).error().code, ErrorCode::invalid);
}

TEST(StateHistory, HistoryGoesInSmallBatchesAndRunningOperationsStay) {
  World world;
  Operation running;
  running.kind = "image.fetch";
  const OperationId kept = world.run(StartOperation{running})->operation;
  for (size_t i = 0; i < limits::kTrimRowsMax + 10; ++i) ASSERT_TRUE(world.run(AddEvent{}));
  EXPECT_TRUE(world.run(TrimHistory{})->unchanged) << "nothing is old yet";
  world.now = world.now + seconds(limits::kEventsKeepSeconds);
  const size_t before = world.state().events.size();
  EXPECT_EQ(world.run(TrimHistory{})->number, limits::kTrimRowsMax);
  EXPECT_EQ(world.state().events.size(), before - limits::kTrimRowsMax);
  world.reopen();  // a crash in between: the next one goes on
  EXPECT_EQ(world.run(TrimHistory{})->number, before - limits::kTrimRowsMax);
  EXPECT_EQ(world.state().events.size(), 0u);
  EXPECT_TRUE(world.state().operations.contains(kept.value));
  EXPECT_TRUE(world.run(TrimHistory{})->unchanged);
}

TEST(StateHistory, ALargeNodeIsRemovedBatchByBatchAlsoAcrossACrash) {
  World world;
  const NodeId node = world.join(world.token(1), "key");
  world.fill(node, world.job(4'500), 4'500);
  ASSERT_EQ(world.state().instances_by_node.find(node.value)->size(), 4'500u);
  EXPECT_EQ(world.run(RemoveNode{node, false}).error().code, ErrorCode::conflict);
  auto first = world.run(RemoveNode{node, true});
  ASSERT_TRUE(first) << first.error().to_string();
  EXPECT_TRUE(first->operation);
  EXPECT_GT(first->number, 0u);
  world.reopen();
  ASSERT_TRUE(world.state().nodes.find(node.value)->removing);
  EXPECT_FALSE(world.run(BeginSession{node, "key", Inventory{}, {}})) << "it is shut out from the first batch on";
  EXPECT_FALSE(world.run(UpdateNode{node, NodeSpec{}, {}}));
  int rounds = 1;
  for (uint64_t left = first->number; left > 0; ++rounds) {
    auto next = world.run(RemoveNode{node, true});
    ASSERT_TRUE(next) << next.error().to_string();
    ASSERT_TRUE(audit(world.state()));
    EXPECT_TRUE(next->number < left);
    left = next->number;
    if (rounds == 2) world.reopen();
  }
  EXPECT_GT(rounds, 2);
  EXPECT_FALSE(world.state().nodes.contains(node.value));
  world.state().instances.for_each([](uint64_t, const Instance& i) { EXPECT_EQ(i.presence, Presence::given_up); });
}

// What does not pack: as many characters as a spec may have.
JobSpec large_spec(uint64_t seed, bool packs = false) {
  JobSpec spec;
  spec.job = "shop";
  TaskSpec task;
  task.name = task.group = "web";
  task.driver = "fake";
  std::mt19937_64 random(seed);
  for (int i = 0; i < 4; ++i) {
    std::string value(120'000, 'x');
    for (char& c : value) c = packs ? c : static_cast<char>('0' + random() % 64);
    task.env["V" + std::to_string(i)] = std::move(value);
  }
  spec.tasks.push_back(task);
  return spec;
}

TEST(StateHistory, AJobOfManyLargeVersionsIsForgottenAtOnce) {
  World world;
  const ProjectId project = world.state().project_by_name("default")->id;
  JobId job;
  for (uint64_t i = 0; i < 10; ++i) {
    auto out = world.run(SubmitJob{large_spec(i), project, {}, {}});
    ASSERT_TRUE(out) << out.error().to_string();
    job = JobId{out->id};
  }
  ASSERT_GE(world.state().versions.size(), 9u);
  ASSERT_TRUE(world.run(DeleteJob{job}));
  Actions actions;
  actions.forget_jobs.push_back(job);
  auto gone = world.run(ApplyActions{actions});
  ASSERT_TRUE(gone) << gone.error().to_string();
  EXPECT_FALSE(world.state().jobs.contains(job.value));
  EXPECT_EQ(world.state().versions.size(), 0u);
  world.reopen();
  EXPECT_EQ(world.state().versions.size(), 0u);
}

TEST(StateHistory, WhatPacksWellIsStoredInPiecesThatCanBeReadAgain) {
  World world;
  const ProjectId project = world.state().project_by_name("default")->id;
  const size_t jobs = kBatchTextBytesMax / 480'000 + 10;
  size_t answered = 0;
  for (size_t i = 0; i < jobs; ++i) {
    JobSpec spec = large_spec(i, true);
    spec.job = "shop-" + std::to_string(i);
    world.engine->submit(SubmitJob{spec, project, {}, {}}, {}, [&](const Result<Outcome>& out) {
      EXPECT_TRUE(out) << out.error().to_string();
      ++answered;
    });
  }
  int steps = 0;
  for (; world.engine->has_work(); ++steps) ASSERT_TRUE(world.engine->step(world.now));
  EXPECT_GT(steps, 1);
  EXPECT_EQ(answered, jobs);
  world.reopen();
  EXPECT_EQ(world.state().jobs.size(), jobs);
}

TEST(StateHistory, WhatIsDecidedFurtherNeverKeepsOutWhatWasAsked) {
  World world;
  const ProjectId project = world.state().project_by_name("default")->id;
  int decided = 0;
  world.engine->decide_with([&](const ChangeSet&, Time) {
    std::vector<Command> out;
    for (uint64_t i = 0; i < 5; ++i) {
      JobSpec spec = large_spec(i);
      spec.job = "more-" + std::to_string(i);
      out.push_back(SubmitJob{spec, project, {}, {}});
    }
    ++decided;
    return out;
  });
  Result<Outcome> out = fail(ErrorCode::internal, "no answer");
  world.engine->submit(AddEvent{}, {}, [&](Result<Outcome> o) { out = std::move(o); });
  while (world.engine->has_work()) ASSERT_TRUE(world.engine->step(world.now));
  EXPECT_TRUE(out) << out.error().to_string();
  EXPECT_EQ(decided, 1);
  EXPECT_EQ(world.state().jobs.size(), 0u) << "somebody else's doing, in a commit of its own";
  world.engine->submit(AddEvent{}, {}, [&](Result<Outcome> o) { out = std::move(o); });
  ASSERT_TRUE(world.engine->step(world.now));
  EXPECT_EQ(decided, 2) << "asked again";
}

}  // namespace
}  // namespace tutti::state
