// Updates in a closed loop: how many are touched at a time, who waits for whom, and how a deployment ends.
#include <gmock/gmock.h>

#include "reconcile/test_world.h"

namespace tutti::reconcile {
namespace {

using testing::SizeIs;

class Updates : public testing::Test {
 protected:
  Updates() { w_.add_nodes(3), w_.node_room = 100; }

  JobSpec spec(const std::string& work) {
    JobSpec out = TestPool::service("web", 4);
    out.tasks[0].env["WORK"] = work;
    out.tasks[0].reschedule = reschedule_;
    out.update = policy_;
    return out;
  }
  // Version 1 runs, and is known to be healthy.
  void first() {
    job_ = w_.deploy(spec("one"));
    ASSERT_TRUE(w_.run());
    ASSERT_EQ(state(), DeploymentState::succeeded);
    ASSERT_EQ(w_.pool.s.jobs.find(job_.value)->stable_version, 1u);
  }
  void next(const std::string& work) { w_.deploy(spec(work), job_); }
  DeploymentState state() const { return w_.deployment(job_).state; }
  size_t of_version(uint32_t version) const {
    size_t count = 0;
    for (const Instance& i : w_.live(job_)) count += i.job_version == version && i.state == TaskState::running ? 1 : 0;
    return count;
  }
  // One second; what is broken never runs, what crashes or ends does so at once.
  void second() {
    ASSERT_TRUE(w_.settle());
    w_.schedule();
    for (const Instance& i : w_.instances(job_)) {
      const bool starts = i.admitted && !i.finished && i.state < TaskState::running && i.desired == Desired::running;
      const std::string& work = w_.pool.s.version_of(i)->spec->tasks[0].env.at("WORK");
      if (starts && work == "crash")
        w_.finish(i.id, TaskState::failed);
      else if (starts && work == "ends")
        w_.finish(i.id, TaskState::completed);
      else if (!starts || !work.starts_with("broken"))
        w_.work(i);
    }
    least_ = std::min(least_, w_.running(job_));
    most_ = std::max(most_, w_.live(job_).size());
    EXPECT_EQ(two_in_one_slot(w_), "");
    w_.now = w_.now + seconds(1);
  }
  void seconds_go_by(int count) {
    least_ = 100, most_ = 0;
    for (int i = 0; i < count; ++i) second();
    ASSERT_TRUE(w_.settle());
  }

  TestWorld w_;
  JobId job_;
  UpdatePolicy policy_{
      .min_healthy_time = seconds(2), .healthy_deadline = seconds(20), .progress_deadline = seconds(60)};
  ReschedulePolicy reschedule_;
  size_t least_ = 0;
  size_t most_ = 0;
};

TEST_F(Updates, RollingTouchesAsManyAsAllowedAndWaitsUntilTheyAreHealthy) {
  policy_.max_parallel = 2;
  first();
  next("two");
  seconds_go_by(3);
  EXPECT_EQ(of_version(2), 2u) << "the next two wait for two seconds of health";
  seconds_go_by(17);
  EXPECT_EQ(least_, 2u);
  EXPECT_EQ(most_, 4u);
  EXPECT_EQ(of_version(2), 4u);
  EXPECT_EQ(state(), DeploymentState::succeeded);
}

TEST_F(Updates, StartFirstNeverHasFewerAndTakesTheSlotOver) {
  policy_.start_first = true;
  first();
  next("two");
  seconds_go_by(40);
  EXPECT_EQ(least_, 4u);
  EXPECT_EQ(most_, 5u);
  EXPECT_EQ(of_version(2), 4u);
  for (const Instance& i : w_.live(job_)) EXPECT_FALSE(i.beside);
  EXPECT_EQ(state(), DeploymentState::succeeded);
}

// Found by seed 71341 of the simulation: the new slots counted as room to replace more of the old ones at a time.
TEST_F(Updates, AVersionWithMoreSlotsReplacesNoMoreAtATime) {
  policy_.start_first = true;
  first();
  JobSpec more = spec("two");
  more.tasks[0].count = 8;
  w_.deploy(more, job_);
  for (int i = 0; i < 40; ++i) {
    second();
    int64_t beside = 0;
    for (const Instance& each : w_.live(job_)) beside += each.beside ? 1 : 0;
    EXPECT_LE(beside, 1) << "second " << i;
  }
  EXPECT_EQ(of_version(2), 8u);
}

TEST_F(Updates, RecreateStartsNothingNewBesideAnythingOld) {
  policy_.strategy = UpdateStrategy::recreate;
  first();
  next("two");
  for (int i = 0; i < 10; ++i) {
    second();
    EXPECT_TRUE(of_version(1) == 0 || of_version(2) == 0);
  }
  EXPECT_EQ(of_version(2), 4u);
}

TEST_F(Updates, RecreateWaitsForTheCanariesOfTheVersionBefore) {
  first();
  policy_.strategy = UpdateStrategy::canary;
  policy_.canary = 2;
  next("two");
  seconds_go_by(5);
  ASSERT_EQ(of_version(2), 2u);
  policy_.strategy = UpdateStrategy::recreate;
  next("three");
  for (int i = 0; i < 10; ++i) {
    size_t older = 0;
    size_t newer = 0;
    for (const Instance& each : w_.instances(job_)) {
      if (each.finished) continue;
      (each.job_version == 3 ? newer : older) += 1;
    }
    EXPECT_TRUE(older == 0 || newer == 0) << older << " and " << newer;
    second();
  }
  EXPECT_EQ(of_version(3), 4u);
}

// Found by seed 72359 of the simulation.
TEST_F(Updates, RecreateWaitsForThoseThatTheirUserStopsIfTheirGroupIsNoMore) {
  first();
  policy_.strategy = UpdateStrategy::recreate;
  for (const Instance& each : w_.live(job_))
    w_.pool.edit_instance(each.id, [](Instance& i) { i.override_ = Override::stop; });
  JobSpec renamed = spec("two");
  renamed.tasks[0].group = "other";
  w_.deploy(renamed, job_);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(w_.settle());
    size_t older = 0;
    size_t newer = 0;
    for (const Instance& each : w_.instances(job_))
      if (!each.finished) (each.job_version == 2 ? newer : older) += 1;
    EXPECT_TRUE(older == 0 || newer == 0) << older << " and " << newer;
    second();
  }
  EXPECT_EQ(of_version(2), 4u);
}

TEST_F(Updates, TheSameWorkIsTakenOverAsItRuns) {
  first();
  const auto before = w_.live(job_);
  JobSpec again = spec("one");
  again.labels["a"] = "b";
  again.tasks[0].count = 5;
  w_.deploy(again, job_);
  seconds_go_by(10);
  const auto after = w_.live(job_);
  ASSERT_THAT(after, SizeIs(5));
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(after[i].id, before[i].id);
    EXPECT_EQ(after[i].generation, before[i].generation);
    EXPECT_EQ(after[i].job_version, 2u);
  }
  EXPECT_EQ(state(), DeploymentState::succeeded);
}

TEST_F(Updates, CanariesStandBesideUntilPromoted) {
  policy_.strategy = UpdateStrategy::canary;
  policy_.canary = 2;
  first();
  next("two");
  seconds_go_by(100);
  EXPECT_EQ(state(), DeploymentState::waiting) << "no deadline runs while a user is waited for";
  EXPECT_EQ(of_version(1), 4u);
  EXPECT_EQ(of_version(2), 2u);
  EXPECT_GE(least_, 4u);
  // What ends meanwhile is followed by what served before.
  w_.finish(w_.live(job_)[0].id, TaskState::failed);
  seconds_go_by(10);
  EXPECT_EQ(of_version(1), 4u);
  w_.pool.edit_job(job_, [&](Job& j) {
    j.deployment.promoted = true, j.deployment.state = DeploymentState::running, j.deployment.progressed = w_.now;
  });
  seconds_go_by(40);
  EXPECT_EQ(of_version(2), 4u);
  EXPECT_GE(least_, 3u);
  EXPECT_EQ(state(), DeploymentState::succeeded);
}

TEST_F(Updates, ALostCanaryIsMadeAgainAndTheDeadlineBeginsAnew) {
  policy_.strategy = UpdateStrategy::canary;
  first();
  next("two");
  seconds_go_by(200);
  ASSERT_EQ(state(), DeploymentState::waiting);
  for (const Instance& i : w_.live(job_))
    if (i.beside) w_.finish(i.id, TaskState::failed);
  seconds_go_by(2);
  EXPECT_EQ(state(), DeploymentState::running);
  seconds_go_by(20);
  EXPECT_EQ(state(), DeploymentState::waiting);
  EXPECT_EQ(of_version(2), 1u);
}

TEST_F(Updates, BlueGreenDoublesAndThenSwitchesAllAtOnce) {
  policy_.strategy = UpdateStrategy::blue_green;
  policy_.auto_promote = true;
  first();
  next("two");
  seconds_go_by(30);
  EXPECT_EQ(least_, 4u);
  EXPECT_EQ(most_, 8u);
  EXPECT_EQ(of_version(2), 4u);
  EXPECT_EQ(state(), DeploymentState::succeeded);
}

TEST_F(Updates, WhatIsNotHealthyInTimeFailsAndTheRestStays) {
  first();
  next("broken");
  seconds_go_by(30);
  EXPECT_EQ(state(), DeploymentState::failed);
  EXPECT_THAT(w_.deployment(job_).reason, testing::HasSubstr("web-0 did not become healthy within 20s"));
  EXPECT_EQ(of_version(1), 3u);
  seconds_go_by(100);
  EXPECT_EQ(of_version(1), 3u) << "a failed update goes no further";
}

// What failed for good was not waited for, and its slot counted as room for the next: one after the other went.
TEST_F(Updates, WhatFailsForGoodEndsItAndTheRestStays) {
  for (const bool start_first : {false, true}) {
    for (const int32_t attempts : {0, 1}) {
      SCOPED_TRACE(std::to_string(attempts) + (start_first ? " start_first" : ""));
      w_ = {};
      w_.add_nodes(3), w_.node_room = 100;
      policy_.start_first = start_first;
      reschedule_ = {.attempts = attempts, .delay = seconds(1)};
      first();
      next("crash");
      seconds_go_by(10);
      EXPECT_EQ(state(), DeploymentState::failed);
      EXPECT_THAT(w_.deployment(job_).reason,
                  testing::HasSubstr(start_first ? "web-0-next failed for good" : "web-0 failed for good"));
      EXPECT_EQ(least_, start_first ? 4u : 3u);
      seconds_go_by(100);
      EXPECT_EQ(of_version(1), 4u) << "the empty slot has what served before";
    }
  }
}

TEST_F(Updates, AFirstVersionThatFailsForGoodSaysSo) {
  reschedule_ = {.attempts = 0};
  job_ = w_.deploy(spec("crash"));
  seconds_go_by(2);
  EXPECT_EQ(state(), DeploymentState::failed);
  EXPECT_THAT(w_.deployment(job_).reason, testing::HasSubstr("failed for good"));
}

TEST_F(Updates, ANewVersionThatEndsForGoodIsNotWaitedForEither) {
  reschedule_ = {.attempts = 0};
  first();
  next("ends");
  seconds_go_by(10);
  EXPECT_EQ(state(), DeploymentState::failed);
  EXPECT_THAT(w_.deployment(job_).reason, testing::HasSubstr("web-0 ended for good"));
  EXPECT_EQ(least_, 3u);
}

TEST_F(Updates, ACanaryThatFailsForGoodIsNotWaitedFor) {
  policy_.strategy = UpdateStrategy::canary;
  reschedule_ = {.attempts = 0};
  first();
  next("crash");
  seconds_go_by(3);
  EXPECT_EQ(state(), DeploymentState::failed);
  EXPECT_EQ(of_version(1), 4u);
}

TEST_F(Updates, WhatFindsNoPlaceFailsByTheProgressDeadline) {
  first();
  JobSpec wide = spec("two");
  for (NodeId id : {NodeId{1}, NodeId{2}, NodeId{3}})
    w_.pool.edit_node(id, [](Node& n) { n.spec.eligibility = Eligibility::cordoned; });
  w_.deploy(wide, job_);
  seconds_go_by(50);
  EXPECT_EQ(state(), DeploymentState::running);
  seconds_go_by(20);
  EXPECT_EQ(state(), DeploymentState::failed);
  EXPECT_EQ(of_version(1), 3u);
}

TEST_F(Updates, AFailedOneGoesBackToWhatServedBeforeWithoutTouchingIt) {
  policy_.auto_revert = true;
  first();
  std::vector<InstanceId> kept;
  for (const Instance& i : w_.live(job_)) kept.push_back(i.id);
  next("broken");
  seconds_go_by(60);
  EXPECT_EQ(w_.pool.s.jobs.find(job_.value)->version, 3u);
  EXPECT_EQ(of_version(3), 4u);
  EXPECT_EQ(state(), DeploymentState::succeeded);
  for (size_t i = 1; i < kept.size(); ++i)
    EXPECT_EQ(w_.pool.at(kept[i]).generation, 1u) << "only the one that was replaced comes anew";
  EXPECT_EQ(w_.pool.at(kept[3]).job_version, 3u);
}

TEST_F(Updates, ItGoesBackOnceAndNotToAndFro) {
  policy_.auto_revert = true;
  first();
  next("broken");
  for (int i = 0; i < 3; ++i) second();
  for (NodeId id : {NodeId{1}, NodeId{2}, NodeId{3}})
    w_.pool.edit_node(id, [](Node& n) { n.spec.eligibility = Eligibility::cordoned; });
  seconds_go_by(200);
  EXPECT_TRUE(w_.deployment(job_).reverting);
  EXPECT_EQ(w_.pool.s.jobs.find(job_.value)->version, 3u);
  EXPECT_EQ(state(), DeploymentState::failed);
  EXPECT_EQ(of_version(3), 3u);
}

TEST_F(Updates, AFailedCanaryIsTakenAway) {
  policy_.strategy = UpdateStrategy::canary;
  first();
  next("broken");
  seconds_go_by(60);
  EXPECT_EQ(state(), DeploymentState::failed);
  EXPECT_EQ(w_.live(job_).size(), 4u);
  EXPECT_EQ(of_version(1), 4u);
}

TEST_F(Updates, ACanaryLeavesWithItsSlot) {
  policy_.strategy = UpdateStrategy::blue_green;
  first();
  next("two");
  seconds_go_by(10);
  w_.pool.edit_job(job_, [](Job& j) { j.counts["web"] = 2; });
  seconds_go_by(10);
  EXPECT_EQ(of_version(1), 2u);
  EXPECT_EQ(of_version(2), 2u);
  w_.pool.edit_job(job_, [](Job& j) { j.stopped = true; });
  seconds_go_by(5);
  EXPECT_EQ(w_.live(job_).size(), 0u);
}

TEST_F(Updates, ADrainRespectsWhatTheJobAllows) {
  JobSpec wide = spec("one");
  wide.disruption.max_unavailable = 2;
  job_ = w_.deploy(wide);
  ASSERT_TRUE(w_.run());
  w_.pool.edit_node(w_.live(job_)[0].node, [](Node& n) { n.spec.eligibility = Eligibility::draining; });
  seconds_go_by(20);
  EXPECT_EQ(least_, 2u);
  EXPECT_EQ(w_.running(job_), 4u);
  for (const Instance& i : w_.live(job_))
    EXPECT_EQ(w_.pool.s.nodes.find(i.node.value)->spec.eligibility, Eligibility::eligible);
}

TEST_F(Updates, StartFirstDrainsWithoutALoss) {
  policy_.start_first = true;
  first();
  w_.pool.edit_node(w_.live(job_)[0].node, [](Node& n) { n.spec.eligibility = Eligibility::draining; });
  seconds_go_by(60);
  EXPECT_EQ(least_, 4u);
  for (const Instance& i : w_.live(job_))
    EXPECT_EQ(w_.pool.s.nodes.find(i.node.value)->spec.eligibility, Eligibility::eligible);
}

TEST_F(Updates, BatchWorkMayFinishUntilTheDeadlineAndSystemWorkGoesLast) {
  JobSpec batch = TestPool::service("crunch", 2);
  batch.type = JobType::batch;
  job_ = w_.deploy(batch);
  JobSpec agent = TestPool::service("agent", 1);
  agent.type = JobType::system;
  const JobId system = w_.deploy(agent);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(w_.settle());
    w_.schedule();
    w_.work();
  }
  ASSERT_EQ(w_.running(job_), 2u);
  const NodeId node = w_.live(job_)[0].node;
  const Time deadline = w_.now + seconds(60);
  w_.pool.edit_node(node,
                    [&](Node& n) { n.spec.eligibility = Eligibility::draining, n.spec.drain_deadline = deadline; });
  ASSERT_TRUE(w_.settle());
  EXPECT_EQ(w_.ask(job_).wake, deadline);
  EXPECT_EQ(w_.running(job_), 2u);
  EXPECT_EQ(w_.running(system), 3u);
  w_.finish(w_.live(job_)[0].id, TaskState::completed);
  w_.now = deadline;
  ASSERT_TRUE(w_.settle());
  w_.work();
  ASSERT_TRUE(w_.settle());
  for (const Instance& i : w_.live(job_)) EXPECT_NE(i.node, node);
  EXPECT_EQ(w_.live(system).size(), 2u);
}

TEST(Reschedule, WaitsAsItsFunctionSays) {
  for (const auto& [function, waits] :
       std::vector<std::pair<Backoff, std::vector<int64_t>>>{{Backoff::constant, {2, 2, 2, 2, 2}},
                                                             {Backoff::exponential, {2, 6, 18, 30, 30}},
                                                             {Backoff::fibonacci, {2, 4, 6, 10, 16}}}) {
    TestWorld w;
    w.add_nodes(2);
    JobSpec spec = TestPool::service("web", 1);
    spec.tasks[0].reschedule = {
        .attempts = 5, .function = function, .delay = seconds(2), .max_delay = seconds(30), .backoff = 3};
    const JobId job = w.pool.submit(spec);
    ASSERT_TRUE(w.settle());
    for (const int64_t wait : waits) {
      w.schedule();
      w.finish(w.live(job)[0].id, TaskState::failed);
      ASSERT_TRUE(w.settle());
      ASSERT_THAT(w.live(job), SizeIs(1));
      EXPECT_EQ((w.live(job)[0].not_before - w.now).ms(), wait * 1000);
      w.now = w.live(job)[0].not_before;
    }
    w.schedule();
    w.finish(w.live(job)[0].id, TaskState::failed);
    ASSERT_TRUE(w.settle());
    EXPECT_THAT(w.live(job), SizeIs(0)) << "its attempts are used up";
  }
}

TEST(Reschedule, AttemptsAreCountedWithinTheInterval) {
  TestWorld w;
  w.add_nodes(2);
  JobSpec spec = TestPool::service("web", 1);
  spec.tasks[0].reschedule = {.attempts = 1, .interval = seconds(100), .delay = seconds(1), .max_delay = seconds(1000)};
  const JobId job = w.pool.submit(spec);
  for (int round = 0; round < 4; ++round) {
    ASSERT_TRUE(w.settle());
    w.schedule();
    ASSERT_THAT(w.live(job), SizeIs(1)) << "round " << round;
    w.now = w.now + seconds(101);
    w.finish(w.live(job)[0].id, TaskState::failed);
  }
  ASSERT_TRUE(w.settle());
  w.now = w.now + seconds(2);
  w.schedule();
  w.finish(w.live(job)[0].id, TaskState::failed);
  ASSERT_TRUE(w.settle());
  EXPECT_THAT(w.live(job), SizeIs(0)) << "the second within a hundred seconds";
}

}  // namespace
}  // namespace tutti::reconcile
