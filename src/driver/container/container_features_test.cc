// What a container can and cannot do, on real ones: defaults (C03), limits (C02), logs (C04), exec and attach (C05),
// the lease.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "driver/container/container_harness.h"
#include "driver/lease_page.h"
#include "sys/netns.h"

namespace tutti::driver::conformance {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class ContainerFeatures : public testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = harness_.why_not()) GTEST_SKIP() << *reason;
    driver_ = harness_.make_driver();
  }
  void TearDown() override {
    for (const RunContext& run : runs_) {
      (void)driver_->destroy(run);
      EXPECT_EQ(harness_.leftovers(run), "");
    }
  }

  RunContext shell(const std::string& script) {
    RunContext run = harness_.make_run({});
    run.task.command = {"/bin/sh", "-c", script};
    return run;
  }
  // A task that waits: what tests exec into.
  RunContext waiting() { return shell("trap 'exit 143' TERM; echo ready; while :; do sleep 3600 & wait $!; done"); }

  Handle start(const RunContext& run) {
    runs_.push_back(run);
    auto prepared = driver_->prepare(run, {});
    EXPECT_TRUE(prepared) << why(prepared);
    auto handle = driver_->start(run, {});
    EXPECT_TRUE(handle) << why(handle);
    harness_.await_ready(run);
    return handle.value_or(Handle{});
  }
  ExitStatus finish(const RunContext& run, const Handle& handle) {
    Ending ending;
    driver_->wait(run, handle, ending.callback());
    auto status = ending.await(harness_);
    EXPECT_TRUE(status);
    return status.value_or(ExitStatus{});
  }
  // Runs to its end and gives its log.
  std::string output(const RunContext& run) {
    Handle handle = start(run);
    status_ = finish(run, handle);
    return harness_.log_of(run).value_or("");
  }
  std::string output(const std::string& script) { return output(shell(script)); }

  static std::string read_until(int fd, const std::string& wanted, int seconds = 20) {
    std::string out;
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (std::chrono::steady_clock::now() < deadline && (wanted.empty() || out.find(wanted) == std::string::npos)) {
      pollfd watched{fd, POLLIN, 0};
      if (poll(&watched, 1, 100) <= 0) continue;
      char buffer[4096];
      ssize_t n = read(fd, buffer, sizeof buffer);
      if (n <= 0) break;
      out.append(buffer, static_cast<size_t>(n));
    }
    return out;
  }
  static void close_session(ExecSession& s) {
    for (int fd : {s.in, s.out, s.err}) {
      if (fd >= 0) close(fd);
    }
  }

  ContainerHarness harness_;
  std::unique_ptr<Driver> driver_;
  std::vector<RunContext> runs_;
  ExitStatus status_;
};

TEST_F(ContainerFeatures, RunsWithFewRightsByDefault) {
  std::string out = output("cat /proc/self/status; cat /proc/1/attr/current 2>/dev/null; true");
  EXPECT_THAT(out, HasSubstr("CapEff:\t00000000a80425fb"));
  EXPECT_THAT(out, HasSubstr("CapBnd:\t00000000a80425fb"));
  EXPECT_THAT(out, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(out, HasSubstr("Seccomp:\t2"));
}

TEST_F(ContainerFeatures, RefusesWhatWouldBreakOut) {
  std::string out = output(
      "mount -t tmpfs x /tmp && echo mounted; unshare -U true && echo unshared; echo 1 > /proc/sys/kernel/panic && "
      "echo wrote; "
      "head -c 1 /proc/kcore | tr -d '\\0' | head -c1; mknod /tmp/d b 254 0 && head -c 1 /tmp/d && echo read-the-disk; "
      "echo end");
  EXPECT_THAT(out, Not(HasSubstr("mounted")));
  EXPECT_THAT(out, Not(HasSubstr("unshared")));
  EXPECT_THAT(out, Not(HasSubstr("wrote")));
  EXPECT_THAT(out, Not(HasSubstr("read-the-disk")));
  EXPECT_THAT(out, HasSubstr("out F end"));
}

TEST_F(ContainerFeatures, PrivilegedMayMount) {
  RunContext run = shell("mount -t tmpfs x /tmp && echo mounted");
  run.task.security.privileged = true;
  EXPECT_THAT(output(run), HasSubstr("out F mounted"));
}

TEST_F(ContainerFeatures, CapabilitiesAreAddedAndDropped) {
  RunContext run = shell("cat /proc/self/status");
  run.task.security.cap_drop = {"ALL"};
  run.task.security.cap_add = {"NET_ADMIN"};
  EXPECT_THAT(output(run), HasSubstr("CapEff:\t0000000000001000"));
}

TEST_F(ContainerFeatures, ReadOnlyRootTakesNoFiles) {
  RunContext run = shell("echo x > /file && echo wrote; echo y > /mnt-tmp/file && cat /mnt-tmp/file");
  run.task.security.read_only_root = true;
  run.mounts = {{"", "/mnt-tmp", false, 1 << 20}};
  std::string out = output(run);
  EXPECT_THAT(out, Not(HasSubstr("wrote")));
  EXPECT_THAT(out, HasSubstr("out F y"));
}

TEST_F(ContainerFeatures, UsersComeFromTheImage) {
  RunContext run = shell("id");
  run.task.user = "web";
  EXPECT_THAT(output(run), HasSubstr("uid=101(web) gid=102(web) groups=102(web),200(extra)"));
  run = shell("id");
  run.task.user = "5:7";
  EXPECT_THAT(output(run), HasSubstr("uid=5 gid=7"));
  run = shell("id");
  run.task.user = "nobody-knows";
  runs_.push_back(run);
  ASSERT_TRUE(driver_->prepare(run, {}));
  auto refused = driver_->start(run, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, FailureKind::rejected);
  EXPECT_THAT(refused.error().error.message, HasSubstr("nobody-knows"));
}

TEST_F(ContainerFeatures, EnvironmentOfTaskOverExtraOverImage) {
  RunContext run = shell("env");
  run.image->env = {"A=image", "B=image", "C=image"};
  run.extra_env = {{"B", "extra"}, {"C", "extra"}};
  run.task.env = {{"C", "task \"quoted\" $x"}};
  std::string out = output(run);
  EXPECT_THAT(out, HasSubstr("out F A=image\n"));
  EXPECT_THAT(out, HasSubstr("out F B=extra\n"));
  EXPECT_THAT(out, HasSubstr("out F C=task \"quoted\" $x\n"));
}

TEST_F(ContainerFeatures, EntrypointAndCommandAsDockerDoesIt) {
  RunContext run = shell("");
  run.image->entrypoint = {"/bin/echo", "entry"};
  run.image->command = {"image"};
  run.task.command = {};
  EXPECT_THAT(output(run), HasSubstr("out F entry image\n"));
  RunContext other = shell("");
  other.image = run.image;
  other.task.command = {"mine"};
  EXPECT_THAT(output(other), HasSubstr("out F entry mine\n"));
  RunContext third = shell("");
  third.image = run.image;
  third.task.command = {};
  third.task.entrypoint = {"/bin/echo", "own"};
  EXPECT_THAT(output(third), HasSubstr("out F own\n"));
}

TEST_F(ContainerFeatures, HasItsNameAndWorkdir) {
  RunContext run = shell("hostname; pwd; cat /etc/hosts; cat /etc/resolv.conf");
  run.task.workdir = "/tmp";
  run.dns = {"10.1.2.3"};
  std::string out = output(run);
  EXPECT_THAT(out, HasSubstr("out F " + run.instance_name + "\n"));
  EXPECT_THAT(out, HasSubstr("out F /tmp\n"));
  EXPECT_THAT(out, HasSubstr("nameserver 10.1.2.3"));
}

TEST_F(ContainerFeatures, WhatCannotBeRunIsNamed) {
  RunContext run = shell("");
  run.task.command = {"/bin/no-such-program"};
  runs_.push_back(run);
  ASSERT_TRUE(driver_->prepare(run, {}));
  auto refused = driver_->start(run, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, FailureKind::failed);
  EXPECT_THAT(refused.error().error.message, HasSubstr("no-such-program"));
}

TEST_F(ContainerFeatures, TheDiskIsKeptOverAttempts) {
  RunContext run = shell("cat /kept 2>/dev/null || echo first; echo again > /kept");
  EXPECT_THAT(output(run), HasSubstr("out F first"));
  ASSERT_TRUE(driver_->destroy(run));
  ++run.attempt;
  EXPECT_THAT(output(run), HasSubstr("out F again"));
  ASSERT_TRUE(driver_->destroy(run));
  ASSERT_TRUE(driver_->destroy_disk(run));
  EXPECT_FALSE(sys::exists(run.disk_dir));
  EXPECT_FALSE(sys::exists(harness_.root() + "/image/kept")) << "layers are shared and never written to";
}

TEST_F(ContainerFeatures, MountsAreReadOnlyWhereAsked) {
  ASSERT_TRUE(sys::make_dirs(harness_.root() + "/volume"));
  ASSERT_TRUE(sys::write_file_atomic(harness_.root() + "/volume/file", "from the node\n"));
  RunContext run = shell("cat /ro/file; echo x > /ro/other && echo wrote; echo y > /rw/new");
  run.mounts = {{harness_.root() + "/volume", "/ro", true, 0}, {harness_.root() + "/volume", "/rw", false, 0}};
  std::string out = output(run);
  EXPECT_THAT(out, HasSubstr("out F from the node"));
  EXPECT_THAT(out, Not(HasSubstr("wrote")));
  EXPECT_EQ(sys::read_file(harness_.root() + "/volume/new").value_or(""), "y\n");
}

TEST_F(ContainerFeatures, TooMuchMemoryIsOomKilled) {
  RunContext run = shell("dd if=/dev/zero of=/dev/null bs=200M count=1; echo survived");
  run.task.command = {"/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"};
  run.task.limits.memory = Bytes{32 << 20};
  Handle handle = start(run);
  ExitStatus status = finish(run, handle);
  EXPECT_EQ(status.exit_code, 137);
  EXPECT_TRUE(status.oom_killed);
  EXPECT_THAT(status.reason, HasSubstr("memory"));
}

TEST_F(ContainerFeatures, ProcessesAreLimited) {
  RunContext run = shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo started; true");
  run.task.limits.pids = 6;
  EXPECT_THAT(output(run), HasSubstr("can't fork"));
}

TEST_F(ContainerFeatures, LimitsStandInItsGroup) {
  RunContext run = waiting();
  run.task.resources.cpu = Millicores{500};
  run.task.limits.cpu = Millicores{1500};
  run.task.limits.memory = Bytes{64 << 20};
  run.task.limits.cpuset = "0";
  Handle handle = start(run);
  std::string all;
  for (const std::string& folder : harness_.cgroups().folders(run.cgroup)) {
    for (const char* name : {"cpu.shares", "cpu.cfs_quota_us", "memory.limit_in_bytes", "cpuset.cpus", "cpu.max",
                             "memory.max", "cpu.weight"}) {
      auto text = sys::read_file(folder + "/" + name);
      if (text) all += std::string(name) + "=" + *text;
    }
  }
  EXPECT_THAT(all, ContainsRegex("cpu.shares=512\n|cpu.weight=20\n"));
  EXPECT_THAT(all, ContainsRegex("cpu.cfs_quota_us=150000\n|cpu.max=150000 100000\n"));
  EXPECT_THAT(all, HasSubstr("=67108864\n"));
  EXPECT_THAT(all, HasSubstr("cpuset.cpus=0\n"));
  auto stats = driver_->as_stats()->stats(run, handle);
  ASSERT_TRUE(stats) << why(stats);
  EXPECT_GT(stats->pids, 0);
  EXPECT_GT(stats->memory_bytes, 0);
  EXPECT_GT(stats->cpu_ns, 0);
}

TEST_F(ContainerFeatures, LogsHaveStreamsAndPartialLines) {
  std::string out = output("echo one; echo two >&2; head -c 20000 /dev/zero | tr '\\0' x; echo; echo -n three");
  EXPECT_THAT(out, HasSubstr("out F one\n"));
  EXPECT_THAT(out, HasSubstr("err F two\n"));
  // The two streams are two pipes: what is said on the other may stand between the pieces of a line.
  EXPECT_THAT(out, HasSubstr("out P " + std::string(16384, 'x') + "\n"));
  EXPECT_THAT(out, HasSubstr("out F " + std::string(20000 - 16384, 'x') + "\n"));
  EXPECT_THAT(out, HasSubstr("out P three\n"));
}

TEST_F(ContainerFeatures, ExecGivesOutputAndExitCode) {
  RunContext run = waiting();
  run.task.env = {{"FROM", "task"}};
  Handle handle = start(run);
  auto session = driver_->as_exec()->exec(
      run, handle,
      {.command = {"/bin/sh", "-c",
                   "read x; echo got $x $FROM $MORE; echo bad >&2; id -u; grep Seccomp: /proc/self/status; exit 9"},
       .env = {{"MORE", "exec"}},
       .user = "web"});
  ASSERT_TRUE(session) << why(session);
  ASSERT_EQ(write(session->in, "line\n", 5), 5);
  std::string out = read_until(session->out, "");
  std::string err = read_until(session->err, "");
  EXPECT_THAT(out, HasSubstr("got line task exec\n101\n"));
  EXPECT_EQ(err, "bad\n");
  EXPECT_EQ(sys::reap(session->pid), 9);
  close_session(*session);
}

TEST_F(ContainerFeatures, ExecIsConfinedToo) {
  RunContext run = waiting();
  Handle handle = start(run);
  auto session =
      driver_->as_exec()->exec(run, handle, {.command = {"/bin/cat", "/proc/self/status", "/proc/self/cgroup"}});
  ASSERT_TRUE(session) << why(session);
  std::string out = read_until(session->out, "");
  EXPECT_THAT(out, HasSubstr("CapEff:\t00000000a80425fb"));
  EXPECT_THAT(out, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(out, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_EQ(sys::reap(session->pid), 0);
  close_session(*session);
}

TEST_F(ContainerFeatures, ExecOnATerminalFollowsItsSize) {
  RunContext run = waiting();
  Handle handle = start(run);
  auto session = driver_->as_exec()->exec(
      run, handle,
      {.command = {"/bin/sh", "-c", "stty size; read x; stty size; exit 3"}, .tty = true, .columns = 91, .rows = 33});
  ASSERT_TRUE(session) << why(session);
  EXPECT_EQ(session->err, -1);
  EXPECT_NE(session->in, session->out) << "the caller closes both";
  EXPECT_THAT(read_until(session->out, "33 91"), HasSubstr("33 91"));
  winsize size{.ws_row = 44, .ws_col = 120};
  ASSERT_EQ(ioctl(session->in, TIOCSWINSZ, &size), 0);
  // The size travels by a signal: asked again until it has arrived.
  ASSERT_EQ(write(session->in, "\n", 1), 1);
  std::string out = read_until(session->out, "44 120");
  EXPECT_THAT(out, HasSubstr("44 120"));
  EXPECT_EQ(sys::reap(session->pid), 3);
  close_session(*session);
}

TEST_F(ContainerFeatures, AttachedInputReachesItAndEnds) {
  RunContext run = shell("echo ready; cat; echo over; echo oops >&2");
  run.task.stdin_open = true;
  Handle handle = start(run);
  auto session = driver_->as_exec()->attach(run, handle);
  ASSERT_TRUE(session) << why(session);
  ASSERT_EQ(write(session->in, "hello\n", 6), 6);
  EXPECT_THAT(read_until(session->out, "hello\n"), HasSubstr("hello\n"));
  auto second = driver_->as_exec()->attach(run, handle);
  ASSERT_TRUE(second) << why(second);
  EXPECT_EQ(second->in, -1) << "its input belongs to the first";
  close(session->in);
  session->in = -1;
  EXPECT_THAT(read_until(session->out, ""), HasSubstr("over\n"));
  EXPECT_EQ(read_until(session->err, ""), "oops\n");
  EXPECT_EQ(finish(run, handle).exit_code, 0);
  EXPECT_THAT(*harness_.log_of(run), HasSubstr("out F hello\n"));
  close_session(*session);
  close_session(*second);
}

TEST_F(ContainerFeatures, ATerminalCanBeAttached) {
  RunContext run = shell("echo ready; read x; stty size; echo got $x; exit 5");
  run.task.tty = true;
  Handle handle = start(run);
  auto session = driver_->as_exec()->attach(run, handle);
  ASSERT_TRUE(session) << why(session);
  EXPECT_EQ(session->err, -1);
  winsize size{.ws_row = 20, .ws_col = 77};
  ASSERT_EQ(ioctl(session->in, TIOCSWINSZ, &size), 0);
  ASSERT_EQ(write(session->in, "word\n", 5), 5);
  std::string out = read_until(session->out, "got word");
  EXPECT_THAT(out, HasSubstr("20 77"));
  EXPECT_THAT(out, HasSubstr("got word"));
  EXPECT_EQ(finish(run, handle).exit_code, 5);
  close_session(*session);
}

TEST_F(ContainerFeatures, WithoutInputThereIsNothingToAttachTo) {
  RunContext run = waiting();
  Handle handle = start(run);
  EXPECT_FALSE(driver_->as_exec()->attach(run, handle));
}

TEST_F(ContainerFeatures, ItsFilesCanBeReachedFromOutside) {
  RunContext run = shell("echo inside > /file; echo ready; sleep 3600");
  Handle handle = start(run);
  auto root = driver_->as_exec()->root_path(run, handle);
  ASSERT_TRUE(root) << why(root);
  EXPECT_EQ(sys::read_file(*root + "/file").value_or(""), "inside\n");
  ASSERT_TRUE(driver_->stop(run, handle, milliseconds(0), {}));
  EXPECT_EQ(finish(run, handle).exit_code, 137);
  EXPECT_FALSE(driver_->as_exec()->root_path(run, handle));
}

TEST_F(ContainerFeatures, EntersTheNetworkNamespaceItIsGiven) {
  auto netns = sys::NetNs::create();
  if (!netns) GTEST_SKIP() << netns.error().to_string();
  std::string pin = harness_.root() + "/netns";
  ASSERT_TRUE(netns->pin(pin));
  RunContext run = waiting();
  run.netns = pin;
  Handle handle = start(run);
  int pid = atoi(handle.data.substr(handle.data.find("\"pid\":") + 6).c_str());
  auto inside = sys::NetNs::open("/proc/" + std::to_string(pid) + "/ns/net");
  EXPECT_TRUE(inside);
  if (inside) EXPECT_EQ(inside->inode().value(), netns->inode().value());
  // Its own copy of the pin must not keep the namespace's file busy.
  EXPECT_TRUE(driver_->destroy(run));
  EXPECT_TRUE(sys::NetNs::unpin(pin));
}

TEST_F(ContainerFeatures, ANamespaceThatIsMissingCanBeTriedAgain) {
  RunContext run = waiting();
  run.netns = harness_.root() + "/no-such-namespace";
  runs_.push_back(run);
  ASSERT_TRUE(driver_->prepare(run, {}));
  auto refused = driver_->start(run, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, FailureKind::retryable);
  EXPECT_THAT(refused.error().error.message, HasSubstr("no-such-namespace"));
}

class LeaseTest : public ContainerFeatures {
 protected:
  void SetUp() override {
    ContainerFeatures::SetUp();
    if (IsSkipped()) return;
    path_ = harness_.root() + "/lease";
    ASSERT_TRUE(sys::write_file_atomic(path_, std::string(4096, '\0')));
    int fd = open(path_.c_str(), O_RDWR | O_CLOEXEC);
    page_ = static_cast<LeasePage*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    close(fd);
  }
  void TearDown() override {
    if (page_ != nullptr) munmap(page_, 4096);
    ContainerFeatures::TearDown();
  }
  void lease_for(Duration time) { page_->deadline_boot_ns.store((SystemClock().boot_now() + time).ns); }
  std::string path_;
  LeasePage* page_ = nullptr;
};

TEST_F(LeaseTest, EndsTheTaskWithoutTheWorker) {
  RunContext run = waiting();
  run.lease_page = path_;
  run.task.on_disconnect = DisconnectPolicy::stop_after;
  run.task.disconnect_grace = milliseconds(100);
  lease_for(milliseconds(400));
  Handle handle = start(run);
  driver_.reset();  // the worker is gone
  driver_ = harness_.make_driver();
  ExitStatus status = finish(run, handle);
  EXPECT_TRUE(status.lease_expired);
  EXPECT_EQ(status.exit_code, 143);
  EXPECT_GE(SystemClock().boot_now().ns, page_->deadline_boot_ns.load() + milliseconds(100).ns);
}

TEST_F(LeaseTest, KillsWhatDoesNotListen) {
  RunContext run = shell("trap '' TERM; echo ready; while :; do sleep 3600 & wait $!; done");
  run.lease_page = path_;
  run.task.on_disconnect = DisconnectPolicy::stop_after;
  run.task.stop_grace = milliseconds(50);
  lease_for(milliseconds(300));
  Handle handle = start(run);
  ExitStatus status = finish(run, handle);
  EXPECT_TRUE(status.lease_expired);
  EXPECT_EQ(status.exit_code, 137);
}

TEST_F(LeaseTest, AStartThatOutlastsItsLeaseIsRefusedThoughAnotherRuns) {
  RunContext run = waiting();
  run.lease_page = path_;
  run.task.on_disconnect = DisconnectPolicy::stop_after;
  lease_for(seconds(60));
  run.start_by = SystemClock().boot_now();
  runs_.push_back(run);
  ASSERT_TRUE(driver_->prepare(run, {}));
  auto refused = driver_->start(run, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, FailureKind::retryable);
  EXPECT_THAT(refused.error().error.message, HasSubstr("lease"));
  run.start_by = SystemClock().boot_now() + seconds(60);
  EXPECT_TRUE(driver_->start(run, {}));
}

TEST_F(LeaseTest, WhatAStartThatWasGivenUpLeftOfItsNameIsNotInTheWay) {
  RunContext run = waiting();
  runs_.push_back(run);
  ASSERT_TRUE(driver_->prepare(run, {}));
  const std::string name = to_text(run.instance) + "." + std::to_string(run.generation) + "." +
                           std::to_string(run.attempt) + "." + run.task_name;
  ASSERT_TRUE(sys::make_dirs(run.run_dir + "/runtime/" + name, 0700));
  auto started = driver_->start(run, {});
  EXPECT_TRUE(started) << started.error().error.message;
}

TEST_F(LeaseTest, LetsGoOnWhatIsKept) {
  RunContext run = shell("echo ready; read x; exit 4");
  run.lease_page = path_;
  run.task.on_disconnect = DisconnectPolicy::keep;
  run.task.stdin_open = true;
  page_->deadline_boot_ns.store(1);  // long over
  Handle handle = start(run);
  auto session = driver_->as_exec()->attach(run, handle);
  ASSERT_TRUE(session) << why(session);
  ASSERT_EQ(write(session->in, "\n", 1), 1);
  ExitStatus status = finish(run, handle);
  EXPECT_FALSE(status.lease_expired);
  EXPECT_EQ(status.exit_code, 4);
  close_session(*session);
}

}  // namespace
}  // namespace tutti::driver::conformance
