// Stops side by side: on a driver whose stop() returns only once as many are in it as there shall be. And what a sweep
// leaves to the pool: seen without one.
#include "worker/executor.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "sys/file.h"

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

// The entries of a folder, once there are so many of them.
std::vector<std::string> entries(const std::string& folder, size_t wanted) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  std::vector<std::string> out;
  do {
    out.clear();
    for (const auto& entry : std::filesystem::directory_iterator(folder)) out.push_back(entry.path().filename());
  } while (out.size() != wanted && std::chrono::steady_clock::now() < deadline);
  return out;
}

TEST(Executor, ASweepFreesTheNamesAndLeavesTheRemovalToThePool) {
  std::string base = testing::TempDir() + "/executor_test.XXXXXX";
  ASSERT_NE(::mkdtemp(base.data()), nullptr);
  const std::string disks = base + "/data/disks";
  const InstanceId dead{7}, live{8};
  ASSERT_TRUE(sys::make_dirs(disks + "/" + to_text(dead) + "/web", 0700));
  ASSERT_TRUE(sys::make_dirs(disks + "/" + to_text(live) + "/web", 0700));
  driver::Registry drivers;
  const ExecutorPaths paths{base + "/data", base + "/run", "none", "node-1"};
  {
    Executor nobody(paths, drivers, {}, 0);
    nobody.sweep({live});
    EXPECT_FALSE(sys::exists(disks + "/" + to_text(dead)));
    EXPECT_EQ(entries(disks, 2).size(), 2u) << "who asks does not wait for a removal";
    // It comes again, and goes again before what it left the first time is removed.
    ASSERT_TRUE(sys::make_dirs(disks + "/" + to_text(dead) + "/web", 0700));
    nobody.sweep({live});
    EXPECT_FALSE(sys::exists(disks + "/" + to_text(dead)));
    EXPECT_EQ(entries(disks, 3).size(), 3u);
  }
  Executor next(paths, drivers, {}, 1);  // of the process after a crash
  next.sweep({live});
  EXPECT_EQ(entries(disks, 1), std::vector<std::string>{to_text(live)});
  EXPECT_TRUE(sys::exists(disks + "/" + to_text(live) + "/web"));
  std::filesystem::remove_all(base);
}

}  // namespace
}  // namespace tutti::worker
