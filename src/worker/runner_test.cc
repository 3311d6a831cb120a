#include "worker/runner.h"

#include <gtest/gtest.h>

namespace tutti::worker {
namespace {

TEST(Runner, ARetryOnRecordDoesNotWaitForAClockThatWasAhead) {
  auto spec = std::make_shared<JobSpec>();
  spec->job = "shop";
  spec->tasks.push_back({.name = "web", .driver = "fake"});
  InstanceRecord record;
  record.assignment = {.instance = InstanceId{7}, .job = JobId{1}, .job_version = 1};
  record.spec = {.job = JobId{1}, .version = 1, .spec = spec};
  const Now now{Time{1'000'000'000'000'000}, BootTime{1'000'000'000}};
  TaskStatus failed;
  failed.task = "web";
  failed.position = {1, 1, TaskState::failed};
  failed.retry_at = now.wall + seconds(3600);  // written before the clock was set back
  record.tasks.push_back(failed);

  const Runner runner(record, now);
  EXPECT_GT(runner.wake(), now.wall);
  EXPECT_LE(runner.wake(), now.wall + spec->tasks[0].restart.max_delay * 2);
}

// Found by seed 302528 of the simulation: its GPU was given to another while the process was still there.
TEST(Runner, AStartThatMayHaveLeftAProcessIsOverOnceThatIsGone) {
  auto spec = std::make_shared<JobSpec>();
  spec->job = "shop";
  spec->tasks.push_back({.name = "web", .driver = "fake"});
  Assignment assignment{.instance = InstanceId{7}, .job = JobId{1}, .job_version = 1};
  const SpecMessage message{.job = JobId{1}, .version = 1, .spec = spec};
  for (const OpKind last : {OpKind::image, OpKind::start}) {
    Now now{Time{1'000'000'000'000'000}, BootTime{1'000'000'000}};
    assignment.desired = Desired::running;
    Runner runner(assignment, message, now);
    std::vector<Op> ops;
    const auto next = [&] {
      ops = runner.step(now, true);
      EXPECT_EQ(ops.size(), 1u);
      return ops.empty() ? OpKind::clear : ops.front().kind;
    };
    while (next() != last) runner.op_done({.op = ops.front()}, now);
    runner.op_done({.op = ops.front(), .failure = driver::Failure{driver::FailureKind::retryable, {}}}, now);
    assignment.desired = Desired::removed;
    runner.assign(assignment, message);
    now.wall = now.wall + seconds(60);
    EXPECT_EQ(next(), OpKind::destroy_run);
    EXPECT_EQ(runner.report().tasks.front().final, last == OpKind::image);
    runner.op_done({.op = ops.front()}, now);
    EXPECT_TRUE(runner.report().tasks.front().final);
    EXPECT_EQ(runner.report().tasks.front().position.state, TaskState::stopped);
    EXPECT_EQ(next(), OpKind::clear);
  }
}

// One task that runs, and what it is told.
struct Running {
  std::shared_ptr<JobSpec> spec = std::make_shared<JobSpec>();
  Assignment assignment{.instance = InstanceId{7}, .job = JobId{1}, .job_version = 1};
  SpecMessage message{.job = JobId{1}, .version = 1, .spec = nullptr};
  Now now{Time{1'000'000'000'000'000}, BootTime{1'000'000'000}};
  std::unique_ptr<Runner> runner;

  Running() {
    spec->job = "shop";
    spec->tasks.push_back({.name = "web", .driver = "process"});
    message.spec = spec;
    assignment.desired = Desired::running;
    runner = std::make_unique<Runner>(assignment, message, now);
    for (auto ops = next(); !ops.empty(); ops = next()) runner->op_done({.op = ops.front()}, now);
    EXPECT_EQ(task().position.state, TaskState::running);
  }
  std::vector<Op> next() { return runner->step(now, true); }
  void want(Desired desired) {
    assignment.desired = desired;
    runner->assign(assignment, message);
  }
  void fail(const Op& op, ErrorCode code) {
    runner->op_done(
        {.op = op, .failure = driver::Failure{driver::FailureKind::failed, {code, "no way to do this", {}, 0}}}, now);
  }
  TaskStatus task() const { return runner->report().tasks.front(); }
};

TEST(Runner, WhatADriverHasNoWayToDoIsNotTriedAgain) {
  for (const Desired desired : {Desired::suspended, Desired::paused}) {
    Running one;
    one.want(desired);
    const auto ops = one.next();
    ASSERT_EQ(ops.size(), 1u);
    one.fail(ops.front(), ErrorCode::unsupported);
    one.now.wall = one.now.wall + seconds(3600);
    EXPECT_TRUE(one.next().empty());
    EXPECT_EQ(one.task().reason, "no way to do this");
    one.want(Desired::running);
    EXPECT_TRUE(one.next().empty()) << "it never stopped";
    EXPECT_EQ(one.task().position, (Position{1, 1, TaskState::running}));
    EXPECT_EQ(one.task().reason, "");
    EXPECT_TRUE(one.runner->take_changed()) << "that is reported";
    one.want(Desired::stopped);
    ASSERT_EQ(one.next().size(), 1u);
  }
}

TEST(Runner, ASuspendThatIsTakenBackHoldsNothingUp) {
  Running one;
  one.want(Desired::suspended);
  auto ops = one.next();
  ASSERT_EQ(ops.size(), 1u);
  EXPECT_EQ(ops.front().kind, OpKind::suspend);
  one.fail(ops.front(), ErrorCode::unavailable);  // may pass: tried again in a while
  EXPECT_TRUE(one.next().empty());
  one.now.wall = one.now.wall + seconds(6);
  ops = one.next();
  ASSERT_EQ(ops.size(), 1u) << "tried again";
  one.want(Desired::running);
  one.fail(ops.front(), ErrorCode::unavailable);  // under way when it was taken back
  EXPECT_EQ(one.task().reason, "");
  EXPECT_TRUE(one.next().empty());
  EXPECT_EQ(one.task().position, (Position{1, 1, TaskState::running}));
  // The next generation starts over, at once.
  one.want(Desired::suspended);
  ops = one.next();
  ASSERT_EQ(ops.size(), 1u);
  one.fail(ops.front(), ErrorCode::unavailable);
  one.assignment.generation = 2;
  one.want(Desired::running);
  ops = one.next();
  ASSERT_EQ(ops.size(), 1u);
  EXPECT_EQ(ops.front().kind, OpKind::stop);
}

}  // namespace
}  // namespace tutti::worker
