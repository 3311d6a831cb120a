#include "driver/fake/fake_driver.h"

#include "driver/conformance.h"

namespace tutti::driver {
namespace conformance {
namespace {

class VirtualClock final : public Clock {
 public:
  Time now() const override { return {1'000'000'000 + boot_ns}; }
  BootTime boot_now() const override { return {boot_ns}; }
  int64_t boot_ns = 5'000;
};

class FakeHarness final : public Harness {
 public:
  std::unique_ptr<Driver> make_driver() override { return make_fake_driver(world_); }
  RunContext make_run(const Program& program) override {
    RunContext run;
    std::string number = std::to_string(++counter_);
    run.instance_name = "test-" + number;
    run.task_name = "main";
    run.task.driver = "fake";
    run.run_dir = "/run/" + number;
    run.disk_dir = "/disk/" + number;
    if (!program.forever) run.task.options["run_for"] = "1s";
    run.task.options["exit_code"] = std::to_string(program.exit_code);
    if (program.ignores_term) run.task.options["hang_stop"] = "true";
    return run;
  }
  std::string leftovers(const RunContext& run) override {
    return make_driver()->recover(run) ? "the run is still there" : "";
  }
  void let_time_pass() override {
    if (auto next = world_->next_event()) clock_.boot_ns = std::max(clock_.boot_ns, next->ns);
    world_->advance();
  }

 private:
  VirtualClock clock_;
  std::shared_ptr<FakeWorld> world_ = std::make_shared<FakeWorld>(clock_);
  int counter_ = 0;
};

}  // namespace

TUTTI_DRIVER_CONFORMANCE(fake, [] { return std::make_unique<FakeHarness>(); });

namespace {

class FakeDriverTest : public testing::Test {
 protected:
  RunContext run_with(std::map<std::string, std::string> options, uint32_t generation = 1) {
    RunContext run;
    run.instance_name = "one";
    run.generation = generation;
    run.run_dir = "/run/one." + std::to_string(generation);
    run.disk_dir = "/disk/one";
    run.lease_page = "/run/lease";
    run.task.options = std::move(options);
    return run;
  }
  VirtualClock clock_;
  std::shared_ptr<FakeWorld> world_ = std::make_shared<FakeWorld>(clock_);
  std::unique_ptr<Driver> driver_ = make_fake_driver(world_);
};

TEST_F(FakeDriverTest, RunsForItsTimeAndNoLonger) {
  RunContext run = run_with({{"run_for", "5s"}, {"exit_code", "9"}});
  Handle handle = driver_->start(run, {}).value();
  Ending ending;
  driver_->wait(run, handle, ending.callback());
  clock_.boot_ns += seconds(5).ns - 1;
  EXPECT_EQ(world_->advance(), 0u);
  clock_.boot_ns += 1;
  EXPECT_EQ(world_->advance(), 1u);
  EXPECT_EQ(ending.calls(), 1);
  EXPECT_EQ(world_->running(), 0u);
}

TEST_F(FakeDriverTest, FailsAsOftenAsItsScriptSays) {
  RunContext run = run_with({{"fail_start", "retryable:2"}, {"fail_prepare", "failed:1"}});
  auto prepared = driver_->prepare(run, {});
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().kind, FailureKind::failed);
  EXPECT_TRUE(driver_->prepare(run, {}));
  for (int i = 0; i < 2; ++i) {
    auto refused = driver_->start(run, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, FailureKind::retryable);
  }
  EXPECT_TRUE(driver_->start(run, {}));
  RunContext never = run_with({{"fail_start", "rejected"}}, 2);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(driver_->start(never, {}));
}

TEST_F(FakeDriverTest, PauseStopsItsClock) {
  RunContext run = run_with({{"run_for", "5s"}});
  Handle handle = driver_->start(run, {}).value();
  clock_.boot_ns += seconds(2).ns;
  ASSERT_TRUE(driver_->as_pause()->pause(run, handle));
  clock_.boot_ns += seconds(100).ns;
  EXPECT_EQ(world_->advance(), 0u);
  EXPECT_FALSE(world_->next_event());
  ASSERT_TRUE(driver_->as_pause()->unpause(run, handle));
  EXPECT_EQ(world_->next_event()->ns, clock_.boot_ns + seconds(3).ns);
}

TEST_F(FakeDriverTest, AMachineGoesOnWhereItWasSuspended) {
  std::map<std::string, std::string> script = {{"machine", "true"}, {"run_for", "10s"}};
  RunContext first = run_with(script, 1);
  Handle handle = driver_->start(first, {}).value();
  clock_.boot_ns += seconds(4).ns;
  ASSERT_TRUE(driver_->as_suspend()->suspend(first, handle));
  EXPECT_EQ(world_->running(), 0u);
  ASSERT_TRUE(driver_->destroy(first));
  RunContext second = run_with(script, 2);
  ASSERT_TRUE(driver_->start(second, {}));
  EXPECT_EQ(world_->next_event()->ns, clock_.boot_ns + seconds(6).ns);
  EXPECT_EQ(world_->starts_on("/disk/one"), 2);
  RunContext container = run_with({}, 3);
  Handle other = driver_->start(container, {}).value();
  EXPECT_FALSE(driver_->as_suspend()->suspend(container, other));
}

TEST_F(FakeDriverTest, ObeysTheLeaseUnlessItIsKept) {
  RunContext stops = run_with({}, 1);
  stops.task.on_disconnect = DisconnectPolicy::stop_after;
  stops.task.disconnect_grace = seconds(2);
  RunContext keeps = run_with({}, 2);
  keeps.task.on_disconnect = DisconnectPolicy::keep;
  Handle handle = driver_->start(stops, {}).value();
  ASSERT_TRUE(driver_->start(keeps, {}));
  Ending ending;
  driver_->wait(stops, handle, ending.callback());
  world_->set_lease("/run/lease", {clock_.boot_ns + seconds(5).ns});
  clock_.boot_ns += seconds(6).ns;
  EXPECT_EQ(world_->advance(), 0u);
  clock_.boot_ns += seconds(1).ns;
  EXPECT_EQ(world_->advance(), 1u);
  EXPECT_EQ(ending.calls(), 1);
  EXPECT_EQ(world_->running(), 1u);
}

TEST_F(FakeDriverTest, ARebootForgetsRunsAndKeepsDisks) {
  RunContext run = run_with({});
  ASSERT_TRUE(driver_->start(run, {}));
  world_->reboot();
  EXPECT_FALSE(driver_->recover(run));
  EXPECT_EQ(world_->starts_on("/disk/one"), 1);
}

TEST_F(FakeDriverTest, HangsForever) {
  RunContext run = run_with({{"hang_stop", "forever"}});
  Handle handle = driver_->start(run, {}).value();
  EXPECT_FALSE(driver_->stop(run, handle, seconds(1), {}));
  EXPECT_TRUE(driver_->destroy(run));
  EXPECT_EQ(world_->running(), 0u);
}

TEST_F(FakeDriverTest, RefusesWordsItDoesNotKnow) {
  for (auto& [key, value] : std::map<std::string, std::string>{
           {"nonsense", "1"}, {"run_for", "5"}, {"fail_start", "maybe"}, {"exit_code", "x"}, {"oom", "yes"}}) {
    auto refused = driver_->prepare(run_with({{key, value}}), {});
    ASSERT_FALSE(refused) << key;
    EXPECT_EQ(refused.error().kind, FailureKind::rejected);
  }
}

TEST(FakeTimerTest, EndsTasksOnRealTime) {
  SystemClock clock;
  auto world = std::make_shared<FakeWorld>(clock, FakeWorld::sleeping());
  FakeTimer timer(world, clock);
  auto driver = make_fake_driver(world);
  RunContext run;
  run.run_dir = "/run/real";
  run.task.options = {{"run_for", "20ms"}, {"start_delay", "1ms"}, {"exit_code", "4"}};
  Handle handle = driver->start(run, {}).value();
  Ending ending;
  driver->wait(run, handle, ending.callback());
  FakeHarness harness;
  auto status = ending.await(harness);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->exit_code, 4);
}

}  // namespace
}  // namespace conformance
}  // namespace tutti::driver
