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

}  // namespace
}  // namespace tutti::worker
