// The scheduler against a naive one that looks at every node for every instance, and against itself started cold.
#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "scheduler/test_oracle.h"
#include "scheduler/test_random_pool.h"

namespace tutti::scheduler {
namespace {

std::string text_of(const std::vector<Placement>& placements) {
  std::string out;
  for (const Placement& p : placements) {
    out += std::to_string(p.instance.value) + "->" + std::to_string(p.node.value) + (p.together ? "t" : "");
    for (const PortBinding& port : p.ports) out += ":" + std::to_string(port.host);
    for (const DeviceBinding& b : p.devices) out += "@" + b.device + "/" + std::to_string(b.share);
    out += " ";
  }
  return out;
}

TEST(Scheduler, PlansAsTheNaiveOneDoesWhateverItHasCached) {
  for (uint64_t seed = 1; seed <= 25; ++seed) {
    RandomPool world(seed);
    world.adopts = true;
    auto warm = make_scheduler();
    world.pool.commit();
    warm->rebuild(world.pool.published());
    for (int step = 0; step < 12; ++step) {
      const Snapshot& s = *world.pool.published();
      const uint64_t plan_seed = seed * 100 + static_cast<uint64_t>(step);
      const Plan plan = warm->schedule_all_pending(plan_seed, s.now, 100'000);
      const auto naive = Oracle(s, plan_seed).plan(s.now);
      ASSERT_EQ(text_of(plan.placements), text_of(naive)) << "seed " << seed << " step " << step;
      auto cold = make_scheduler();
      cold->rebuild(world.pool.published());
      ASSERT_EQ(text_of(plan.placements), text_of(cold->schedule_all_pending(plan_seed, s.now, 100'000).placements))
          << "seed " << seed << " step " << step;
      world.apply(plan);
      world.change();
      if (step % 4 == 3) world.set_policy();
      warm->follow(world.pool.commit());
    }
  }
}

TEST(Scheduler, ExplainsWhatItRefusesAndCountsEveryNode) {
  size_t refused = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    RandomPool world(seed);
    world.pool.commit();
    auto scheduler = make_scheduler();
    scheduler->rebuild(world.pool.published());
    const Snapshot& before = *world.pool.published();
    world.apply(scheduler->schedule_all_pending(seed, before.now, 100'000));
    world.pool.commit();
    const Snapshot& s = *world.pool.published();
    scheduler->rebuild(world.pool.published());
    s.pending.for_each([&](uint64_t id, const Unit&) {
      const InstanceId instance{id};
      if (s.instances.find(id)->not_before > s.now) return;
      const Plan alone = scheduler->schedule(std::span(&instance, 1), seed, s.now, 1);
      const Explanation why = explain(s, instance, s.now);
      int32_t counted = why.nodes_feasible;
      for (const Reason& reason : why.reasons) counted += reason.nodes;
      EXPECT_EQ(counted, why.nodes_total);
      EXPECT_EQ(why.nodes_total, static_cast<int32_t>(s.nodes.size()));
      // Dynamic ports are the one thing that a feasible node may still be out of.
      if (!alone.placements.empty()) EXPECT_GT(why.nodes_feasible, 0);
      // So is a node beside the one that the rest of its job is on.
      const Instance& i = *s.instances.find(id);
      if (alone.placements.empty() && request_of(s, i).ports.empty() && !s.version_of(i)->spec->placement.same_node)
        EXPECT_EQ(why.nodes_feasible, 0) << "seed " << seed;
      refused += alone.placements.empty() ? 1 : 0;
    });
  }
  EXPECT_GT(refused, 20u);  // else it has shown nothing
}

// What it tells of scores is what it places by; and afterwards they are what they were before.
TEST(Scheduler, ScoresSayWhereItGoesAndWhyItIsThere) {
  size_t told = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    RandomPool world(seed);
    world.pool.commit();
    auto scheduler = make_scheduler();
    scheduler->rebuild(world.pool.published());
    const Snapshot s = *world.pool.published();
    s.pending.for_each([&](uint64_t id, const Unit&) {
      const InstanceId instance{id};
      const Instance& i = *s.instances.find(id);
      if (i.not_before > s.now || s.version_of(i)->spec->placement.same_node) return;
      const Plan alone = scheduler->schedule(std::span(&instance, 1), seed, s.now, 1);
      if (alone.placements.empty()) return;
      const Placement& placed = alone.placements[0];
      const Explanation before = explain_fully(s, instance, s.now);
      ASSERT_FALSE(before.scores.empty());
      ASSERT_LT(before.queue_before, before.queue_length);
      const std::string name = s.nodes.find(placed.node.value)->name;
      // One may have room, and no host port left for it.
      if (request_of(s, i).ports.empty()) ASSERT_EQ(before.scores[0].node, name) << "seed " << seed;
      ++told;
      TestPool after = world.pool;
      after.place(instance, placed.node, TaskState::running, placed.ports, placed.devices);
      after.commit();
      const Explanation then = explain_fully(*after.published(), instance, s.now);
      ASSERT_EQ(then.node, name);
      ASSERT_EQ(then.scores[0].node, name);
      if (before.scores[0].node == name) ASSERT_EQ(then.score, before.scores[0].score) << "seed " << seed;
      ASSERT_EQ(then.nodes_feasible, before.nodes_feasible) << "seed " << seed;
      ASSERT_EQ(then.scores.size(), before.scores.size());
    });
  }
  EXPECT_GT(told, 200u);
}

// Whatever comes and goes: no device is given out beyond what it is, and what needs whole ones gets idle ones.
TEST(Scheduler, NoDeviceIsGivenTwice) {
  size_t given = 0;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    RandomPool world(seed);
    auto scheduler = make_scheduler();
    world.pool.commit();
    scheduler->rebuild(world.pool.published());
    for (int step = 0; step < 6; ++step) {
      world.apply(scheduler->schedule_all_pending(seed, world.pool.published()->now, 100'000));
      world.pool.commit();
      const Snapshot& s = *world.pool.published();
      std::map<std::pair<uint64_t, std::string>, std::vector<int64_t>> held;
      s.instances.for_each([&](uint64_t, const Instance& i) {
        if (!i.admitted || i.finished) return;
        const auto& devices = s.nodes.find(i.node.value)->inventory->devices;
        ASSERT_TRUE(as_asked(i.detail->devices, s.group_of(i).devices, devices));
        for (const DeviceBinding& b : i.detail->devices) held[{i.node.value, b.device}].push_back(b.share), ++given;
      });
      for (const auto& [device, shares] : held) {
        int64_t sum = 0;
        for (const int64_t share : shares) sum += share;
        ASSERT_LE(sum, kWholeDevice) << "seed " << seed << " " << device.second;
        ASSERT_EQ(s.usage_of(NodeId{device.first}).devices.at(device.second), sum);
      }
      world.change();
      world.pool.commit();
      scheduler->rebuild(world.pool.published());
    }
  }
  EXPECT_GT(given, 300u);  // else it has shown nothing
}

TEST(Scheduler, StopsAtMostAndLeavesTheRestPending) {
  TestPool pool;
  pool.add_node({{8'000}, {8LL << 30}, {8LL << 30}});
  const JobId job = pool.submit(TestPool::service("web", 5));
  for (uint32_t i = 0; i < 5; ++i) pool.add_pending(job, i);
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  EXPECT_EQ(scheduler->schedule_all_pending(1, pool.s.now, 3).placements.size(), 3u);
  // A plan that was not committed has taken nothing.
  EXPECT_EQ(scheduler->schedule_all_pending(1, pool.s.now, 100).placements.size(), 5u);
}

// Binpack: the average piece of work fills up a node that is in use; what is lopsided goes where its kind of room is.
TEST(Scheduler, FillsUsedNodesAndMatchesWhatIsLopsided) {
  TestPool pool;
  const NodeId lean = pool.add_node({{16'000}, {32LL << 30}, {}});
  const NodeId rich = pool.add_node({{16'000}, {128LL << 30}, {}});
  const NodeId empty = pool.add_node({{16'000}, {80LL << 30}, {}});
  auto add = [&](const char* name, int64_t millicores, int64_t gib, size_t count) {
    const JobId job = pool.submit(TestPool::service(name, 1, {{millicores}, {gib << 30}, {}}));
    std::vector<InstanceId> out;
    for (size_t i = 0; i < count; ++i) out.push_back(pool.add_pending(job, static_cast<uint32_t>(i)));
    return out;
  };
  pool.place(add("on-lean", 1'000, 5, 1)[0], lean);
  pool.place(add("on-rich", 1'000, 5, 1)[0], rich);
  const auto average = add("average", 1'000, 5, 1);
  const auto much_cpu = add("much-cpu", 2'000, 1, 3);
  const auto much_memory = add("much-memory", 1'000, 14, 3);
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  std::map<InstanceId, NodeId> at;
  for (const Placement& p : scheduler->schedule_all_pending(1, pool.s.now, 100).placements) at[p.instance] = p.node;
  EXPECT_NE(at[average[0]], empty);
  for (const InstanceId id : much_cpu) EXPECT_EQ(at[id], lean);
  for (const InstanceId id : much_memory) EXPECT_EQ(at[id], rich);
}

// A spec with health checks is for workers that know them.
TEST(Scheduler, LeavesOutWorkersThatAreTooOldForTheSpec) {
  TestPool pool;
  const NodeId old = pool.add_node({{8'000}, {8LL << 30}, {}});
  const NodeId other = pool.add_node({{8'000}, {8LL << 30}, {}});
  for (const NodeId id : {old, other}) pool.edit_inventory(id, [](Inventory& i) { i.feature_level = 1; });
  JobSpec spec = TestPool::service("web", 1);
  const InstanceId plain = pool.add_pending(pool.submit(spec));
  pool.place(plain, old);  // binpack would put the next one beside it
  spec.job = "checked";
  HealthCheck check;
  check.type = CheckType::exec;
  check.command = {"true"};
  spec.tasks[0].health.push_back(check);
  const InstanceId checked = pool.add_pending(pool.submit(spec));
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  EXPECT_TRUE(scheduler->schedule_all_pending(1, pool.s.now, 10).placements.empty());
  const Explanation why = explain(*pool.published(), checked, pool.s.now);
  ASSERT_EQ(why.reasons.size(), 1u);
  EXPECT_EQ(why.reasons[0].reason, "too old (feature level 1)");
  EXPECT_EQ(why.reasons[0].nodes, 2);
  ASSERT_EQ(why.remedies.size(), 1u);
  EXPECT_EQ(why.remedies[0], "run a newer tutti on " + pool.s.nodes.find(old.value)->name +
                                 ": the job asks for something of feature level 2");
  // One is upgraded.
  pool.edit_inventory(other, [](Inventory& i) { i.feature_level = kFeatureLevel; });
  scheduler->follow(pool.commit());
  const Plan plan = scheduler->schedule_all_pending(1, pool.s.now, 10);
  ASSERT_EQ(plan.placements.size(), 1u);
  EXPECT_EQ(plan.placements[0].node, other);
}

// What waits is placed by the new one, in lanes that were there before.
TEST(Scheduler, FollowsThePoolsPolicy) {
  TestPool pool;
  const NodeId used = pool.add_node({{8'000}, {8LL << 30}, {}});
  const NodeId idle = pool.add_node({{8'000}, {8LL << 30}, {}});
  const JobId job = pool.submit(TestPool::service("web", 1));
  pool.place(pool.add_pending(job), used);
  pool.add_pending(job, 1);
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  EXPECT_EQ(scheduler->schedule_all_pending(1, pool.s.now, 10).placements.at(0).node, used);
  Pool row = pool.s.pool;
  row.policy = "spread";
  pool.put(row);
  const ChangeSet changes = pool.commit();
  EXPECT_TRUE(may_place(changes));
  scheduler->follow(changes);
  EXPECT_EQ(scheduler->schedule_all_pending(1, pool.s.now, 10).placements.at(0).node, idle);
}

TEST(Scheduler, WakesForTheEarliestThatWaits) {
  TestPool pool;
  const JobId job = pool.submit(TestPool::service("web", 2));
  for (int64_t after : {9, 4}) {
    const InstanceId id = pool.add_pending(job, static_cast<uint32_t>(after));
    pool.edit_instance(id, [&](Instance& i) { i.not_before = pool.s.now + seconds(after); });
  }
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  EXPECT_EQ(scheduler->next_wake(pool.s.now), pool.s.now + seconds(4));
}

// Apply goes by the state's time, and by it a job that is placed as one is whole only with all that wait no longer.
TEST(Scheduler, AClockSetBackIsNotBeforeTheState) {
  TestPool pool;
  pool.add_node({{1'000}, {8LL << 30}, {8LL << 30}});
  const InstanceId id = pool.add_pending(pool.submit(TestPool::service("web", 1)), 0);
  pool.edit_instance(id, [&](Instance& i) { i.not_before = pool.s.now - seconds(1); });
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  const Time back = pool.s.now - seconds(60);
  EXPECT_EQ(scheduler->next_wake(back), Time{});
  EXPECT_EQ(scheduler->schedule_all_pending(1, back, 10).placements.size(), 1u);
}

TEST(Scan, EveryBodyFindsTheSame) {
  SeededRandom random(7);
  for (int round = 0; round < 400; ++round) {
    const size_t words = 1 + random.below(9);
    std::vector<uint32_t> ab(words * 64);
    std::vector<int32_t> cpu(words * 64), memory(words * 64), disk(words * 64);
    std::vector<uint64_t> mask(words);
    for (size_t i = 0; i < ab.size(); ++i) {
      ab[i] = static_cast<uint32_t>(1'000 + random.below(9'000)) |
              static_cast<uint32_t>(1'000 + random.below(round % 2 == 0 ? 3 : 9'000)) << 16;
      cpu[i] = static_cast<int32_t>(random.below(100)), memory[i] = static_cast<int32_t>(random.below(100)),
      disk[i] = static_cast<int32_t>(random.below(100));
    }
    for (uint64_t& word : mask)
      word = random.below(4) == 0 ? 0 : random.next() & (random.below(2) == 0 ? ~uint64_t{0} : random.next());
    std::vector<uint32_t> cd(ab.size());
    for (uint32_t& each : cd) {
      const auto d = static_cast<uint16_t>(static_cast<int64_t>(random.below(40'000)) - 20'000);
      each = static_cast<uint32_t>(random.below(10'000)) | static_cast<uint32_t>(d) << 16;
    }
    const ScanColumns columns{ab.data(), cd.data(), cpu.data(), memory.data(), disk.data(), mask.data(), words};
    const ScanRequest request{
        static_cast<int32_t>(random.below(110)),
        static_cast<int32_t>(random.below(100)),
        static_cast<int32_t>(random.below(2) * random.below(100)),
        static_cast<uint32_t>(1'000 + random.below(9'000)) | static_cast<uint32_t>(1'000 + random.below(9'000)) << 16,
        random.below(2) == 0 ? 0 : 30'000 | static_cast<uint32_t>(static_cast<uint16_t>(random.below(30'000))) << 16,
        random.below(2) == 0 ? 0 : INT32_MAX};
    const ScanBest want = scan_scalar(columns, request);
#if defined(__x86_64__)
    for (const Scan scan : {has_avx2() ? scan_avx2 : scan_scalar, has_avx512() ? scan_avx512 : scan_scalar}) {
      const ScanBest got = scan(columns, request);
      ASSERT_EQ(got.index, want.index);
      if (want.index != UINT32_MAX) ASSERT_EQ(got.score, want.score);
    }
#endif
  }
}

}  // namespace
}  // namespace tutti::scheduler
