// J07: what is kept of each node from round to round, beside a scheduler that starts afresh every time.
#include "scheduler/leeway.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "model/codec.h"
#include "model/test_pool.h"
#include "scheduler/scheduler.h"

namespace tutti::scheduler {
namespace {

// A pool short of room in which work of many priorities comes, is pushed aside and ends.
class ShortPool {
 public:
  explicit ShortPool(uint64_t seed) : random_(seed) {
    for (uint64_t i = 1; i <= 2; ++i) add_project(i, true);
    for (uint64_t n = 2 + random_.below(5); n > 0; --n) add_node();
    for (int n = 0; n < 6; ++n) submit();
  }
  void change() {
    switch (random_.below(11)) {
      case 0: return add_node();
      case 10: return remove_node();
      case 1: return add_project(1 + random_.below(2), random_.below(3) != 0);
      case 2:
        return pool.edit_node(
            any(nodes_), [&](Node& n) { n.health = random_.below(3) == 0 ? NodeHealth::lost : NodeHealth::ready; });
      case 3: return submit();
      case 4:
      case 5: return edit(gone);
      case 6: return edit([&](Instance& i) { i.desired = Desired::removed; });
      case 7: return edit([&](Instance& i) { i.desired = random_.below(2) == 0 ? Desired::paused : Desired::stopped; });
      default: return add(jobs_[random_.below(jobs_.size())]);
    }
  }
  // As apply and reconcile do it.
  void apply(const Plan& plan) {
    for (const Placement& p : plan.placements) pool.place(p.instance, p.node, TaskState::running, p.ports, p.devices);
    for (const PushAside& each : plan.push_aside) {
      for (const InstanceId id : each.victims) {
        pool.edit_detail(id, [&](InstanceDetail& d) { d.pushed_by = each.instance; });
        pool.edit_instance(id, [](Instance& i) { i.desired = Desired::removed; });
      }
    }
  }
  TestPool pool;

 private:
  void add_project(uint64_t id, bool preemption) { pool.put_project(id, "p" + std::to_string(id), preemption); }
  void add_node() {
    nodes_.push_back(pool.add_node({{1'000}, {4LL << 30}, {8LL << 30}}));
    pool.edit_inventory(nodes_.back(), [](Inventory& i) { i.devices = {{"gpu0", "gpu", "T4", {}}}; });
  }
  void remove_node() {
    if (nodes_.size() == 1) return;
    const NodeId id = any(nodes_);
    for (const InstanceId each : instances_)
      if (pool.at(each).node == id) pool.edit_instance(each, gone);
    std::erase(nodes_, id);
    pool.erase_node(id);
  }
  static void gone(Instance& i) { i.finished = i.cleared = true, i.state = TaskState::stopped; }
  void submit() {
    JobSpec spec = TestPool::service("job" + std::to_string(jobs_.size()), 1,
                                     {{static_cast<int64_t>(1 + random_.below(7)) * 100}, {64 << 20}, {}});
    spec.priority = static_cast<int32_t>(random_.below(4)) * 10;
    spec.placement.all_or_nothing = random_.below(3) == 0;
    if (random_.below(4) == 0) {
      spec.tasks[0].gpu = DeviceSpec{};
      spec.tasks[0].gpu->share = random_.below(2) == 0 ? kWholeDevice : 400;
    }
    jobs_.push_back(pool.submit(spec));
    pool.edit_job(jobs_.back(), [&](Job& row) { row.project = ProjectId{1 + random_.below(2)}; });
    for (uint64_t n = 1 + random_.below(4); n > 0; --n) add(jobs_.back());
  }
  void add(JobId job) { instances_.push_back(pool.add_pending(job, static_cast<uint32_t>(instances_.size()))); }
  template <class F>
  void edit(F&& change) {
    const InstanceId id = any(instances_);
    if (pool.at(id).admitted && !pool.at(id).finished) pool.edit_instance(id, change);
  }
  template <class T>
  T any(const std::vector<T>& of) {
    return of[random_.below(of.size())];
  }
  SeededRandom random_;
  std::vector<NodeId> nodes_;
  std::vector<JobId> jobs_;
  std::vector<InstanceId> instances_;
};

TEST(LeewayProperty, WhatIsKeptIsWhatOneThatStartsAfreshSees) {
  size_t pushed = 0;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ShortPool random(seed);
    random.pool.commit();
    auto kept = make_scheduler();
    kept->rebuild(random.pool.published());
    for (int round = 0; round < 40; ++round) {
      // What is blocked is not looked at again: asked for by id, all of it is.
      std::vector<InstanceId> waiting;
      random.pool.s.pending.for_each([&](uint64_t id, const Unit&) { waiting.push_back(InstanceId{id}); });
      auto fresh = make_scheduler();
      fresh->rebuild(random.pool.published());
      const Plan made = kept->schedule(waiting, 1, random.pool.s.now, 500);
      const Plan should_be = fresh->schedule(waiting, 1, random.pool.s.now, 500);
      ASSERT_EQ(to_json(made), to_json(should_be));
      pushed += made.push_aside.size();
      random.apply(made);
      random.change();
      kept->follow(random.pool.commit());
    }
  }
  EXPECT_GT(pushed, 300u);
}

// Whatever could be had is at least what is had.
TEST(LeewayProperty, NeverLessThanWhatFits) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ShortPool random(seed);
    auto scheduler = make_scheduler();
    for (int round = 0; round < 20; ++round) {
      random.pool.commit();
      scheduler->rebuild(random.pool.published());
      const Plan plan = scheduler->schedule_all_pending(1, random.pool.s.now, 500);
      const Snapshot& s = *random.pool.published();
      Columns columns;
      columns.rebuild(s);
      Leeway leeway;
      for (const PushAside& each : plan.push_aside) {
        const Instance& i = *s.instances.find(each.instance.value);
        const auto asked = Leeway::asked_by(request_of(s, i));
        const int32_t priority = s.version_of(i)->spec->priority;
        EXPECT_GE(leeway.room_for(s, columns, columns.index_of(each.node), asked, priority, 9), 1);
      }
      random.apply(plan);
      random.change();
    }
  }
}

TEST(Leeway, CountsWhatLeavesAndWhatIsLessImportant) {
  TestPool pool;
  pool.put_project(1, "default", true);
  const NodeId node = pool.add_node({{1'000}, {4LL << 30}, {8LL << 30}});
  const auto running = [&](int32_t priority, int64_t cpu) {
    JobSpec spec = TestPool::service("j", 1, {{cpu}, {64 << 20}, {}});
    spec.priority = priority;
    const JobId job = pool.submit(spec);
    pool.edit_job(job, [](Job& row) { row.project = ProjectId{1}; });
    const InstanceId id = pool.add_pending(job);
    pool.place(id, node);
    return id;
  };
  running(10, 300), running(20, 300), running(30, 100);
  const InstanceId leaves = running(90, 200);
  pool.edit_instance(leaves, [](Instance& i) { i.desired = Desired::removed; });
  pool.commit();
  const Snapshot& s = *pool.published();
  Columns columns;
  columns.rebuild(s);
  Leeway leeway;
  const auto room = [&](int32_t priority) {
    return leeway.room_for(s, columns, 0, {{{100}, {1 << 20}, {}}, 0}, priority, 50);
  };
  EXPECT_EQ(room(Leeway::kNobody), 3) << "what is free and what leaves";
  EXPECT_EQ(room(10), 3);
  EXPECT_EQ(room(11), 6);
  EXPECT_EQ(room(30), 9);
  EXPECT_EQ(room(100), 10);
}

}  // namespace
}  // namespace tutti::scheduler
