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

}  // namespace
}  // namespace tutti::worker
