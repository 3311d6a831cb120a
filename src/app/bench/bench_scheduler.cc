// The scheduler alone, on one thread: pending instances into a plan.
#include "app/bench/bench.h"
#include "base/random.h"
#include "model/test_pool.h"
#include "scheduler/scheduler.h"

namespace tutti::app::bench {
namespace {

struct Setup {
  size_t nodes = 10'000;
  size_t jobs = 200;
  size_t count = 500;  // instances of each
  bool constrained = false;
};

// Nodes of three sizes in ten zones; jobs of as many different sizes.
TestPool make_pool(const Setup& setup) {
  TestPool pool;
  SeededRandom random(11);
  for (size_t i = 0; i < setup.nodes; ++i) {
    static constexpr int64_t kCores[] = {32'000, 64'000, 96'000};
    const int64_t cores = kCores[random.below(3)];
    const NodeId id = pool.add_node({{cores}, {cores / 1000 * (4LL << 30)}, {1LL << 40}});
    if (setup.constrained)
      pool.edit_node(id, [&](Node& n) { n.spec.labels["zone"] = "z" + std::to_string(random.below(10)); });
  }
  for (size_t j = 0; j < setup.jobs; ++j) {
    JobSpec spec = TestPool::service("job" + std::to_string(j), static_cast<int64_t>(setup.count),
                                     {{static_cast<int64_t>(1 + random.below(40)) * 100},
                                      {static_cast<int64_t>(1 + random.below(64)) * (128LL << 20)},
                                      {}});
    if (setup.constrained) {
      spec.tasks[0].constraints = {"node.arch == x86_64", "node.label.zone != z" + std::to_string(random.below(10))};
      spec.policy = PlacementPolicy::spread;
    }
    const JobId job = pool.submit(spec);
    for (size_t i = 0; i < setup.count; ++i) pool.add_pending(job, static_cast<uint32_t>(i));
  }
  pool.commit();
  return pool;
}

// Placements a second of the best of a few rounds; the first, with nothing cached, alone when `cold`.
double placements_per_second(const Setup& setup, bool cold) {
  const TestPool pool = make_pool(setup);
  auto scheduler = scheduler::make_scheduler();
  double best = 0;
  for (int round = 0; round < (cold ? 1 : 4); ++round) {
    const BootTime start = now();
    if (round == 0) scheduler->rebuild(pool.published());
    const Plan plan = scheduler->schedule_all_pending(1, pool.s.now, setup.jobs * setup.count);
    best = std::max(best, static_cast<double>(plan.placements.size()) / seconds_since(start));
  }
  return best;
}

}  // namespace

Result<std::vector<Figure>> bench_scheduler(const Options& options) {
  Setup plain_setup;
  if (options.quick) plain_setup = {1'000, 20, 100, false};
  Setup constrained = plain_setup;
  constrained.constrained = true;
  Setup large = plain_setup;
  if (!options.quick) large.nodes = 100'000;
  return std::vector<Figure>{above("scheduler.placements", placements_per_second(plain_setup, false), "1/s", 1'000'000),
                             above("scheduler.constrained", placements_per_second(constrained, false), "1/s", 300'000),
                             above("scheduler.cold_100000_nodes", placements_per_second(large, true), "1/s", 100'000)};
}

}  // namespace tutti::app::bench
