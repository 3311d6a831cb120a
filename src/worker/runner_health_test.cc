// A runner whose task has checks: when they are asked, and what a verdict does to the run.
#include <gtest/gtest.h>

#include "worker/runner.h"

namespace tutti::worker {
namespace {

class RunnerHealth : public testing::Test {
 protected:
  RunnerHealth() {
    JobSpec spec;
    spec.job = "shop";
    spec.update.min_healthy_time = seconds(5);
    TaskSpec task;
    task.name = "web";
    task.driver = "fake";
    task.network = NetworkMode::host;
    task.restart = {.policy = RestartMode::always, .attempts = 2, .delay = seconds(1), .jitter = 0.0};
    task.health.push_back({.name = "readiness"});
    spec.tasks.push_back(task);
    spec_ = {JobId{1}, 1, std::make_shared<const JobSpec>(spec), {}};
    assignment_.instance = InstanceId{7};
    assignment_.job = JobId{1};
    assignment_.job_version = 1;
    assignment_.generation = 1;
    runner_ = std::make_unique<Runner>(assignment_, spec_, now());
  }
  Now now() const { return {wall_, BootTime{wall_.ns}}; }
  // Carries out what it asks for until it asks for nothing; a stop waits to be answered by exit().
  void settle() {
    for (std::vector<Op> ops = step(); !ops.empty(); ops = step()) {
      for (const Op& op : ops) {
        stopped_ = op.kind == OpKind::stop;
        runner_->op_done({op, {}, {}}, now());
      }
      if (stopped_) return;
    }
  }
  std::vector<Op> step() {
    std::vector<Op> ops = runner_->step(now(), true);
    for (const WatchHealth& watch : runner_->take_watches()) watched_ = watch.on, last_ = watch;
    return ops;
  }
  void exit(int32_t code) {
    driver::ExitStatus status;
    status.exit_code = code;
    const Position at = status_of().position;
    runner_->exited(0, at.generation, at.attempt, status, now());
    stopped_ = false;
    settle();
  }
  TaskStatus status_of() const { return runner_->report().tasks[0]; }
  void verdict(HealthState state, const std::string& reason = {}, bool restart = false) {
    const Position at = status_of().position;
    runner_->checked(0, at.generation, at.attempt, state, reason, restart, now());
    settle();
  }
  void wait(int64_t s) { wall_ = wall_ + seconds(s), settle(); }
  // Condemned by its liveness check, and over.
  void die() {
    verdict(HealthState::unhealthy, "liveness check failed", true);
    EXPECT_TRUE(stopped_);
    exit(0);
  }

  Time wall_{1'000'000'000'000};
  SpecMessage spec_;
  Assignment assignment_;
  std::unique_ptr<Runner> runner_;
  bool watched_ = false;
  bool stopped_ = false;
  WatchHealth last_;
};

TEST_F(RunnerHealth, ItIsAskedWhileItRuns) {
  settle();
  EXPECT_EQ(status_of().position.state, TaskState::running);
  EXPECT_EQ(status_of().health, HealthState::starting);
  EXPECT_TRUE(watched_);
  EXPECT_EQ(last_.before, HealthState::starting);
  verdict(HealthState::healthy);
  EXPECT_EQ(status_of().health, HealthState::healthy);
  assignment_.desired = Desired::stopped;
  runner_->assign(assignment_, spec_);
  settle();
  EXPECT_FALSE(watched_);
  exit(0);
  EXPECT_EQ(status_of().health, HealthState::none);
}

TEST_F(RunnerHealth, AnUnreadyTaskGoesOnAndSaysWhy) {
  settle();
  verdict(HealthState::unhealthy, "readiness check failed");
  EXPECT_EQ(status_of().position.state, TaskState::running);
  EXPECT_EQ(status_of().reason, "readiness check failed");
  EXPECT_TRUE(watched_);
  EXPECT_FALSE(stopped_);
  verdict(HealthState::healthy);
  EXPECT_EQ(status_of().reason, "");
}

TEST_F(RunnerHealth, APauseThatSucceedsAtLastLeavesTheReasonOfAnUnreadyTask) {
  settle();
  verdict(HealthState::unhealthy, "readiness check failed");
  assignment_.desired = Desired::paused;
  runner_->assign(assignment_, spec_);
  const std::vector<Op> ops = step();
  ASSERT_EQ(ops.size(), 1u);
  EXPECT_EQ(ops[0].kind, OpKind::pause);
  const Error busy{ErrorCode::unavailable, "not now", {}, 0};
  runner_->op_done({ops[0], driver::Failure{driver::FailureKind::retryable, busy}, {}}, now());
  EXPECT_EQ(status_of().reason, "not now");
  wait(6);
  EXPECT_TRUE(status_of().paused);
  EXPECT_EQ(status_of().health, HealthState::unhealthy);
  EXPECT_EQ(status_of().reason, "readiness check failed");
}

TEST_F(RunnerHealth, ACondemnedTaskIsStoppedAndRestartedByItsPolicy) {
  settle();
  verdict(HealthState::unhealthy, "liveness check failed", true);
  EXPECT_TRUE(stopped_) << "its grace is kept";
  EXPECT_FALSE(watched_);
  exit(0);
  EXPECT_EQ(status_of().position.state, TaskState::failed) << "whatever its exit code";
  EXPECT_EQ(status_of().reason, "liveness check failed");
  wait(2);
  EXPECT_EQ(status_of().position.state, TaskState::running);
  EXPECT_EQ(status_of().position.attempt, 2u);
  EXPECT_EQ(status_of().health, HealthState::starting);
  EXPECT_TRUE(watched_);
}

TEST_F(RunnerHealth, RestartsAreCountedAndThenItHasFailed) {
  settle();
  for (int i = 0; i < 2; ++i) die(), wait(60);
  EXPECT_EQ(status_of().position.attempt, 3u);
  die();
  EXPECT_TRUE(status_of().final);
}

TEST_F(RunnerHealth, ATimeOfHealthResetsTheCount) {
  settle();
  for (int i = 0; i < 6; ++i) {
    verdict(HealthState::healthy);
    wait(6);
    die();
    ASSERT_FALSE(status_of().final) << "restart " << i;
    EXPECT_EQ((status_of().retry_at - wall_).ms(), 1000) << "and the wait begins anew";
    wait(2);
  }
}

TEST_F(RunnerHealth, AShortHealthDoesNot) {
  settle();
  for (int i = 0; i < 3; ++i) {
    verdict(HealthState::healthy);
    wait(1);
    die();
    if (i < 2) wait(60);
  }
  EXPECT_TRUE(status_of().final);
}

TEST_F(RunnerHealth, OldVerdictsCountForNothing) {
  settle();
  const Position old = status_of().position;
  die();
  wait(2);
  runner_->checked(0, old.generation, old.attempt, HealthState::unhealthy, "old", true, now());
  settle();
  EXPECT_FALSE(stopped_);
  EXPECT_EQ(status_of().health, HealthState::starting);
}

TEST_F(RunnerHealth, TheNextWorkerGoesOnWhereThisOneWas) {
  settle();
  verdict(HealthState::healthy);
  runner_ = std::make_unique<Runner>(runner_->record(), now());
  watched_ = false;
  settle();
  EXPECT_EQ(status_of().health, HealthState::healthy) << "no flapping over a worker's restart";
  EXPECT_TRUE(watched_);
  EXPECT_EQ(last_.before, HealthState::healthy);
}

}  // namespace
}  // namespace tutti::worker
