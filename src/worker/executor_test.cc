// Stops side by side: on a driver whose stop() returns only once as many are in it as there shall be.
#include "worker/executor.h"

#include <gtest/gtest.h>

#include <chrono>

namespace tutti::worker {
namespace {

constexpr auto kDeadline = std::chrono::seconds(20);

// Counts who stops; everyone waits for the others.
class Gate {
 public:
  explicit Gate(int wanted) : wanted_(wanted) {}
  void enter() {
    std::unique_lock lock(mutex_);
    ++inside_;
    changed_.notify_all();
    together_ = changed_.wait_for(lock, kDeadline, [&] { return inside_ >= wanted_; }) || together_;
  }
  void finished() {
    std::lock_guard lock(mutex_);
    ++finished_;
    changed_.notify_all();
  }
  bool all_met(int jobs) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kDeadline, [&] { return finished_ >= jobs; }) && inside_ >= wanted_ && together_;
  }

 private:
  const int wanted_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int inside_ = 0;
  int finished_ = 0;
  bool together_ = false;
};

class SlowToStop final : public driver::Driver {
 public:
  explicit SlowToStop(Gate& gate) : gate_(gate) {}
  std::string name() const override { return "slow"; }
  driver::Capabilities capabilities() const override { return {}; }
  DriverInfo fingerprint() override { return {"slow", "", true, ""}; }
  driver::DriverStatus prepare(const driver::RunContext&, std::stop_token) override { return {}; }
  driver::DriverResult<driver::Handle> start(const driver::RunContext&, std::stop_token) override {
    return driver::Handle{};
  }
  driver::DriverResult<driver::Handle> recover(const driver::RunContext&) override { return driver::Handle{}; }
  void wait(const driver::RunContext&, const driver::Handle&, std::function<void(driver::ExitStatus)>) override {}
  driver::DriverStatus stop(const driver::RunContext&, const driver::Handle&, Duration, std::stop_token) override {
    gate_.enter();
    return {};
  }
  driver::DriverStatus destroy(const driver::RunContext&) override { return {}; }
  driver::DriverStatus destroy_disk(const driver::RunContext&) override { return {}; }

 private:
  Gate& gate_;
};

void stop_all(int instances, int tasks) {
  Gate gate(instances * tasks);
  driver::Registry drivers;
  drivers.add(std::make_unique<SlowToStop>(gate));
  Executor executor({"/nonexistent/data", "/nonexistent/run", "none", "node-1"}, drivers, {}, 1);
  for (int i = 0; i < instances; ++i) {
    for (int t = 0; t < tasks; ++t) {
      Op op{};
      op.kind = OpKind::stop;
      op.instance = InstanceId{static_cast<uint64_t>(i) + 1};
      op.task = static_cast<uint16_t>(t);
      Executor::Subject subject;
      subject.spec.spec = std::make_shared<const JobSpec>();
      subject.task.driver = "slow";
      subject.task.name = "task-" + std::to_string(t);
      executor.run(
          op, std::move(subject), [&](OpResult) { gate.finished(); },
          [](uint32_t, uint32_t, uint16_t, driver::ExitStatus) {});
    }
  }
  EXPECT_TRUE(gate.all_met(instances * tasks));
}

TEST(Executor, TheTasksOfAGroupStopSideBySide) {
  stop_all(1, 3);
}
TEST(Executor, MoreInstancesStopAtOnceThanThereAreThreads) {
  stop_all(20, 1);
}

}  // namespace
}  // namespace tutti::worker
