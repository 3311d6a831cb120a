// A plan is looked at again when it is applied: gangs as a whole, and nobody is told to go in vain (J07, S07).
#include <gtest/gtest.h>

#include "state/test_draft_pool.h"

namespace tutti::state {
namespace {

// Two nodes that hold one instance of two cores each, and a project that lets others be pushed aside.
struct Planned : DraftPool {
  NodeId left, right;

  Planned() : DraftPool(milliseconds(10)) {
    allow(true);
    left = node(), right = node();
  }
  void allow(bool preemption) {
    Project allowed = *at->project_by_name("default");
    allowed.preemption = preemption;
    EXPECT_TRUE(run(PutProject{allowed}));
  }
  NodeId node() {
    Inventory inventory;
    inventory.capacity = {{2'000}, {8LL << 30}, {100LL << 30}};
    inventory.devices = {{"gpu0", "gpu", "T4", {}}};
    return join(inventory);
  }
  JobSpec spec(const std::string& name, int32_t priority, int64_t cpu = 2'000) {
    JobSpec out;
    out.job = name;
    out.priority = priority;
    TaskSpec task;
    task.name = "web";
    task.driver = "fake";
    task.count = 5;
    task.resources.cpu = {cpu};
    out.tasks.push_back(task);
    return out;
  }
  JobId submit(const JobSpec& spec) {
    auto out = run(SubmitJob{spec, project, {}, {}});
    EXPECT_TRUE(out) << out.error().to_string();
    return JobId{out->id};
  }
  InstanceId waiting(JobId job, uint32_t slot) {
    Actions actions;
    actions.create.push_back({job, 1, 0, slot, {}, {}, 0, {}});
    EXPECT_TRUE(run(ApplyActions{actions}));
    return InstanceId{at->instances.last_key()};
  }
  InstanceId running(const std::string& name, int32_t priority, NodeId where, int64_t cpu = 2'000) {
    const InstanceId id = waiting(submit(spec(name, priority, cpu)), 0);
    EXPECT_EQ(propose({.placements = {{id, 1, where, {}, {}}}}), 1u);
    return id;
  }
  uint64_t propose(Plan plan) { return run(ApplyPlan{std::move(plan)})->number; }
  const Instance& row(InstanceId id) const { return *at->instances.find(id.value); }
  bool told_to_go(InstanceId id) const { return row(id).desired == Desired::removed; }
  void clear(InstanceId id) {
    const NodeId where = row(id).node;
    ASSERT_TRUE(run(ReportStatus{where, at->nodes.find(where.value)->session, {{id, {}, "", true}}}));
  }
};

TEST(StatePlan, AGangThatDoesNotFitAnyMoreLeavesNothingBehind) {
  Planned pool;
  JobSpec spec = pool.spec("gang", 50);
  spec.placement.all_or_nothing = true;
  const JobId gang = pool.submit(spec);
  const InstanceId first = pool.waiting(gang, 0), second = pool.waiting(gang, 1);
  pool.running("other", 50, pool.right);
  Plan plan;
  plan.placements = {{first, 1, pool.left, {}, {}, true}, {second, 1, pool.right, {}, {}, true}};
  EXPECT_EQ(pool.propose(plan), 0u);
  EXPECT_FALSE(pool.changed) << "a commit that says nothing wakes everybody, who then propose the same again";
  EXPECT_FALSE(pool.row(first).admitted);
  EXPECT_EQ(pool.at->usage_of(pool.left).used.cpu.value, 0);
  EXPECT_TRUE(audit(*pool.at));
}

TEST(StatePlan, OnTheHostsNetworkAPortIsItsOwn) {
  Planned pool;
  JobSpec spec = pool.spec("host", 50);
  spec.tasks[0].network = NetworkMode::host;
  spec.tasks[0].ports.push_back({"http", 80, 0, Protocol::tcp});
  const InstanceId id = pool.waiting(pool.submit(spec), 0);
  const PortBinding any{"web", "http", 80, pool.at->nodes.find(pool.left.value)->inventory->port_first, Protocol::tcp};
  EXPECT_EQ(pool.propose({.placements = {{id, 1, pool.left, {any}, {}}}}), 0u);
  EXPECT_EQ(pool.propose({.placements = {{id, 1, pool.left, {{"web", "http", 80, 80, Protocol::tcp}}, {}}}}), 1u);
}

// Two of a gang of priority 80, and on each node somebody of priority 10.
struct Pushing : Planned {
  InstanceId low_left, low_right;
  JobId gang;
  std::vector<InstanceId> members;
  explicit Pushing(bool gpu = false) {
    low_left = running("low-left", 10, left), low_right = running("low-right", 10, right);
    JobSpec wanted = spec("gang", 80);
    wanted.placement.all_or_nothing = true;
    if (gpu) wanted.tasks[0].gpu = DeviceSpec{};
    gang = submit(wanted);
    members = {waiting(gang, 0), waiting(gang, 1)};
  }
  Plan plan() const {
    Plan out;
    out.push_aside = {{members[0], 1, left, {low_left}, true}, {members[1], 1, right, {low_right}, true}};
    return out;
  }
  void expect_nobody_goes(const Plan& wanted) {
    EXPECT_EQ(propose(wanted), 0u);
    EXPECT_FALSE(changed);
    EXPECT_FALSE(told_to_go(low_left));
    EXPECT_FALSE(told_to_go(low_right));
    EXPECT_TRUE(audit(*at));
  }
};

TEST(StatePlan, AllGoForAllAndAreToldForWhom) {
  for (const bool gpu : {false, true}) {
    Pushing pool(gpu);
    EXPECT_EQ(pool.propose(pool.plan()), 2u);
    for (const auto& [victim, who] : {std::pair(pool.low_left, 0), std::pair(pool.low_right, 1)}) {
      ASSERT_TRUE(pool.told_to_go(victim));
      EXPECT_EQ(pool.row(victim).detail->pushed_by, pool.members[static_cast<size_t>(who)]);
      EXPECT_EQ(pool.row(victim).detail->reason, "pushed aside by gang-web-" + std::to_string(who) + " (priority 80)");
    }
    for (const InstanceId id : pool.members) EXPECT_FALSE(pool.row(id).admitted) << "placed once they are gone";
    EXPECT_TRUE(audit(*pool.at));
    pool.clear(pool.low_left), pool.clear(pool.low_right);
    std::vector<DeviceBinding> device;
    if (gpu) device = {{"web", "gpu0", "gpu", kWholeDevice}};
    Plan plan;
    plan.placements = {{pool.members[0], 1, pool.left, {}, device, true},
                       {pool.members[1], 1, pool.right, {}, device, true}};
    EXPECT_EQ(pool.propose(plan), 2u);
  }
}

TEST(StatePlan, NobodyGoesInVain) {
  {  // One of them is placed meanwhile, by another scheduler; so the plan is of another gang.
    Pushing pool;
    const NodeId third = pool.node();
    EXPECT_EQ(pool.propose({.placements = {{pool.members[0], 1, third, {}, {}}}}), 1u);
    pool.expect_nobody_goes(pool.plan());
  }
  {  // One more waits: it would not be for the whole gang.
    Pushing pool;
    pool.waiting(pool.gang, 2);
    pool.expect_nobody_goes(pool.plan());
  }
  {  // A part of the gang.
    Pushing pool;
    Plan plan = pool.plan();
    plan.push_aside.pop_back();
    pool.expect_nobody_goes(plan);
  }
  {  // Not enough: somebody else, whom the plan does not know, has room there.
    Pushing pool;
    ASSERT_EQ(pool.propose({.push_aside = {{pool.members[0], 1, pool.left, {pool.low_left}}}}), 1u);
    pool.clear(pool.low_left);
    const InstanceId other = pool.running("other", 90, pool.left, 100);
    Plan plan = pool.plan();
    plan.push_aside[0].victims.clear();
    EXPECT_EQ(pool.propose(plan), 0u);
    EXPECT_FALSE(pool.told_to_go(pool.low_right));
    EXPECT_FALSE(pool.told_to_go(other));
  }
  {  // In the same plan somebody is placed where one of them would go.
    Pushing pool;
    ASSERT_EQ(pool.propose({.push_aside = {{pool.members[0], 1, pool.left, {pool.low_left}}}}), 1u);
    pool.clear(pool.low_left);
    const InstanceId other = pool.waiting(pool.submit(pool.spec("other", 90, 100)), 0);
    Plan plan = pool.plan();
    plan.push_aside[0].victims.clear();
    plan.placements = {{other, 1, pool.left, {}, {}}};
    EXPECT_EQ(pool.propose(plan), 1u);
    EXPECT_FALSE(pool.told_to_go(pool.low_right));
  }
  {  // A node went away.
    Pushing pool;
    NodeSpec cordoned = pool.at->nodes.find(pool.right.value)->spec;
    cordoned.eligibility = Eligibility::cordoned;
    ASSERT_TRUE(pool.run(UpdateNode{pool.right, cordoned, {}}));
    pool.expect_nobody_goes(pool.plan());
  }
  {  // A GPU is gone from a node.
    Pushing pool(true);
    pool.expect_nobody_goes([&] {
      Plan plan = pool.plan();
      plan.push_aside[1].node = pool.left;
      plan.push_aside[1].victims = {};
      return plan;
    }());
  }
  {  // The project does not allow it any more.
    Pushing pool;
    pool.allow(false);
    pool.expect_nobody_goes(pool.plan());
  }
}

TEST(StatePlan, NobodyOfTheSamePriorityGoes) {
  Pushing pool;
  const NodeId third = pool.node();
  const InstanceId same = pool.running("same", 80, third);
  Plan plan = pool.plan();
  plan.push_aside[1] = {pool.members[1], 1, third, {same}, true};
  pool.expect_nobody_goes(plan);
  EXPECT_FALSE(pool.told_to_go(same));
}

}  // namespace
}  // namespace tutti::state
