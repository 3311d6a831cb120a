#include "sys/process.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <condition_variable>
#include <mutex>

#include "sys/file.h"
#include "sys/reaper.h"

namespace tutti::sys {
namespace {

SpawnOptions shell(const std::string& script) {
  SpawnOptions out;
  out.argv = {"/bin/sh", "-c", script};
  return out;
}

TEST(ProcessTest, GivesExitCodesAndOutput) {
  auto said = run_program(shell("echo out; echo err >&2; exit 3"), seconds(20));
  ASSERT_TRUE(said);
  EXPECT_EQ(said->exit_code, 3);
  EXPECT_THAT(said->output, testing::HasSubstr("out\n"));
  EXPECT_THAT(said->output, testing::HasSubstr("err\n"));
  EXPECT_EQ(run_program(shell("kill -9 $$"), seconds(20))->exit_code, 137);
}

TEST(ProcessTest, EndsWhatTakesTooLong) {
  auto said = run_program(shell("sleep 1000"), milliseconds(50));
  ASSERT_FALSE(said);
  EXPECT_EQ(said.error().code, ErrorCode::timeout);
}

TEST(ProcessTest, AGrandchildThatKeepsThePipeDoesNotHoldItUp) {
  auto said = run_program(shell("sleep 3 & echo done"), seconds(20));
  ASSERT_TRUE(said);
  EXPECT_EQ(said->exit_code, 0);
}

TEST(ProcessTest, EnvironmentIsExactlyWhatIsGiven) {
  SpawnOptions options = shell("echo $ONLY$HOME");
  options.env = {"ONLY=this"};
  EXPECT_EQ(run_program(options, seconds(20))->output, "this\n");
}

TEST(ProcessTest, WhatDoesNotExistIsNotFound) {
  SpawnOptions options;
  options.argv = {"/no/such/program"};
  auto pid = spawn(options);
  ASSERT_FALSE(pid);
  EXPECT_EQ(pid.error().code, ErrorCode::not_found);
}

TEST(ProcessTest, SignalsByName) {
  EXPECT_EQ(parse_signal("TERM").value(), SIGTERM);
  EXPECT_EQ(parse_signal("SIGKILL").value(), SIGKILL);
  EXPECT_EQ(parse_signal("1").value(), SIGHUP);
  for (const char* wrong : {"", "0", "99", "-1", "TERMINATE", "9x"}) EXPECT_FALSE(parse_signal(wrong)) << wrong;
}

TEST(ReaperTest, TellsOfEachEndOnce) {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int, int> codes;
  int calls = 0;
  auto reaper = Reaper::make().value();
  for (int i = 0; i < 20; ++i) {
    int pid = spawn(shell("exit " + std::to_string(i))).value();
    auto done = [&, i](int code) {
      std::lock_guard lock(mutex);
      codes[i] = code;
      ++calls;
      changed.notify_all();
    };
    ASSERT_TRUE(reaper->watch(pidfd_open(pid).value(), done));
  }
  std::unique_lock lock(mutex);
  ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return calls == 20; }));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(codes[i], i);
}

TEST(ReaperTest, ForgetsWhatStillRunsWhenItGoes) {
  int pid = spawn(shell("exec sleep 1000")).value();
  {
    auto reaper = Reaper::make().value();
    ASSERT_TRUE(reaper->watch(pidfd_open(pid).value(), [](int) { FAIL(); }));
  }
  UniqueFd pidfd = pidfd_open(pid).value();
  ASSERT_TRUE(pidfd_signal(pidfd.get(), SIGKILL));
  EXPECT_TRUE(pidfd_wait(pidfd.get(), seconds(20)));
  EXPECT_EQ(reap(pid), 137);
}

}  // namespace
}  // namespace tutti::sys
