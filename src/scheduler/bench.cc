#include "scheduler/bench.h"

#include <algorithm>

#include "base/random.h"
#include "model/test_pool.h"
#include "scheduler/scheduler.h"

namespace tutti::scheduler {
namespace {

constexpr int64_t kGiB = 1LL << 30;

struct Setup {
  size_t nodes = 10'000;
  size_t jobs = 200;
  size_t count = 500;  // instances of each
  size_t rounds = 4;
  bool wishes = false;     // constraints, spread over zones, an affinity, and the policy spread
  bool mixed = false;      // the instances of 64 jobs wait in turns, as many users' do
  size_t most = SIZE_MAX;  // placements of one plan
};

// Nodes of three sizes in ten zones; jobs of as many different sizes.
TestPool make_pool(const Setup& setup) {
  TestPool pool;
  SeededRandom random(11);
  for (size_t i = 0; i < setup.nodes; ++i) {
    static constexpr int64_t kCores[] = {32'000, 64'000, 96'000};
    const int64_t cores = kCores[random.below(3)];
    const NodeId id = pool.add_node({{cores}, {cores / 1000 * 4 * kGiB}, {1024 * kGiB}});
    if (!setup.wishes) continue;
    pool.edit_node(id, [&](Node& n) {
      n.spec.labels["zone"] = "z" + std::to_string(random.below(10));
      n.spec.labels["disk"] = random.below(2) == 0 ? "ssd" : "hdd";
    });
  }
  std::vector<JobId> jobs;
  for (size_t j = 0; j < setup.jobs; ++j) {
    JobSpec spec = TestPool::service("job" + std::to_string(j), static_cast<int64_t>(setup.count),
                                     {{static_cast<int64_t>(1 + random.below(40)) * 100},
                                      {static_cast<int64_t>(1 + random.below(64)) * (128LL << 20)},
                                      {}});
    if (setup.wishes) {
      spec.tasks[0].constraints = {"node.arch == x86_64", "node.label.zone != z" + std::to_string(random.below(10))};
      spec.policy = PlacementPolicy::spread;
      spec.placement.affinities = {{"node.label.disk == ssd", 50}};
      spec.placement.spread = {{"node.label.zone", 50, {}}};
    }
    jobs.push_back(pool.submit(spec));
    if (setup.mixed) continue;
    for (size_t i = 0; i < setup.count; ++i) pool.add_pending(jobs.back(), static_cast<uint32_t>(i));
  }
  for (size_t i = 0; setup.mixed && i < setup.count; ++i)
    for (const JobId job : jobs) pool.add_pending(job, static_cast<uint32_t>(i));
  pool.commit();
  return pool;
}

// Placements a second of the best of a few rounds; `cold`: of one, with nothing cached.
double placements_per_second(const std::function<double()>& seconds, const Setup& setup, bool cold) {
  const TestPool pool = make_pool(setup);
  auto scheduler = make_scheduler();
  double best = 0;
  for (size_t round = 0; round < (cold ? 1 : setup.rounds); ++round) {
    const double start = seconds();
    if (round == 0) scheduler->rebuild(pool.published());
    const Plan plan = scheduler->schedule_all_pending(1, pool.s.now, std::min(setup.most, setup.jobs * setup.count));
    best = std::max(best, static_cast<double>(plan.placements.size()) / (seconds() - start));
  }
  return best;
}

// Nodes of four kinds, and work that asks for cpu and memory in all proportions, `load` of what the nodes have of the
// scarcer one. Returns the placed part, and how full the nodes are that got something.
struct Quality {
  double placed = 0;
  double cpu_of_used_nodes = 0;
};
Quality quality(size_t nodes, double load) {
  TestPool pool;
  SeededRandom random(5);
  Resources all;
  std::map<uint64_t, Resources> capacity;
  for (size_t i = 0; i < nodes; ++i) {
    static constexpr int64_t kCores[] = {16, 32, 64, 64};
    static constexpr int64_t kPerCore[] = {4, 4, 4, 8};
    const size_t kind = random.below(4);
    const Resources has{{kCores[kind] * 1'000}, {kCores[kind] * kPerCore[kind] * kGiB}, {1024 * kGiB}};
    capacity[pool.add_node(has).value] = has;
    all += has;
  }
  // Half of the work in small pieces, the rest in middle and large ones.
  std::vector<Resources> shapes;
  for (size_t i = 0; i < 40; ++i) {
    const int64_t cpu = i < 20 ? 250 + static_cast<int64_t>(random.below(8)) * 250
                               : 2'000 + static_cast<int64_t>(random.below(i < 34 ? 5 : 13)) * 500;
    shapes.push_back({{cpu}, {cpu * static_cast<int64_t>(2 + random.below(6)) * kGiB / 1'000}, {}});
  }
  Resources asked;
  size_t wanted = 0;
  auto is_full = [&] {
    return static_cast<double>(asked.cpu.value) >= load * static_cast<double>(all.cpu.value) ||
           static_cast<double>(asked.memory.value) >= load * static_cast<double>(all.memory.value);
  };
  std::vector<JobId> jobs;
  for (size_t i = 0; i < shapes.size(); ++i)
    jobs.push_back(pool.submit(TestPool::service("j" + std::to_string(i), 1, shapes[i])));
  while (!is_full()) {
    const size_t shape = random.below(shapes.size());
    pool.add_pending(jobs[shape], static_cast<uint32_t>(wanted++));
    asked += shapes[shape];
  }
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  const Plan plan = scheduler->schedule_all_pending(1, pool.s.now, SIZE_MAX);
  std::map<uint64_t, int64_t> used;
  for (const Placement& placement : plan.placements) {
    const Instance& i = pool.at(placement.instance);
    used[placement.node.value] += pool.s.group_of(i).resources.cpu.value;
  }
  int64_t cpu = 0;
  int64_t of = 0;
  for (const auto& [node, taken] : used) cpu += taken, of += capacity[node].cpu.value;
  return {static_cast<double>(plan.placements.size()) / static_cast<double>(wanted),
          static_cast<double>(cpu) / static_cast<double>(std::max<int64_t>(of, 1))};
}

// Commits a second while 100,000 wait in vain for more than any node has left.
double stuck_commits_per_second(const std::function<double()>& seconds, const Setup& setup) {
  TestPool pool;
  for (size_t i = 0; i < setup.nodes; ++i) pool.add_node({{1'000}, {kGiB}, {}});
  const JobId large = pool.submit(TestPool::service("large", 1, {{900}, {kGiB}, {}}));
  const JobId small = pool.submit(TestPool::service("small", 1, {{100}, {1 << 20}, {}}));
  pool.s.nodes.for_each([&](uint64_t id, const Node&) {
    const InstanceId blocker = pool.add_pending(small);
    pool.place(blocker, NodeId{id});
  });
  for (size_t i = 0; i < setup.jobs * setup.count; ++i) pool.add_pending(large, static_cast<uint32_t>(i));
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  (void)scheduler->schedule_all_pending(1, pool.s.now, SIZE_MAX);
  std::vector<ChangeSet> commits;
  for (size_t i = 0; i < 1'000; ++i) {
    pool.add_pending(small, static_cast<uint32_t>(i));
    commits.push_back(pool.commit());
  }
  const double start = seconds();
  for (const ChangeSet& changes : commits) {
    scheduler->follow(changes);
    (void)scheduler->schedule_all_pending(1, pool.s.now, 1);
  }
  return static_cast<double>(commits.size()) / (seconds() - start);
}

// Commits a second while a gang waits in vain that may push others aside, and all of the pool's work is less important.
double stuck_pushing_per_second(const std::function<double()>& seconds, size_t nodes) {
  TestPool pool;
  pool.put_project(1, "default", true);
  for (size_t i = 0; i < nodes; ++i) pool.add_node({{2'000}, {kGiB}, {}});
  const auto submit = [&](int64_t cpu, int32_t priority, bool together) {
    JobSpec spec = TestPool::service("j", 1, {{cpu}, {1 << 20}, {}});
    spec.priority = priority;
    spec.placement.all_or_nothing = together;
    const JobId job = pool.submit(spec);
    pool.edit_job(job, [](Job& row) { row.project = ProjectId{1}; });
    return job;
  };
  const JobId small = submit(100, 10, false);
  std::vector<InstanceId> running;
  pool.s.nodes.for_each([&](uint64_t id, const Node&) {
    for (int i = 0; i < 20; ++i) running.push_back(pool.add_pending(small)), pool.place(running.back(), NodeId{id});
  });
  const JobId gang = submit(2'100, 90, true);
  for (uint32_t i = 0; i < 8; ++i) pool.add_pending(gang, i);
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  (void)scheduler->schedule_all_pending(1, pool.s.now, 512);
  const double start = seconds();
  const size_t commits = 20;
  for (size_t i = 0; i < commits; ++i) {
    pool.edit_instance(running[i * running.size() / commits], [](Instance& row) { row.finished = row.cleared = true; });
    scheduler->follow(pool.commit());
    (void)scheduler->schedule_all_pending(1, pool.s.now, 512);
  }
  return static_cast<double>(commits) / (seconds() - start);
}

}  // namespace

std::vector<BenchFigure> bench(const std::function<double()>& seconds, bool quick) {
  Setup plain;
  if (quick) plain.nodes = 1'000, plain.jobs = 20, plain.count = 100;
  Setup mixed = plain;
  mixed.jobs = quick ? 8 : 64, mixed.count = quick ? 250 : 1'500, mixed.mixed = true;
  Setup wishes = plain;
  wishes.wishes = true;
  Setup large = plain;
  if (!quick) large.nodes = 100'000;
  Setup plans = plain;
  plans.most = 512;
  std::vector<BenchFigure> out;
  out.push_back({"placements", placements_per_second(seconds, plain, false), "1/s", 1'000'000});
  out.push_back({"mixed_64_shapes", placements_per_second(seconds, mixed, false), "1/s", 1'000'000});
  out.push_back({"plans_of_512", placements_per_second(seconds, plans, false), "1/s", 1'000'000});
  out.push_back({"constrained", placements_per_second(seconds, wishes, false), "1/s", 300'000});
  out.push_back({"cold_100000_nodes", placements_per_second(seconds, large, true), "1/s", 100'000});
  out.push_back({"commits_while_stuck", stuck_commits_per_second(seconds, plain), "1/s", 10'000});
  out.push_back({"commits_while_a_gang_cannot_push", stuck_pushing_per_second(seconds, plain.nodes), "1/s", 100});
  const size_t nodes = quick ? 200 : 1'000;
  out.push_back({"placed_at_97_percent_load", 100 * quality(nodes, 0.97).placed, "%", 98});
  out.push_back({"cpu_of_used_nodes_at_60_percent_load", quality(nodes, 0.60).cpu_of_used_nodes, "", 0.97});
  return out;
}

}  // namespace tutti::scheduler
