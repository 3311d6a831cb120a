// The state as a whole: commands through the engine, over the memory store with its faults and over SQLite.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/limits.h"
#include "base/random.h"
#include "model/codec.h"
#include "state/apply.h"
#include "state/loop.h"
#include "state/row_codec.h"
#include "store/memory/memory_store.h"
#include "store/sqlite/sqlite_store.h"

namespace tutti::state {
namespace {

constexpr Time kStart{1'800'000'000'000'000'000};

struct Pool1 {
  std::shared_ptr<store::MemoryDisk> disk = std::make_shared<store::MemoryDisk>();
  std::unique_ptr<store::Store> store = store::make_memory_store(disk);
  std::unique_ptr<Engine> engine = make_engine(*store);
  Time now = kStart;

  Pool1() { EXPECT_TRUE(engine->open(now)); }
  void reopen() {
    engine.reset();
    store = store::make_memory_store(disk);
    engine = make_engine(*store);
    Status opened = engine->open(now);
    ASSERT_TRUE(opened) << opened.error().to_string();
  }
  Result<Outcome> run(Command command, CommandMeta meta = {}) {
    Result<Outcome> out = fail(ErrorCode::internal, "no answer");
    engine->submit(std::move(command), std::move(meta), [&](Result<Outcome> o) { out = std::move(o); });
    now = now + milliseconds(10);
    (void)engine->step(now);
    if (out) {
      Status audited = audit(*engine->snapshot());
      EXPECT_TRUE(audited) << audited.error().to_string();
    }
    return out;
  }
  const Snapshot& state() {
    held = engine->snapshot();
    return *held;
  }
  std::shared_ptr<const Snapshot> held;

  void initialise() {
    Pool pool;
    pool.pool_id = "abcdef";
    pool.network = "10.86.0.0/16";
    ASSERT_TRUE(run(InitializePool{pool}));
  }
  NodeId add_node(int64_t cores = 4) {
    Token token;
    token.kind = TokenKind::join;
    auto made = run(CreateToken{token});
    const std::string key = "key" + std::to_string(state().next_id);
    auto joined = run(JoinNode{TokenId{made->id}, "", key});
    EXPECT_TRUE(joined) << joined.error().to_string();
    Inventory inventory;
    inventory.arch = "x86_64";
    inventory.capacity = {{cores * 1000}, {8LL << 30}, {100LL << 30}};
    EXPECT_TRUE(run(BeginSession{NodeId{joined->id}, key, inventory, {}}));
    return NodeId{joined->id};
  }
  static JobSpec spec(std::string name, int64_t count) {
    JobSpec job;
    job.job = std::move(name);
    TaskSpec task;
    task.name = "web";
    task.group = "web";
    task.driver = "fake";
    task.count = count;
    job.tasks.push_back(task);
    return job;
  }
  JobId submit(const JobSpec& job) {
    auto out = run(SubmitJob{job, state().project_by_name("default")->id, {}, {}});
    EXPECT_TRUE(out) << out.error().to_string();
    return JobId{out->id};
  }
  InstanceId create(JobId job, uint32_t slot) {
    Actions actions;
    actions.create.push_back({job, state().jobs.find(job.value)->active_version, 0, slot, {}, {}, 0, {}});
    EXPECT_TRUE(run(ApplyActions{actions}));
    InstanceId found;
    state().instances.for_each([&](uint64_t id, const Instance& i) {
      if (i.job == job && i.slot == slot && !i.finished) found = InstanceId{id};
    });
    return found;
  }
  uint64_t place(InstanceId instance, NodeId node, std::vector<PortBinding> ports = {}) {
    Plan plan;
    plan.placements.push_back({instance, state().instances.find(instance.value)->generation, node, std::move(ports)});
    return run(ApplyPlan{plan})->number;
  }
  void report(InstanceId instance, TaskState what, uint32_t attempt = 1, bool final = false) {
    const Instance& row = *state().instances.find(instance.value);
    InstanceReport told;
    told.instance = instance;
    TaskStatus status;
    status.task = "web";
    status.position = {row.generation, attempt, what};
    status.final = final;
    told.tasks.push_back(status);
    const Node& node = *state().nodes.find(row.node.value);
    EXPECT_TRUE(run(ReportStatus{node.id, node.session, {told}}));
  }
};

std::string dump(const Snapshot& s) {
  std::string out;
  for (int table = 0; table < kTableCount; ++table) {
    for (uint64_t page = 0; page <= s.next_id >> kPageBits; ++page)
      out += encode_page(s, static_cast<TableId>(table), page);
  }
  return out + std::to_string(s.next_id) + "@" + std::to_string(s.revision.value);
}

TEST(State, TheLifeOfAJobFromSubmitToRunning) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node();
  const JobId job = pool.submit(Pool1::spec("shop", 2));
  const InstanceId instance = pool.create(job, 0);
  EXPECT_EQ(pool.state().pending.size(), 1u);
  EXPECT_EQ(pool.place(instance, node), 1u);
  EXPECT_EQ(pool.state().pending.size(), 0u);
  EXPECT_EQ(pool.state().usage_of(node).used.cpu.value, 100);
  pool.report(instance, TaskState::running);
  EXPECT_EQ(pool.state().instances.find(instance.value)->state, TaskState::running);
  pool.report(instance, TaskState::starting);
  EXPECT_EQ(pool.state().instances.find(instance.value)->state, TaskState::running) << "a position never goes back";
  EXPECT_EQ(pool.state().name_of(*pool.state().instances.find(instance.value)), "shop-web-0");
}

TEST(State, AnInstanceWorksWhileItsChecksPass) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node();
  const InstanceId id = pool.create(pool.submit(Pool1::spec("shop", 1)), 0);
  pool.place(id, node);
  auto told = [&](HealthState health, const std::string& reason = "") {
    InstanceReport out;
    out.instance = id;
    TaskStatus status;
    status.task = "web";
    status.position = {1, 1, TaskState::running};
    status.health = health;
    status.reason = reason;
    out.tasks.push_back(status);
    EXPECT_TRUE(pool.run(ReportStatus{node, pool.state().nodes.find(node.value)->session, {out}}));
    return *pool.state().instances.find(id.value);
  };
  auto events = [&](const std::string& type) {
    int64_t count = 0;
    pool.state().events.for_each([&](uint64_t, const Event& event) { count += event.type == type ? 1 : 0; });
    return count;
  };
  EXPECT_FALSE(works(told(HealthState::starting)));
  auto later = [&] { pool.now = pool.now + seconds(limits::kHealthEventSeconds); };
  EXPECT_TRUE(works(told(HealthState::healthy)));
  EXPECT_EQ(events("instance.healthy"), 1);
  const Revision before = pool.state().instances.find(id.value)->revision;
  EXPECT_EQ(told(HealthState::healthy).revision, before) << "nothing new: the row stays";
  const Instance sick = told(HealthState::unhealthy, "readiness: status 500");
  EXPECT_FALSE(works(sick));
  EXPECT_EQ(sick.state, TaskState::running);
  EXPECT_EQ(sick.detail->tasks[0].reason, "readiness: status 500");
  EXPECT_EQ(events("instance.unhealthy"), 1);
  later();
  EXPECT_TRUE(works(told(HealthState::healthy)));
  EXPECT_EQ(events("instance.healthy"), 2);
  later();
  for (int i = 0; i < 50; ++i) {
    EXPECT_FALSE(works(told(HealthState::unhealthy, "again"))) << "what it is stands in its row at once";
    EXPECT_TRUE(works(told(HealthState::healthy)));
  }
  EXPECT_EQ(events("instance.unhealthy"), 2) << "a check that flaps is told now and then";
  EXPECT_EQ(events("instance.healthy"), 3);
  later();
  EXPECT_FALSE(works(told(HealthState::unhealthy, "again")));
  EXPECT_EQ(events("instance.unhealthy"), 3);
  pool.reopen();
  EXPECT_EQ(pool.state().instances.find(id.value)->detail->tasks[0].health, HealthState::unhealthy);
}

TEST(State, WhatAWorkerSaysIsBoundedAndItsOwn) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node();
  const NodeId other = pool.add_node();
  const InstanceId instance = pool.create(pool.submit(Pool1::spec("shop", 1)), 0);
  pool.place(instance, node);
  InstanceReport told;
  told.instance = instance;
  TaskStatus status;
  status.task = "web";
  status.position = {1, 1, TaskState::failed};
  status.reason = "x";
  for (int i = 0; i < 100'000; ++i) status.reason += "\u20ac";
  told.tasks.push_back(status);
  told.address = std::string(1000, '9');
  ASSERT_TRUE(pool.run(ReportStatus{other, pool.state().nodes.find(other.value)->session, {told}}));
  EXPECT_EQ(pool.state().instances.find(instance.value)->state, TaskState::placed)
      << "another node's word counts for nothing";
  ASSERT_TRUE(pool.run(ReportStatus{node, pool.state().nodes.find(node.value)->session, {told}}));
  const InstanceDetail& detail = *pool.state().instances.find(instance.value)->detail;
  EXPECT_LE(detail.tasks[0].reason.size(), limits::kReasonBytesMax);
  EXPECT_EQ(detail.tasks[0].reason.size() % 3, 1u) << "whole letters";
  EXPECT_EQ(detail.address, "");
  pool.reopen();
}

TEST(State, ASlotNeverHoldsTwo) {
  Pool1 pool;
  pool.initialise();
  const JobId job = pool.submit(Pool1::spec("shop", 1));
  Actions twice;
  twice.create.push_back({job, 1, 0, 0, {}, {}, 0, {}});
  twice.create.push_back({job, 1, 0, 0, {}, {}, 0, {}});
  ASSERT_TRUE(pool.run(ApplyActions{twice}));
  ASSERT_TRUE(pool.run(ApplyActions{twice}));
  EXPECT_EQ(pool.state().instances.size(), 1u);
}

TEST(State, S02_TwoPlansCannotBothGetTheLastRoomOrPort) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node(1);
  JobSpec spec = Pool1::spec("big", 3);
  spec.tasks[0].resources.cpu = {600};
  const JobId job = pool.submit(spec);
  const auto with_port = [](const std::string& name) {
    JobSpec out = Pool1::spec(name, 1);
    out.tasks[0].ports = {{"http", 80, 0, Protocol::tcp}};
    return out;
  };
  const InstanceId a = pool.create(job, 0), b = pool.create(job, 1),
                   small = pool.create(pool.submit(with_port("small")), 0);
  Plan plan;
  plan.placements = {{a, 1, node, {}}, {b, 1, node, {}}};
  EXPECT_EQ(pool.run(ApplyPlan{plan})->number, 1u);
  const PortBinding port{"web", "http", 80, 20000, Protocol::tcp};
  EXPECT_EQ(pool.place(small, node, {port}), 1u);
  const InstanceId other = pool.create(pool.submit(with_port("other")), 0);
  EXPECT_EQ(pool.place(other, node, {port}), 0u) << "the port is taken";
  EXPECT_TRUE(pool.state().pending.contains(b.value));
}

TEST(State, FinishedFreesItsRoomAndGoneItsDisk) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node();
  const InstanceId instance = pool.create(pool.submit(Pool1::spec("shop", 1)), 0);
  pool.place(instance, node);
  pool.report(instance, TaskState::failed, 1, true);
  EXPECT_EQ(pool.state().usage_of(node).used.cpu.value, 0);
  EXPECT_TRUE(pool.state().instances.find(instance.value)->finished);
  Actions remove;
  remove.change.push_back({.instance = instance, .desired = Desired::removed});
  ASSERT_TRUE(pool.run(ApplyActions{remove}));
  InstanceReport gone;
  gone.instance = instance;
  gone.gone = true;
  ASSERT_TRUE(pool.run(ReportStatus{node, 1, {gone}}));
  EXPECT_FALSE(pool.state().instances_by_node.contains(node.value));
  EXPECT_FALSE(pool.run(ReportStatus{node, 0, {gone}})) << "an older session is refused";
}

TEST(State, WhatWasGivenUpHoldsItsRoomAndPortsUntilItsNodeHasClearedIt) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node(1);
  JobSpec spec = Pool1::spec("big", 2);
  spec.tasks[0].resources.cpu = {600};
  spec.tasks[0].ports = {{"http", 80, 0, Protocol::tcp}};
  const JobId job = pool.submit(spec);
  const InstanceId lost = pool.create(job, 0);
  const PortBinding port{"web", "http", 80, 20000, Protocol::tcp};
  ASSERT_EQ(pool.place(lost, node, {port}), 1u);
  pool.report(lost, TaskState::running);
  Actions give_up;
  give_up.change.push_back({.instance = lost, .give_up = true, .reason = "node lost"});
  ASSERT_TRUE(pool.run(ApplyActions{give_up}));
  EXPECT_EQ(pool.state().instances.find(lost.value)->presence, Presence::here) << "its node is heard";
  ASSERT_TRUE(pool.run(SetNodeHealth{node, 1, NodeHealth::lost, "silent"}));
  ASSERT_TRUE(pool.run(ApplyActions{give_up}));
  ASSERT_TRUE(pool.run(SetNodeHealth{node, 1, NodeHealth::ready, "heard again"}));
  const InstanceId next = pool.create(job, 0);
  EXPECT_EQ(pool.place(next, node, {{"web", "http", 80, 20001, Protocol::tcp}}), 0u)
      << "its node is back, and it may still run there";
  JobSpec wants_port = Pool1::spec("small", 1);
  wants_port.tasks[0].ports = spec.tasks[0].ports;
  const InstanceId small = pool.create(pool.submit(wants_port), 0);
  EXPECT_EQ(pool.place(small, node, {port}), 0u);
  InstanceReport gone;
  gone.instance = lost;
  gone.gone = true;
  ASSERT_TRUE(pool.run(ReportStatus{node, 1, {gone}}));
  EXPECT_EQ(pool.place(next, node, {port}), 1u);
}

TEST(State, NothingIsMadeBeyondTheCountThatHoldsByThen) {
  Pool1 pool;
  pool.initialise();
  const JobId job = pool.submit(Pool1::spec("shop", 3));
  EXPECT_TRUE(pool.create(job, 2));
  ASSERT_TRUE(pool.run(ScaleJob{job, "web", 1}));
  EXPECT_TRUE(pool.create(job, 0));
  EXPECT_FALSE(pool.create(job, 1)) << "decided before it was scaled down";
}

TEST(State, AVersionThatStaysTogetherDoesNotWaitForOneThatDidNot) {
  Pool1 pool;
  pool.initialise();
  const NodeId here = pool.add_node(), there = pool.add_node();
  JobSpec spec = Pool1::spec("shop", 4);
  const JobId job = pool.submit(spec);
  const InstanceId first = pool.create(job, 0), second = pool.create(job, 1);
  ASSERT_EQ(pool.place(first, here) + pool.place(second, there), 2u);
  spec.placement.same_node = true;
  ASSERT_EQ(pool.submit(spec), job);
  const InstanceId third = pool.create(job, 2), fourth = pool.create(job, 3);
  EXPECT_EQ(pool.place(third, here), 1u);
  EXPECT_EQ(pool.place(fourth, there), 0u);
  EXPECT_EQ(pool.place(fourth, here), 1u);
}

TEST(State, WorkThatIsDoneStaysDoneWhenItsNodeIsRemoved) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node();
  JobSpec spec = Pool1::spec("sum", 2);
  spec.type = JobType::batch;
  const JobId job = pool.submit(spec);
  const InstanceId done = pool.create(job, 0), running = pool.create(job, 1);
  ASSERT_EQ(pool.place(done, node) + pool.place(running, node), 2u);
  pool.report(done, TaskState::completed, 1, true);
  pool.report(running, TaskState::running);
  ASSERT_TRUE(pool.run(RemoveNode{node, true}));
  EXPECT_EQ(pool.state().instances.find(done.value)->presence, Presence::here);
  EXPECT_TRUE(pool.state().instances.find(done.value)->cleared);
  EXPECT_EQ(pool.state().instances.find(running.value)->presence, Presence::given_up);
}

TEST(State, AWorkerTellsWhichImagesItHolds) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node(4);
  auto held = [&] { return pool.state().nodes.find(node.value)->images; };
  EXPECT_EQ(held(), nullptr);
  const NodeImages images{{{"sha256:a", {1 << 20}}}};
  ASSERT_TRUE(pool.run(ReportStatus{node, 1, {}, images}));
  ASSERT_NE(held(), nullptr);
  EXPECT_EQ(*held(), images);
  // The same again is no change, and no word of them leaves them as they are.
  const NodeImages* before = held().get();
  ASSERT_TRUE(pool.run(ReportStatus{node, 1, {}, images}));
  ASSERT_TRUE(pool.run(ReportStatus{node, 1, {}}));
  EXPECT_EQ(held().get(), before);
  EXPECT_FALSE(pool.run(ReportStatus{node, 0, {}, NodeImages{}})) << "an older session is refused";
}

TEST(State, StartOverIsAdmittedAgainOnItsNode) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node(), elsewhere = pool.add_node();
  const InstanceId instance = pool.create(pool.submit(Pool1::spec("box", 1)), 0);
  pool.place(instance, node);
  pool.report(instance, TaskState::running);
  ASSERT_TRUE(pool.run(OperateInstance{instance, InstanceVerb::stop}));
  Actions stop;
  stop.change.push_back({.instance = instance, .desired = Desired::stopped});
  ASSERT_TRUE(pool.run(ApplyActions{stop}));
  pool.report(instance, TaskState::stopped, 1, true);
  ASSERT_TRUE(pool.run(OperateInstance{instance, InstanceVerb::start}));
  Actions start;
  start.change.push_back({.instance = instance, .desired = Desired::running, .start_over = true});
  ASSERT_TRUE(pool.run(ApplyActions{start}));
  EXPECT_EQ(pool.state().instances.find(instance.value)->generation, 2u);
  EXPECT_TRUE(pool.state().pending.contains(instance.value));
  EXPECT_EQ(pool.place(instance, elsewhere), 0u) << "its disk is not there";
  EXPECT_EQ(pool.place(instance, node), 1u);
}

TEST(State, OnlyWhatCanBeSuspendedIs) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node();
  const auto with_driver = [](const std::string& name, const std::string& driver) {
    JobSpec spec = Pool1::spec(name, 1);
    spec.tasks.front().driver = driver;
    if (driver == "process") spec.tasks.front().command = {"/bin/true"};
    return spec;
  };
  const InstanceId machine = pool.create(pool.submit(with_driver("box", "fake")), 0);
  const auto waits = pool.run(OperateInstance{machine, InstanceVerb::suspend});
  ASSERT_FALSE(waits) << "it waits for a node";
  EXPECT_EQ(waits.error().code, ErrorCode::conflict);
  pool.place(machine, node);
  pool.report(machine, TaskState::running);
  EXPECT_TRUE(pool.run(OperateInstance{machine, InstanceVerb::suspend}));

  const InstanceId process = pool.create(pool.submit(with_driver("web", "process")), 0);
  pool.place(process, node);
  pool.report(process, TaskState::running);
  const auto refused = pool.run(OperateInstance{process, InstanceVerb::suspend});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  EXPECT_NE(refused.error().message.find("driver process cannot suspend"), std::string::npos);
  EXPECT_EQ(pool.state().instances.find(process.value)->override_, Override::none);

  // One that was told to before this was refused runs on when its user wants it back.
  Actions told;
  told.change.push_back({.instance = process, .desired = Desired::suspended});
  ASSERT_TRUE(pool.run(ApplyActions{told}));
  ASSERT_TRUE(pool.run(OperateInstance{process, InstanceVerb::resume}));
  EXPECT_EQ(pool.state().instances.find(process.value)->desired, Desired::running);
  EXPECT_EQ(pool.state().instances.find(process.value)->generation, 1u);
}

TEST(State, J12_AnIdempotencyKeyIsAnsweredOnce) {
  Pool1 pool;
  pool.initialise();
  const CommandMeta meta{"user:a", "key-1", "hash"};
  const ProjectId project = pool.state().project_by_name("default")->id;
  auto first = pool.run(SubmitJob{Pool1::spec("shop", 1), project, {}, {}}, meta);
  auto again = pool.run(SubmitJob{Pool1::spec("shop", 1), project, {}, {}}, meta);
  ASSERT_TRUE(first && again);
  EXPECT_TRUE(again->replayed);
  EXPECT_EQ(first->id, again->id);
  EXPECT_EQ(first->operation, again->operation);
  auto other = pool.run(SubmitJob{Pool1::spec("else", 1), project, {}, {}}, {"user:a", "key-1", "other hash"});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::conflict);
  EXPECT_EQ(pool.state().job_by_name(project, "else"), nullptr);
}

TEST(State, J01_SameNameIsANewVersionAndTheIdIsKept) {
  Pool1 pool;
  pool.initialise();
  const JobId job = pool.submit(Pool1::spec("shop", 1));
  EXPECT_EQ(pool.submit(Pool1::spec("shop", 1)), job);
  EXPECT_EQ(pool.state().jobs.find(job.value)->version, 1u) << "the same spec is no new version";
  EXPECT_EQ(pool.submit(Pool1::spec("shop", 2)), job);
  EXPECT_EQ(pool.state().jobs.find(job.value)->version, 2u);
  auto stale = pool.run(SubmitJob{Pool1::spec("shop", 3), pool.state().jobs.find(job.value)->project, {}, 1});
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, ErrorCode::stale);
}

TEST(State, W01_AJoinTokenIsBoundToTheKeyThatUsedIt) {
  Pool1 pool;
  pool.initialise();
  Token token;
  token.kind = TokenKind::join;
  token.uses_left = 1;
  const TokenId id{pool.run(CreateToken{token})->id};
  auto first = pool.run(JoinNode{id, "alpha", "key-a"});
  auto retry = pool.run(JoinNode{id, "alpha", "key-a"});
  ASSERT_TRUE(first && retry);
  EXPECT_EQ(first->id, retry->id);
  EXPECT_FALSE(pool.run(JoinNode{id, "beta", "key-b"})) << "used up";
  EXPECT_FALSE(pool.run(BeginSession{NodeId{first->id}, "key-b", Inventory{}, {}})) << "another key";
}

TEST(State, ARebootStartsOverWhatTheWorkerNoLongerHolds) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node();
  const InstanceId instance = pool.create(pool.submit(Pool1::spec("shop", 1)), 0);
  pool.place(instance, node);
  pool.report(instance, TaskState::running, 3);
  const Node row = *pool.state().nodes.find(node.value);
  ASSERT_TRUE(pool.run(BeginSession{node, row.key_fingerprint, *row.inventory, {instance}}));
  EXPECT_EQ(pool.state().instances.find(instance.value)->generation, 1u);
  ASSERT_TRUE(pool.run(BeginSession{node, row.key_fingerprint, *row.inventory, {}}));
  EXPECT_EQ(pool.state().instances.find(instance.value)->generation, 2u);
}

TEST(State, D01_WhatWasAcknowledgedIsThereAfterEveryFault) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Pool1 pool;
    pool.initialise();
    SeededRandom random(seed);
    const ProjectId project = pool.state().project_by_name("default")->id;
    std::set<std::string> acknowledged;
    for (int i = 0; i < 30; ++i) {
      if (random.below(4) == 0) pool.disk->faults = {static_cast<store::AppendFault>(1 + random.below(4))};
      const std::string name = "job" + std::to_string(i);
      if (pool.run(SubmitJob{Pool1::spec(name, 1), project, {}, {}})) acknowledged.insert(name);
      pool.disk->faults.clear();
      if (random.below(5) == 0) {
        if (random.below(2) == 0) pool.disk->fail_next_checkpoint = true;
        (void)pool.engine->checkpoint(pool.now);
      }
      if (random.below(3) == 0 || !pool.run(TrimHistory{})) pool.reopen();
      for (const std::string& each : acknowledged)
        ASSERT_NE(pool.state().job_by_name(project, each), nullptr) << "seed " << seed;
    }
  }
}

TEST(State, LoadingGivesBackExactlyWhatWasThere) {
  Pool1 pool;
  pool.initialise();
  const NodeId node = pool.add_node();
  for (int i = 0; i < 20; ++i) {
    JobSpec spec = Pool1::spec("job" + std::to_string(i), 1);
    spec.tasks[0].ports = {{"http", 80, 0, Protocol::tcp}};
    const JobId job = pool.submit(spec);
    const InstanceId instance = pool.create(job, 0);
    ASSERT_EQ(pool.place(instance, node, {{"web", "http", 80, 20000 + i, Protocol::tcp}}), 1u);
    if (i % 3 == 0) pool.report(instance, TaskState::running);
    if (i == 10) {
      ASSERT_TRUE(pool.engine->checkpoint(pool.now));
    }
  }
  const std::string before = dump(pool.state());
  pool.reopen();
  EXPECT_EQ(dump(pool.state()), before);
  EXPECT_TRUE(audit(pool.state()));
}

TEST(State, S01_ThePoolsPolicyIsSetByVersionAndKept) {
  Pool1 pool;
  pool.initialise();
  const auto set = pool.run(UpdatePool{PlacementPolicy::spread, 1});
  ASSERT_TRUE(set) << set.error().to_string();
  EXPECT_EQ(set->version, 2u);
  const auto stale = pool.run(UpdatePool{PlacementPolicy::greedy, 1});
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, ErrorCode::stale);
  const auto none = pool.run(UpdatePool{PlacementPolicy::default_, {}});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::invalid);
  EXPECT_TRUE(pool.run(UpdatePool{PlacementPolicy::spread, {}})->unchanged);
  EXPECT_EQ(pool.state().pool.version, 2u);
  for (const bool checkpoint : {false, true}) {  // of the log, and of a page
    if (checkpoint) ASSERT_TRUE(pool.engine->checkpoint(pool.now));
    pool.reopen();
    EXPECT_EQ(pool.state().pool.policy, "spread");
    EXPECT_EQ(pool.state().pool.version, 2u);
    EXPECT_EQ(pool.state().pool.pool_id, "abcdef");
  }
}

TEST(State, U03_AWatchGoesOnAcrossARestart) {
  Pool1 pool;
  pool.initialise();
  const Cursor from{pool.state().epoch, pool.state().revision};
  pool.submit(Pool1::spec("a", 1));
  auto first = pool.engine->events_after(from, 100);
  ASSERT_TRUE(first) << first.error().to_string();
  ASSERT_FALSE(first->events.empty());
  pool.reopen();
  pool.submit(Pool1::spec("b", 1));
  auto second = pool.engine->events_after(first->to, 100);
  ASSERT_TRUE(second);
  std::string jobs;
  for (const WatchEvent& event : second->events) {
    if (event.table == TableId::job) jobs += from_json<Job>(event.row, {.allow_unknown = true})->name;
  }
  EXPECT_EQ(jobs, "b");
  EXPECT_FALSE(pool.engine->events_after({99, Revision{1}}, 10)) << "another epoch";
  auto all = pool.engine->events_after(from, 3);
  ASSERT_TRUE(all);
  EXPECT_GT(all->to.revision.value, from.revision.value);
}

TEST(State, ManyThreadsOnSqlite) {
  std::string pattern = (std::filesystem::temp_directory_path() / "tutti-state-XXXXXX").string();
  const std::string dir = mkdtemp(pattern.data());
  SystemClock clock;
  {
    auto store = store::make_sqlite_store(dir + "/state.db");
    auto loop = StateLoop::open(*store, clock);
    ASSERT_TRUE(loop) << loop.error().to_string();
    (*loop)->start();
    Pool row;
    row.pool_id = "abcdef";
    ASSERT_TRUE((*loop)->submit_and_wait(InitializePool{row}));
    const ProjectId project = (*loop)->snapshot()->project_by_name("default")->id;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 40; ++i) {
          EXPECT_TRUE(
              (*loop)->submit_and_wait(SubmitJob{Pool1::spec("j" + std::to_string(t * 100 + i), 1), project, {}, {}}));
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ((*loop)->snapshot()->jobs.size(), 320u);
    (*loop)->stop();
  }
  auto store = store::make_sqlite_store(dir + "/state.db");
  auto loop = StateLoop::open(*store, clock);
  ASSERT_TRUE(loop);
  EXPECT_EQ((*loop)->snapshot()->jobs.size(), 320u);
  loop->reset();
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace tutti::state
