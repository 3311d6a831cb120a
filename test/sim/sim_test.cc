// Simulation of a whole pool from seeds. SIM_SEEDS=<n> how many, SIM_SECONDS=<s> for how long at most, SIM_SEED=<n>
// only this one, SIM_TRACE=1 what happens in it, on standard error; SIM_WORKERS=<n> every pool has as many.
#include <gtest/gtest.h>

#include <chrono>
#include <cinttypes>
#include <ctime>

#include "base/log.h"
#include "sim_world.h"

namespace tutti::sim {
namespace {

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// What a run of many seeds must have played: else it proves less than it says.
constexpr std::string_view kPlayed[] = {"pools of one worker",
                                        "pools of 7 to 60 workers",
                                        "pools of 61 to 300 workers",
                                        "messages late",
                                        "messages lost",
                                        "manager message doubled, in a later session",
                                        "status doubled, late",
                                        "connections broken",
                                        "connections half open for good",
                                        "partitions both ways",
                                        "partitions of many at once",
                                        "partitions: the manager is not heard",
                                        "partitions: the worker is not heard",
                                        "requests lost",
                                        "requests late",
                                        "requests doubled",
                                        "answers lost",
                                        "requests answered again",
                                        "manager crashes",
                                        "manager stands still",
                                        "power cuts of the manager",
                                        "crash behind an acknowledged append",
                                        "crash behind a checkpoint",
                                        "worker crashes",
                                        "worker stands still",
                                        "worker crash behind a stored record",
                                        "worker crash between two outputs",
                                        "reboots",
                                        "another scheduler comes",
                                        "another scheduler dies",
                                        "plans of another scheduler",
                                        "manager's disk slow",
                                        "manager's disk full",
                                        "manager's disk failing",
                                        "checkpoint failed",
                                        "append refused",
                                        "append slow",
                                        "append torn",
                                        "append lost, answer too",
                                        "append stored, answer lost",
                                        "worker's disk full",
                                        "clock jumps of the manager, back",
                                        "clock jumps of the manager, forward",
                                        "clock jumps of workers",
                                        "driver failed: image",
                                        "driver failed: prepare",
                                        "driver failed: start",
                                        "driver failed: recover",
                                        "driver failed: stop",
                                        "driver failed: destroy_run",
                                        "driver failed: clear",
                                        "driver failed: network_up",
                                        "driver failed: network_down",
                                        "driver failed: pause",
                                        "driver refused: image",
                                        "driver refused: prepare",
                                        "driver refused: start",
                                        "driver refused: network_up",
                                        "driver hung: image",
                                        "driver hung: prepare",
                                        "driver hung: start",
                                        "driver hung: recover",
                                        "driver hung: stop",
                                        "driver hung: destroy_run",
                                        "driver hung: clear",
                                        "driver hung: network_up",
                                        "driver hung: network_down",
                                        "devices used",
                                        "instances made beside others",
                                        "launches",
                                        "pushed aside",
                                        "runs ended with their lease",
                                        "nodes lost",
                                        "nodes drained",
                                        "nodes joined late",
                                        "nodes removed",
                                        "nodes removed, fenced"};
constexpr uint64_t kSeedsThatPlayAll = 1'000;

TEST(Sim, PoolKeepsItsPromises) {
  configure_logging(LogLevel::off, LogFormat::text, "sim");
  const uint64_t only = setting("SIM_SEED", 0);
  const uint64_t first = only != 0 ? only : setting("SIM_FIRST", 1);
  const uint64_t count = only != 0 ? 1 : setting("SIM_SEEDS", 40);
  const auto started = std::chrono::steady_clock::now();
  const std::clock_t began = std::clock();
  auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count(); };
  const double budget = static_cast<double>(setting("SIM_SECONDS", 60));
  uint64_t done = 0;
  uint64_t failed = 0;
  double hours = 0;
  uint64_t events = 0;
  std::map<std::string_view, uint64_t> all;
  for (uint64_t seed = first;
       seed < first + count && (done == 0 || elapsed() < budget) && failed < setting("SIM_FAILURES", 5);
       ++seed, ++done) {
    SimWorld world(seed);
    const std::string broken = world.run();
    EXPECT_EQ(broken, "") << "SIM_SEED=" << seed << " SIM_TRACE=1 sim_test repeats it";
    failed += broken.empty() ? 0 : 1;
    hours += static_cast<double>(world.sim.elapsed().ms()) / 3.6e6;
    events += world.events;
    for (const auto& [what, times] : world.sim.counted) all[what] += times;
  }
  const double cpu = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  std::printf("%" PRIu64 " seeds, %" PRIu64
              " failed, %.2f virtual hours, %.3f virtual hours per second (%.3f per second of processor time), %" PRIu64
              " events\n",
              done, failed, hours, hours / elapsed(), hours / cpu, events);
  for (const std::string_view what : kPlayed) {
    if (done >= kSeedsThatPlayAll && failed == 0) EXPECT_GT(all[what], 0u) << "not once: " << what;
  }
  for (const auto& [what, times] : all)
    std::printf("%10" PRIu64 "  %.*s\n", times, static_cast<int>(what.size()), what.data());
}

// A short run, as often as there are writes in it; each time a process dies with the next one.
TEST(Sim, AProcessMayDieWithEveryWrite) {
  if (setting("SIM_SEED", 0) != 0) GTEST_SKIP() << "only one seed is asked for";
  configure_logging(LogLevel::off, LogFormat::text, "sim");
  constexpr uint64_t kSeed = 7;
  using store::AppendFault;
  uint64_t appends = 0;
  uint64_t records = 0;
  {
    SimWorld whole(kSeed);
    ASSERT_EQ(whole.run_crash_at(0, AppendFault::none, 0), "");
    appends = whole.appends();
    records = whole.records_stored;
  }
  ASSERT_GT(appends, 20u);
  ASSERT_GT(records, 10u);
  for (const AppendFault fault :
       {AppendFault::none, AppendFault::unknown_stored, AppendFault::unknown_not_stored, AppendFault::torn}) {
    for (uint64_t n = 1; n <= appends; ++n) {
      SimWorld world(kSeed);
      EXPECT_EQ(world.run_crash_at(n, fault, 0), "") << "store write " << n << ", fault " << static_cast<int>(fault);
    }
  }
  for (uint64_t n = 1; n <= records; ++n) {
    SimWorld world(kSeed);
    EXPECT_EQ(world.run_crash_at(0, AppendFault::none, n), "") << "record " << n;
  }
  std::printf("%" PRIu64 " store writes, each with four endings, and %" PRIu64 " records\n", appends, records);
}

TEST(Sim, ASeedIsTheSameRunEveryTime) {
  configure_logging(LogLevel::off, LogFormat::text, "sim");
  SimWorld one(3);
  SimWorld two(3);
  EXPECT_EQ(one.run(), two.run());
  EXPECT_EQ(one.events, two.events);
  EXPECT_EQ(one.sim.counted, two.sim.counted);
  EXPECT_EQ(one.manager->state().revision, two.manager->state().revision);
}

}  // namespace
}  // namespace tutti::sim
