// What a scheduler of another process may propose, and when it is passed over.
#include "manager/plan_check.h"

#include <gtest/gtest.h>

#include "model/test_pool.h"

namespace tutti::manager {
namespace {

constexpr Resources kRoom{{1'000}, {8LL << 30}, {8LL << 30}};

struct PlanCheck : ::testing::Test {
  TestPool pool;
  NodeId good = pool.add_node(kRoom);
  NodeId other = pool.add_node(kRoom);

  InstanceId waiting(JobSpec spec, uint32_t slot = 0) {
    const JobId job = pool.submit(std::move(spec));
    return pool.add_pending(job, slot);
  }
  // On each of both nodes: which of them may be.
  std::pair<bool, bool> may(InstanceId id) {
    pool.commit();
    const auto one = [&](NodeId node) {
      return without_forbidden(*pool.published(), {{}, {{id, 1, node, {}}}, {}}).placements.size() == 1;
    };
    return {one(good), one(other)};
  }
  bool undone(Duration waited, scheduler::Share share = {}) {
    pool.commit();
    const Time now = pool.s.now + waited;
    return leaves_undone(pool.published(), share, now - seconds(10), now);
  }
};

TEST_F(PlanCheck, WhatTheJobAsksOfANodeIsLookedAt) {
  pool.edit_node(good, [](Node& node) { node.spec.labels["zone"] = "a"; });
  JobSpec wish = TestPool::service("wish", 1);
  wish.tasks[0].constraints = {"node.label.zone == a"};
  EXPECT_EQ(may(waiting(wish)), std::pair(true, false)) << "constraint";
  JobSpec vm = TestPool::service("vm", 1);
  vm.tasks[0].driver = "vm";
  EXPECT_EQ(may(waiting(vm)), std::pair(false, false)) << "no such driver";
  pool.edit_inventory(good, [](Inventory& inventory) { inventory.drivers.push_back({"vm", "1", true, ""}); });
  EXPECT_EQ(may(waiting(vm)), std::pair(true, false));
  pool.edit_node(other, [](Node& node) { node.spec.eligibility = Eligibility::cordoned; });
  EXPECT_EQ(may(waiting(TestPool::service("plain", 1))), std::pair(true, false)) << "cordoned";
  EXPECT_EQ(may(InstanceId{999'999}), std::pair(false, false)) << "no such instance";
}

TEST_F(PlanCheck, OfThoseTogetherAllOrNone) {
  pool.edit_node(good, [](Node& node) { node.spec.labels["zone"] = "a"; });
  JobSpec gang = TestPool::service("gang", 2);
  gang.tasks[0].constraints = {"node.label.zone == a"};
  const InstanceId first = waiting(gang);
  const InstanceId second = pool.add_pending(pool.at(first).job, 1);
  const InstanceId alone = waiting(TestPool::service("alone", 1));
  pool.commit();
  Plan plan;
  plan.placements = {{first, 1, good, {}, {}, true}, {second, 1, other, {}, {}, true}, {alone, 1, other, {}}};
  const Plan left = without_forbidden(*pool.published(), plan);
  ASSERT_EQ(left.placements.size(), 1u);
  EXPECT_EQ(left.placements[0].instance, alone);
  plan.placements[1].node = good;
  EXPECT_EQ(without_forbidden(*pool.published(), plan).placements.size(), 3u);
  plan.push_aside = {{first, 1, other, {}}, {first, 1, good, {}}};
  EXPECT_EQ(without_forbidden(*pool.published(), plan).push_aside.size(), 1u);
}

TEST_F(PlanCheck, WhoPlacesNothingThoughItCouldLeavesItUndone) {
  EXPECT_FALSE(undone(seconds(20))) << "nothing waits";
  const InstanceId id = waiting(TestPool::service("small", 1));
  EXPECT_TRUE(undone(seconds(20)));
  EXPECT_FALSE(undone(seconds(5))) << "not for so long yet";
  const JobId job = pool.at(id).job;
  const uint32_t mine = scheduler::falls_to(job, {0, 2}) ? 0 : 1;
  EXPECT_TRUE(undone(seconds(20), {mine, 2}));
  EXPECT_FALSE(undone(seconds(20), {1 - mine, 2})) << "another's";
  pool.edit_instance(id, [&](Instance& row) { row.not_before = pool.s.now + seconds(15); });
  EXPECT_FALSE(undone(seconds(20))) << "its time came lately";
}

TEST_F(PlanCheck, WhatFitsNowhereIsNobodysFault) {
  waiting(TestPool::service("large", 1, {{5'000}, {64 << 20}, {}}));
  JobSpec gang = TestPool::service("gang", 3, {{900}, {64 << 20}, {}});
  gang.placement.all_or_nothing = true;
  const InstanceId first = waiting(gang);
  for (uint32_t slot : {1u, 2u}) pool.add_pending(pool.at(first).job, slot);
  EXPECT_FALSE(undone(seconds(60)));
}

}  // namespace
}  // namespace tutti::manager
