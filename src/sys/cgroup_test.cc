#include "sys/cgroup.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "sys/cgroup_internal.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::sys {
namespace {

class CgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    auto found = Cgroups::detect();
    if (!found) GTEST_SKIP() << found.error().to_string();
    cgroups_ = std::move(*found);
  }
  void TearDown() override {
    if (!cgroups_) return;
    (void)cgroups_->kill_all(root_, seconds(10));
    EXPECT_TRUE(cgroups_->remove(root_, seconds(10)));
    EXPECT_THAT(cgroups_->folders(root_), testing::Each(testing::ResultOf(exists, false)));
  }
  // A shell that joins the group before it does anything else.
  int run_in(const std::string& path, const std::string& script) {
    std::string joins;
    for (const std::string& file : cgroups_->join_files(path)) joins += "echo 0 > " + file + " || exit 99; ";
    SpawnOptions options;
    options.argv = {"/bin/sh", "-c", joins + script};
    options.inherit_env = true;
    return spawn(options).value();
  }
  void await_processes(const std::string& path, size_t count) {
    for (int tries = 0; tries < 5000 && cgroups_->processes(path).size() < count; ++tries) usleep(1000);
    ASSERT_GE(cgroups_->processes(path).size(), count);
  }

  std::string root_ = "tutti-cgroup-test-" + std::to_string(getpid());
  std::unique_ptr<Cgroups> cgroups_;
};

TEST_F(CgroupTest, KillsEverybodyAlsoBelowAndFrozen) {
  std::string path = root_ + "/a/b";
  ASSERT_TRUE(cgroups_->create(path, {.cpu_shares_millicores = 200, .memory_bytes = 64 << 20, .pids = 50}));
  int pid = run_in(path, "sleep 1000 & sleep 1000 & wait");
  await_processes(path, 3);
  ASSERT_TRUE(cgroups_->freeze(path, true));
  ASSERT_TRUE(cgroups_->kill_all(path, seconds(10)));
  EXPECT_THAT(cgroups_->processes(path), testing::IsEmpty());
  EXPECT_EQ(reap(pid), 137);
  ASSERT_TRUE(cgroups_->remove(path, seconds(10)));
  EXPECT_TRUE(cgroups_->remove(path, seconds(10))) << "fine if it is not there";
  EXPECT_TRUE(cgroups_->kill_all(path, seconds(10))) << "fine if it is not there";
}

TEST_F(CgroupTest, CountsWhatRunsInIt) {
  ASSERT_TRUE(cgroups_->create(root_ + "/a", {.memory_bytes = 64 << 20, .pids = 50}));
  int pid = run_in(root_ + "/a", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; read x < /dev/zero & sleep 1000");
  await_processes(root_ + "/a", 2);
  auto stats = cgroups_->stats(root_ + "/a");
  ASSERT_TRUE(stats);
  EXPECT_GE(stats->pids, 2);
  EXPECT_GT(stats->cpu_ns, 0);
  ASSERT_TRUE(cgroups_->kill_all(root_ + "/a", seconds(10)));
  EXPECT_EQ(reap(pid), 137);
  EXPECT_EQ(cgroups_->stats(root_ + "/absent").error().code, ErrorCode::not_found);
}

TEST_F(CgroupTest, OomKillsAreCounted) {
  ASSERT_TRUE(cgroups_->create(root_ + "/a", {.memory_bytes = 16 << 20}));
  EXPECT_EQ(cgroups_->oom_kills(root_ + "/a"), 0);
  int pid = run_in(root_ + "/a", "exec dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null");
  EXPECT_EQ(reap(pid), 137);
  EXPECT_EQ(cgroups_->oom_kills(root_ + "/a"), 1);
}

TEST_F(CgroupTest, LimitsMayBeSetAnew) {
  for (int64_t memory : {64 << 20, 128 << 20, 32 << 20}) {
    auto made = cgroups_->create(root_ + "/a", {.memory_bytes = memory});
    EXPECT_TRUE(made) << made.error().to_string();
  }
}

TEST_F(CgroupTest, RefusesPathsThatLeaveTheTree) {
  for (const char* path : {"", "/a", "a/../b", "..", "a//b", "./a"}) EXPECT_FALSE(cgroups_->create(path, {})) << path;
}

// The eBPF filter of version 2, also where only the empty v2 tree of a hybrid machine is there to try it on.
TEST_F(CgroupTest, Version2RefusesOtherDevices) {
  std::string tree = cgroups_->layout() == CgroupLayout::v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";
  if (!exists(tree + "/cgroup.procs")) GTEST_SKIP() << "no version 2 tree";
  std::string folder = tree + "/" + root_;
  ASSERT_TRUE(make_dirs(folder));
  Status restricted = cgroup::v2_restrict_devices(folder);
  ASSERT_TRUE(restricted) << restricted.error().to_string();
  std::string node = "/tmp/tutti-device-" + std::to_string(getpid());
  SpawnOptions options;
  options.inherit_env = true;
  options.argv = {"/bin/sh", "-c",
                  "echo 0 > " + folder +
                      "/cgroup.procs || exit 99; head -c1 /dev/zero >/dev/null || exit 1; "
                      "head -c1 /dev/urandom > /dev/null || exit 2; mknod " +
                      node +
                      " c 1 1 || exit 3; "
                      "head -c1 " +
                      node + " 2>/dev/null && exit 4; head -c1 /dev/kmsg 2>/dev/null && exit 5; exit 0"};
  auto said = run_program(options, seconds(20));
  unlink(node.c_str());
  ASSERT_TRUE(said);
  EXPECT_EQ(said->exit_code, 0) << said->output;
}

TEST(CgroupNumbersTest, MillicoresInBothVersions) {
  EXPECT_EQ(cgroup::shares_of(1000), 1024);
  EXPECT_EQ(cgroup::shares_of(1), 2);
  EXPECT_EQ(cgroup::weight_of(1000), 39);
  EXPECT_EQ(cgroup::weight_of(1), 1);
  EXPECT_EQ(cgroup::weight_of(100'000'000), 10000);
  EXPECT_EQ(cgroup::quota_us_of(1500), 150000);
  EXPECT_EQ(cgroup::quota_us_of(1), 1000);
}

// Version 2 over plain files: this machine's controllers may all be version 1.
TEST(CgroupV2Test, HandsControllersDownAndWritesLimits) {
  char pattern[] = "/tmp/tutti-v2-XXXXXX";
  std::string root = mkdtemp(pattern);
  auto touch = [](const std::string& path, const std::string& text) { ASSERT_TRUE(write_file_atomic(path, text)); };
  for (std::string group : {"", "/pool", "/pool/one"}) {
    ASSERT_TRUE(make_dirs(root + group));
    touch(root + group + "/cgroup.subtree_control", "memory pids\n");
    for (const char* name : {"cpu.weight", "cpu.max", "memory.max", "memory.swap.max", "pids.max", "cpuset.cpus"})
      touch(root + group + "/" + name, "");
  }
  auto cgroups = cgroup::make_v2(root);
  Status made = cgroups->create("pool/one", {.cpu_shares_millicores = 1000,
                                             .cpu_quota_millicores = 500,
                                             .cpuset = "0-1",
                                             .memory_bytes = 1 << 20,
                                             .pids = 7});
  ASSERT_TRUE(made) << made.error().to_string();
  EXPECT_EQ(read_file(root + "/pool/one/cpu.weight").value(), "39");
  EXPECT_EQ(read_file(root + "/pool/one/cpu.max").value(), "50000 100000");
  EXPECT_EQ(read_file(root + "/pool/one/memory.max").value(), "1048576");
  EXPECT_EQ(read_file(root + "/pool/one/memory.swap.max").value(), "0");
  EXPECT_EQ(read_file(root + "/pool/one/pids.max").value(), "7");
  EXPECT_EQ(read_file(root + "/pool/one/cpuset.cpus").value(), "0-1");
  // Only what was missing was asked for, one word a write: the last one stands in the plain file.
  EXPECT_THAT(read_file(root + "/cgroup.subtree_control").value(), testing::StartsWith("+cpuset"));
  EXPECT_THAT(read_file(root + "/pool/cgroup.subtree_control").value(), testing::StartsWith("+cpuset"));
  EXPECT_EQ(read_file(root + "/pool/one/cgroup.subtree_control").value(), "memory pids\n")
      << "nothing below the group itself";
  ASSERT_TRUE(remove_tree(root));
}

}  // namespace
}  // namespace tutti::sys
