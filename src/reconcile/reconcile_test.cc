#include "reconcile/reconcile.h"

#include <gmock/gmock.h>

#include "reconcile/test_world.h"

namespace tutti::reconcile {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

JobSpec typed(JobType type, int64_t count = 1) {
  JobSpec spec = TestPool::service("web", count);
  spec.type = type;
  return spec;
}

// Other work than before, so that an update has to replace what runs.
JobSpec changed(JobSpec spec) {
  for (TaskSpec& task : spec.tasks) task.env["CHANGED"] = "1";
  return spec;
}

TEST(Reconcile, FillsEverySlotAndThenHasNothingToSay) {
  TestWorld w;
  w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 3));
  const Actions actions = w.ask(job);
  ASSERT_THAT(actions.create, SizeIs(3));
  for (uint32_t n = 0; n < 3; ++n) EXPECT_EQ(actions.create[n].slot, n);
  w.apply(actions);
  EXPECT_TRUE(w.ask(job).empty());
}

TEST(Reconcile, AJobWithoutAnActiveVersionIsLeftAlone) {
  TestWorld w;
  const JobId job = w.pool.submit(TestPool::service("web", 3));
  w.pool.edit_job(job, [](Job& row) { row.active_version = 0; });
  EXPECT_TRUE(w.ask(job).empty());
}

TEST(Reconcile, AnUnknownJobIsNothing) {
  EXPECT_TRUE(TestWorld().ask(JobId{99}).empty());
}

TEST(Reconcile, ScalingDownTakesTheHighestSlotsFirst) {
  TestWorld w;
  w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 4));
  ASSERT_TRUE(w.run());
  w.pool.edit_job(job, [](Job& row) { row.counts["web"] = 1; });
  const Actions actions = w.ask(job);
  ASSERT_THAT(actions.change, SizeIs(3));
  EXPECT_EQ(w.pool.at(actions.change[0].instance).slot, 3u);
  EXPECT_EQ(actions.change[0].desired, Desired::removed);
  ASSERT_TRUE(w.run());
  ASSERT_THAT(w.live(job), SizeIs(1));
  EXPECT_EQ(w.live(job)[0].slot, 0u);
}

TEST(Reconcile, ALostNodeIsGivenUpAndReplacedInOneCommandWithoutDelay) {
  TestWorld w;
  const auto nodes = w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 1));
  ASSERT_TRUE(w.run());
  const NodeId home = w.live(job)[0].node;
  w.pool.edit_node(home, [](Node& n) { n.health = NodeHealth::lost; });
  const Actions actions = w.ask(job);
  ASSERT_THAT(actions.change, SizeIs(1));
  EXPECT_TRUE(actions.change[0].give_up);
  ASSERT_THAT(actions.create, SizeIs(1));
  EXPECT_EQ(actions.create[0].avoid, home);
  EXPECT_EQ(actions.create[0].not_before, Time{});
  EXPECT_EQ(actions.create[0].reschedules, 0);
  ASSERT_TRUE(w.run());
  EXPECT_NE(w.live(job)[0].node, home);
}

TEST(Reconcile, AnUnknownNodeChangesNothing) {
  TestWorld w;
  w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 2));
  ASSERT_TRUE(w.run());
  for (const Instance& i : w.live(job)) w.pool.edit_node(i.node, [](Node& n) { n.health = NodeHealth::unknown; });
  EXPECT_TRUE(w.ask(job).empty());
}

TEST(Reconcile, CordonedAndDisabledMoveNothing) {
  for (const Eligibility wish : {Eligibility::cordoned, Eligibility::disabled}) {
    TestWorld w;
    const auto nodes = w.add_nodes(1);
    const JobId job = w.pool.submit(TestPool::service("web", 2));
    ASSERT_TRUE(w.run());
    w.pool.edit_node(nodes[0], [&](Node& n) { n.spec.eligibility = wish; });
    EXPECT_TRUE(w.ask(job).empty());
  }
}

TEST(Reconcile, DrainingMovesOneInstanceOfAJobAtATime) {
  TestWorld w;
  const auto nodes = w.add_nodes(1);
  const JobId job = w.pool.submit(TestPool::service("web", 3));
  ASSERT_TRUE(w.run());
  w.add_nodes(1);
  w.pool.edit_node(nodes[0], [](Node& n) { n.spec.eligibility = Eligibility::draining; });
  for (int round = 0; round < 60; ++round) {
    ASSERT_TRUE(w.settle());
    EXPECT_GE(w.running(job), 2u);
    w.schedule();
    w.work();
    w.now = w.now + seconds(1);
  }
  EXPECT_EQ(w.running(job), 3u);
  EXPECT_EQ(w.load(nodes[0]), 0u);
}

TEST(Reconcile, AfterTheDrainDeadlineEverythingMovesAtOnceAndItIsAWake) {
  TestWorld w;
  const auto nodes = w.add_nodes(1);
  const JobId job = w.pool.submit(TestPool::service("web", 3));
  ASSERT_TRUE(w.run());
  const Time deadline = w.now + seconds(60);
  w.pool.edit_node(nodes[0], [&](Node& n) {
    n.spec.eligibility = Eligibility::draining;
    n.spec.drain_deadline = deadline;
  });
  const Actions first = w.ask(job);
  EXPECT_THAT(first.change, SizeIs(1));
  EXPECT_EQ(first.wake, deadline);
  w.now = deadline;
  EXPECT_THAT(w.ask(job).change, SizeIs(3));
}

TEST(Reconcile, AFailedServiceComesBackLaterEachTimeElsewhere) {
  TestWorld w;
  w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 1));
  ASSERT_TRUE(w.run());
  for (const int64_t delay : {5, 10, 20, 40, 80, 160, 300, 300}) {
    const Instance old = w.live(job)[0];
    w.finish(old.id, TaskState::failed);
    const Actions actions = w.ask(job);
    ASSERT_THAT(actions.create, SizeIs(1));
    EXPECT_EQ(actions.create[0].not_before, w.now + seconds(delay));
    EXPECT_EQ(actions.create[0].avoid, old.node);
    ASSERT_TRUE(w.run());
    ASSERT_THAT(w.live(job), SizeIs(1));
  }
}

TEST(Reconcile, ALongRunResetsTheBackoff) {
  TestWorld w;
  w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 1));
  ASSERT_TRUE(w.run());
  const InstanceId id = w.live(job)[0].id;
  w.pool.edit_detail(id, [&](InstanceDetail& detail) {
    detail.reschedules = 7;
    detail.tasks = {TaskStatus{.task = "web", .started = w.now - seconds(400), .finished = w.now}};
  });
  w.finish(id, TaskState::failed);
  ASSERT_THAT(w.ask(job).create, SizeIs(1));
  EXPECT_EQ(w.ask(job).create[0].not_before, w.now + seconds(5));
  EXPECT_EQ(w.ask(job).create[0].reschedules, 1);
}

TEST(Reconcile, AttemptsEnd) {
  TestWorld w;
  w.add_nodes(2);
  JobSpec spec = TestPool::service("web", 1);
  spec.tasks[0].reschedule.attempts = 2;
  const JobId job = w.pool.submit(spec);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(w.run());
    ASSERT_THAT(w.live(job), SizeIs(1));
    w.finish(w.live(job)[0].id, TaskState::failed);
  }
  EXPECT_TRUE(w.ask(job).empty());
  w.pool.submit(spec, job);  // a new version begins anew
  EXPECT_THAT(w.ask(job).create, SizeIs(1));
}

TEST(Reconcile, BatchRunsEachSlotOnceAndScalingDoesNotRepeatIt) {
  TestWorld w;
  w.add_nodes(2);
  const JobId job = w.pool.submit(typed(JobType::batch, 2));
  ASSERT_TRUE(w.run());
  for (const Instance& i : w.live(job)) w.finish(i.id, TaskState::completed);
  ASSERT_TRUE(w.settle());
  EXPECT_THAT(w.instances(job), SizeIs(2));
  w.pool.edit_job(job, [](Job& row) { row.counts["web"] = 0; });
  ASSERT_TRUE(w.settle());
  EXPECT_THAT(w.instances(job), SizeIs(2));
  w.pool.edit_job(job, [](Job& row) { row.counts["web"] = 3; });
  ASSERT_THAT(w.ask(job).create, SizeIs(1));
  EXPECT_EQ(w.ask(job).create[0].slot, 2u);
}

TEST(Reconcile, BatchStaysDoneThroughStopAndStart) {
  TestWorld w;
  w.add_nodes(1);
  const JobId job = w.pool.submit(typed(JobType::batch));
  ASSERT_TRUE(w.run());
  w.finish(w.live(job)[0].id, TaskState::completed);
  w.pool.edit_job(job, [](Job& row) { row.stopped = true; });
  ASSERT_TRUE(w.run());
  w.pool.edit_job(job, [](Job& row) { row.stopped = false; });
  ASSERT_TRUE(w.run());
  EXPECT_THAT(w.instances(job), SizeIs(1));
}

TEST(Reconcile, AFailedBatchGetsOneMoreTryUnlessSaidOtherwise) {
  for (const int32_t attempts : {-1, 0, 2}) {
    TestWorld w;
    w.add_nodes(2);
    JobSpec spec = typed(JobType::batch);
    spec.tasks[0].reschedule.attempts = attempts;
    const JobId job = w.pool.submit(spec);
    int runs = 0;
    for (; runs < 5; ++runs) {
      ASSERT_TRUE(w.run());
      if (w.live(job).empty()) break;
      w.finish(w.live(job)[0].id, TaskState::failed);
    }
    EXPECT_EQ(runs, attempts < 0 ? 2 : attempts + 1);
  }
}

TEST(Reconcile, ANewVersionOfABatchJobRunsAgain) {
  TestWorld w;
  w.add_nodes(1);
  const JobId job = w.pool.submit(typed(JobType::batch, 2));
  ASSERT_TRUE(w.run());
  for (const Instance& i : w.live(job)) w.finish(i.id, TaskState::completed);
  w.pool.submit(changed(typed(JobType::batch, 2)), job);
  EXPECT_THAT(w.ask(job).create, SizeIs(2));
}

TEST(Reconcile, SystemJobsStandOnEveryEligibleNode) {
  TestWorld w;
  const auto nodes = w.add_nodes(3);
  w.pool.edit_inventory(nodes[2], [](Inventory& i) { i.arch = "aarch64"; });
  JobSpec spec = typed(JobType::system);
  spec.tasks[0].constraints = {"node.arch == x86_64"};
  const JobId job = w.pool.submit(spec);
  const Actions actions = w.ask(job);
  ASSERT_THAT(actions.create, SizeIs(2));
  EXPECT_EQ(actions.create[0].pinned, nodes[0]);
  EXPECT_EQ(actions.create[0].slot, nodes[0].value);
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.running(job), 2u);
  const auto more = w.add_nodes(1);
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.running(job), 3u);
  w.pool.edit_node(more[0], [](Node& n) { n.spec.eligibility = Eligibility::draining; });
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.running(job), 2u);
}

TEST(Reconcile, ASystemJobReturnsWithItsLostNode) {
  TestWorld w;
  const auto nodes = w.add_nodes(2);
  const JobId job = w.pool.submit(typed(JobType::system));
  ASSERT_TRUE(w.run());
  w.pool.edit_node(nodes[0], [](Node& n) { n.health = NodeHealth::lost; });
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.running(job), 1u);
  w.pool.edit_node(nodes[0], [](Node& n) { n.health = NodeHealth::ready; });
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.running(job), 2u);
}

TEST(Reconcile, ASystemJobLeavesOutWorkersThatAreTooOldForIt) {
  TestWorld w;
  const auto nodes = w.add_nodes(2);
  w.pool.edit_inventory(nodes[0], [](Inventory& i) { i.feature_level = 1; });
  JobSpec spec = typed(JobType::system);
  spec.tasks[0].health.emplace_back();
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  ASSERT_EQ(w.live(job).size(), 1u);
  EXPECT_EQ(w.live(job)[0].node, nodes[1]);
  w.pool.edit_inventory(nodes[0], [](Inventory& i) { i.feature_level = kFeatureLevel; });
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.live(job).size(), 2u);
}

TEST(Reconcile, AnUpdateGoesOneByOne) {
  TestWorld w;
  w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 4));
  ASSERT_TRUE(w.run());
  w.pool.submit(changed(TestPool::service("web", 4, {{200}, {64 << 20}, {}})), job);
  for (int round = 0; round < 60; ++round) {
    ASSERT_TRUE(w.settle());
    EXPECT_GE(w.running(job), 3u);
    w.schedule();
    w.work();
  }
  EXPECT_EQ(w.running(job), 4u);
  for (const Instance& i : w.live(job)) EXPECT_EQ(i.job_version, 2u);
}

TEST(Reconcile, AVersionThatDoesNotRunStopsTheUpdate) {
  TestWorld w;
  w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 3));
  ASSERT_TRUE(w.run());
  w.pool.submit(changed(TestPool::service("web", 3)), job);
  for (int round = 0; round < 30; ++round) {
    ASSERT_TRUE(w.settle());
    w.schedule();
    for (const Instance& i : w.instances(job)) {
      if (i.job_version == 2 && i.admitted && !i.finished)
        w.finish(i.id, TaskState::failed);
      else
        w.work(i);
    }
    w.now = w.now + seconds(1);
  }
  EXPECT_EQ(w.running(job), 2u);
}

TEST(Reconcile, AnUpdateDoesNotWaitForWhatNeverHadANode) {
  TestWorld w;
  w.node_room = 2;
  w.add_nodes(1);
  const JobId job = w.pool.submit(TestPool::service("web", 3));
  for (int i = 0; i < 5; ++i) w.settle(), w.schedule(), w.work();
  EXPECT_EQ(w.running(job), 2u);
  w.pool.submit(changed(TestPool::service("web", 3)), job);
  w.run(60);
  EXPECT_EQ(w.running(job), 2u);
  for (const Instance& i : w.live(job)) EXPECT_EQ(i.job_version, 2u);
}

TEST(Reconcile, GroupsAreMatchedByNameAcrossVersions) {
  TestWorld w;
  w.add_nodes(2);
  JobSpec spec = TestPool::service("web", 1);
  spec.tasks.push_back(spec.tasks[0]);
  spec.tasks[1].name = "db";
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.running(job), 2u);
  std::swap(spec.tasks[0], spec.tasks[1]);
  spec.tasks.erase(spec.tasks.begin() + 1);  // only db is left
  w.pool.submit(spec, job);
  ASSERT_TRUE(w.run());
  ASSERT_THAT(w.live(job), SizeIs(1));
  EXPECT_EQ(w.pool.s.group_of(w.live(job)[0]).name, "db");
}

TEST(Reconcile, AStoppedJobEndsAndAStartBeginsAnew) {
  TestWorld w;
  w.add_nodes(1);
  JobSpec spec = TestPool::service("web", 2);
  spec.tasks[0].reschedule.attempts = 0;
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  w.finish(w.live(job)[0].id, TaskState::failed);
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.running(job), 1u);
  w.pool.edit_job(job, [](Job& row) { row.stopped = true; });
  ASSERT_TRUE(w.run());
  EXPECT_THAT(w.live(job), IsEmpty());
  w.pool.edit_job(job, [](Job& row) { row.stopped = false; });
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.running(job), 2u);
}

TEST(Reconcile, ADeletedJobIsForgottenOnceNothingIsLeft) {
  TestWorld w;
  w.add_nodes(1);
  const JobId job = w.pool.submit(TestPool::service("web", 2));
  ASSERT_TRUE(w.run());
  w.pool.edit_job(job, [](Job& row) { row.deleted = row.stopped = true; });
  ASSERT_TRUE(w.settle());
  EXPECT_NE(w.pool.s.jobs.find(job.value), nullptr);  // its instances are still leaving
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.pool.s.jobs.find(job.value), nullptr);
  EXPECT_TRUE(w.pool.s.instances.empty());
}

TEST(Reconcile, WishesOfAUserWinOverTheJob) {
  struct Row {
    Override wish;
    Desired desired;
  };
  for (const Row& row : {Row{Override::stop, Desired::stopped}, Row{Override::pause, Desired::paused},
                         Row{Override::suspend, Desired::suspended}}) {
    TestWorld w;
    w.add_nodes(1);
    const JobId job = w.pool.submit(TestPool::service("web", 1));
    ASSERT_TRUE(w.run());
    const InstanceId id = w.live(job)[0].id;
    w.pool.edit_instance(id, [&](Instance& i) { i.override_ = row.wish; });
    ASSERT_TRUE(w.run());
    EXPECT_EQ(w.pool.at(id).desired, row.desired);
    ASSERT_THAT(w.live(job), SizeIs(1));  // nobody else took the slot
    w.pool.edit_instance(id, [&](Instance& i) { i.override_ = Override::none; });
    ASSERT_TRUE(w.run());
    EXPECT_EQ(w.pool.at(id).state, TaskState::running);
    EXPECT_EQ(w.pool.at(id).generation, row.wish == Override::pause ? 1u : 2u);
  }
}

TEST(Reconcile, AStartWaitsUntilTheStopIsOver) {
  TestWorld w;
  w.add_nodes(1);
  const JobId job = w.pool.submit(TestPool::service("web", 1));
  ASSERT_TRUE(w.run());
  const InstanceId id = w.live(job)[0].id;
  w.pool.edit_instance(id, [](Instance& i) { i.desired = Desired::stopped; });  // and it still runs
  EXPECT_TRUE(w.ask(job).empty());
  w.finish(id, TaskState::stopped);
  ASSERT_THAT(w.ask(job).change, SizeIs(1));
  EXPECT_TRUE(w.ask(job).change[0].start_over);
}

TEST(Reconcile, ADeletedInstanceIsReplacedByAFreshOne) {
  TestWorld w;
  w.add_nodes(1);
  const JobId job = w.pool.submit(TestPool::service("web", 1));
  ASSERT_TRUE(w.run());
  const InstanceId id = w.live(job)[0].id;
  w.pool.edit_instance(id, [](Instance& i) { i.override_ = Override::delete_; });
  ASSERT_TRUE(w.run());
  ASSERT_THAT(w.live(job), SizeIs(1));
  EXPECT_NE(w.live(job)[0].id, id);
  EXPECT_EQ(w.pool.s.instances.find(id.value), nullptr);
}

TEST(Reconcile, HistoryKeepsTheNewestOfASlot) {
  TestWorld w;
  w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 1));
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(w.run());
    w.finish(w.live(job)[0].id, TaskState::failed);
  }
  ASSERT_TRUE(w.run());
  EXPECT_THAT(w.instances(job), SizeIs(limits::kFinishedInstancesKeptPerSlot + 1));
}

TEST(Reconcile, WhatWaitsTooLongIsGivenUpUntilSomebodyAsksAgain) {
  TestWorld w;
  JobSpec spec = TestPool::service("web", 1);
  spec.pending_timeout = seconds(30);
  const JobId job = w.pool.submit(spec);
  w.apply(w.ask(job));
  EXPECT_EQ(w.ask(job).wake, w.now + seconds(30));
  w.now = w.now + seconds(30);
  ASSERT_THAT(w.ask(job).change, SizeIs(1));
  EXPECT_TRUE(w.ask(job).change[0].give_up);
  ASSERT_TRUE(w.settle());
  EXPECT_THAT(w.live(job), IsEmpty());
  w.pool.edit_job(job, [](Job& row) { row.stopped = true; });
  ASSERT_TRUE(w.settle());
  w.pool.edit_job(job, [](Job& row) { row.stopped = false; });
  EXPECT_THAT(w.ask(job).create, SizeIs(1));
}

TEST(Reconcile, AJobWithATtlIsDeletedOnceAllOfItHasEnded) {
  TestWorld w;
  w.add_nodes(1);
  JobSpec spec = typed(JobType::batch, 2);
  spec.ttl = seconds(60);
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  const auto live = w.live(job);
  ASSERT_THAT(live, SizeIs(2));
  w.finish(live[0].id, TaskState::completed);
  w.now = w.pool.s.version_of(job, 1)->created + seconds(3600);
  EXPECT_TRUE(w.ask(job).empty()) << "one still runs";
  w.finish(live[1].id, TaskState::completed);
  ASSERT_TRUE(w.settle());
  EXPECT_THAT(w.ask(job).expired_jobs, IsEmpty());
  EXPECT_EQ(w.ask(job).wake, w.now + seconds(60));
  w.now = w.now + seconds(60);
  EXPECT_THAT(w.ask(job).expired_jobs, testing::ElementsAre(job));
}

TEST(Reconcile, AJobThatNeverStartedExpiresToo) {
  TestWorld w;
  JobSpec spec = typed(JobType::batch);
  spec.ttl = Duration{};
  const JobId job = w.pool.submit(spec);
  w.pool.edit_job(job, [](Job& row) { row.active_version = 0; });
  EXPECT_TRUE(w.ask(job).empty()) << "its images are being looked for";
  JobVersion version = *w.pool.s.version_of(job, 1);
  version.state = VersionState::failed;
  w.now = version.created + seconds(1);
  w.pool.s.versions.put(TableEdit{}, version.id.value, version);
  ASSERT_TRUE(w.settle());
  EXPECT_EQ(w.pool.s.jobs.find(job.value), nullptr);
}

TEST(Reconcile, AGivenUpInstanceIsNeverChangedAgain) {
  // apply ignores every change of one: saying it again and again would keep the loop busy for ever.
  TestWorld w;
  const auto nodes = w.add_nodes(2);
  const JobId job = w.pool.submit(TestPool::service("web", 1));
  ASSERT_TRUE(w.run());
  w.pool.edit_node(w.live(job)[0].node, [](Node& n) { n.health = NodeHealth::lost; });
  ASSERT_TRUE(w.run());
  w.pool.edit_job(job, [](Job& row) { row.deleted = row.stopped = true; });
  ASSERT_TRUE(w.run());
  EXPECT_TRUE(w.ask(job).empty());  // waits for the lost node to come back or to be removed
  w.pool.remove_node(nodes[0]);
  w.pool.remove_node(nodes[1]);
  ASSERT_TRUE(w.settle());
  EXPECT_EQ(w.pool.s.jobs.find(job.value), nullptr);
}

TEST(Reconcile, OneCommandStaysWithinItsLimitAndSaysThatThereIsMore) {
  TestWorld w;
  const JobId job = w.pool.submit(TestPool::service("web", 2 * static_cast<int64_t>(limits::kCommandRowsMax) + 5));
  Actions actions = w.ask(job);
  EXPECT_THAT(actions.create, SizeIs(limits::kCommandRowsMax));
  EXPECT_TRUE(actions.more);
}

TEST(ConcernedJobs, NamesWhatACommitMayConcernAndNothingElse) {
  TestWorld w;
  const auto nodes = w.add_nodes(2);
  const JobId web = w.pool.submit(TestPool::service("web", 1));
  const JobId other = w.pool.submit(TestPool::service("other", 1));
  JobSpec agent = typed(JobType::system);
  agent.job = "agent";
  const JobId system = w.pool.submit(agent);
  EXPECT_THAT(concerned_jobs(w.pool.commit()), testing::ElementsAre(web, other, system));

  const InstanceId id = w.pool.add_pending(web);
  EXPECT_THAT(concerned_jobs(w.pool.commit()), testing::ElementsAre(web));
  w.pool.place(id, nodes[0], TaskState::placed);
  EXPECT_THAT(concerned_jobs(w.pool.commit()), IsEmpty());
  w.pool.edit_instance(id, [](Instance& i) { i.state = TaskState::running; });
  EXPECT_THAT(concerned_jobs(w.pool.commit()), IsEmpty());  // nobody waits for it
  w.pool.edit_node(nodes[0], [](Node& n) { n.health = NodeHealth::unknown; });
  EXPECT_THAT(concerned_jobs(w.pool.commit()), testing::ElementsAre(web, system));
  w.finish(id, TaskState::failed);
  EXPECT_THAT(concerned_jobs(w.pool.commit()), testing::ElementsAre(web));
  w.pool.edit_node(nodes[1], [](Node& n) { n.health_reason = "x"; });
  EXPECT_THAT(concerned_jobs(w.pool.commit()), IsEmpty());
}

}  // namespace
}  // namespace tutti::reconcile
