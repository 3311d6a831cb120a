// Updates and drains of work that has health checks: running is not enough.
#include <gmock/gmock.h>

#include "reconcile/test_world.h"

namespace tutti::reconcile {
namespace {

class HealthOfUpdates : public testing::Test {
 protected:
  HealthOfUpdates() { w_.add_nodes(3), w_.node_room = 100; }

  JobSpec spec(const std::string& work) {
    JobSpec out = TestPool::service("web", 4);
    out.tasks[0].env["WORK"] = work;
    out.tasks[0].health.push_back({.name = "up", .port = "80"});
    out.update = policy_;
    return out;
  }
  void first() {
    job_ = w_.deploy(spec("one"));
    seconds_go_by(10);
    ASSERT_EQ(state(), DeploymentState::succeeded);
  }
  DeploymentState state() const { return w_.deployment(job_).state; }
  bool of_version(const Instance& i, uint32_t version) const {
    return i.job_version == version && i.state == TaskState::running;
  }
  size_t count(uint32_t version) const {
    size_t out = 0;
    for (const Instance& i : w_.live(job_)) out += of_version(i, version) ? 1 : 0;
    return out;
  }
  // What its worker says of one that runs.
  void tell(InstanceId id, HealthState health) {
    w_.pool.edit_detail(id, [&](InstanceDetail& detail) {
      detail.tasks.resize(1);
      detail.tasks[0].task = "main";
      detail.tasks[0].health = health;
      detail.tasks[0].reason = health == HealthState::unhealthy ? "readiness check up failed" : "";
    });
  }
  // The first report of one that has just begun to run: well, except that work called sick never is, and slow work is
  // not yet.
  void second() {
    ASSERT_TRUE(w_.settle());
    w_.schedule();
    w_.work();
    for (const Instance& i : w_.live(job_)) {
      if (i.state != TaskState::running || !i.detail->tasks.empty()) continue;
      const std::string work = w_.pool.s.version_of(i)->spec->tasks[0].env.at("WORK");
      tell(i.id, work == "sick"   ? HealthState::unhealthy
                 : work == "slow" ? HealthState::starting
                                  : HealthState::healthy);
    }
    size_t well = 0;
    for (const Instance& i : w_.live(job_)) well += works(i) ? 1 : 0;
    least_ = std::min(least_, well);
    EXPECT_EQ(two_in_one_slot(w_), "");
    w_.now = w_.now + seconds(1);
  }
  void seconds_go_by(int count) {
    least_ = 100;
    for (int i = 0; i < count; ++i) second();
    ASSERT_TRUE(w_.settle());
  }

  TestWorld w_;
  JobId job_;
  UpdatePolicy policy_{
      .min_healthy_time = seconds(2), .healthy_deadline = seconds(20), .progress_deadline = seconds(60)};
  size_t least_ = 100;
};

TEST_F(HealthOfUpdates, ARollingUpdateGoesOnOnlyWithChecksThatPass) {
  first();
  w_.deploy(spec("slow"), job_);
  seconds_go_by(10);
  EXPECT_EQ(count(1), 3u) << "the first new one has not passed its checks";
  for (int i = 0; i < 40; ++i) {
    second();
    for (const Instance& each : w_.live(job_))
      if (of_version(each, 2) && !works(each)) tell(each.id, HealthState::healthy);
  }
  EXPECT_EQ(count(2), 4u);
  EXPECT_GE(least_, 3u);
  EXPECT_EQ(state(), DeploymentState::succeeded);
}

TEST_F(HealthOfUpdates, AVersionThatNeverPassesFailsInTimeSaysWhyAndIsReverted) {
  policy_.auto_revert = true;
  first();
  w_.deploy(spec("sick"), job_);
  seconds_go_by(10);
  EXPECT_EQ(count(1), 3u);
  EXPECT_EQ(state(), DeploymentState::running);
  std::string reason;
  for (int i = 0; i < 60; ++i) {
    second();
    for (const ChangeDeployment& step : w_.deployments)
      if (step.state == DeploymentState::failed) reason = step.reason;
  }
  EXPECT_EQ(reason, "web-0 did not become healthy within 20s: readiness check up failed");
  EXPECT_EQ(count(3), 4u);
  EXPECT_GE(least_, 3u);
  EXPECT_EQ(state(), DeploymentState::succeeded);
}

TEST_F(HealthOfUpdates, ACanaryThatIsSickIsNotOfferedForPromotion) {
  policy_.strategy = UpdateStrategy::canary;
  first();
  w_.deploy(spec("sick"), job_);
  seconds_go_by(15);
  EXPECT_EQ(state(), DeploymentState::running);
  EXPECT_EQ(count(1), 4u);
  seconds_go_by(15);
  EXPECT_EQ(state(), DeploymentState::failed);
  EXPECT_EQ(count(2), 0u);
}

TEST_F(HealthOfUpdates, WhatIsSickAnywayIsReplacedAtOnce) {
  policy_.max_parallel = 1;
  first();
  for (const Instance& i : w_.live(job_)) tell(i.id, HealthState::unhealthy);
  w_.deploy(spec("two"), job_);
  seconds_go_by(5);
  EXPECT_EQ(count(2), 4u) << "nobody was served by the old ones";
}

TEST_F(HealthOfUpdates, ADrainMovesTheSickAtOnceAndWaitsForTheChecksOfTheMoved) {
  first();
  const NodeId node = w_.live(job_)[0].node;
  const InstanceId sick = w_.live(job_)[0].id;
  tell(sick, HealthState::unhealthy);
  w_.pool.edit_node(node, [](Node& n) { n.spec.eligibility = Eligibility::draining; });
  ASSERT_TRUE(w_.settle());
  EXPECT_EQ(w_.pool.at(sick).desired, Desired::removed);
  seconds_go_by(30);
  for (const Instance& i : w_.live(job_)) {
    EXPECT_NE(i.node, node);
    EXPECT_TRUE(works(i));
  }
}

TEST_F(HealthOfUpdates, AVerdictOnACheckConcernsTheJob) {
  first();
  w_.deploy(spec("two"), job_);
  w_.pool.commit();
  const InstanceId id = w_.live(job_)[0].id;
  tell(id, HealthState::unhealthy);
  EXPECT_THAT(concerned_jobs(w_.pool.commit()), testing::ElementsAre(job_));
  tell(id, HealthState::healthy);
  EXPECT_THAT(concerned_jobs(w_.pool.commit()), testing::ElementsAre(job_));
}

}  // namespace
}  // namespace tutti::reconcile
