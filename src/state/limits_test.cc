// Refusals and bounds of commands, and that everybody who asked gets an answer.
#include "base/limits.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <thread>

#include "state/loop.h"
#include "state/test_draft_pool.h"
#include "store/memory/memory_store.h"

namespace tutti::state {
namespace {

struct Bare : DraftPool {
  Bare() : DraftPool(milliseconds(10)) {}
  NodeId node(int64_t cpu = 4000) {
    Inventory inventory;
    inventory.capacity = {{cpu}, {8LL << 30}, {100LL << 30}};
    return join(inventory);
  }
  JobId job(const std::string& name, int64_t count, JobType type = JobType::service) {
    JobSpec spec;
    spec.job = name;
    spec.type = type;
    TaskSpec task;
    task.name = "web";
    task.driver = "fake";
    task.count = count;
    task.resources.cpu = {100};
    spec.tasks.push_back(task);
    auto out = run(SubmitJob{spec, project, {}, {}});
    EXPECT_TRUE(out) << out.error().to_string();
    return JobId{out->id};
  }
  InstanceId placed(JobId job, NodeId node) {
    Actions actions;
    actions.create.push_back({job, 1, 0, 0, {}, {}, 0, {}});
    EXPECT_TRUE(run(ApplyActions{actions}));
    const InstanceId id{at->instances.last_key()};
    EXPECT_EQ(run(ApplyPlan{{{}, {{id, 1, node, {}}}, {}}})->number, 1u);
    return id;
  }
  void report(InstanceId id, TaskState state, bool final) {
    const Instance& row = *at->instances.find(id.value);
    InstanceReport told{id, {}, "", false};
    TaskStatus status;
    status.task = "web";
    status.position = {row.generation, 1, state};
    status.final = final;
    told.tasks.push_back(status);
    EXPECT_TRUE(run(ReportStatus{row.node, at->nodes.find(row.node.value)->session, {told}}));
  }
  Result<Outcome> change(InstanceId id, Desired desired, bool start_over = false) {
    Actions actions;
    actions.change.push_back({.instance = id, .desired = desired, .start_over = start_over});
    return run(ApplyActions{actions});
  }
  const Instance& row(InstanceId id) const { return *at->instances.find(id.value); }
};

TEST(StateLimits, WhatWaitsToStartOverCanStillBeRemoved) {
  Bare pool;
  const NodeId node = pool.node();
  const InstanceId id = pool.placed(pool.job("shop", 1), node);
  ASSERT_TRUE(pool.change(id, Desired::stopped));
  pool.report(id, TaskState::stopped, true);
  ASSERT_TRUE(pool.change(id, Desired::running, true));
  ASSERT_FALSE(pool.row(id).admitted);
  ASSERT_TRUE(pool.change(id, Desired::removed));
  EXPECT_TRUE(pool.row(id).admitted) << "else its worker is never told";
  EXPECT_EQ(pool.at->usage_of(node).used.cpu.value, 0);
  ASSERT_TRUE(pool.run(ReportStatus{node, 1, {{id, {}, "", true}}}));
  EXPECT_TRUE(pool.row(id).cleared && pool.row(id).finished);
  EXPECT_FALSE(pool.at->instances_by_node.contains(node.value));
}

TEST(StateLimits, AnOldClearingDoesNotTakeTheDiskOfAStartOver) {
  Bare pool;
  const NodeId node = pool.node();
  const InstanceId id = pool.placed(pool.job("shop", 1), node);
  ASSERT_TRUE(pool.change(id, Desired::stopped));
  pool.report(id, TaskState::stopped, true);
  ASSERT_TRUE(pool.change(id, Desired::running, true));
  ASSERT_TRUE(pool.run(ReportStatus{node, 1, {{id, {}, "", true}}}));
  EXPECT_FALSE(pool.row(id).cleared);
  EXPECT_TRUE(pool.at->pending.contains(id.value));
}

TEST(StateLimits, WhatIsPlacedAtOnceIsNotScaledBeyondItsLimit) {
  Bare pool;
  JobSpec spec;
  spec.job = "gang";
  spec.placement.all_or_nothing = true;
  TaskSpec task;
  task.name = "web";
  task.driver = "fake";
  task.count = 2;
  spec.tasks.push_back(task);
  const auto made = pool.run(SubmitJob{spec, pool.project, {}, {}});
  ASSERT_TRUE(made);
  EXPECT_TRUE(pool.run(ScaleJob{JobId{made->id}, "", limits::kTogetherMax}));
  const auto beyond = pool.run(ScaleJob{JobId{made->id}, "", limits::kTogetherMax + 1});
  ASSERT_FALSE(beyond);
  EXPECT_NE(beyond.error().message.find("kTogetherMax"), std::string::npos);
}

TEST(StateLimits, AllGroupsOfAJobTogetherHaveALimit) {
  Bare pool;
  JobSpec spec;
  spec.job = "wide";
  for (int i = 0; i < 6; ++i) {
    TaskSpec task;
    task.name = task.group = "t" + std::to_string(i);
    task.driver = "fake";
    task.count = i == 0 ? 1 : limits::kCountMax;
    spec.tasks.push_back(task);
  }
  const auto refused = pool.run(SubmitJob{spec, pool.project, {}, {}});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("kInstancesPerJobMax"), std::string::npos);
  spec.tasks[0].count = 0;
  const auto made = pool.run(SubmitJob{spec, pool.project, {}, {}});
  ASSERT_TRUE(made) << made.error().to_string();
  const auto beyond = pool.run(ScaleJob{JobId{made->id}, "t0", 1});
  ASSERT_FALSE(beyond);
  EXPECT_NE(beyond.error().message.find("kInstancesPerJobMax"), std::string::npos);
  ASSERT_TRUE(pool.run(ScaleJob{JobId{made->id}, "t1", 10}));
  ASSERT_TRUE(pool.run(ScaleJob{JobId{made->id}, "t0", limits::kCountMax - 10}));
  TaskSpec more = spec.tasks[0];
  more.name = more.group = "t6";
  more.count = 1;
  spec.tasks.push_back(more);
  EXPECT_FALSE(pool.run(SubmitJob{spec, pool.project, {}, {}})) << "with what it was scaled to";
}

TEST(StateLimits, WhatAWorkerSaysOfItsNodeIsLookedAt) {
  Bare pool;
  const NodeId made = pool.node();
  const Node node = *pool.at->nodes.find(made.value);
  auto refused = [&](const std::function<void(Inventory&)>& change) {
    Inventory inventory = *node.inventory;
    change(inventory);
    const auto out = pool.run(BeginSession{node.id, node.key_fingerprint, inventory, {}});
    return out ? std::string("accepted") : out.error().message;
  };
  EXPECT_EQ(refused([](Inventory&) {}), "accepted");
  const std::string head = "node node-1: the inventory of this worker is not valid: ";
  EXPECT_EQ(refused([](Inventory& i) { i.port_first = 70'000; }), head + "port_first is 70000, not 1 to 65535");
  EXPECT_EQ(refused([](Inventory& i) { i.port_first = 0; }), head + "port_first is 0, not 1 to 65535");
  EXPECT_EQ(refused([](Inventory& i) { i.port_last = 2147483647; }),
            head + "port_last is 2147483647, not 20000 to 65535");
  EXPECT_EQ(refused([](Inventory& i) { i.port_last = 19'999; }), head + "port_last is 19999, not 20000 to 65535");
  EXPECT_EQ(refused([](Inventory& i) { i.capacity.cpu.value = INT64_MAX; }),
            head + "capacity.cpu is 9223372036854775807, not 0 to 1000000");
  EXPECT_EQ(refused([](Inventory& i) { i.reserved.memory.value = INT64_MIN; }),
            head + "reserved.memory is -9223372036854775808, not 0 to 1125899906842624");
  EXPECT_EQ(refused([](Inventory& i) { i.limits["licence"] = -1; }),
            head + "the limit licence is -1, not 0 to 1000000");
  EXPECT_EQ(refused([](Inventory& i) { i.limits["a\x1b[2J"] = 1; }),
            head + "the limit 'a?[2J' has no name of a-z, 0-9 and '-'");
  EXPECT_EQ(refused([](Inventory& i) { i.devices = {{"gpu0", "gpu", "", {}}, {"gpu0", "gpu", "", {}}}; }),
            head + "two devices are called gpu0");
  EXPECT_EQ(refused([](Inventory& i) { i.devices = {{"", "gpu", "", {}}}; }), head + "a device has no id");
  EXPECT_EQ(refused([](Inventory& i) { i.hostname = "a\x1b[2Jb"; }),
            head + "hostname has control characters: 'a?[2Jb'");
  EXPECT_EQ(refused([](Inventory& i) { i.drivers = {{"docker", "27", false, "\u009b2J"}}; }),
            head + "what is wrong with a driver has control characters: '?2J'");
  EXPECT_EQ(refused([](Inventory& i) { i.attributes["x"] = "a\nb"; }),
            head + "an attribute has control characters: 'a?b'");
}

TEST(StateLimits, FinalIsFinalAndAnUnfinalEndFreesNothing) {
  Bare pool;
  const NodeId node = pool.node();
  const InstanceId id = pool.placed(pool.job("shop", 1), node);
  pool.report(id, TaskState::stopped, false);
  EXPECT_EQ(pool.at->usage_of(node).used.cpu.value, 100);
  pool.report(id, TaskState::stopped, true);
  EXPECT_EQ(pool.at->usage_of(node).used.cpu.value, 0);
  TaskStatus again;
  again.task = "web";
  again.position = {1, 7, TaskState::running};
  ASSERT_TRUE(pool.run(ReportStatus{node, 1, {{id, {again}, "", false}}}));
  EXPECT_TRUE(pool.row(id).finished);
  EXPECT_EQ(pool.row(id).state, TaskState::stopped);
}

TEST(StateLimits, AnInstanceThatEndedByItselfIsNotOperated) {
  Bare pool;
  const InstanceId id = pool.placed(pool.job("once", 1, JobType::batch), pool.node());
  pool.report(id, TaskState::completed, true);
  for (InstanceVerb verb : {InstanceVerb::start, InstanceVerb::restart, InstanceVerb::stop, InstanceVerb::pause}) {
    auto out = pool.run(OperateInstance{id, verb});
    ASSERT_FALSE(out);
    EXPECT_EQ(out.error().code, ErrorCode::conflict);
  }
  EXPECT_TRUE(pool.run(OperateInstance{id, InstanceVerb::delete_}));
}

TEST(StateLimits, PortsOfAPlanMustBeWhatTheSpecAsks) {
  Bare pool;
  const NodeId node = pool.node();
  JobSpec spec;
  spec.job = "web";
  TaskSpec task;
  task.name = "web";
  task.driver = "fake";
  task.ports = {{"http", 80, 8080, Protocol::tcp}, {"admin", 81, 0, Protocol::tcp}};
  spec.tasks.push_back(task);
  const JobId job{pool.run(SubmitJob{spec, pool.project, {}, {}})->id};
  Actions actions;
  actions.create.push_back({job, 1, 0, 0, {}, {}, 0, {}});
  ASSERT_TRUE(pool.run(ApplyActions{actions}));
  const InstanceId id{pool.at->instances.last_key()};
  auto place = [&](std::vector<PortBinding> ports) {
    return pool.run(ApplyPlan{{{}, {{id, 1, node, std::move(ports)}}, {}}})->number;
  };
  EXPECT_EQ(place({}), 0u) << "none at all";
  EXPECT_EQ(place({{"web", "http", 80, 8081, Protocol::tcp}, {"web", "admin", 81, 20000, Protocol::tcp}}), 0u)
      << "not the host port it names";
  EXPECT_EQ(place({{"web", "http", 80, 8080, Protocol::tcp}, {"web", "admin", 81, 99, Protocol::tcp}}), 0u)
      << "outside of the node's range";
  const PortBinding http{"web", "http", 80, 8080, Protocol::tcp};
  const PortBinding admin{"web", "admin", 81, 20000, Protocol::tcp};
  EXPECT_EQ(place({http, admin, {"web", "ssh", 22, 20001, Protocol::tcp}}), 0u) << "one that nobody asked for";
  EXPECT_EQ(place({http, admin, {"web", "ssh", 22, 65'558, Protocol::tcp}}), 0u) << "22 in 16 bits";
  EXPECT_EQ(place({http, admin, admin}), 0u);
  EXPECT_EQ(place({http, {"web", "ssh", 81, 20000, Protocol::tcp}}), 0u) << "under another name";
  EXPECT_EQ(place({http, {"web", "admin", 81, 20000 + 65'536, Protocol::tcp}}), 0u);
  EXPECT_EQ(place({http, admin}), 1u);
}

TEST(StateLimits, OnTheNodesNetworkAPortIsTheTasksOwn) {
  Bare pool;
  const NodeId node = pool.node();
  JobSpec spec;
  spec.job = "web";
  TaskSpec task;
  task.name = "web";
  task.driver = "fake";
  task.network = NetworkMode::host;
  task.ports = {{"http", 8080, 0, Protocol::tcp}};
  spec.tasks.push_back(task);
  Actions actions;
  actions.create.push_back({JobId{pool.run(SubmitJob{spec, pool.project, {}, {}})->id}, 1, 0, 0, {}, {}, 0, {}});
  ASSERT_TRUE(pool.run(ApplyActions{actions}));
  const InstanceId id{pool.at->instances.last_key()};
  EXPECT_EQ(pool.run(ApplyPlan{{{}, {{id, 1, node, {{"web", "http", 8080, 20000, Protocol::tcp}}}}, {}}})->number, 0u);
  EXPECT_EQ(pool.run(ApplyPlan{{{}, {{id, 1, node, {{"web", "http", 8080, 8080, Protocol::tcp}}}}, {}}})->number, 1u);
}

TEST(StateLimits, ACommandHasABoundAndALargeOneFewEvents) {
  Bare pool;
  const JobId job = pool.job("big", 5000);
  Actions actions;
  for (uint32_t slot = 0; slot <= limits::kCommandRowsMax; ++slot)
    actions.create.push_back({job, 1, 0, slot, {}, {}, 0, {}});
  auto refused = pool.run(ApplyActions{actions});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::too_large);
  EXPECT_EQ(pool.at->instances.size(), 0u);
  actions.create.resize(1000);
  ASSERT_TRUE(pool.run(ApplyActions{actions}));
  ASSERT_TRUE(pool.run(ApplyActions{actions})) << "again: every slot is taken";
  EXPECT_EQ(pool.at->instances.size(), 1000u);
  const NodeId node = pool.node(200'000);
  Plan plan;
  pool.at->pending.for_each(
      [&](uint64_t id, const Unit&) { plan.placements.push_back({InstanceId{id}, 1, node, {}}); });
  for (Placement& placement : plan.placements) placement.ports = {};
  const size_t events = pool.at->events.size();
  // 64 MiB each: memory of the node bounds how many fit.
  EXPECT_EQ(pool.run(ApplyPlan{plan})->number, 128u);
  EXPECT_EQ(pool.at->events.size(), events + 101);
  EXPECT_TRUE(audit(*pool.at));
}

TEST(StateLimits, AnUnknownProjectIsRefused) {
  Bare pool;
  JobSpec spec;
  spec.job = "x";
  auto out = pool.run(SubmitJob{spec, ProjectId{4711}, {}, {}});
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, ErrorCode::not_found);
}

TEST(StateLimits, EverybodyIsAnsweredWhenTheLoopStopsOrFails) {
  for (const bool fails : {false, true}) {
    auto disk = std::make_shared<store::MemoryDisk>();
    auto store = store::make_memory_store(disk);
    SystemClock clock;
    auto loop = StateLoop::open(*store, clock);
    ASSERT_TRUE(loop);
    std::atomic<int> asked{0}, answered{0};
    if (fails) disk->faults = {store::AppendFault::none, store::AppendFault::unknown_not_stored};
    (*loop)->start();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 3000; ++i) {
          ++asked;
          (*loop)->submit(AddEvent{}, {}, [&](Result<Outcome>) { ++answered; });
        }
      });
    }
    for (auto& thread : threads) thread.join();
    (*loop)->stop();
    EXPECT_EQ(asked.load(), answered.load()) << (fails ? "after an unknown commit" : "after stop");
    EXPECT_EQ((*loop)->failed(), fails);
    loop->reset();
  }
}

TEST(StateLimits, CostOfCommands) {
  Bare pool;
  const auto begin = std::chrono::steady_clock::now();
  constexpr int kCommands = 2000;
  for (int i = 0; i < kCommands; ++i) (void)pool.job("j" + std::to_string(i), 1);
  const auto spent =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin).count();
  std::printf("submit: %.1f us per command and snapshot, %zu jobs\n", static_cast<double>(spent) / 1000 / kCommands,
              pool.at->jobs.size());
  const auto start = std::chrono::steady_clock::now();
  const JobId big = pool.job("big", 100'000);
  for (uint32_t chunk = 0; chunk < 20; ++chunk) {
    Actions actions;
    for (uint32_t i = 0; i < 1000; ++i) actions.create.push_back({big, 1, 0, chunk * 1000 + i, {}, {}, 0, {}});
    ASSERT_TRUE(pool.run(ApplyActions{actions}));
  }
  const auto made =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start).count();
  std::printf("create: %.2f us per instance of one job of 20000\n", static_cast<double>(made) / 1000 / 20'000);
  EXPECT_EQ(pool.at->instances.size(), 20'000u);
}

}  // namespace
}  // namespace tutti::state
