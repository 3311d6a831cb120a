// S08: what a rebalance makes beside an instance takes over on its node once it is healthy, or goes when that comes to
// nothing; the one that serves is never touched before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reconcile/test_world.h"

namespace tutti::reconcile {
namespace {

struct Moving : ::testing::Test {
  TestWorld world;
  std::vector<NodeId> nodes = world.add_nodes(3);
  JobId job;

  void start(JobSpec spec) {
    job = world.deploy(std::move(spec));
    ASSERT_TRUE(world.run());
    world.pool.edit_job(job, [](Job& row) { row.deployment.state = DeploymentState::succeeded; });
  }
  const Instance& one() { return *world.pool.s.instances.find(world.live(job).front().id.value); }
  NodeId elsewhere() { return one().node == nodes[0] ? nodes[1] : nodes[0]; }
  // As apply begins a move.
  void move(NodeId to) {
    const Instance old = one();
    Actions step;
    step.create.push_back({.job = job,
                           .job_version = old.job_version,
                           .group = old.group,
                           .slot = old.slot,
                           .pinned = to,
                           .avoid = old.node,
                           .beside = true});
    world.apply(step);
  }
};

TEST_F(Moving, TheNewOneTakesOverOnItsNode) {
  start(TestPool::service("web", 1));
  const InstanceId old = one().id;
  const NodeId to = elsewhere();
  move(to);
  for (int round = 0; round < 30; ++round) {
    ASSERT_TRUE(world.settle());
    world.schedule();
    world.work();
    EXPECT_GE(world.running(job) + (world.pool.at(old).finished ? 0u : 1u), 1u);
    world.now = world.now + seconds(1);
  }
  ASSERT_EQ(world.live(job).size(), 1u);
  EXPECT_NE(one().id, old);
  EXPECT_EQ(one().node, to);
  EXPECT_FALSE(one().beside);
  EXPECT_FALSE(one().pinned) << "it may move again";
}

TEST_F(Moving, OneThatFindsNoRoomGoesAfterAWhile) {
  start(TestPool::service("web", 1));
  const InstanceId old = one().id;
  const NodeId to = elsewhere();
  move(to);
  const Actions first = world.ask(job);
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(first.wake, world.now + seconds(limits::kMoveRoomSeconds)) << "it is looked at again by then";
  world.now = world.now + seconds(limits::kMoveRoomSeconds);
  const Actions late = world.ask(job);
  ASSERT_EQ(late.change.size(), 1u);
  EXPECT_THAT(late.change[0].reason, ::testing::HasSubstr("no room on"));
  EXPECT_NE(late.change[0].instance, old);
  ASSERT_TRUE(world.run());
  EXPECT_EQ(one().id, old);
}

TEST_F(Moving, ANodeThatTakesNoWorkAnyMoreEndsIt) {
  start(TestPool::service("web", 1));
  const NodeId to = elsewhere();
  move(to);
  world.pool.edit_node(to, [](Node& node) { node.spec.eligibility = Eligibility::cordoned; });
  const Actions told = world.ask(job);
  ASSERT_EQ(told.change.size(), 1u);
  EXPECT_THAT(told.change[0].reason, ::testing::HasSubstr("takes no work"));
}

TEST_F(Moving, OneThatDoesNotBecomeHealthyGoesAndTheOldOneStays) {
  JobSpec spec = TestPool::service("web", 1);
  spec.update.healthy_deadline = seconds(20);
  start(spec);
  const InstanceId old = one().id;
  const NodeId to = elsewhere();
  move(to);
  world.schedule();  // placed, and its worker never starts it
  EXPECT_TRUE(world.ask(job).change.empty());
  world.now = world.now + seconds(21);
  const Actions told = world.ask(job);
  ASSERT_EQ(told.change.size(), 1u);
  EXPECT_NE(told.change[0].instance, old);
  EXPECT_THAT(told.change[0].reason, ::testing::HasSubstr("did not become healthy"));
}

TEST_F(Moving, ADrainMeanwhileLeavesTheMoveItsWay) {
  start(TestPool::service("web", 1));
  const NodeId from = one().node, to = elsewhere();
  move(to);
  world.pool.edit_node(from, [](Node& node) { node.spec.eligibility = Eligibility::draining; });
  ASSERT_TRUE(world.run());
  ASSERT_EQ(world.live(job).size(), 1u);
  EXPECT_EQ(one().node, to);
}

TEST_F(Moving, ANewVersionMeanwhileEndsIt) {
  JobSpec spec = TestPool::service("web", 1);
  start(spec);
  move(elsewhere());
  spec.tasks[0].env["V"] = "2";
  world.deploy(spec, job);
  ASSERT_TRUE(world.run());
  ASSERT_EQ(world.live(job).size(), 1u);
  EXPECT_EQ(one().job_version, 2u);
}

TEST_F(Moving, WhoDiesMeanwhileIsFollowedByWhatStandsBeside) {
  start(TestPool::service("web", 1));
  const NodeId to = elsewhere();
  const InstanceId old = one().id;
  move(to);
  world.finish(old, TaskState::failed);
  ASSERT_TRUE(world.settle());
  ASSERT_EQ(world.live(job).size(), 1u);
  EXPECT_FALSE(one().pinned) << "the slot waits for no single node";
  ASSERT_TRUE(world.run());
  EXPECT_EQ(world.running(job), 1u);
}

}  // namespace
}  // namespace tutti::reconcile
