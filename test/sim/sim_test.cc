// Simulation of a whole pool from seeds. SIM_SEEDS=<n> how many, SIM_SECONDS=<s> for how long at most, SIM_SEED=<n>
// only this one, SIM_TRACE=1 what happens in it, on standard error.
#include <gtest/gtest.h>

#include <chrono>
#include <cinttypes>

#include "base/log.h"
#include "sim_world.h"

namespace tutti::sim {
namespace {

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(Sim, PoolKeepsItsPromises) {
  configure_logging(LogLevel::off, LogFormat::text, "sim");
  const uint64_t only = setting("SIM_SEED", 0);
  const uint64_t first = only != 0 ? only : setting("SIM_FIRST", 1);
  const uint64_t count = only != 0 ? 1 : setting("SIM_SEEDS", 40);
  const auto started = std::chrono::steady_clock::now();
  auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count(); };
  const double budget = static_cast<double>(setting("SIM_SECONDS", 60));
  uint64_t done = 0;
  uint64_t failed = 0;
  double hours = 0;
  Statistics all;
  for (uint64_t seed = first;
       seed < first + count && (done == 0 || elapsed() < budget) && failed < setting("SIM_FAILURES", 5);
       ++seed, ++done) {
    SimWorld world(seed);
    const std::string broken = world.run();
    EXPECT_EQ(broken, "") << "SIM_SEED=" << seed << " SIM_TRACE=1 sim_test repeats it";
    failed += broken.empty() ? 0 : 1;
    hours += static_cast<double>(world.sim.elapsed().ms()) / 3.6e6;
    all.events += world.statistics.events;
    all.commits += world.statistics.commits;
    all.manager_crashes += world.statistics.manager_crashes;
    all.worker_crashes += world.statistics.worker_crashes;
    all.reboots += world.statistics.reboots;
    all.partitions += world.statistics.partitions;
    all.store_faults += world.statistics.store_faults;
    all.requests += world.statistics.requests;
    all.lost += world.statistics.lost;
    all.launches += world.statistics.launches;
    all.pushed_aside += world.statistics.pushed_aside;
  }
  std::printf("%" PRIu64 " seeds, %" PRIu64 " failed, %.2f virtual hours, %.3f virtual hours per second\n", done,
              failed, hours, hours / elapsed());
  std::printf("events %" PRIu64 ", commits %" PRIu64 ", requests %" PRIu64 ", manager crashes %" PRIu64
              ", worker crashes %" PRIu64 ", reboots %" PRIu64 ", partitions %" PRIu64 ", store faults %" PRIu64
              ", nodes lost %" PRIu64 ", launches %" PRIu64 ", pushed aside %" PRIu64 "\n",
              all.events, all.commits, all.requests, all.manager_crashes, all.worker_crashes, all.reboots,
              all.partitions, all.store_faults, all.lost, all.launches, all.pushed_aside);
}

}  // namespace
}  // namespace tutti::sim
