// The policy fragmentation: FGD's figures by hand, the scheduler against the cheapest node of all, and self-play.
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "model/test_pool.h"
#include "scheduler/learning.h"
#include "scheduler/machines.h"
#include "scheduler/scheduler.h"

namespace tutti::scheduler {
namespace {

constexpr int64_t kGiB = 1LL << 30;

Machine machine_of(int64_t cores, std::vector<int16_t> free) {
  Machine out;
  out.cpu = cores * 1'000, out.memory = 100 * kGiB;
  for (const int16_t each : free) out.free[out.gpus++] = each;
  return out;
}
Typical typical(int64_t cores, int32_t count, int32_t share, int64_t weight) {
  return {{cores * 1'000, 0, count, share, 1}, weight * kWeights / 10};
}

// Task by task, as the paper has it.
int64_t fragment_of(const std::vector<Typical>& typical, const Machine& machine) {
  int64_t idle = 0;
  for (size_t i = 0; i < machine.gpus; ++i) idle += machine.free[i];
  if (idle == 0) return 0;
  int64_t out = 0;
  for (const Typical& each : typical) {
    const GpuTask& task = each.task;
    int64_t usable = 0;
    int32_t found = 0;
    if (task.count > 0 && machine.cpu >= task.cpu) {
      for (size_t i = 0; i < machine.gpus; ++i)
        if (takes(task, machine, i)) usable += machine.free[i], ++found;
    }
    out += each.weight * (found >= task.count && task.count > 0 ? idle - usable : idle);
  }
  return out;
}

TEST(Fragmentation, FragmentIsTheIdleGpuThatTypicalTasksCannotUse) {
  const std::vector<Typical> tasks{typical(4, 1, 500, 5), typical(4, 2, 1'000, 3), typical(1, 0, 0, 2)};
  // 500 of one: usable 1,000 of 1,300. Two whole ones: there is one. Without GPU: all of it.
  const Machine machine = machine_of(8, {1'000, 300});
  EXPECT_EQ(fragment_of(tasks, machine) / (kWeights / 10), 5 * 300 + 3 * 1'300 + 2 * 1'300);
  // Too little cpu for any.
  EXPECT_EQ(fragment_of(tasks, machine_of(2, {1'000, 300})) / (kWeights / 10), 10 * 1'300);
  EXPECT_EQ(fragment_of(tasks, machine_of(8, {0, 0})), 0);
}

TEST(Fragmentation, GroupsGiveTheSameFragmentAsTasksOneByOne) {
  SeededRandom random(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<Typical> tasks;
    for (int i = 0; i < 12; ++i) {
      const auto count = static_cast<int32_t>(random.below(4));
      const int32_t share = count == 1 ? static_cast<int32_t>(100 + 100 * random.below(10)) : 1'000;
      tasks.push_back(
          {{static_cast<int64_t>(random.below(6)) * 1'000, 0, count, count == 0 ? 0 : share, 1 + random.below(3)},
           static_cast<int64_t>(random.below(500))});
    }
    Machine machine = machine_of(static_cast<int64_t>(random.below(7)), {});
    for (size_t i = 0, gpus = random.below(5); i < gpus; ++i) {
      machine.kind[machine.gpus] = static_cast<uint8_t>(random.below(2));
      machine.free[machine.gpus++] = static_cast<int16_t>(random.below(11) * 100);
    }
    ASSERT_EQ(Fragments(tasks).of(machine), fragment_of(tasks, machine)) << "round " << round;
  }
}

TEST(Fragmentation, ScoreIsFloorOfASigmoid) {
  for (const int64_t less : {-7'000, -1'001, -1, 0, 1, 847, 848, 3'000, 9'000}) {
    const auto want = static_cast<int32_t>(std::floor(100 / (1 + std::exp(-static_cast<double>(less) / 1'000))));
    EXPECT_EQ(fgd_score(less * kWeights, 0), want) << less;
  }
}

TEST(Fragmentation, TypicalTasksAreTheMostFrequent) {
  const std::vector<Device> kinds{{"", "gpu", "T4", {}}};
  Workload workload;
  auto add = [&](int64_t cpu, int64_t memory, int64_t weight) {
    workload.push_back({{{cpu}, {memory}, {}}, {DeviceSpec{}}, weight});
  };
  add(1'000, kGiB, 30), add(2'000, kGiB, 40), add(1'000, 2 * kGiB, 25), add(3'000, kGiB, 5);
  const std::vector<Typical> out = typical_of(workload, kinds);
  ASSERT_EQ(out.size(), 2u);  // memory does not tell tasks apart; 95 % are enough
  EXPECT_EQ(out[0].task.cpu, 1'000);
  EXPECT_EQ(out[0].weight, 55 * kWeights / 95);
}

// A cluster in small: machines of two models, and tasks that leave pieces over.
struct Small {
  Fleet fleet;
  Workload workload;
  Small() {
    for (int i = 0; i < 24; ++i) {
      Machine machine = machine_of(i % 2 == 0 ? 32 : 48, std::vector<int16_t>(i % 2 == 0 ? 4 : 8, 1'000));
      const uint8_t kind = kind_number(fleet.kinds, {"", "gpu", i % 2 == 0 ? "T4" : "A100", {}});
      machine.kind.fill(kind);
      machine.shape = shape_number(fleet.shapes, machine, fleet.kinds);
      fleet.machines.push_back(machine);
    }
    auto add = [&](int64_t cores, int64_t count, int64_t share, std::vector<std::string> models, int64_t weight) {
      DeviceSpec gpu{"gpu", count, share, std::move(models), {}};
      workload.push_back({{{cores * 1'000}, {4 * kGiB}, {}}, {gpu}, weight});
    };
    add(6, 1, 1'000, {}, 30), add(4, 1, 470, {}, 20), add(5, 1, 810, {}, 15), add(3, 1, 230, {"T4"}, 10);
    add(24, 4, 1'000, {}, 5), add(2, 1, 160, {}, 10);
    workload.push_back({{{8'000}, {4 * kGiB}, {}}, {}, 10});
  }
};

TEST(Fragmentation, LearningIsNoWorseThanFgdAndTheSameFromTheSameSeed) {
  const Small small;
  const Lessons lessons{8, 1, 2};
  const auto once = learn(small.fleet, small.workload, 7, lessons, [] { return false; });
  const auto again = learn(small.fleet, small.workload, 7, lessons, [] { return false; });
  ASSERT_TRUE(once && again);
  EXPECT_EQ(once->useful, again->useful);
  EXPECT_EQ(once->means.size(), again->means.size());
  const Means::Key key{4, 0, 2, 9'000, 530};
  EXPECT_EQ(once->means.expected(key), again->means.expected(key));
  EXPECT_TRUE(once->useful);  // it beat FGD on draws that it had not learned from
  EXPECT_EQ(learn(small.fleet, {small.workload.back()}, 7, lessons, [] { return false; }), nullptr);  // asks for none
  EXPECT_EQ(learn(small.fleet, small.workload, 7, lessons, [] { return true; }), nullptr);            // stopped
}

TEST(Fragmentation, PlacesThatFewMachinesHaveAreKept) {
  const Small small;
  auto learned = std::make_shared<Learned>();
  learned->shapes = small.fleet.shapes, learned->workload = small.workload;
  Valuation valuation({}, learned, small.fleet);
  Machine machine = small.fleet.machines[1];  // two tasks of four GPUs have a place there
  const GpuTask one = task_of(small.workload[0].resources, small.workload[0].gpu, small.fleet.kinds);
  EXPECT_TRUE(valuation.reprice(144'000));  // no machine was counted: none has a place
  const int32_t dear = valuation.best(machine, one, 0).cost;
  for (const Machine& each : small.fleet.machines) valuation.count(each, 1);
  EXPECT_TRUE(valuation.reprice(144'000));
  EXPECT_LT(valuation.best(machine, one, 0).cost, dear - 100);
  EXPECT_FALSE(valuation.reprice(144'000));
}

TEST(Fragmentation, DriftIsHowMuchOfTheWorkloadIsAnother) {
  Workload a = Small().workload;
  EXPECT_EQ(drift(a, a), 0);
  Workload b = a;
  for (Wanted& each : b) each.resources.cpu.value += 1;
  EXPECT_NEAR(static_cast<double>(drift(a, b)), 1'000, 1);
}

// Nodes and pending instances of the small cluster, all by this policy.
class FragmentationPool {
 public:
  explicit FragmentationPool(uint64_t seed) : random_(seed) {
    pool.s.pool.policy = "fragmentation";
    for (const Machine& machine : small.fleet.machines) {
      const NodeId id = pool.add_node({{machine.cpu}, {machine.memory}, {kGiB}});
      pool.edit_inventory(id, [&](Inventory& i) {
        for (size_t g = 0; g < machine.gpus; ++g)
          i.devices.push_back({"gpu" + std::to_string(g), "gpu", small.fleet.kinds[machine.kind[g]].model, {}});
      });
    }
    for (size_t i = 0; i < small.workload.size(); ++i) {
      const Wanted& wanted = small.workload[i];
      JobSpec spec = TestPool::service("job" + std::to_string(i), 1, wanted.resources);
      if (!wanted.gpu.empty()) spec.tasks[0].gpu = wanted.gpu[0];
      jobs.push_back(pool.submit(spec));
    }
  }
  InstanceId add() { return pool.add_pending(jobs[random_.below(jobs.size())], next_++); }
  Small small;
  TestPool pool;
  std::vector<JobId> jobs;
  SeededRandom random_;
  uint32_t next_ = 0;
};

int64_t seen_by(const Scheduler& scheduler) {
  int64_t out = 0;
  for (const Wanted& each : scheduler.seen()) out += each.weight;
  return out;
}

// A row that stands in every lane comes in the commit that makes instances: they are counted all the same.
TEST(Fragmentation, WhatAppearsWithAChangedProjectIsSeen) {
  FragmentationPool world(1);
  auto scheduler = make_scheduler();
  world.add();
  world.pool.commit();
  scheduler->rebuild(world.pool.published());
  EXPECT_EQ(seen_by(*scheduler), 1);
  Project project;
  project.id = ProjectId{1};
  world.pool.put(project);
  world.add();
  scheduler->follow(world.pool.commit());
  EXPECT_EQ(seen_by(*scheduler), 2);
}

// A pool that changes to it does not start blind, and forgets what it never placed by it.
TEST(Fragmentation, APoolThatTurnsToItHasSeenWhatItHolds) {
  FragmentationPool world(1);
  const auto turn = [&](const char* policy) {
    Pool row = world.pool.s.pool;
    row.policy = policy;
    world.pool.put(row);
  };
  auto scheduler = make_scheduler();
  turn("binpack");
  for (int i = 0; i < 5; ++i) world.add();
  world.pool.commit();
  scheduler->rebuild(world.pool.published());
  EXPECT_EQ(seen_by(*scheduler), 0);
  turn("fragmentation");
  world.add();
  scheduler->follow(world.pool.commit());
  EXPECT_EQ(seen_by(*scheduler), 6) << "each once";
  turn("spread");
  scheduler->follow(world.pool.commit());
  EXPECT_EQ(seen_by(*scheduler), 0);
}

TEST(Fragmentation, TheSchedulerTakesTheCheapestNodeAndNeverRefusesWhatFits) {
  for (const bool learned : {false, true}) {
    FragmentationPool world(3);
    std::shared_ptr<const Learned> expected =
        learn(world.small.fleet, world.small.workload, 1, {6, 1, 1}, [] { return false; });
    ASSERT_TRUE(expected);
    auto copy = std::make_shared<Learned>(*expected);
    copy->useful = learned;
    expected = copy;
    auto warm = make_scheduler();
    warm->use(expected);
    world.pool.commit();
    warm->rebuild(world.pool.published());
    Machines naive;
    naive.use(expected);
    naive.begin(*world.pool.published());
    size_t placed = 0, refused = 0;
    for (int step = 0; step < 400; ++step) {
      const InstanceId id = world.add();
      warm->follow(world.pool.commit());
      const Snapshot& s = *world.pool.published();
      const Instance& i = *s.instances.find(id.value);
      const Request request = request_of(s, i);
      naive.begin_round();
      Machines::Costs& costs = naive.costs_of("step " + std::to_string(step), request);
      uint32_t best = UINT32_MAX;
      int32_t least = INT32_MAX;
      uint32_t index = 0;
      s.nodes.for_each([&](uint64_t, const Node& node) {
        const bool fits = !check(s, request, node, allocatable(node) - s.usage_of(node.id).used, {});
        const int32_t cost = naive.cost(costs, index).cost;
        EXPECT_EQ(fits, cost != INT32_MAX);
        if (cost < least) least = cost, best = index;
        ++index;
      });
      const Plan plan = warm->schedule(std::span(&id, 1), 1, s.now, 1);
      auto cold = make_scheduler();
      cold->use(expected);
      cold->rebuild(world.pool.published());
      const Plan same = cold->schedule(std::span(&id, 1), 1, s.now, 1);
      ASSERT_EQ(plan.placements.size(), best == UINT32_MAX ? 0u : 1u) << "step " << step;
      ASSERT_EQ(same.placements.size(), plan.placements.size());
      if (plan.placements.empty()) {
        ++refused;
        continue;
      }
      const Placement& p = plan.placements[0];
      ASSERT_EQ(p.node.value, same.placements[0].node.value) << "step " << step;
      ASSERT_EQ(p.devices, same.placements[0].devices);
      uint32_t at = 0;
      s.nodes.for_each([&](uint64_t node, const Node&) {
        if (at++ == best) EXPECT_EQ(node, p.node.value) << "step " << step;
      });
      naive.take(best, request.resources, p.devices, 1);
      world.pool.place(id, p.node, TaskState::running, {}, p.devices);
      ++placed;
    }
    EXPECT_GT(placed, 100u);
    EXPECT_GT(refused, 20u);
  }
}

// What others took in the same plan before the first came that is placed by this policy.
TEST(Fragmentation, APlanOfSeveralPoliciesLeavesNothingBehind) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    FragmentationPool world(seed);
    world.pool.s.pool.policy = "binpack";
    for (size_t i = 0; i < world.jobs.size(); ++i) {
      JobSpec spec = *world.pool.s.version_of(world.jobs[i], 1)->spec;
      spec.job += "-mixed";
      spec.priority = i % 2 == 0 ? 10 : 90;
      spec.policy = i % 2 == 0 ? PlacementPolicy::fragmentation : PlacementPolicy::binpack;
      world.jobs[i] = world.pool.submit(spec);
    }
    for (int i = 0; i < 60; ++i) world.add();
    const InstanceId one = world.pool.add_pending(world.jobs[0], 1'000);
    world.pool.commit();
    auto scheduler = make_scheduler();
    scheduler->rebuild(world.pool.published());
    const Plan first = scheduler->schedule_all_pending(1, world.pool.s.now, 1'000);
    // This one has placed by the policy before.
    scheduler->rebuild(world.pool.published());
    (void)scheduler->schedule(std::span(&one, 1), 1, world.pool.s.now, 1);
    const Plan again = scheduler->schedule_all_pending(1, world.pool.s.now, 1'000);
    ASSERT_GT(first.placements.size(), 20u);
    ASSERT_EQ(first.placements.size(), again.placements.size());
    for (size_t i = 0; i < first.placements.size(); ++i) {
      EXPECT_EQ(first.placements[i].instance, again.placements[i].instance) << "seed " << seed;
      EXPECT_EQ(first.placements[i].node, again.placements[i].node) << "seed " << seed;
      EXPECT_EQ(first.placements[i].devices, again.placements[i].devices) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace tutti::scheduler
