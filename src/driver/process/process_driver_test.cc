#include "driver/process/process_driver.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "driver/conformance.h"
#include "driver/monitor/real_harness.h"
#include "model/security.h"

namespace tutti::driver::conformance {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ProcessHarness final : public RealHarness {
 public:
  std::unique_ptr<Driver> make_driver() override {
    auto monitor = MonitoredDriver::install_monitor(bin_dir());
    return make_process_driver(monitor.value(), std::shared_ptr(sys::Cgroups::detect().value()),
                               std::shared_ptr(sys::Reaper::make().value()));
  }

 protected:
  std::string driver_name() const override { return "process"; }
};

class ProcessRights : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto why = harness_.why_not()) GTEST_SKIP() << *why;
    driver_ = harness_.make_driver();
  }
  RunContext shell(const std::string& script) {
    RunContext run = harness_.blank_run();
    run.job = JobId{run.instance.value + 1000};
    run.task.command = {"/bin/sh", "-c", script};
    return run;
  }
  // Its log once it has ended; why it did not start, otherwise.
  std::string output(const RunContext& run) {
    auto handle = driver_->start(run, {});
    if (!handle) return "not started: " + why(handle);
    Ending ending;
    driver_->wait(run, *handle, ending.callback());
    EXPECT_TRUE(ending.await(harness_));
    std::string out = harness_.log_of(run).value_or("");
    EXPECT_TRUE(driver_->destroy(run));
    return out;
  }
  ProcessHarness harness_;
  std::unique_ptr<Driver> driver_;
};

constexpr const char* kShow =
    "id -u; grep -E 'Cap(Eff|Prm|Bnd)|NoNew|Seccomp:' /proc/self/status; cat /etc/shadow >/dev/null || echo no-shadow; "
    "echo mine > file && cat file; unshare -U true || echo no-unshare";

TEST_F(ProcessRights, an_ordinary_process_is_nobody_of_the_node) {
  RunContext run = shell(kShow);
  const std::string out = output(run);
  EXPECT_THAT(out, HasSubstr("out F " + std::to_string(own_account_of(run.job.value)) + "\n"));
  EXPECT_THAT(out, HasSubstr("CapPrm:\t0000000000000000"));
  EXPECT_THAT(out, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(out, HasSubstr("CapBnd:\t00000000a80425fb"));
  EXPECT_THAT(out, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(out, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(out, HasSubstr("no-shadow"));
  EXPECT_THAT(out, HasSubstr("no-unshare"));
  EXPECT_THAT(out, HasSubstr("out F mine")) << "its own folder is its own";
}

TEST_F(ProcessRights, accounts_of_the_node_are_refused) {
  for (const char* user :
       {"root", "0", "daemon", "1", "70000:0", "nobody:0", "70000:42", "0x0", "70000:x", "4294967295", ""}) {
    RunContext run = shell("id -u");
    run.task.user = user;
    auto handle = driver_->start(run, {});
    const bool plain =
        std::string_view(user).empty() || std::string_view(user) == "nobody:0";  // a name brings its own group
    EXPECT_EQ(handle.has_value(), plain) << user;
    if (!handle) EXPECT_EQ(handle.error().kind, FailureKind::rejected) << user;
    EXPECT_TRUE(driver_->destroy(run));
  }
  RunContext run = shell("id -u; id -g");
  run.task.user = "70000:70001";
  EXPECT_THAT(output(run), HasSubstr("out F 70000\n"));
}

TEST_F(ProcessRights, privileged_is_root_with_everything) {
  RunContext run = shell(kShow);
  run.task.security.privileged = true;
  const std::string out = output(run);
  EXPECT_THAT(out, HasSubstr("out F 0\n"));
  EXPECT_THAT(out, HasSubstr("Seccomp:\t0"));
  EXPECT_THAT(out, Not(HasSubstr("no-shadow")));
}

TEST_F(ProcessRights, a_command_beside_it_has_no_more) {
  RunContext run = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 3600 & wait $!; done");
  auto handle = driver_->start(run, {});
  ASSERT_TRUE(handle) << why(handle);
  ExecRequest request;
  request.command = {"/bin/sh", "-c", kShow};
  request.workdir = "/";
  auto session = driver_->as_exec()->exec(run, *handle, request);
  ASSERT_TRUE(session) << why(session);
  sys::UniqueFd in(session->in), out(session->out), err(session->err);
  std::string said;
  char buffer[4096];
  for (ssize_t n; (n = ::read(out.get(), buffer, sizeof buffer)) > 0;) said.append(buffer, static_cast<size_t>(n));
  (void)sys::reap(session->pid);
  EXPECT_THAT(said, HasSubstr("CapBnd:\t00000000a80425fb"));
  EXPECT_THAT(said, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(said, HasSubstr("no-shadow"));
  request.user = "root";
  EXPECT_FALSE(driver_->as_exec()->exec(run, *handle, request));
  auto account = driver_->as_exec()->file_account(run);
  ASSERT_TRUE(account && *account);
  EXPECT_EQ((*account)->uid, own_account_of(run.job.value));
  EXPECT_TRUE(driver_->destroy(run));
}

}  // namespace

TUTTI_DRIVER_CONFORMANCE(process, [] { return std::make_unique<ProcessHarness>(); });

}  // namespace tutti::driver::conformance
