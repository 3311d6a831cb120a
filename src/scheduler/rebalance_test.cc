// S08: what a rebalance proposes: nodes are emptied or loads evened out, every move is feasible, and it comes to an
// end.
#include "scheduler/rebalance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "model/constraint.h"
#include "model/device.h"
#include "scheduler/feasible.h"
#include "scheduler/policy.h"
#include "scheduler/scheduler.h"
#include "scheduler/test_random_pool.h"

namespace tutti::scheduler {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Resources kNode{{4'000}, {4LL << 30}, {10LL << 30}};
constexpr Resources kSmall{{500}, {256 << 20}, {}};

struct Pool3 : ::testing::Test {
  TestPool pool;
  std::vector<NodeId> node;
  uint32_t slot = 0;

  Pool3() {
    pool.s.pool.policy = "binpack";
    for (int i = 0; i < 3; ++i) node.push_back(pool.add_node(kNode));
  }
  InstanceId put(JobId job, size_t on, std::vector<PortBinding> ports = {}) {
    const InstanceId id = pool.add_pending(job, slot++);
    pool.place(id, node[on], TaskState::running, std::move(ports));
    return id;
  }
  RebalancePlan plan(RebalanceWish wish = {}) { return propose_rebalance(pool.s, wish); }
  static std::string why_left(const RebalancePlan& of) {
    std::string out;
    for (const LeftOut& left : of.left_out) out += left.reason + "; ";
    return out;
  }
};

TEST_F(Pool3, TheLeastUsedNodeIsEmptiedOntoTheFullest) {
  const JobId job = pool.submit(TestPool::service("web", 9, kSmall));
  for (int i = 0; i < 3; ++i) put(job, 0);
  put(job, 1), put(job, 1);
  const InstanceId alone = put(job, 2);
  const RebalancePlan made = plan();
  ASSERT_THAT(made.moves, SizeIs(3)) << "node 2, then node 1: all of it fits on node 0";
  EXPECT_EQ(made.moves[0].instance, alone);
  for (const Move& move : made.moves) EXPECT_EQ(move.to, node[0]);
  EXPECT_THAT(made.moves[0].why, HasSubstr("empties node-3"));
  EXPECT_EQ(made.moves[0].gain, 1'000);
  EXPECT_EQ(made.nodes_used, 3);
  EXPECT_EQ(made.nodes_used_after, 1);
}

TEST_F(Pool3, ANodeIsEmptiedAsAWholeOrNotAtAll) {
  const JobId big = pool.submit(TestPool::service("big", 3, {{3'000}, {256 << 20}, {}}));
  const JobId small = pool.submit(TestPool::service("small", 3, kSmall));
  put(big, 0), put(big, 1), put(small, 1);
  const RebalancePlan made = plan();
  EXPECT_THAT(made.moves, IsEmpty()) << "the small one alone would fit";
  EXPECT_EQ(made.nodes_used_after, 2);
  EXPECT_THAT(why_left(made), HasSubstr("fits elsewhere"));
}

TEST_F(Pool3, NoMoreMovesThanAllowed) {
  const JobId job = pool.submit(TestPool::service("web", 9, kSmall));
  put(job, 0), put(job, 0), put(job, 0), put(job, 1), put(job, 1), put(job, 2);
  EXPECT_THAT(plan({.max_moves = 2}).moves, SizeIs(1));
  EXPECT_THAT(plan({.max_moves = 3}).moves, SizeIs(3));
}

TEST_F(Pool3, CordonedAndDrainingNodesGiveAndTakeNothing) {
  const JobId job = pool.submit(TestPool::service("web", 9, kSmall));
  put(job, 0), put(job, 0), put(job, 1);
  for (const auto held : {Eligibility::cordoned, Eligibility::draining, Eligibility::disabled}) {
    for (const size_t which : {0, 1}) {
      pool.edit_node(node[which], [&](Node& n) { n.spec.eligibility = held; });
      EXPECT_THAT(plan().moves, IsEmpty());
      pool.edit_node(node[which], [&](Node& n) { n.spec.eligibility = Eligibility::eligible; });
    }
  }
  EXPECT_THAT(plan().moves, SizeIs(1));
}

TEST_F(Pool3, OnlyBetweenNodesOfTheNodePoolAskedFor) {
  const JobId job = pool.submit(TestPool::service("web", 9, kSmall));
  put(job, 0), put(job, 0), put(job, 1), put(job, 2);
  for (const size_t which : {1, 2}) pool.edit_node(node[which], [](Node& n) { n.spec.node_pool = "far"; });
  const RebalancePlan made = plan({.node_pool = "far"});
  ASSERT_THAT(made.moves, SizeIs(1));
  EXPECT_EQ(made.moves[0].to, node[2]);
  EXPECT_EQ(made.nodes_used, 2);
}

TEST_F(Pool3, WhatStaysSaysWhy) {
  struct Case {
    std::string reason;
    std::function<void(TestPool&, JobId, InstanceId)> make;
  };
  const std::vector<Case> cases = {
      {"its user holds it",
       [](TestPool& p, JobId, InstanceId i) {
         p.edit_instance(i, [](Instance& row) { row.override_ = Override::pause, row.desired = Desired::paused; });
       }},
      {"pinned",
       [](TestPool& p, JobId, InstanceId i) { p.edit_instance(i, [](Instance& row) { row.pinned = row.node; }); }},
      {"does not run",
       [](TestPool& p, JobId, InstanceId i) {
         p.edit_instance(i, [](Instance& row) { row.state = TaskState::starting; });
       }},
      {"being replaced",
       [](TestPool& p, JobId, InstanceId i) {
         p.edit_instance(i, [](Instance& row) { row.desired = Desired::removed; });
       }},
      {"being updated",
       [](TestPool& p, JobId job, InstanceId) {
         p.edit_job(job, [](Job& row) { row.deployment.state = DeploymentState::running; });
       }},
      {"came to nothing",
       [](TestPool& p, JobId job, InstanceId) {
         p.edit_job(job, [](Job& row) { row.deployment.state = DeploymentState::failed; });
       }},
      {"is stopped", [](TestPool& p, JobId job, InstanceId) { p.edit_job(job, [](Job& row) { row.stopped = true; }); }},
  };
  const JobId other = pool.submit(TestPool::service("other", 2, kSmall));
  for (int i = 0; i < 2; ++i) pool.edit_instance(put(other, 0), [](Instance& row) { row.pinned = row.node; });
  for (const Case& each : cases) {
    SCOPED_TRACE(each.reason);
    const JobId job = pool.submit(TestPool::service("web" + std::to_string(pool.s.next_id), 1, kSmall));
    const InstanceId id = put(job, 1);
    EXPECT_THAT(plan().moves, SizeIs(1));
    each.make(pool, job, id);
    const RebalancePlan made = plan();
    EXPECT_THAT(made.moves, IsEmpty());
    EXPECT_THAT(why_left(made), HasSubstr(each.reason));
    pool.erase(id);
  }
}

TEST_F(Pool3, JobsThatAreTiedOrPlacedAsOneStay) {
  const JobId other = pool.submit(TestPool::service("other", 2, kSmall));
  put(other, 0), put(other, 0);
  JobSpec spec = TestPool::service("gang", 1, kSmall);
  spec.placement.all_or_nothing = true;
  const InstanceId gang = put(pool.submit(spec), 1);
  EXPECT_THAT(why_left(plan()), HasSubstr("as a whole"));
  pool.erase(gang);
  spec = TestPool::service("disk", 1, kSmall);
  spec.tasks[0].volumes.push_back({VolumeKind::local, "data", "/data", false, {}});
  const InstanceId disk = put(pool.submit(spec), 1);
  EXPECT_THAT(why_left(plan()), HasSubstr("volume"));
  pool.erase(disk);
  spec = TestPool::service("apart", 1, kSmall);
  spec.policy = PlacementPolicy::spread;
  const InstanceId apart = put(pool.submit(spec), 1);
  EXPECT_THAT(why_left(plan()), HasSubstr("to be spread"));
  pool.erase(apart);
  spec = TestPool::service("work", 1, kSmall);
  spec.type = JobType::batch;
  put(pool.submit(spec), 1);
  EXPECT_THAT(why_left(plan()), HasSubstr("lose its run"));
  EXPECT_THAT(plan({.include_batch = true}).moves, SizeIs(1));
}

TEST_F(Pool3, SystemJobsAreNoUse) {
  JobSpec agent = TestPool::service("agent", 1, kSmall);
  agent.type = JobType::system;
  const JobId system = pool.submit(agent);
  for (size_t i = 0; i < 3; ++i) put(system, i);
  const JobId job = pool.submit(TestPool::service("web", 2, kSmall));
  put(job, 0), put(job, 0), put(job, 1);
  const RebalancePlan made = plan();
  ASSERT_THAT(made.moves, SizeIs(1));
  EXPECT_EQ(made.nodes_used, 2);
  EXPECT_EQ(made.nodes_used_after, 1);
}

TEST_F(Pool3, AFixedPortGoesWhereItIsFree) {
  JobSpec spec = TestPool::service("web", 3, kSmall);
  spec.tasks[0].ports.push_back({"http", 80, 8080, Protocol::tcp});
  const JobId job = pool.submit(spec);
  const PortBinding port{"web", "http", 80, 8080, Protocol::tcp};
  put(job, 0, {port});
  put(job, 1, {port});
  EXPECT_THAT(plan().moves, IsEmpty());
}

TEST_F(Pool3, AnAffinityIsNotGivenUpForPacking) {
  JobSpec spec = TestPool::service("web", 3, kSmall);
  spec.placement.affinities.push_back({"node.label.disk == ssd", 100});
  pool.edit_node(node[1], [](Node& n) { n.spec.labels["disk"] = "ssd"; });
  const JobId job = pool.submit(spec);
  const JobId other = pool.submit(TestPool::service("other", 2, kSmall));
  put(other, 0), put(other, 0);
  put(job, 1);
  for (const Move& move : plan().moves) EXPECT_EQ(move.to, node[1]) << "the others come to it";
}

TEST_F(Pool3, SpreadEvensOutTheLoad) {
  pool.s.pool.policy = "spread";
  const JobId job = pool.submit(TestPool::service("web", 6, kSmall));
  for (int i = 0; i < 6; ++i) put(job, 0);
  const RebalancePlan made = plan();
  ASSERT_THAT(made.moves, SizeIs(4));
  std::map<NodeId, int> got;
  for (const Move& move : made.moves) ++got[move.to];
  EXPECT_EQ(got[node[1]], 2);
  EXPECT_EQ(got[node[2]], 2);
  EXPECT_GT(made.imbalance, 0);
  EXPECT_EQ(made.imbalance_after, 0);
  EXPECT_THAT(made.moves[0].why, HasSubstr("node-1 75% -> 62%"));
}

// Loads do not add up: without it its node is as full as before, of memory, and the other one is the busier.
TEST_F(Pool3, WhatIsNotScarceOnItsNodeStays) {
  pool.s.pool.policy = "spread";
  while (node.size() < 10) node.push_back(pool.add_node(kNode));
  const JobId half = pool.submit(TestPool::service("half", 9, {{2'000}, {256 << 20}, {}}));
  for (size_t i = 1; i < node.size(); ++i)
    pool.edit_instance(put(half, i), [](Instance& row) { row.pinned = row.node; });
  put(pool.submit(TestPool::service("memory", 1, {{100}, {3LL << 30}, {}})), 0);
  put(pool.submit(TestPool::service("cpu", 1, {{800}, {64 << 20}, {}})), 0);
  EXPECT_THAT(plan().moves, IsEmpty());
}

TEST_F(Pool3, RoundRobinEvensOutTheNumbers) {
  pool.s.pool.policy = "roundrobin";
  const JobId job = pool.submit(TestPool::service("web", 6, kSmall));
  for (int i = 0; i < 4; ++i) put(job, 0);
  const RebalancePlan made = plan();
  ASSERT_THAT(made.moves, SizeIs(2));
  EXPECT_NE(made.moves[0].to, made.moves[1].to);
  EXPECT_THAT(made.moves[0].why, HasSubstr("node-1 4 -> 3"));
}

// ---- against naive rules, over random pools

struct Held {
  std::map<NodeId, int64_t> instances;  // without system jobs
  std::map<NodeId, double> load;
};
Held held_of(const Snapshot& s, PlacementPolicy policy) {
  Held out;
  s.nodes.for_each([&](uint64_t, const Node& node) {
    if (node.health != NodeHealth::ready || node.spec.eligibility != Eligibility::eligible) return;
    const Resources all = allocatable(node), used = s.usage_of(node.id).used;
    const double cpu = all.cpu.value > 0 ? static_cast<double>(used.cpu.value) / static_cast<double>(all.cpu.value) : 0;
    const double memory =
        all.memory.value > 0 ? static_cast<double>(used.memory.value) / static_cast<double>(all.memory.value) : 0;
    out.load[node.id] = policy == PlacementPolicy::roundrobin ? static_cast<double>(s.usage_of(node.id).instances)
                                                              : std::max(cpu, memory);
  });
  s.instances.for_each([&](uint64_t, const Instance& i) {
    if (out.load.contains(i.node) && i.admitted && !i.finished) ++out.instances[i.node];
  });
  return out;
}
double deviation(const Held& held) {
  double sum = 0, squares = 0;
  for (const auto& [node, load] : held.load) sum += load, squares += load * load;
  const auto n = static_cast<double>(std::max<size_t>(held.load.size(), 1));
  return std::sqrt(std::max(0.0, squares / n - sum / n * sum / n));
}

int64_t affinity_on(const JobSpec& spec, const Node& node) {
  int64_t out = 0;
  for (const Affinity& affinity : spec.placement.affinities) {
    const auto parsed = Constraint::parse(affinity.constraint);
    if (parsed->matches([&](std::string_view key) { return node_attribute(node, key); })) out += affinity.weight;
  }
  return out;
}

// Each one where it goes, while all of the old ones are still there.
void check_moves(const Snapshot& s, const RebalancePlan& made) {
  std::set<InstanceId> moved;
  std::set<NodeId> giving, taking;
  std::map<NodeId, Given> given;
  std::map<NodeId, Resources> more;
  for (const Move& move : made.moves) {
    const Instance* i = s.instances.find(move.instance.value);
    ASSERT_NE(i, nullptr);
    EXPECT_TRUE(moved.insert(i->id).second) << "moved twice";
    EXPECT_EQ(i->node, move.from);
    EXPECT_NE(move.from, move.to);
    giving.insert(move.from), taking.insert(move.to);
    const JobSpec& spec = *s.version_of(*i)->spec;
    EXPECT_FALSE(i->pinned || i->finished || i->beside) << "stays by the rules";
    EXPECT_FALSE(spec.placement.same_node || spec.placement.all_or_nothing);
    const Node& to = *s.nodes.find(move.to.value);
    const Request request = request_of(spec, s.group_of(*i));
    const Resources free = allocatable(to) - s.usage_of(to.id).used - more[to.id];
    const auto why = check(s, request, to, free, given[to.id]);
    EXPECT_FALSE(why) << *why;
    if (why) continue;
    Placement placement;
    EXPECT_TRUE(give(s, request, to, given[to.id], 1, placement));
    more[to.id] += request.resources;
    // A spread weighs as much.
    if (spec.placement.spread.empty() && policy_of(spec, s.pool) != PlacementPolicy::spread)
      EXPECT_GE(affinity_on(spec, to), affinity_on(spec, *s.nodes.find(move.from.value)));
  }
  for (const NodeId node : giving) EXPECT_FALSE(taking.contains(node)) << "a move undoes another";
}

void carry_out(TestPool& pool, const RebalancePlan& made) {
  for (const Move& move : made.moves) {
    const Instance i = pool.at(move.instance);
    const Node& to = *pool.s.nodes.find(move.to.value);
    Given given;
    Placement placement;
    ASSERT_TRUE(give(pool.s, request_of(*pool.s.version_of(i)->spec, pool.s.group_of(i)), to, given, 1, placement));
    pool.place(i.id, to.id, TaskState::running, placement.ports, placement.devices);
  }
}

TEST(RebalanceProperty, EveryPlanIsFeasibleAndBetterAndTheyComeToAnEnd) {
  size_t all = 0;
  for (uint64_t seed = 1; seed <= 180; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomPool random(seed);
    random.adopts = seed > 90;
    TestPool& pool = random.pool;
    pool.s.pool.policy =
        std::vector<std::string>{"binpack", "spread", "roundrobin", "greedy", "epvm", "fragmentation"}[seed % 6];
    pool.s.jobs.for_each([&](uint64_t id, const Job& job) {
      if (id % 2 != 0) return;  // half of them as the pool says
      JobSpec spec = *pool.s.version_of(job.id, job.active_version)->spec;
      spec.policy = PlacementPolicy::default_;
      auto version = *pool.s.version_of(job.id, job.active_version);
      version.spec = std::make_shared<const JobSpec>(spec);
      pool.s.versions.put(TableEdit(), version.id.value, version);
    });
    auto scheduler = make_scheduler();
    for (int round = 0; round < 4; ++round) {
      random.change();
      scheduler->rebuild(std::make_shared<const Snapshot>(pool.s));
      random.apply(scheduler->schedule_all_pending(seed, pool.s.now, 500));
    }
    const PlacementPolicy policy = policy_of(JobSpec{}, pool.s.pool);
    for (int round = 0;; ++round) {
      ASSERT_LT(round, 60) << "no end";
      const size_t most = 1 + seed % 40;
      const RebalancePlan made = propose_rebalance(pool.s, {.max_moves = most});
      const RebalancePlan again = propose_rebalance(pool.s, {.max_moves = most});
      ASSERT_EQ(made.moves, again.moves);
      ASSERT_LE(made.moves.size(), most);
      const Held before = held_of(pool.s, policy);
      EXPECT_EQ(made.nodes_used, static_cast<int64_t>(before.instances.size()));
      check_moves(pool.s, made);
      if (made.moves.empty() || ::testing::Test::HasFailure()) break;
      carry_out(pool, made);
      all += made.moves.size();
      const Held after = held_of(pool.s, policy);
      EXPECT_EQ(made.nodes_used_after, static_cast<int64_t>(after.instances.size()));
      if (made.packing)
        EXPECT_LT(after.instances.size(), before.instances.size());
      else
        EXPECT_LT(deviation(after), deviation(before) + 0.001);
      if (!made.packing) EXPECT_LE(made.imbalance_after, made.imbalance);
    }
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(all, 200u) << "too little was moved to say anything";
}

}  // namespace
}  // namespace tutti::scheduler
