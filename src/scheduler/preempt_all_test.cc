// J07 with S07: whom the scheduler pushes aside for a job that is placed as one, against every subset of who may go.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "base/limits.h"
#include "base/random.h"
#include "model/test_pool.h"
#include "scheduler/planner.h"
#include "scheduler/preempt.h"

namespace tutti::scheduler {
namespace {

constexpr Bytes kMemory{64 << 20};

class PreemptAllTest : public ::testing::Test {
 protected:
  PreemptAllTest() { allow(true); }
  void allow(bool preemption) { pool_.put_project(1, "default", preemption); }
  NodeId node(int64_t cpu) { return pool_.add_node({{cpu}, {8LL << 30}, {8LL << 30}}); }
  JobId submit(JobSpec spec, int32_t priority) {
    spec.priority = priority;
    return pool_.submit(spec);
  }
  static JobSpec plain(int64_t cpu) { return TestPool::service("j", 1, {{cpu}, kMemory, {}}); }
  static JobSpec as_one(int64_t cpu) {
    JobSpec spec = TestPool::service("gang", 1, {{cpu}, kMemory, {}});
    spec.placement.all_or_nothing = true;
    return spec;
  }
  InstanceId running(int32_t priority, int64_t cpu, NodeId where) {
    return running(submit(plain(cpu), priority), where);
  }
  InstanceId running(JobId job, NodeId where, std::vector<DeviceBinding> devices = {}) {
    const InstanceId id = pool_.add_pending(job, slot_++);
    pool_.place(id, where, TaskState::running, {}, std::move(devices));
    return id;
  }
  std::vector<InstanceId> waiting(JobId job, size_t count, uint16_t group = 0) {
    std::vector<InstanceId> out;
    for (size_t i = 0; i < count; ++i) out.push_back(pool_.add_pending(job, slot_++, group));
    return out;
  }
  Plan plan() {
    pool_.commit();
    auto scheduler = make_scheduler();
    scheduler->rebuild(pool_.published());
    return scheduler->schedule_all_pending(1, pool_.s.now, 1'000);
  }
  static std::set<InstanceId> victims_of(const Plan& plan) {
    std::set<InstanceId> out;
    for (const PushAside& each : plan.push_aside)
      for (const InstanceId id : each.victims) EXPECT_TRUE(out.insert(id).second) << "told twice";
    return out;
  }
  void leave(InstanceId id) {
    pool_.edit_instance(id, [](Instance& i) { i.desired = Desired::removed; });
  }
  void gone(InstanceId id) {
    pool_.edit_instance(id, [](Instance& i) { i.finished = i.cleared = true, i.state = TaskState::stopped; });
  }
  TestPool pool_;
  uint32_t slot_ = 0;
};

TEST_F(PreemptAllTest, AllFindRoomOrNobodyIsPushedAside) {
  const NodeId a = node(1'000), b = node(1'000), c = node(1'000);
  const InstanceId low_a = running(10, 900, a), low_b = running(20, 900, b);
  running(90, 900, c);
  const JobId gang = submit(as_one(800), 80);
  const auto members = waiting(gang, 2);
  Plan made = plan();
  EXPECT_TRUE(made.placements.empty());
  EXPECT_EQ(victims_of(made), (std::set{low_a, low_b}));
  ASSERT_EQ(made.push_aside.size(), 2u);
  EXPECT_TRUE(made.push_aside[0].together && made.push_aside[1].together);
  waiting(gang, 1);  // the third would have to take the place of what is more important
  EXPECT_TRUE(plan().push_aside.empty());
  allow(false);
  EXPECT_TRUE(plan().push_aside.empty());
}

TEST_F(PreemptAllTest, WhatIsFreeIsTakenFirstAndToldOfToo) {
  const NodeId a = node(1'000);
  const NodeId b = node(1'000);
  const InstanceId low = running(10, 900, a);
  waiting(submit(as_one(800), 80), 2);
  const Plan made = plan();
  EXPECT_EQ(victims_of(made), std::set{low});
  ASSERT_EQ(made.push_aside.size(), 2u) << "apply has to know where each of them goes";
  for (const PushAside& each : made.push_aside) EXPECT_EQ(each.node, each.victims.empty() ? b : a);
}

TEST_F(PreemptAllTest, OneThatMakesRoomForManyGoesBeforeMany) {
  const NodeId large = node(3'000);
  const InstanceId whale = running(10, 2'900, large);
  for (int i = 0; i < 3; ++i) running(10, 900, node(1'000));
  waiting(submit(as_one(900), 80), 3);
  EXPECT_EQ(victims_of(plan()), std::set{whale});
}

TEST_F(PreemptAllTest, NobodySlipsInAndNobodyElseGoesUntilAllHaveLeft) {
  const NodeId a = node(1'000), b = node(1'000);
  const InstanceId low_a = running(10, 900, a), low_b = running(10, 900, b);
  const auto members = waiting(submit(as_one(950), 80), 2);
  const Plan first = plan();
  ASSERT_EQ(victims_of(first).size(), 2u);
  for (const PushAside& each : first.push_aside)
    for (const InstanceId id : each.victims) {
      leave(id);
      pool_.edit_detail(id, [&](InstanceDetail& d) { d.pushed_by = each.instance; });
    }
  const auto small = waiting(submit(plain(60), 5), 1);  // would fit into what is free
  Plan made = plan();
  EXPECT_TRUE(made.push_aside.empty() && made.placements.empty());
  gone(low_a);
  running(10, 40, b);  // somebody who could go too
  made = plan();
  EXPECT_TRUE(made.push_aside.empty() && made.placements.empty()) << "room of the one that has left was given away";
  gone(low_b);
  made = plan();
  ASSERT_GE(made.placements.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(made.placements[i].together);
    EXPECT_NE(std::find(members.begin(), members.end(), made.placements[i].instance), members.end());
  }
}

TEST_F(PreemptAllTest, OnOneNodeTheCheapestNode) {
  const NodeId dear = node(2'000), cheap = node(2'000);
  for (const NodeId where : {dear, cheap}) running(where == dear ? 30 : 20, 900, where);
  const InstanceId second = running(20, 900, cheap);
  running(20, 900, dear);
  JobSpec spec = as_one(600);
  spec.placement.all_or_nothing = false;
  spec.placement.same_node = true;
  waiting(submit(spec, 80), 3);
  const Plan made = plan();
  ASSERT_EQ(made.push_aside.size(), 3u);
  for (const PushAside& each : made.push_aside) EXPECT_EQ(each.node, cheap);
  EXPECT_EQ(victims_of(made).size(), 2u);
  EXPECT_TRUE(victims_of(made).contains(second));
}

TEST_F(PreemptAllTest, DevicesPortsAndCountableThingsAreFreedToo) {
  std::vector<NodeId> nodes;
  JobSpec holder = plain(100);
  holder.tasks[0].gpu = DeviceSpec{};
  holder.tasks[0].node_limits["licence"] = 1;
  const JobId low = submit(holder, 10);
  std::set<InstanceId> holders;
  for (int n = 0; n < 2; ++n) {
    nodes.push_back(node(4'000));
    pool_.edit_inventory(nodes.back(), [](Inventory& i) {
      i.devices = {{"gpu0", "gpu", "T4", {}}, {"gpu1", "gpu", "T4", {}}};
      i.limits["licence"] = 2;
    });
    for (const char* device : {"gpu0", "gpu1"})
      holders.insert(running(low, nodes.back(), {{"j", device, "gpu", kWholeDevice}}));
  }
  JobSpec gang = as_one(100);
  gang.tasks[0].gpu = DeviceSpec{};
  gang.tasks[0].node_limits["licence"] = 1;
  const JobId job = submit(gang, 80);
  waiting(job, 4);
  EXPECT_EQ(victims_of(plan()), holders);
  waiting(job, 1);
  EXPECT_TRUE(plan().push_aside.empty()) << "there are four GPUs";
  // A fixed port: one of them a node, however much room there is.
  JobSpec fixed = as_one(100);
  fixed.tasks[0].ports.push_back({"http", 80, 8080, Protocol::tcp});
  const JobId three = submit(fixed, 80);
  waiting(three, 3);
  EXPECT_TRUE(plan().push_aside.empty());
}

TEST_F(PreemptAllTest, MoreThanAPlanMayTellAreLeftAlone) {
  const NodeId large = node(100'000);
  for (size_t i = 0; i <= kVictimsPerPlan; ++i) running(10, 100, large);
  waiting(submit(as_one(100'000), 80), 1);
  const Plan made = plan();
  EXPECT_TRUE(made.push_aside.empty());
  EXPECT_EQ(made.refused.size(), 1u);
}

// Kinds of different sizes find together what each alone, one after the other where it is best, does not.
TEST_F(PreemptAllTest, WhatLeavesIsNotInVainWhereThePackingIsTight) {
  JobSpec spec = as_one(200);
  spec.tasks.push_back(spec.tasks[0]);
  spec.tasks[1].name = "big";
  spec.tasks[1].resources.cpu = {800};
  const JobId job = submit(spec, 80);
  const NodeId a = node(1'000), b = node(1'000);
  (void)waiting(job, 2, 0);  // the small ones come first
  (void)waiting(job, 2, 1);
  const InstanceId low_a = running(10, 900, a), low_b = running(10, 900, b);
  EXPECT_EQ(victims_of(plan()), (std::set{low_a, low_b}));
  gone(low_a), gone(low_b);
  const Plan made = plan();
  EXPECT_TRUE(made.push_aside.empty());
  EXPECT_EQ(made.placements.size(), 4u);
}

// The planner proposes nothing for what cannot be placed, and does not wake for it.
TEST_F(PreemptAllTest, WhatDoesNotFitIsNotProposedAgainBeforeSomethingHappens) {
  const NodeId a = node(1'000);
  node(1'000);
  const InstanceId other = running(90, 900, a);
  waiting(submit(as_one(900), 80), 2);
  pool_.commit();
  Planner planner;
  planner.rebuild(pool_.published());
  EXPECT_FALSE(planner.step(pool_.s.now));
  EXPECT_FALSE(planner.wake());
  pool_.edit_instance(other, [](Instance& i) { i.state = TaskState::starting; });
  ASSERT_TRUE(planner.follow(pool_.commit()));
  EXPECT_FALSE(planner.step(pool_.s.now + seconds(60)));
  gone(other);
  ASSERT_TRUE(planner.follow(pool_.commit()));
  const auto made = planner.step(pool_.s.now);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->placements.size(), 2u);
  // Refused again and again: later and later, not 20 times a second.
  Time now = pool_.s.now;
  std::vector<int64_t> waits;
  for (int i = 0; i < 9; ++i) {
    planner.applied(0, now);
    waits.push_back((planner.wake() - now).ms());
    EXPECT_FALSE(planner.step(now));
    now = planner.wake();
    ASSERT_TRUE(planner.step(now));
  }
  EXPECT_EQ(waits.front(), 50);
  EXPECT_EQ(waits.back(), 2'000);
  planner.applied(2, now);
  EXPECT_FALSE(planner.wake());
}

// A gang that does not fit beside the rest of a plan is next, without anything else having to happen.
TEST_F(PreemptAllTest, WhatNeedsAPlanOfItsOwnGetsOne) {
  for (int i = 0; i < 5; ++i) node(1'000'000);
  waiting(submit(plain(10), 90), 300);
  waiting(submit(as_one(10), 80), 300);
  pool_.commit();
  Planner planner;
  planner.rebuild(pool_.published());
  const auto first = planner.step(pool_.s.now);
  ASSERT_TRUE(first);
  ASSERT_EQ(first->placements.size(), 300u);
  for (const Placement& p : first->placements) pool_.place(p.instance, p.node);
  ASSERT_TRUE(planner.follow(pool_.commit()));
  planner.applied(300, pool_.s.now);
  const auto second = planner.step(pool_.s.now);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->placements.size(), 300u);
}

// Every remedy, as people read them.
std::string told(const Snapshot& s, InstanceId id) {
  std::string out;
  for (const std::string& each : explain(s, id, s.now).remedies) out += each + "\n";
  return out;
}
bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(PreemptAllTest, ExplainSaysWhatWouldMakeAllRun) {
  const NodeId a = node(1'000), b = node(1'000);
  const InstanceId low_a = running(10, 900, a), low_b = running(20, 900, b);
  const auto members = waiting(submit(as_one(800), 80), 2);
  auto text = [&] {
    pool_.commit();
    return told(*pool_.published(), members[0]);
  };
  EXPECT_TRUE(says(text(), "wait: 2 less important instances will be told to go for all 2 that wait")) << text();
  allow(false);
  EXPECT_TRUE(says(text(), "its preemption is off): 2 would go")) << text();
  EXPECT_TRUE(says(text(), "all 2 that wait at once (placement.all_or_nothing); there is room for 0")) << text();
  allow(true);
  leave(low_a), leave(low_b);
  for (const InstanceId id : {low_a, low_b})
    pool_.edit_detail(id, [&](InstanceDetail& d) { d.pushed_by = members[1]; });
  EXPECT_TRUE(says(text(), "wait: 2 less important instances were told to go for all 2 that wait")) << text();
  gone(low_b), gone(low_a);
  running(90, 900, b);
  EXPECT_TRUE(says(text(), "; there is room for 1")) << text();
  EXPECT_TRUE(says(text(), "less important work cannot make room for all 2 that wait, even if")) << text();
  allow(false);
  EXPECT_FALSE(says(text(), "preemption")) << "it would not help: " << text();
}

TEST_F(PreemptAllTest, ExplainSaysThatTheRestIsElsewhere) {
  const NodeId a = node(1'000), b = node(1'000);
  JobSpec spec = as_one(100);
  spec.placement = {};
  spec.placement.same_node = true;
  const JobId job = submit(spec, 50);
  running(job, a);
  const InstanceId back = waiting(job, 1)[0];
  pool_.edit_instance(back, [&](Instance& i) { i.node = b; });  // its disk is there, from before
  EXPECT_TRUE(plan().placements.empty()) << "apply would refuse it, again and again";
  EXPECT_TRUE(says(told(*pool_.published(), back), "stop the rest of its job")) << told(*pool_.published(), back);
  const InstanceId beside = waiting(job, 1)[0];
  const Plan made = plan();
  ASSERT_EQ(made.placements.size(), 1u);
  EXPECT_EQ(made.placements[0].instance, beside);
  EXPECT_EQ(made.placements[0].node, a) << "where the rest runs, not where one waits to";
}

struct Best {
  int32_t priority = 0;
  size_t count = 0;
  auto operator<=>(const Best&) const = default;
};

// At random, against every subset of who may go.
TEST_F(PreemptAllTest, AsManyAsNeededNeverMoreImportantThanNeeded) {
  size_t pushed = 0, refused = 0, more_than_fewest = 0;
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SeededRandom random(seed);
    TestPool pool;
    std::swap(pool_, pool);
    allow(true);
    std::vector<NodeId> nodes;
    for (uint64_t n = 1 + random.below(4); n > 0; --n) nodes.push_back(node(1'000));
    std::vector<InstanceId> held;
    for (uint64_t n = 4 + random.below(8); n > 0; --n) {
      const auto cpu = static_cast<int64_t>(1 + random.below(7)) * 100;
      const NodeId where = nodes[random.below(nodes.size())];
      if (cpu > 1'000 - pool_.s.usage_of(where).used.cpu.value) continue;
      held.push_back(running(static_cast<int32_t>(random.below(5)) * 10, cpu, where));
    }
    const auto cpu = static_cast<int64_t>(2 + random.below(7)) * 100;
    const int32_t priority = static_cast<int32_t>(1 + random.below(4)) * 10;
    const size_t count = 1 + random.below(5);
    waiting(submit(as_one(cpu), priority), count);
    const Plan made = plan();
    const Snapshot& s = *pool_.published();
    std::erase_if(held,
                  [&](InstanceId id) { return s.version_of(*s.instances.find(id.value))->spec->priority >= priority; });
    // How many fit once these have gone; all ask for the same, so no packing is better than another.
    auto places = [&](auto&& is_gone) {
      size_t out = 0;
      for (const NodeId id : nodes) {
        int64_t free = 1'000 - s.usage_of(id).used.cpu.value;
        for (const InstanceId each : held) {
          const Instance& i = *s.instances.find(each.value);
          if (i.node == id && is_gone(each)) free += s.group_of(i).resources.cpu.value;
        }
        out += static_cast<size_t>(free / cpu);
      }
      return out;
    };
    auto told = [&](const std::set<InstanceId>& gone) {
      Best out{0, gone.size()};
      for (const InstanceId id : gone)
        out.priority = std::max(out.priority, s.version_of(*s.instances.find(id.value))->spec->priority);
      return out;
    };
    std::optional<Best> best;
    for (uint64_t subset = 0; subset < uint64_t{1} << held.size(); ++subset) {
      std::set<InstanceId> gone;
      for (size_t i = 0; i < held.size(); ++i)
        if ((subset >> i & 1) != 0) gone.insert(held[i]);
      if (places([&](InstanceId id) { return gone.contains(id); }) < count) continue;
      if (!best || told(gone) < *best) best = told(gone);
    }
    const std::set<InstanceId> victims = victims_of(made);
    if (!best || best->count == 0) {
      EXPECT_TRUE(victims.empty()) << "seed " << seed << (best ? ": it fits" : ": in vain");
      EXPECT_EQ(made.placements.size(), best ? count : 0) << "seed " << seed;
      refused += best ? 0 : 1;
      continue;
    }
    ++pushed;
    EXPECT_TRUE(made.placements.empty());
    ASSERT_EQ(made.push_aside.size(), count) << "seed " << seed;
    ASSERT_GE(places([&](InstanceId id) { return victims.contains(id); }), count) << "seed " << seed << ": in vain";
    for (const InstanceId spared : victims) {
      EXPECT_NE(std::find(held.begin(), held.end(), spared), held.end()) << "seed " << seed << ": not less important";
      EXPECT_LT(places([&](InstanceId id) { return id != spared && victims.contains(id); }), count)
          << "seed " << seed << ": one too many";
    }
    EXPECT_EQ(told(victims).priority, best->priority) << "seed " << seed << ": more important than needed";
    EXPECT_LE(victims.size(), best->count + 1) << "seed " << seed;
    more_than_fewest += victims.size() > best->count ? 1 : 0;
  }
  EXPECT_GT(pushed, 100u);
  EXPECT_GT(refused, 30u);
  EXPECT_LT(more_than_fewest * 10, pushed) << "of " << pushed;
}

}  // namespace
}  // namespace tutti::scheduler
