// What is planned is what then happens, and planning changes nothing.
#include "manager/job_plan.h"

#include <gtest/gtest.h>

#include <set>

#include "model/test_pool.h"
#include "model/validate.h"
#include "state/apply.h"
#include "state/draft.h"

namespace tutti::manager {
namespace {

class Planning : public testing::Test {
 protected:
  Planning() {
    Project project;
    project.id = ProjectId{1};
    project.name = "default";
    state::Draft draft(pool_.s, now_);
    draft.put(project);
    pool_.s = draft.take();
    pool_.s.next_id = 10;
  }
  JobPlan plan(JobSpec spec) {
    apply_defaults(spec);
    auto made = plan_job(pool_.s, {std::move(spec), ProjectId{1}, {}, {}}, now_);
    EXPECT_TRUE(made) << made.error().to_string();
    return made.value_or(JobPlan{});
  }
  // Submits and lets everything run.
  JobId run(const JobSpec& spec) {
    const JobId job = pool_.submit(spec);
    state::Draft draft(pool_.s, now_);
    draft.rebuild_indexes();
    pool_.s = draft.take();
    for (uint32_t slot = 0; slot < static_cast<uint32_t>(spec.tasks[0].count); ++slot)
      pool_.place(pool_.add_pending(job, slot), nodes_[slot % nodes_.size()]);
    return job;
  }

  TestPool pool_;
  Time now_{1'000'000'000'000};
  std::vector<NodeId> nodes_ = {pool_.add_node({{1000}, {1LL << 30}, {1LL << 30}}),
                                pool_.add_node({{1000}, {1LL << 30}, {1LL << 30}})};
};

TEST_F(Planning, APeriodicJobIsToldWhenItComes) {
  JobSpec nightly = TestPool::service("nightly", 1);
  EXPECT_FALSE(plan(nightly).next_launch);
  nightly.type = JobType::batch;
  nightly.periodic = PeriodicSpec{};
  nightly.periodic->cron = "@every 90s";
  EXPECT_EQ(plan(nightly).next_launch.ns, 1'080 * 1'000'000'000LL);
}

TEST_F(Planning, ANewJobIsPlacedOrToldWhyNot) {
  const JobPlan fits = plan(TestPool::service("web", 2));
  EXPECT_EQ(fits.version, 1u);
  EXPECT_EQ(fits.start, 2);
  EXPECT_EQ(fits.unplaced, 0);
  ASSERT_EQ(fits.instances.size(), 2u);
  EXPECT_EQ(fits.instances[0].name, "web-0");
  EXPECT_FALSE(fits.instances[0].to.empty());
  const JobPlan large = plan(TestPool::service("big", 3, {{800}, {1 << 20}, {}}));
  EXPECT_EQ(large.start, 3);
  EXPECT_EQ(large.unplaced, 1);
  const JobPlan huge = plan(TestPool::service("huge", 1, {{8000}, {1 << 20}, {}}));
  EXPECT_EQ(huge.instances[0].reason, "not enough cpu (2 nodes)");
  EXPECT_EQ(pool_.s.jobs.size(), 0u);
}

// Told once for all that are alike, which is no reason to tell one group what keeps the other.
TEST_F(Planning, EachGroupIsToldItsOwnReason) {
  JobSpec spec = TestPool::service("two", 2, {{8000}, {1 << 20}, {}});
  spec.tasks.push_back(spec.tasks[0]);
  spec.tasks[1].name = "other";
  spec.tasks[1].resources = {{100}, {8LL << 30}, {}};
  const JobPlan made = plan(spec);
  std::multiset<std::string> reasons;
  for (const PlannedInstance& each : made.instances) reasons.insert(each.reason);
  const std::string cpu = "not enough cpu (2 nodes)", memory = "not enough memory (2 nodes)";
  EXPECT_EQ(reasons, (std::multiset<std::string>{cpu, cpu, memory, memory}));
  EXPECT_EQ(made.unplaced, 4);
}

TEST_F(Planning, WhatCanGoToOneNodeOnlyIsToldWhatThatLacks) {
  run(TestPool::service("web", 1, {{800}, {1 << 20}, {}}));
  JobSpec agent = TestPool::service("agent", 1, {{500}, {1 << 20}, {}});
  agent.type = JobType::system;
  const JobPlan made = plan(agent);
  ASSERT_EQ(made.instances.size(), 2u);
  EXPECT_EQ(made.unplaced, 1);
  EXPECT_EQ(made.instances[0].reason + made.instances[1].reason, "not enough cpu (1 node)");
}

TEST_F(Planning, AnUpdateSaysWhatIsReplacedAndWhatStops) {
  JobSpec spec = TestPool::service("web", 3);
  run(spec);
  EXPECT_TRUE(plan(spec).unchanged);
  EXPECT_EQ(plan(spec).keep, 3);
  spec.tasks[0].env["A"] = "1";
  spec.tasks[0].count = 2;
  const JobPlan made = plan(spec);
  EXPECT_FALSE(made.unchanged);
  EXPECT_EQ(made.changes.size(), 2u);
  EXPECT_EQ(made.replace, 2);
  EXPECT_EQ(made.stop, 1);
  EXPECT_EQ(made.instances.back().step, PlannedStep::stop);
  EXPECT_EQ(made.version, 2u);
}

}  // namespace
}  // namespace tutti::manager
