// The scheduler against a naive one that looks at every node for every instance, and against itself started cold.
#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "base/random.h"
#include "model/test_pool.h"
#include "scheduler/feasible.h"
#include "scheduler/scan.h"

namespace tutti::scheduler {
namespace {

std::string text_of(const Plan& plan) {
  std::string out;
  for (const Placement& p : plan.placements) {
    out += std::to_string(p.instance.value) + "->" + std::to_string(p.node.value);
    for (const PortBinding& port : p.ports) out += ":" + std::to_string(port.host);
    out += " ";
  }
  out += "refused";
  for (InstanceId id : plan.refused) out += " " + std::to_string(id.value);
  return out;
}

// One node at a time, everything computed anew: what scheduler.h promises, and nothing clever.
class Oracle {
 public:
  Oracle(const Snapshot& s, uint64_t seed) : s_(s), seed_(seed) {
    s.nodes.for_each([&](uint64_t id, const Node& node) {
      Row row{&node, allocatable(node), allocatable(node) - s.usage_of(node.id).used, {}, {}};
      largest_.cpu = std::max(largest_.cpu, row.all.cpu);
      largest_.memory = std::max(largest_.memory, row.all.memory);
      rows_[id] = row;
    });
    s.instances.for_each([&](uint64_t, const Instance& i) {
      if (i.node && i.admitted && !i.finished && rows_.contains(i.node.value)) ++rows_[i.node.value].jobs[i.job];
    });
  }

  Plan plan(Time now) {
    Plan out;
    out.based_on = s_.revision;
    std::vector<const Instance*> queue;
    s_.pending.for_each([&](uint64_t id, const Unit&) {
      if (s_.instances.find(id)->not_before <= now) queue.push_back(s_.instances.find(id));
    });
    std::sort(queue.begin(), queue.end(), [&](const Instance* a, const Instance* b) {
      return std::tuple(-priority(*a), a->pending_since, a->id) < std::tuple(-priority(*b), b->pending_since, b->id);
    });
    for (const Instance* i : queue) {
      if (auto placement = place(*i))
        out.placements.push_back(*placement);
      else
        out.refused.push_back(i->id);
    }
    return out;
  }

 private:
  struct Row {
    const Node* node = nullptr;
    Resources all;
    Resources free;
    std::set<uint32_t> ports;
    std::map<JobId, int> jobs;
  };
  int priority(const Instance& i) const { return s_.version_of(i)->spec->priority; }
  static double part(int64_t a, int64_t b) {
    return b <= 0 ? 0 : std::clamp(static_cast<double>(a) / static_cast<double>(b), 0.0, 1.0);
  }
  int64_t score(const Row& row, const Resources& asked) const {
    auto node = [](double f) { return std::lround(3'000 * std::pow(10.0, f)); };
    auto request = [](double f) { return std::lround(32'767 * std::pow(10.0, -f)); };
    return node(part(row.free.cpu.value, row.all.cpu.value)) * request(part(asked.cpu.value, largest_.cpu.value)) +
           node(part(row.free.memory.value, row.all.memory.value)) *
               request(part(asked.memory.value, largest_.memory.value));
  }
  std::optional<Placement> place(const Instance& i) {
    const Request request = request_of(s_, i);
    const JobSpec& spec = *s_.version_of(i)->spec;
    const bool spread = spec.policy == PlacementPolicy::spread ||
                        (spec.policy == PlacementPolicy::default_ && s_.pool.policy == "spread");
    std::set<uint64_t> excluded;
    while (true) {
      std::optional<std::tuple<bool, int, int64_t, uint64_t>> best;
      for (auto& [id, row] : rows_) {
        if (excluded.contains(id) || check(s_, request, *row.node, row.free, row.ports)) continue;
        const int same = spread ? row.jobs[i.job] : 0;
        const std::tuple key{NodeId{id} == i.detail->avoid, same,
                             spread ? -score(row, request.resources) : score(row, request.resources), id};
        if (!best || key < *best) best = key;
      }
      if (!best) return std::nullopt;
      Row& row = rows_[std::get<3>(*best)];
      Placement out{i.id, i.generation, row.node->id, {}};
      if (!request.ports.empty() &&
          !choose_ports(s_, request, *row.node, row.ports, SeededRandom(seed_ ^ i.id.value).next(), out.ports)) {
        excluded.insert(std::get<3>(*best));
        continue;
      }
      row.free -= request.resources;
      ++row.jobs[i.job];
      return out;
    }
  }

  const Snapshot& s_;
  const uint64_t seed_;
  Resources largest_;
  std::map<uint64_t, Row> rows_;
};

// A pool that changes at random: nodes come, go and change; jobs of every kind; instances are placed, end and wait
// again.
class RandomPool {
 public:
  explicit RandomPool(uint64_t seed) : random_(seed) {
    pool.s.pool.policy = random_.below(3) == 0 ? "spread" : "binpack";
    for (uint64_t i = 0, n = 1 + random_.below(150); i < n; ++i) add_node();
    for (uint64_t i = 0, n = 1 + random_.below(6); i < n; ++i) add_job();
  }
  void change() {
    for (uint64_t i = 0, n = 1 + random_.below(8); i < n; ++i) change_one();
  }
  // As apply does it.
  void apply(const Plan& plan) {
    for (const Placement& p : plan.placements)
      if (random_.below(8) != 0) pool.place(p.instance, p.node, TaskState::running, p.ports);
  }
  TestPool pool;
  SeededRandom random_;

 private:
  void add_node() {
    static constexpr int64_t kCores[] = {2'000, 4'000, 16'000};
    const int64_t memory =
        (1 + static_cast<int64_t>(random_.below(16))) * (512 << 20) + static_cast<int64_t>(random_.below(3)) * 12'345;
    const NodeId id = pool.add_node({{kCores[random_.below(3)]}, {memory}, {10LL << 30}},
                                    random_.below(12) == 0 ? NodeHealth::unknown : NodeHealth::ready,
                                    random_.below(4) == 0 ? "aarch64" : "x86_64");
    nodes_.push_back(id);
    pool.edit_node(id, [&](Node& n) { n.spec.labels["zone"] = random_.below(2) == 0 ? "a" : "b"; });
    pool.edit_inventory(id, [&](Inventory& i) { i.port_last = i.port_first + 2; });
  }
  void add_job() {
    const Resources asked{{static_cast<int64_t>(1 + random_.below(40)) * 50},
                          {static_cast<int64_t>(1 + random_.below(30)) * (33 << 20) + 7},
                          {random_.below(2) == 0 ? 0 : 1LL << 30}};
    JobSpec spec = TestPool::service("job" + std::to_string(jobs_.size()), 1, asked);
    spec.priority = static_cast<int32_t>(random_.below(3)) * 10;
    spec.policy = static_cast<PlacementPolicy>(random_.below(3));
    if (random_.below(3) == 0) spec.tasks[0].constraints = {"node.arch == x86_64"};
    if (random_.below(4) == 0) spec.tasks[0].constraints.push_back("node.label.zone == a");
    if (random_.below(3) == 0)
      spec.tasks[0].ports.push_back({"p", 80, random_.below(2) == 0 ? 0 : 8080, Protocol::tcp});
    jobs_.push_back(pool.submit(spec));
    for (uint64_t i = 0, n = random_.below(40); i < n; ++i) add_instance(jobs_.back());
  }
  void add_instance(JobId job) {
    const InstanceId id = pool.add_pending(job, static_cast<uint32_t>(instances_.size()));
    instances_.push_back(id);
    if (random_.below(10) == 0 && !nodes_.empty()) pool.edit_instance(id, [&](Instance& i) { i.pinned = any(nodes_); });
    if (random_.below(6) == 0 && !nodes_.empty())
      pool.edit_detail(id, [&](InstanceDetail& d) { d.avoid = any(nodes_); });
    if (random_.below(15) == 0) pool.edit_instance(id, [&](Instance& i) { i.not_before = pool.s.now + seconds(5); });
  }
  template <class T>
  T any(const std::vector<T>& of) {
    return of[random_.below(of.size())];
  }
  void change_one() {
    switch (random_.below(9)) {
      case 0: return add_node();
      case 1: return add_job();
      case 2: return add_instance(any(jobs_));
      case 3:
        return pool.edit_node(any(nodes_),
                              [&](Node& n) { n.spec.eligibility = static_cast<Eligibility>(random_.below(4)); });
      case 4:
        return pool.edit_node(
            any(nodes_), [&](Node& n) { n.health = random_.below(2) == 0 ? NodeHealth::ready : NodeHealth::lost; });
      case 5:
        return pool.edit_node(any(nodes_), [&](Node& n) { n.spec.labels["zone"] = random_.below(2) == 0 ? "a" : "b"; });
      case 6:
        return pool.edit_inventory(any(nodes_),
                                   [&](Inventory& i) { i.capacity.cpu.value += random_.below(2) == 0 ? 1'000 : 0; });
      default: {
        if (instances_.empty()) return;
        const InstanceId id = any(instances_);
        if (pool.at(id).admitted && !pool.at(id).finished)
          pool.edit_instance(id, [&](Instance& i) {
            i.finished = true, i.cleared = random_.below(2) == 0, i.state = TaskState::failed;
          });
      }
    }
  }
  std::vector<NodeId> nodes_;
  std::vector<JobId> jobs_;
  std::vector<InstanceId> instances_;
};

TEST(Scheduler, PlansAsTheNaiveOneDoesWhateverItHasCached) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    RandomPool world(seed);
    auto warm = make_scheduler();
    world.pool.commit();
    warm->rebuild(world.pool.published());
    for (int step = 0; step < 12; ++step) {
      const Snapshot& s = *world.pool.published();
      const uint64_t plan_seed = seed * 100 + static_cast<uint64_t>(step);
      const Plan plan = warm->schedule_all_pending(plan_seed, s.now, 100'000);
      const Plan naive = Oracle(s, plan_seed).plan(s.now);
      ASSERT_EQ(text_of(plan), text_of(naive)) << "seed " << seed << " step " << step;
      auto cold = make_scheduler();
      cold->rebuild(world.pool.published());
      ASSERT_EQ(text_of(plan), text_of(cold->schedule_all_pending(plan_seed, s.now, 100'000)))
          << "seed " << seed << " step " << step;
      world.apply(plan);
      world.change();
      warm->follow(world.pool.commit());
    }
  }
}

TEST(Scheduler, ExplainsWhatItRefusesAndCountsEveryNode) {
  size_t refused = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    RandomPool world(seed);
    world.pool.commit();
    auto scheduler = make_scheduler();
    scheduler->rebuild(world.pool.published());
    const Snapshot& before = *world.pool.published();
    world.apply(scheduler->schedule_all_pending(seed, before.now, 100'000));
    world.pool.commit();
    const Snapshot& s = *world.pool.published();
    scheduler->rebuild(world.pool.published());
    s.pending.for_each([&](uint64_t id, const Unit&) {
      const InstanceId instance{id};
      if (s.instances.find(id)->not_before > s.now) return;
      const Plan alone = scheduler->schedule(std::span(&instance, 1), seed, s.now, 1);
      const Explanation why = explain(s, instance, s.now);
      int32_t counted = why.nodes_feasible;
      for (const Reason& reason : why.reasons) counted += reason.nodes;
      EXPECT_EQ(counted, why.nodes_total);
      EXPECT_EQ(why.nodes_total, static_cast<int32_t>(s.nodes.size()));
      // Dynamic ports are the one thing that a feasible node may still be out of.
      if (!alone.placements.empty()) EXPECT_GT(why.nodes_feasible, 0);
      if (alone.placements.empty() && request_of(s, *s.instances.find(id)).ports.empty())
        EXPECT_EQ(why.nodes_feasible, 0);
      refused += alone.placements.empty() ? 1 : 0;
    });
  }
  EXPECT_GT(refused, 20u);  // else it has shown nothing
}

TEST(Scheduler, StopsAtMostAndLeavesTheRestPending) {
  TestPool pool;
  pool.add_node({{8'000}, {8LL << 30}, {8LL << 30}});
  const JobId job = pool.submit(TestPool::service("web", 5));
  for (uint32_t i = 0; i < 5; ++i) pool.add_pending(job, i);
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  EXPECT_EQ(scheduler->schedule_all_pending(1, pool.s.now, 3).placements.size(), 3u);
  // A plan that was not committed has taken nothing.
  EXPECT_EQ(scheduler->schedule_all_pending(1, pool.s.now, 100).placements.size(), 5u);
}

TEST(Scheduler, WakesForTheEarliestThatWaits) {
  TestPool pool;
  const JobId job = pool.submit(TestPool::service("web", 2));
  for (int64_t after : {9, 4}) {
    const InstanceId id = pool.add_pending(job, static_cast<uint32_t>(after));
    pool.edit_instance(id, [&](Instance& i) { i.not_before = pool.s.now + seconds(after); });
  }
  pool.commit();
  auto scheduler = make_scheduler();
  scheduler->rebuild(pool.published());
  EXPECT_EQ(scheduler->next_wake(pool.s.now), pool.s.now + seconds(4));
}

TEST(Scan, EveryBodyFindsTheSame) {
  SeededRandom random(7);
  for (int round = 0; round < 400; ++round) {
    const size_t words = 1 + random.below(9);
    std::vector<uint32_t> ab(words * 64);
    std::vector<int32_t> cpu(words * 64), memory(words * 64), disk(words * 64);
    std::vector<uint64_t> mask(words);
    for (size_t i = 0; i < ab.size(); ++i) {
      ab[i] = static_cast<uint32_t>(3'000 + random.below(27'000)) |
              static_cast<uint32_t>(3'000 + random.below(round % 2 == 0 ? 3 : 27'000)) << 16;
      cpu[i] = static_cast<int32_t>(random.below(100)), memory[i] = static_cast<int32_t>(random.below(100)),
      disk[i] = static_cast<int32_t>(random.below(100));
    }
    for (uint64_t& word : mask)
      word = random.below(4) == 0 ? 0 : random.next() & (random.below(2) == 0 ? ~uint64_t{0} : random.next());
    const ScanColumns columns{ab.data(), cpu.data(), memory.data(), disk.data(), mask.data(), words};
    const ScanRequest request{
        static_cast<int32_t>(random.below(110)), static_cast<int32_t>(random.below(100)),
        static_cast<int32_t>(random.below(2) * random.below(100)),
        static_cast<uint32_t>(3'277 + random.below(29'000)) | static_cast<uint32_t>(3'277 + random.below(29'000)) << 16,
        random.below(2) == 0 ? 0 : INT32_MAX};
    const ScanBest want = scan_scalar(columns, request);
#if defined(__x86_64__)
    for (const Scan scan : {has_avx2() ? scan_avx2 : scan_scalar, has_avx512() ? scan_avx512 : scan_scalar}) {
      const ScanBest got = scan(columns, request);
      ASSERT_EQ(got.index, want.index);
      if (want.index != UINT32_MAX) ASSERT_EQ(got.score, want.score);
    }
#endif
  }
}

}  // namespace
}  // namespace tutti::scheduler
