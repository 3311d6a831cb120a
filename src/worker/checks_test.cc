// Checks over real connections and real commands.
#include "worker/checks.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>

#include "sys/fd.h"
#include "sys/process.h"

namespace tutti::worker {
namespace {

using testing::HasSubstr;
constexpr auto kDeadline = std::chrono::seconds(20);

// Answers every connection on a port of the loopback with what it is told to, after the request has begun to arrive.
class TestServer {
 public:
  TestServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    socklen_t size = sizeof at;
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    EXPECT_EQ(::listen(listener_.get(), 16), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~TestServer() {
    stopping_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  uint16_t port() const { return port_; }
  // Empty: it says nothing at all.
  void answer_with(std::string text) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(text);
  }
  std::string request() const {
    std::lock_guard lock(mutex_);
    return request_;
  }

 private:
  void serve() {
    std::vector<sys::UniqueFd> silent;
    while (!stopping_) {
      sys::UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!peer) break;
      std::string text;
      {
        std::lock_guard lock(mutex_);
        text = answer_;
      }
      if (text.empty()) {
        silent.push_back(std::move(peer));
        continue;
      }
      char buffer[4096];
      const ssize_t n = ::recv(peer.get(), buffer, sizeof buffer, 0);
      {
        std::lock_guard lock(mutex_);
        request_.assign(buffer, n > 0 ? static_cast<size_t>(n) : 0);
      }
      [[maybe_unused]] const ssize_t sent = ::send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL);
      ::shutdown(peer.get(), SHUT_WR);
      while (::recv(peer.get(), buffer, sizeof buffer, 0) > 0) {
      }
    }
  }
  sys::UniqueFd listener_;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::string answer_;
  std::string request_;
  std::thread thread_;
};

// Runs commands on this machine, beside a task that is none.
class ShellDriver final : public driver::Driver, public driver::ExecDriver {
 public:
  ~ShellDriver() override {
    if (before_) ::setrlimit(RLIMIT_NOFILE, &*before_);
  }
  std::string name() const override { return "fake"; }
  driver::Capabilities capabilities() const override { return {}; }
  DriverInfo fingerprint() override { return {"fake", "", true, ""}; }
  driver::DriverStatus prepare(const driver::RunContext&, std::stop_token) override { return {}; }
  driver::DriverResult<driver::Handle> start(const driver::RunContext&, std::stop_token) override {
    return driver::Handle{};
  }
  driver::DriverResult<driver::Handle> recover(const driver::RunContext&) override { return driver::Handle{}; }
  void wait(const driver::RunContext&, const driver::Handle&, std::function<void(driver::ExitStatus)>) override {}
  driver::DriverStatus stop(const driver::RunContext&, const driver::Handle&, Duration, std::stop_token) override {
    return {};
  }
  driver::DriverStatus destroy(const driver::RunContext&) override { return {}; }
  driver::DriverStatus destroy_disk(const driver::RunContext&) override { return {}; }
  driver::ExecDriver* as_exec() override { return this; }
  driver::DriverResult<driver::ExecSession> exec(const driver::RunContext&, const driver::Handle&,
                                                 const driver::ExecRequest& request) override {
    auto in = sys::make_pipe(), out = sys::make_pipe(), err = sys::make_pipe();
    auto pid = sys::spawn({.argv = request.command,
                           .inherit_env = true,
                           .fds = {{in->read.get(), 0}, {out->write.get(), 1}, {err->write.get(), 2}}});
    if (!pid) return driver::failed(pid.error());
    if (leaves_no_descriptor) {
      for (sys::UniqueFd* end : {&in->read, &in->write, &out->write, &err->write}) end->reset();
      use_up_descriptors();
    }
    return driver::ExecSession{in->write.release(), out->read.release(), err->read.release(), *pid, {}};
  }
  driver::DriverResult<driver::ExecSession> attach(const driver::RunContext&, const driver::Handle&) override {
    return driver::ExecSession{};
  }
  driver::DriverResult<std::string> root_path(const driver::RunContext&, const driver::Handle&) override {
    return std::string("/");
  }

  bool leaves_no_descriptor = false;

 private:
  // Until this driver goes.
  void use_up_descriptors() {
    rlimit most{};
    ::getrlimit(RLIMIT_NOFILE, &most);
    before_ = most;
    most.rlim_cur = 256;
    ::setrlimit(RLIMIT_NOFILE, &most);
    for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) taken_.emplace_back(fd);
  }
  std::optional<rlimit> before_;
  std::vector<sys::UniqueFd> taken_;
};

class ChecksTest : public testing::Test {
 protected:
  ChecksTest() {
    io_ = net::make_io_thread("checks");
    checks_ = std::make_unique<Checks>(*io_, 1, [this](const CheckedRun& run, HealthChange change) {
      std::lock_guard lock(mutex_);
      EXPECT_EQ(run.instance, InstanceId{7});
      changes_.push_back(std::move(change));
      changed_.notify_all();
    });
  }
  ~ChecksTest() override {
    checks_->stop();
    io_.reset();
  }

  static HealthCheck check(CheckType type, uint16_t port = 0) {
    HealthCheck out;
    out.type = type;
    out.name = "up";
    out.port = std::to_string(port);
    out.interval = milliseconds(10);
    out.timeout = seconds(10);
    out.failures = 1;
    return out;
  }
  void watch(std::vector<HealthCheck> checks, HealthState before = HealthState::starting, uint16_t task = 1) {
    CheckedRun run;
    run.instance = InstanceId{7};
    run.task = task;
    run.before = before;
    run.spec.health = std::move(checks);
    run.driver = &driver_;
    io_->post([this, run]() mutable { checks_->watch(std::move(run)); });
  }
  // The next change, in order.
  HealthChange next() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kDeadline, [&] { return taken_ < changes_.size(); })) {
      ADD_FAILURE() << "nothing was told";
      return {HealthState::none, {}, false};
    }
    return changes_[taken_++];
  }

  ShellDriver driver_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<HealthChange> changes_;
  size_t taken_ = 0;
  std::unique_ptr<Checks> checks_;
  std::unique_ptr<net::IoThread> io_;
};

constexpr const char* kWellAnswer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
constexpr const char* kSickAnswer = "HTTP/1.1 503 No\r\n\r\nthe database is away";

TEST_F(ChecksTest, AnHttpServerIsAskedAsTheTaskSays) {
  TestServer server;
  server.answer_with(kWellAnswer);
  HealthCheck http = check(CheckType::http, server.port());
  http.path = "/up?x=1";
  http.method = "POST";
  http.headers = {{"Host", "shop.example"}, {"X-Probe", "1"}};
  watch({http});
  EXPECT_EQ(next().state, HealthState::healthy);
  EXPECT_THAT(server.request(), HasSubstr("POST /up?x=1 HTTP/1.1\r\n"));
  EXPECT_THAT(server.request(), HasSubstr("Host: shop.example\r\n"));
  EXPECT_THAT(server.request(), HasSubstr("X-Probe: 1\r\n"));
  server.answer_with(kSickAnswer);
  const HealthChange sick = next();
  EXPECT_EQ(sick.state, HealthState::unhealthy);
  EXPECT_EQ(sick.reason, "readiness check up failed: status 503: the database is away");
  server.answer_with(kWellAnswer);
  EXPECT_EQ(next().state, HealthState::healthy);
}

TEST_F(ChecksTest, TheStatusesThatAreWellAreTheTasks) {
  TestServer server;
  server.answer_with(kSickAnswer);
  HealthCheck http = check(CheckType::http, server.port());
  http.status = "503";
  watch({http});
  EXPECT_EQ(next().state, HealthState::healthy);
}

TEST_F(ChecksTest, WhoSaysNothingIsLate) {
  TestServer server;
  HealthCheck http = check(CheckType::http, server.port());
  http.timeout = milliseconds(50);
  watch({http});
  EXPECT_THAT(next().reason, HasSubstr("within 50ms"));
}

TEST_F(ChecksTest, WhoSpeaksSomethingElseIsNotWell) {
  TestServer server;
  server.answer_with("SSH-2.0-something\r\n");
  watch({check(CheckType::http, server.port())});
  EXPECT_THAT(next().reason, HasSubstr("no answer of 127.0.0.1"));
}

TEST_F(ChecksTest, ATcpPortIsOpenOrNot) {
  auto server = std::make_unique<TestServer>();
  watch({check(CheckType::tcp, server->port())});
  EXPECT_EQ(next().state, HealthState::healthy);
  server.reset();
  EXPECT_THAT(next().reason, HasSubstr("cannot connect to 127.0.0.1"));
}

TEST_F(ChecksTest, CommandsSayItByTheirExitCode) {
  char path[] = "/tmp/tutti-check-XXXXXX";
  const sys::UniqueFd made(::mkstemp(path));
  HealthCheck exec = check(CheckType::exec);
  exec.command = {"/bin/sh", "-c", std::string("test -e ") + path + " || { echo it is away; exit 3; }"};
  watch({exec});
  EXPECT_EQ(next().state, HealthState::healthy);
  ::unlink(path);
  EXPECT_EQ(next().reason, "readiness check up failed: exit code 3: it is away");
}

TEST_F(ChecksTest, ACommandThatHangsIsKilledWithItsChildren) {
  char path[] = "/tmp/tutti-check-XXXXXX";
  const sys::UniqueFd made(::mkstemp(path));
  HealthCheck exec = check(CheckType::exec);
  exec.interval = seconds(3600);
  exec.timeout = milliseconds(500);
  exec.command = {"/bin/sh", "-c", std::string("sh -c 'echo $$ > ") + path + "; sleep 1000'; true"};
  watch({exec});
  EXPECT_THAT(next().reason, HasSubstr("no end within 500ms"));
  int pid = 0;
  std::ifstream(path) >> pid;
  ::unlink(path);
  if (pid == 0) GTEST_SKIP() << "the machine was too busy to start it in time";
  if (auto child = sys::pidfd_open(pid)) EXPECT_TRUE(sys::pidfd_wait(child->get(), seconds(20)));
}

TEST_F(ChecksTest, WhatACommandSaysIsBounded) {
  HealthCheck exec = check(CheckType::exec);
  exec.command = {"/bin/sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i of much; i=$((i+1)); done; exit 1"};
  watch({exec});
  const HealthChange sick = next();
  EXPECT_LT(sick.reason.size(), 400u);
  EXPECT_THAT(sick.reason, HasSubstr("line 2999 of much"));
}

// Whose checks hang holds up its own only.
TEST_F(ChecksTest, CommandsThatHangDoNotStopThoseOfOthers) {
  CheckCommands commands;
  auto command = [&](uint64_t job, uint64_t instance, std::vector<std::string> words) {
    CheckCommands::Job out{&driver_, {}, std::move(words), seconds(299)};
    out.run.job = JobId{job};
    out.run.instance = InstanceId{instance};
    return out;
  };
  for (int i = 0; i < 16; ++i) commands.run(command(1, 1, {"/bin/sleep", "299"}), [](CheckResult) {});
  for (uint64_t i = 2; i <= 16; ++i)
    for (int n = 0; n < 2; ++n) commands.run(command(1, i, {"/bin/sleep", "299"}), [](CheckResult) {});
  int well = 0;
  for (int i = 0; i < 20; ++i) {
    commands.run(command(2, 99, {"/bin/true"}), [&](CheckResult result) {
      std::lock_guard lock(mutex_);
      well += result.well ? 1 : 0;
      changed_.notify_all();
    });
  }
  {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kDeadline, [&] { return well == 20; })) << well << " of 20";
  }
  commands.stop();
}

TEST_F(ChecksTest, AFailedLivenessCheckIsToldOnceAndAsksNoMore) {
  char path[] = "/tmp/tutti-check-XXXXXX";
  const sys::UniqueFd made(::mkstemp(path));
  HealthCheck alive = check(CheckType::exec);
  alive.kind = CheckKind::liveness;
  alive.name = "liveness";
  alive.command = {"/bin/sh", "-c", std::string("echo asked >> ") + path + "; exit 1"};
  watch({alive});
  const HealthChange dead = next();
  EXPECT_TRUE(dead.restart);
  EXPECT_EQ(dead.reason, "liveness check failed: exit code 1");
  // Asked as often as the first, and ten times: were the first asked again, it would be meanwhile.
  HealthCheck second = check(CheckType::exec);
  second.kind = CheckKind::liveness;
  second.name = "second";
  second.failures = 10;
  second.command = {"/bin/false"};
  watch({second}, HealthState::starting, 2);
  EXPECT_EQ(next().reason, "liveness check second failed 10 times in a row: exit code 1");
  std::string asked;
  std::getline(std::ifstream(path), asked, '\0');
  ::unlink(path);
  EXPECT_EQ(asked, "asked\n");
  std::lock_guard lock(mutex_);
  EXPECT_EQ(changes_.size(), 2u);
}

TEST_F(ChecksTest, ACommandThatCannotBeWaitedForIsKilled) {
  driver_.leaves_no_descriptor = true;
  HealthCheck exec = check(CheckType::exec);
  exec.interval = seconds(3600);
  exec.timeout = seconds(3600);
  exec.command = {"/bin/sleep", "1000"};
  watch({exec});
  EXPECT_THAT(next().reason, HasSubstr("cannot be waited for"));
}

TEST_F(ChecksTest, TheOthersBeginWhenItHasStarted) {
  TestServer server;
  server.answer_with(kWellAnswer);
  HealthCheck start = check(CheckType::http, server.port());
  start.kind = CheckKind::startup;
  HealthCheck ready = check(CheckType::tcp, server.port());
  ready.name = "ready";
  watch({ready, start});
  EXPECT_EQ(next().state, HealthState::healthy);
}

TEST(CheckPorts, ANameIsThePortInsideOrThatOfTheNode) {
  TaskSpec task;
  task.name = "web";
  task.ports = {{"http", 80, 0, Protocol::tcp}};
  HealthCheck check;
  check.port = "http";
  const std::vector<PortBinding> bindings{{"web", "http", 80, 20001, Protocol::tcp}};
  EXPECT_EQ(port_of(check, task, bindings, true), 80);
  EXPECT_EQ(port_of(check, task, bindings, false), 20001);
  check.port = "8080";
  EXPECT_EQ(port_of(check, task, bindings, false), 8080);
}

}  // namespace
}  // namespace tutti::worker
