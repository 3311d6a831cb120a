// What is launched by the clock, what waits for what, and how batch jobs end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>

#include "base/random.h"
#include "reconcile/test_world.h"

namespace tutti::reconcile {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

JobSpec batch(const std::string& name, const std::vector<std::string>& tasks = {}) {
  JobSpec spec = TestPool::service(name, 1);
  spec.type = JobType::batch;
  spec.tasks[0].reschedule.attempts = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (i > 0) spec.tasks.push_back(spec.tasks[0]);
    spec.tasks[i].name = tasks[i];
  }
  return spec;
}

struct World : TestWorld {
  World() { add_nodes(2); }
  const Job& row(JobId job) const { return *pool.s.jobs.find(job.value); }
  // The instance of a group that holds its slot now, if there is one.
  std::optional<Instance> of(JobId job, const std::string& group) const {
    for (const Instance& i : live(job))
      if (pool.s.group_of(i).name == group) return i;
    return std::nullopt;
  }
  void end(JobId job, const std::string& group, TaskState state) {
    ASSERT_TRUE(of(job, group)) << group << " has no instance";
    finish(of(job, group)->id, state);
    ASSERT_TRUE(run());
  }
  std::vector<Job> children(JobId job) const {
    std::vector<Job> out;
    if (const IdSet* ids = pool.s.children.find(job.value))
      ids->for_each([&](uint64_t id, const Unit&) { out.push_back(*pool.s.jobs.find(id)); });
    return out;
  }
  JobId periodic(const std::string& cron, OverlapPolicy overlap = OverlapPolicy::allow,
                 MissedPolicy missed = MissedPolicy::run_once) {
    JobSpec spec = batch("nightly");
    spec.periodic = PeriodicSpec{.cron = cron, .overlap = overlap, .missed = missed, .keep = 3};
    const JobId job = pool.submit(spec);
    pool.edit_job(job, [&](Job& j) { j.launches.seen = now; });
    return job;
  }
  // The time goes on by steps of a second, and everybody does what they should.
  void pass(int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      now = now + seconds(1);
      ASSERT_TRUE(settle());
      schedule();
      work();
    }
  }
};

TEST(Periodic, EachTimeIsLaunchedOnceAndTheNextIsWokenFor) {
  World w;
  const JobId job = w.periodic("@every 10s");
  EXPECT_TRUE(w.ask(job).empty());
  EXPECT_EQ(w.ask(job).wake, w.now + seconds(10));
  w.pass(25);
  ASSERT_THAT(w.children(job), SizeIs(2));
  EXPECT_EQ(w.children(job)[0].launched_for, (Time{1'010'000'000'000}));
  EXPECT_EQ(w.children(job)[1].name, "nightly-1020");
  EXPECT_THAT(w.instances(job), SizeIs(0));  // it has none itself
  EXPECT_THAT(w.instances(w.children(job)[1].id), SizeIs(1));
}

TEST(Periodic, AfterAnOutageTheNewestMissedOneIsLaunchedOrLeftOut) {
  for (const MissedPolicy missed : {MissedPolicy::run_once, MissedPolicy::skip}) {
    World w;
    w.periodic("@every 600s", OverlapPolicy::allow, missed);
    w.now = w.now + seconds(3300);  // 1200, 1800, … 4200 passed unseen; the newest is 100 s late
    ASSERT_TRUE(w.settle());
    ASSERT_THAT(w.launches, SizeIs(1));
    EXPECT_EQ(w.launches[0].time, (Time{4200'000'000'000}));
    EXPECT_EQ(w.launches[0].step, missed == MissedPolicy::skip ? LaunchStep::leave_out : LaunchStep::launch);
    // What is not late was not missed.
    w.now = Time{4830'000'000'000};
    ASSERT_TRUE(w.settle());
    EXPECT_EQ(w.launches.back().step, LaunchStep::launch);
  }
}

TEST(Periodic, ForbiddenOverlapLeavesOut) {
  World w;
  const JobId job = w.periodic("@every 10s", OverlapPolicy::forbid);
  w.pass(25);
  ASSERT_THAT(w.children(job), SizeIs(1));
  EXPECT_EQ(w.launches.back().step, LaunchStep::leave_out);
  EXPECT_THAT(w.launches.back().reason, HasSubstr("nightly-1010 still runs"));
  w.end(w.children(job)[0].id, "nightly", TaskState::completed);
  w.pass(10);
  EXPECT_THAT(w.children(job), SizeIs(2));
}

TEST(Periodic, ReplaceStopsTheEarlierOneFirst) {
  World w;
  const JobId job = w.periodic("@every 10s", OverlapPolicy::replace);
  w.pass(15);
  ASSERT_THAT(w.children(job), SizeIs(1));
  w.now = Time{1'020'000'000'000};
  ASSERT_TRUE(w.settle());
  ASSERT_THAT(w.children(job), SizeIs(1));  // the earlier one has not ended yet
  EXPECT_TRUE(w.children(job)[0].stopped);
  EXPECT_EQ(w.row(job).launches.waiting, w.now);
  w.work();
  ASSERT_TRUE(w.settle());
  ASSERT_THAT(w.children(job), SizeIs(2));
  EXPECT_EQ(w.children(job)[0].result, JobResult::stopped);
  EXPECT_EQ(w.children(job)[1].launched_for, (Time{1'020'000'000'000}));
}

TEST(Periodic, KeepsTheNewestOfThoseThatHaveEnded) {
  World w;
  const JobId job = w.periodic("@every 10s");
  for (int i = 0; i < 6; ++i) {
    w.pass(10);
    for (const Job& child : w.children(job))
      if (w.of(child.id, "nightly")) w.finish(w.of(child.id, "nightly")->id, TaskState::completed);
  }
  w.pass(3);
  ASSERT_THAT(w.children(job), SizeIs(3));
  EXPECT_EQ(w.children(job)[0].launched_for, (Time{1'040'000'000'000}));
}

TEST(Periodic, StoppedItStopsItsChildrenAndDeletedItGoesLast) {
  World w;
  const JobId job = w.periodic("@every 10s");
  w.pass(12);
  const JobId child = w.children(job)[0].id;
  w.pool.edit_job(job, [](Job& j) { j.stopped = true; });
  w.pass(30);
  EXPECT_EQ(w.row(child).result, JobResult::stopped);
  EXPECT_THAT(w.children(job), SizeIs(1));
  w.pool.edit_job(job, [](Job& j) { j.deleted = true; });
  w.pass(5);
  EXPECT_EQ(w.pool.s.jobs.size(), 0u);
}

TEST(After, ATaskStartsWhenWhatItWaitsForHasCompleted) {
  World w;
  JobSpec spec = batch("ci", {"build", "test", "deploy"});
  spec.tasks[1].after = {{"build", AfterCondition::complete}};
  spec.tasks[2].after = {{"test", AfterCondition::complete}};
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  EXPECT_TRUE(w.of(job, "build"));
  EXPECT_FALSE(w.of(job, "test"));
  EXPECT_THAT(w.row(job).reason, HasSubstr("test waits for task build to complete"));
  w.end(job, "build", TaskState::completed);
  EXPECT_TRUE(w.of(job, "test"));
  EXPECT_FALSE(w.of(job, "deploy"));
  w.end(job, "test", TaskState::completed);
  w.end(job, "deploy", TaskState::completed);
  EXPECT_EQ(w.row(job).result, JobResult::completed);
  EXPECT_EQ(w.row(job).reason, "");
}

TEST(After, WhatFailedForGoodBlocksAndFailsTheJob) {
  World w;
  JobSpec spec = batch("ci", {"build", "deploy", "clean", "notify"});
  spec.tasks[1].after = {{"build", AfterCondition::complete}};
  spec.tasks[2].after = {{"build", AfterCondition::ended}};
  spec.tasks[3].after = {{"deploy", AfterCondition::failed}};
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  w.end(job, "build", TaskState::failed);
  EXPECT_FALSE(w.of(job, "deploy"));
  w.end(job, "clean", TaskState::completed);
  w.end(job, "notify", TaskState::completed);  // a task that never starts has failed
  EXPECT_EQ(w.row(job).result, JobResult::failed);
}

TEST(After, AFailureThatMayBeTriedAgainIsNotForGood) {
  World w;
  JobSpec spec = batch("ci", {"build", "notify"});
  spec.tasks[0].reschedule.attempts = 1;
  spec.tasks[1].after = {{"build", AfterCondition::failed}};
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  w.end(job, "build", TaskState::failed);
  EXPECT_FALSE(w.of(job, "notify"));
  w.end(job, "build", TaskState::completed);
  EXPECT_FALSE(w.of(job, "notify"));  // not needed any more
  EXPECT_EQ(w.row(job).result, JobResult::completed);
}

TEST(After, StartedIsEnoughWhereThatIsAsked) {
  World w;
  JobSpec spec = batch("ci", {"server", "client"});
  spec.tasks[1].after = {{"server", AfterCondition::started}};
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.settle());
  EXPECT_FALSE(w.of(job, "client"));
  ASSERT_TRUE(w.run());
  EXPECT_TRUE(w.of(job, "client"));
}

TEST(After, AJobWaitsForAJob) {
  World w;
  const JobId build = w.pool.submit(batch("build"));
  JobSpec spec = batch("deploy");
  spec.after = {{"build", AfterCondition::complete}};
  const JobId deploy = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  EXPECT_THAT(w.instances(deploy), SizeIs(0));
  EXPECT_EQ(w.row(deploy).reason, "waits for job build to complete");
  w.end(build, "build", TaskState::failed);
  EXPECT_EQ(w.row(build).result, JobResult::failed);
  EXPECT_EQ(w.row(deploy).result, JobResult::failed);
  EXPECT_EQ(w.row(deploy).reason, "never starts: job build failed");
  w.pool.submit(batch("build"), build);  // run again, it is waited for again
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.row(deploy).result, JobResult::none);
  w.end(build, "build", TaskState::completed);
  EXPECT_THAT(w.live(deploy), SizeIs(1));
  // Once released it is not held back any more.
  w.pool.submit(batch("build"), build);
  w.end(deploy, "deploy", TaskState::completed);
  EXPECT_EQ(w.row(deploy).result, JobResult::completed);
}

TEST(After, AJobThatIsGoneIsSaidToBe) {
  World w;
  const JobId build = w.pool.submit(batch("build"));
  JobSpec spec = batch("deploy");
  spec.after = {{"build", AfterCondition::complete}};
  const JobId deploy = w.pool.submit(spec);
  w.pool.edit_job(build, [](Job& j) { j.stopped = j.deleted = true; });
  ASSERT_TRUE(w.run());
  EXPECT_EQ(w.row(deploy).reason, "never starts: job build is gone");
}

TEST(After, WhoWaitsIsConcernedWhenTheOtherEnds) {
  World w;
  const JobId build = w.pool.submit(batch("build"));
  JobSpec spec = batch("deploy");
  spec.after = {{"build", AfterCondition::started}};
  const JobId deploy = w.pool.submit(spec);
  ASSERT_TRUE(w.settle());
  w.pool.commit();
  w.schedule();
  w.work();
  EXPECT_THAT(concerned_jobs(w.pool.commit()), testing::Contains(deploy));
  w.pool.edit_job(build, [](Job& j) { j.result = JobResult::failed; });
  EXPECT_THAT(concerned_jobs(w.pool.commit()), ElementsAre(build, deploy));
}

TEST(Batch, ADeadlineEndsWhatRuns) {
  World w;
  JobSpec spec = batch("slow");
  spec.deadline = seconds(100);
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  EXPECT_THAT(w.live(job), SizeIs(1));
  w.now = w.row(job).begun + seconds(100);
  ASSERT_TRUE(w.run());
  EXPECT_THAT(w.live(job), SizeIs(0));
  EXPECT_EQ(w.row(job).result, JobResult::failed);
  EXPECT_EQ(w.row(job).reason, "did not end within its deadline of 1m40s");
}

TEST(Batch, TtlRemovesWhatHasEnded) {
  World w;
  JobSpec spec = batch("short");
  spec.ttl = seconds(3600);
  const JobId job = w.pool.submit(spec);
  ASSERT_TRUE(w.run());
  w.end(job, "short", TaskState::completed);
  const Time ended = w.row(job).ended;
  EXPECT_EQ(w.ask(job).wake, ended + seconds(3600));
  w.now = ended + seconds(3600);
  w.pass(5);
  EXPECT_EQ(w.pool.s.jobs.size(), 0u);
}

// Any order without a circle: nothing starts before what it waits for allows it, and the job comes to an end.
void random_order(uint64_t seed) {
  SeededRandom random(seed);
  World w;
  JobSpec spec = batch("dag", {"t0", "t1", "t2", "t3", "t4", "t5"});
  for (size_t i = 1; i < spec.tasks.size(); ++i) {
    spec.tasks[i].reschedule.attempts = static_cast<int32_t>(random.below(2));
    for (size_t other = 0; other < i; ++other) {
      if (random.below(3) == 0)
        spec.tasks[i].after.push_back({"t" + std::to_string(other), static_cast<AfterCondition>(random.below(4))});
    }
  }
  const JobId job = w.pool.submit(spec);
  std::set<std::string> begun;
  auto state_of = [&](const std::string& group) {
    std::pair<bool, bool> out;  // completed; failed for good
    size_t failed = 0;
    for (const Instance& i : w.instances(job)) {
      if (w.pool.s.group_of(i).name != group || !i.finished) continue;
      out.first = out.first || i.state == TaskState::completed;
      failed += i.state == TaskState::failed ? 1 : 0;
    }
    const auto task = std::ranges::find(spec.tasks, group, &TaskSpec::name);
    out.second = !out.first && static_cast<int32_t>(failed) > task->reschedule.attempts;
    return out;
  };
  for (int step = 0; step < 400 && w.row(job).result == JobResult::none; ++step) {
    RC_ASSERT(w.settle());
    for (const Instance& i : w.instances(job)) {
      const std::string group = w.pool.s.group_of(i).name;
      if (!begun.insert(group).second) continue;
      for (const After& after : std::ranges::find(spec.tasks, group, &TaskSpec::name)->after) {
        const auto [completed, failed] = state_of(after.name);
        if (after.when == AfterCondition::complete) RC_ASSERT(completed);
        if (after.when == AfterCondition::failed) RC_ASSERT(!completed);
        if (after.when == AfterCondition::failed && begun.contains(after.name)) RC_ASSERT(failed);
        if (after.when == AfterCondition::ended && begun.contains(after.name)) RC_ASSERT(completed || failed);
        if (after.when == AfterCondition::started) RC_ASSERT(begun.contains(after.name));
      }
    }
    w.schedule();
    w.work();
    for (const Instance& i : w.live(job)) {
      if (i.state == TaskState::running && random.below(3) == 0)
        w.finish(i.id, random.below(3) == 0 ? TaskState::failed : TaskState::completed);
    }
    w.now = w.now + seconds(2);
  }
  RC_ASSERT(w.row(job).result != JobResult::none);
  RC_ASSERT(w.live(job).empty());
}
TEST(AfterProperty, NothingStartsTooEarlyAndEverythingEnds) {
  rc::check([] { random_order(*rc::gen::arbitrary<uint64_t>()); });
}

// A random clock, outages included: no time twice, no two at once where that is forbidden, in order.
TEST(PeriodicProperty, NoTimeTwiceAndNoOverlapWhereForbidden) {
  rc::check([] {
    SeededRandom random(*rc::gen::arbitrary<uint64_t>());
    World w;
    const auto overlap = static_cast<OverlapPolicy>(random.below(3));
    const JobId job = w.periodic("@every " + std::to_string(1 + random.below(20)) + "s", overlap);
    std::vector<Time> launched;
    for (int step = 0; step < 80; ++step) {
      w.now = w.now + seconds(static_cast<int64_t>(random.below(random.below(5) == 0 ? 500 : 10)));
      RC_ASSERT(w.settle());
      if (random.below(2) == 0) w.schedule();
      if (random.below(2) == 0) w.work();
      size_t live = 0;
      for (const Job& child : w.children(job)) {
        live += child.result == JobResult::none ? 1 : 0;
        const auto running = w.of(child.id, "nightly");
        if (running && running->state == TaskState::running && random.below(3) == 0)
          w.finish(running->id, TaskState::completed);
      }
      if (overlap != OverlapPolicy::allow) RC_ASSERT(live <= 1);
    }
    for (const LaunchChild& each : w.launches) {
      if (each.step != LaunchStep::launch) continue;
      if (!launched.empty()) RC_ASSERT(launched.back() < each.time);
      RC_ASSERT(each.time <= w.now);
      launched.push_back(each.time);
    }
    RC_ASSERT(!launched.empty() || overlap == OverlapPolicy::replace);
  });
}

}  // namespace
}  // namespace tutti::reconcile
