#pragma once
// The suite that every driver passes. A driver's test file writes a Harness and ends with
//   TUTTI_DRIVER_CONFORMANCE(container, [] { return std::make_unique<ContainerHarness>(); });
// A new driver object over the same machine stands for a worker that crashed and came back.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "driver/conformance_harness.h"
#include "model/drivers.h"

namespace tutti::driver::conformance {

class DriverConformance : public testing::TestWithParam<MakeHarness> {
 protected:
  void SetUp() override {
    harness_ = GetParam()();
    if (auto reason = harness_->why_not()) GTEST_SKIP() << *reason;
    driver_ = harness_->make_driver();
  }
  void TearDown() override {
    for (const RunContext& run : runs_) {
      (void)driver_->destroy(run);
      (void)driver_->destroy_disk(run);
    }
  }
  RunContext run_of(const Program& program) {
    runs_.push_back(harness_->make_run(program));
    return runs_.back();
  }
  Handle started(const RunContext& run) {
    auto prepared = driver_->prepare(run, {});
    EXPECT_TRUE(prepared) << why(prepared);
    auto handle = driver_->start(run, {});
    EXPECT_TRUE(handle) << why(handle);
    if (handle) harness_->await_ready(run);
    return handle.value_or(Handle{});
  }
  void worker_crashes() {
    driver_.reset();
    driver_ = harness_->make_driver();
  }

  std::unique_ptr<Harness> harness_;
  std::unique_ptr<Driver> driver_;
  std::vector<RunContext> runs_;
};

TEST_P(DriverConformance, FingerprintIsHealthy) {
  DriverInfo info = driver_->fingerprint();
  EXPECT_EQ(info.name, driver_->name());
  EXPECT_TRUE(info.healthy) << info.reason;
}

// The manager refuses by the driver's name what no worker could carry out.
TEST_P(DriverConformance, SuspendsIfTheModelSaysSo) {
  EXPECT_EQ(driver_->as_suspend() != nullptr, driver_can_suspend(driver_->name()));
}

TEST_P(DriverConformance, ExitCodeArrivesOnce) {
  for (int code : {0, 7}) {
    RunContext run = run_of({.exit_code = code});
    Handle handle = started(run);
    Ending ending;
    driver_->wait(run, handle, ending.callback());
    auto status = ending.await(*harness_);
    ASSERT_TRUE(status);
    EXPECT_EQ(status->exit_code, code) << status->reason;
    EXPECT_GT(status->finished.ns, 0);
    ASSERT_TRUE(driver_->destroy(run));
    EXPECT_EQ(ending.calls(), 1);
  }
}

TEST_P(DriverConformance, PrepareAndStartMayBeRepeated) {
  RunContext run = run_of({.forever = true});
  ASSERT_TRUE(driver_->prepare(run, {}));
  Handle first = started(run);
  auto again = driver_->start(run, {});
  ASSERT_TRUE(again) << why(again);
  EXPECT_EQ(again->data, first.data);
  worker_crashes();
  auto after_crash = driver_->start(run, {});
  ASSERT_TRUE(after_crash) << why(after_crash);
  EXPECT_EQ(after_crash->data, first.data);
}

TEST_P(DriverConformance, RecoverWithoutStartIsNotFound) {
  RunContext run = run_of({.forever = true});
  for (bool prepared : {false, true}) {
    if (prepared) ASSERT_TRUE(driver_->prepare(run, {}));
    auto found = driver_->recover(run);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().kind, FailureKind::retryable);
    EXPECT_EQ(found.error().error.code, ErrorCode::not_found);
  }
}

TEST_P(DriverConformance, RecoversWhatRuns) {
  RunContext run = run_of({.forever = true});
  Handle first = started(run);
  worker_crashes();
  auto found = driver_->recover(run);
  ASSERT_TRUE(found) << why(found);
  EXPECT_EQ(found->data, first.data);
  Ending ending;
  driver_->wait(run, *found, ending.callback());
  EXPECT_EQ(ending.calls(), 0);
  auto stopped = driver_->stop(run, *found, seconds(10), {});
  ASSERT_TRUE(stopped) << why(stopped);
  auto status = ending.await(*harness_);
  ASSERT_TRUE(status);
  EXPECT_NE(status->exit_code, 0);
}

TEST_P(DriverConformance, RecoversWhatEndedMeanwhile) {
  RunContext run = run_of({.exit_code = 3});
  Handle handle = started(run);
  Ending first;
  driver_->wait(run, handle, first.callback());
  ASSERT_TRUE(first.await(*harness_));
  worker_crashes();
  auto found = driver_->recover(run);
  ASSERT_TRUE(found) << why(found);
  Ending second;
  driver_->wait(run, *found, second.callback());
  auto status = second.await(*harness_);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->exit_code, 3);
}

TEST_P(DriverConformance, StopAsksFirst) {
  RunContext run = run_of({.forever = true});
  Handle handle = started(run);
  Ending ending;
  driver_->wait(run, handle, ending.callback());
  auto stopped = driver_->stop(run, handle, seconds(15), {});
  ASSERT_TRUE(stopped) << why(stopped);
  auto status = ending.await(*harness_);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->exit_code, 143) << status->reason;
  EXPECT_TRUE(driver_->stop(run, handle, seconds(15), {})) << "again, when it is dead";
}

TEST_P(DriverConformance, StopKillsWhatDoesNotListen) {
  RunContext run = run_of({.forever = true, .ignores_term = true});
  Handle handle = started(run);
  Ending ending;
  driver_->wait(run, handle, ending.callback());
  auto stopped = driver_->stop(run, handle, milliseconds(50), {});
  ASSERT_TRUE(stopped) << why(stopped);
  auto status = ending.await(*harness_);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->exit_code, 137) << status->reason;
}

TEST_P(DriverConformance, DestroyLeavesNothing) {
  for (bool forever : {false, true}) {
    RunContext run = run_of({.forever = forever});
    started(run);
    auto destroyed = driver_->destroy(run);
    ASSERT_TRUE(destroyed) << why(destroyed);
    EXPECT_EQ(harness_->leftovers(run), "");
    EXPECT_TRUE(driver_->destroy(run)) << "again, when there is nothing";
    ASSERT_TRUE(driver_->destroy_disk(run));
    EXPECT_TRUE(driver_->destroy_disk(run)) << "again, when there is nothing";
    EXPECT_FALSE(driver_->recover(run));
  }
}

TEST_P(DriverConformance, DestroyWhileWaitingEndsTheWaitOnce) {
  RunContext run = run_of({.forever = true});
  Handle handle = started(run);
  Ending ending;
  driver_->wait(run, handle, ending.callback());
  auto destroyed = driver_->destroy(run);
  ASSERT_TRUE(destroyed) << why(destroyed);
  auto status = ending.await(*harness_);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->exit_code, 137);
  EXPECT_EQ(ending.calls(), 1);
}

TEST_P(DriverConformance, DestroyOfWhatNeverWas) {
  RunContext run = run_of({});
  EXPECT_TRUE(driver_->destroy(run));
  EXPECT_TRUE(driver_->destroy_disk(run));
}

TEST_P(DriverConformance, StartsAgainAfterDestroy) {
  RunContext run = run_of({.exit_code = 5});
  for (int round = 0; round < 3; ++round) {
    Handle handle = started(run);
    Ending ending;
    driver_->wait(run, handle, ending.callback());
    auto status = ending.await(*harness_);
    ASSERT_TRUE(status);
    EXPECT_EQ(status->exit_code, 5);
    auto destroyed = driver_->destroy(run);
    ASSERT_TRUE(destroyed) << why(destroyed);
    ++run.attempt;
  }
}

TEST_P(DriverConformance, LogsHoldWhatItSaid) {
  RunContext run = run_of({.print = "hello from the task"});
  Handle handle = started(run);
  Ending ending;
  driver_->wait(run, handle, ending.callback());
  ASSERT_TRUE(ending.await(*harness_));
  auto log = harness_->log_of(run);
  if (!log) GTEST_SKIP() << "this driver keeps no logs";
  EXPECT_EQ(*log, "out F hello from the task\n");
  ASSERT_TRUE(driver_->destroy(run));
  EXPECT_EQ(harness_->log_of(run), log) << "logs outlive the run";
}

TEST_P(DriverConformance, PausedStandsStillAndCanBeStopped) {
  PauseDriver* pausing = driver_->as_pause();
  if (pausing == nullptr) GTEST_SKIP() << "this driver cannot pause";
  RunContext run = run_of({.forever = true});
  Handle handle = started(run);
  auto paused = pausing->pause(run, handle);
  ASSERT_TRUE(paused) << why(paused);
  EXPECT_TRUE(pausing->pause(run, handle)) << "again";
  auto unpaused = pausing->unpause(run, handle);
  ASSERT_TRUE(unpaused) << why(unpaused);
  ASSERT_TRUE(pausing->pause(run, handle));
  Ending ending;
  driver_->wait(run, handle, ending.callback());
  auto stopped = driver_->stop(run, handle, seconds(15), {});
  ASSERT_TRUE(stopped) << why(stopped);
  ASSERT_TRUE(ending.await(*harness_));
}

TEST_P(DriverConformance, PausedCanBeDestroyed) {
  PauseDriver* pausing = driver_->as_pause();
  if (pausing == nullptr) GTEST_SKIP() << "this driver cannot pause";
  RunContext run = run_of({.forever = true});
  Handle handle = started(run);
  ASSERT_TRUE(pausing->pause(run, handle));
  auto destroyed = driver_->destroy(run);
  ASSERT_TRUE(destroyed) << why(destroyed);
  EXPECT_EQ(harness_->leftovers(run), "");
}

TEST_P(DriverConformance, SignalsReachItAndUnknownOnesAreRefused) {
  SignalDriver* signals = driver_->as_signal();
  if (signals == nullptr) GTEST_SKIP() << "this driver takes no signals";
  RunContext run = run_of({.forever = true});
  Handle handle = started(run);
  Ending ending;
  driver_->wait(run, handle, ending.callback());
  EXPECT_FALSE(signals->signal(run, handle, "NOSUCH"));
  auto sent = signals->signal(run, handle, "KILL");
  ASSERT_TRUE(sent) << why(sent);
  auto status = ending.await(*harness_);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->exit_code, 137);
  EXPECT_FALSE(signals->signal(run, handle, "KILL")) << "nobody is there any more, whoever has its number now";
}

TEST_P(DriverConformance, AMonitorThatIsKilledTakesItsTaskWithIt) {
  RunContext run = run_of({.forever = true});
  Handle handle = started(run);
  Ending ending;
  driver_->wait(run, handle, ending.callback());
  if (!harness_->kill_monitor(run)) GTEST_SKIP() << "this driver has no monitors";
  auto status = ending.await(*harness_);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->exit_code, 137);
  EXPECT_NE(status->reason, "");
  auto destroyed = driver_->destroy(run);
  ASSERT_TRUE(destroyed) << why(destroyed);
  EXPECT_EQ(harness_->leftovers(run), "");
}

TEST_P(DriverConformance, AMonitorThatWasKilledWhileNobodyLooked) {
  RunContext run = run_of({.forever = true});
  started(run);
  if (!harness_->kill_monitor(run)) GTEST_SKIP() << "this driver has no monitors";
  worker_crashes();
  auto found = driver_->recover(run);
  ASSERT_TRUE(found) << why(found);
  Ending ending;
  driver_->wait(run, *found, ending.callback());
  auto status = ending.await(*harness_);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->exit_code, 137);
  ASSERT_TRUE(driver_->destroy(run));
  EXPECT_EQ(harness_->leftovers(run), "");
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DriverConformance);

}  // namespace tutti::driver::conformance

#define TUTTI_DRIVER_CONFORMANCE(name, make) \
  INSTANTIATE_TEST_SUITE_P(name, DriverConformance, testing::Values(::tutti::driver::conformance::MakeHarness(make)))
