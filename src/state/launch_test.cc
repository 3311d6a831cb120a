// Launches and results in apply: a time is launched once, whoever asks again; what jobs wait for is found by an index.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "state/test_draft_pool.h"

namespace tutti::state {
namespace {

using ::testing::HasSubstr;

struct World : DraftPool {
  World() : DraftPool(seconds(1)) {}
  static JobSpec batch(const std::string& name) {
    JobSpec spec;
    spec.job = name;
    spec.type = JobType::batch;
    TaskSpec task;
    task.name = "main";
    task.driver = "fake";
    spec.tasks.push_back(task);
    return spec;
  }
  Result<Outcome> submit(const JobSpec& spec) { return run(SubmitJob{spec, project, {}, {}}); }
  JobId must(const JobSpec& spec) {
    auto out = submit(spec);
    EXPECT_TRUE(out) << out.error().to_string();
    return out ? JobId{out->id} : JobId{};
  }
  JobId periodic(OverlapPolicy overlap = OverlapPolicy::allow) {
    JobSpec spec = batch("nightly");
    spec.periodic = PeriodicSpec{.cron = "@every 1h", .overlap = overlap};
    return must(spec);
  }
  const Job& row(JobId id) const { return *at->jobs.find(id.value); }
  std::vector<Job> children(JobId id) const {
    std::vector<Job> out;
    if (const IdSet* ids = at->children.find(id.value))
      ids->for_each([&](uint64_t child, const Unit&) { out.push_back(*at->jobs.find(child)); });
    return out;
  }
  void launch(JobId parent, Time time, LaunchStep step = LaunchStep::launch) {
    Actions actions;
    actions.launches.push_back({parent, row(parent).active_version, step, time, "because"});
    EXPECT_TRUE(run(ApplyActions{actions}));
  }
  void end(JobId id, JobResult result) {
    Actions actions;
    actions.jobs.push_back({.job = id, .result = result});
    EXPECT_TRUE(run(ApplyActions{actions}));
  }
  std::string refusal(const Result<Outcome>& out) { return out ? "taken" : out.error().to_string(); }
};

TEST(StateLaunch, ATimeIsLaunchedOnceWhoeverAsksAgain) {
  World pool;
  const JobId parent = pool.periodic();
  EXPECT_EQ(pool.row(parent).launches.seen, pool.now) << "what came before it was there was not missed";
  const Time time = pool.now + seconds(100);
  pool.launch(parent, time);
  pool.launch(parent, time);
  pool.launch(parent, time - seconds(50));
  ASSERT_EQ(pool.children(parent).size(), 1u);
  const Job child = pool.children(parent)[0];
  EXPECT_EQ(child.launched_for, time);
  EXPECT_EQ(child.name, "nightly-" + std::to_string(time.ns / 1'000'000'000));
  EXPECT_EQ(pool.row(parent).launches.last, time);
  const JobSpec& spec = *pool.at->version_of(child.id, 1)->spec;
  EXPECT_FALSE(is_parent(spec));
  EXPECT_EQ(spec.tasks, pool.at->version_of(parent, 1)->spec->tasks);
}

TEST(StateLaunch, WhatIsLeftOutIsSeenAndTold) {
  World pool;
  const JobId parent = pool.periodic();
  const Time time = pool.now + seconds(100);
  pool.launch(parent, time, LaunchStep::leave_out);
  pool.launch(parent, time);
  EXPECT_TRUE(pool.children(parent).empty());
  bool told = false;
  pool.at->events.for_each(
      [&](uint64_t, const Event& e) { told = told || (e.type == "job.left-out" && e.message.ends_with("because")); });
  EXPECT_TRUE(told);
}

TEST(StateLaunch, AForcedOneInBetweenHoldsForbiddenOverlapBack) {
  World pool;
  const JobId parent = pool.periodic(OverlapPolicy::forbid);
  ASSERT_TRUE(pool.run(ForceJob{parent}));
  pool.launch(parent, pool.now + seconds(100));
  EXPECT_EQ(pool.children(parent).size(), 1u);
  EXPECT_THAT(pool.refusal(pool.run(ForceJob{parent})), HasSubstr("still runs"));
  pool.end(pool.children(parent)[0].id, JobResult::completed);
  ASSERT_TRUE(pool.run(ForceJob{parent}));
  EXPECT_EQ(pool.children(parent).size(), 2u);
}

TEST(StateLaunch, ForcedWithReplaceWaitsForTheEarlierOne) {
  World pool;
  const JobId parent = pool.periodic(OverlapPolicy::replace);
  ASSERT_TRUE(pool.run(ForceJob{parent}));
  ASSERT_TRUE(pool.run(ForceJob{parent}));
  const Time waiting = pool.row(parent).launches.waiting;
  EXPECT_EQ(waiting, pool.now);
  pool.launch(parent, waiting);
  EXPECT_EQ(pool.children(parent).size(), 1u);
  pool.end(pool.children(parent)[0].id, JobResult::stopped);
  pool.launch(parent, waiting);
  ASSERT_EQ(pool.children(parent).size(), 2u);
  EXPECT_EQ(pool.children(parent)[1].launch, LaunchKind::forced);
  EXPECT_EQ(pool.row(parent).launches.waiting, Time{});
}

TEST(StateLaunch, AStartCountsFromThen) {
  World pool;
  const JobId parent = pool.periodic();
  ASSERT_TRUE(pool.run(SetJobStopped{parent, true}));
  EXPECT_THAT(pool.refusal(pool.run(ForceJob{parent})), HasSubstr("stopped"));
  pool.now = pool.now + seconds(86'400);
  ASSERT_TRUE(pool.run(SetJobStopped{parent, false}));
  EXPECT_EQ(pool.row(parent).launches.seen, pool.now);
  // Another version with the same schedule goes on where it was, one with another begins anew.
  const Time seen = pool.row(parent).launches.seen;
  JobSpec spec = *pool.at->version_of(parent, 1)->spec;
  spec.tasks[0].env["V"] = "2";
  pool.must(spec);
  EXPECT_EQ(pool.row(parent).launches.seen, seen);
  spec.periodic->cron = "@hourly";
  pool.must(spec);
  EXPECT_EQ(pool.row(parent).launches.seen, pool.now);
}

TEST(StateLaunch, ADispatchTakesWhatTheParentAsksFor) {
  World pool;
  JobSpec spec = World::batch("convert");
  spec.meta["site"] = "zurich";
  spec.parameterized = ParameterizedSpec{PayloadRule::required, {"format"}, {"quality"}};
  const JobId parent = pool.must(spec);
  const std::string wrong = pool.refusal(pool.run(DispatchJob{parent, {{"colour", "red"}}, ""}));
  EXPECT_THAT(wrong, HasSubstr("meta.format"));
  EXPECT_THAT(wrong, HasSubstr("meta.colour"));
  EXPECT_THAT(wrong, HasSubstr("payload"));
  EXPECT_THAT(pool.refusal(pool.run(DispatchJob{parent, {{"format", "pdf"}}, "!"})), HasSubstr("not base64"));
  const std::string large((limits::kPayloadBytesMax / 3 + 1) * 4, 'A');
  EXPECT_THAT(pool.refusal(pool.run(DispatchJob{parent, {{"format", "pdf"}}, large})), HasSubstr("kPayloadBytesMax"));
  EXPECT_THAT(pool.refusal(pool.run(ForceJob{parent})), HasSubstr("job dispatch"));
  const CommandMeta once{"user:ana", "key", "hash"};
  auto out = pool.run(DispatchJob{parent, {{"format", "pdf"}}, "aGVsbG8="}, once);
  ASSERT_TRUE(out);
  EXPECT_EQ(pool.run(DispatchJob{parent, {{"format", "pdf"}}, "aGVsbG8="}, once)->id, out->id);
  ASSERT_EQ(pool.children(parent).size(), 1u);
  const Job child = pool.children(parent)[0];
  EXPECT_EQ(child.id.value, out->id);
  EXPECT_EQ(child.creator, "user:ana");
  const JobSpec& launched = *pool.at->version_of(child.id, 1)->spec;
  EXPECT_EQ(launched.meta, (std::map<std::string, std::string>{{"site", "zurich"}, {"format", "pdf"}}));
  EXPECT_EQ(launched.payload, "aGVsbG8=");
  EXPECT_THAT(pool.refusal(pool.submit(World::batch(child.name))), HasSubstr("launched by another job"));
  EXPECT_THAT(pool.refusal(pool.submit(World::batch("convert"))), HasSubstr("cannot become, or cease to be"));
}

TEST(StateAfter, JobsThatAreWaitedForAreThereAndFormNoCircle) {
  World pool;
  JobSpec second = World::batch("second");
  second.after = {{"first", AfterCondition::complete}};
  EXPECT_THAT(pool.refusal(pool.submit(second)), HasSubstr("no job \"first\""));
  const JobId first = pool.must(World::batch("first"));
  const JobId id = pool.must(second);
  EXPECT_EQ(pool.row(id).waits_for, std::vector<JobId>{first});
  EXPECT_TRUE(pool.at->waiters.find(first.value)->contains(id.value));
  JobSpec third = World::batch("third");
  third.after = {{"second", AfterCondition::ended}};
  pool.must(third);
  JobSpec closing = World::batch("first");
  closing.after = {{"third", AfterCondition::failed}};
  EXPECT_THAT(pool.refusal(pool.submit(closing)), HasSubstr("first -> third -> second -> first"));
  // A version that waits for nothing any more takes the index along.
  pool.must(World::batch("second"));
  EXPECT_FALSE(pool.at->waiters.contains(first.value));
  EXPECT_EQ(pool.refusal(pool.submit(closing)), "taken");
}

TEST(StateAfter, WhatNeverEndsIsNotWaitedFor) {
  World pool;
  pool.periodic();
  JobSpec service = World::batch("shop");
  service.type = JobType::service;
  pool.must(service);
  JobSpec spec = World::batch("other");
  spec.after = {{"nightly", AfterCondition::complete}};
  EXPECT_THAT(pool.refusal(pool.submit(spec)), HasSubstr("never ends"));
  spec.after = {{"shop", AfterCondition::complete}};
  EXPECT_THAT(pool.refusal(pool.submit(spec)), HasSubstr("when: started"));
  spec.after[0].when = AfterCondition::started;
  EXPECT_EQ(pool.refusal(pool.submit(spec)), "taken");
}

TEST(StateAfter, ANewVersionOrAStartHasNoResultYet) {
  World pool;
  const JobId job = pool.must(World::batch("build"));
  pool.end(job, JobResult::failed);
  EXPECT_EQ(pool.row(job).ended, pool.now);
  pool.must(World::batch("build"));
  EXPECT_EQ(pool.row(job).result, JobResult::none);
  EXPECT_EQ(pool.row(job).ended, Time{});
  EXPECT_EQ(pool.row(job).begun, pool.now);
}

// ---- what a project allows is asked whenever something new is launched

struct Consent : World {
  void allow(bool privileged) {
    Project row = *at->projects.find(project.value);
    row.allow_privileged = privileged;
    EXPECT_TRUE(run(PutProject{row}));
  }
  static JobSpec privileged(const std::string& name) {
    JobSpec spec = batch(name);
    spec.tasks[0].security.privileged = true;
    return spec;
  }
  std::string last_event() const { return at->events.find(at->events.last_key())->message; }
};

TEST(StateConsent, TakenBackItStopsDispatchesAndLaunches) {
  Consent pool;
  JobSpec spec = Consent::privileged("tool");
  spec.parameterized.emplace();
  EXPECT_EQ(pool.submit(spec).error().code, ErrorCode::forbidden);
  pool.allow(true);
  const JobId tool = pool.must(spec);
  spec.job = "nightly";
  spec.parameterized.reset();
  spec.periodic = PeriodicSpec{.cron = "@every 1h", .overlap = OverlapPolicy::allow};
  const JobId nightly = pool.must(spec);
  ASSERT_TRUE(pool.run(DispatchJob{tool, {}, {}}));
  ASSERT_TRUE(pool.run(ForceJob{nightly}));
  pool.allow(false);
  EXPECT_THAT(pool.refusal(pool.run(DispatchJob{tool, {}, {}})), HasSubstr("project default does not allow job tool"));
  EXPECT_EQ(pool.run(ForceJob{nightly}).error().code, ErrorCode::forbidden);
  pool.launch(nightly, pool.now + seconds(100));
  EXPECT_EQ(pool.children(nightly).size(), 1u);
  EXPECT_THAT(pool.last_event(), HasSubstr("project default does not allow"));
  EXPECT_EQ(pool.children(tool).size(), 1u);
  pool.allow(true);
  pool.launch(nightly, pool.now + seconds(100));
  EXPECT_EQ(pool.children(nightly).size(), 2u);
}

TEST(StateConsent, TakenBackItStopsStartsScalesAndActivations) {
  Consent pool;
  pool.allow(true);
  JobSpec spec = Consent::privileged("shop");
  spec.type = JobType::service;
  spec.tasks[0].count = 2;
  const JobId shop = pool.must(spec);
  spec.job = "late";
  spec.tasks[0].image = "far/away:1";
  const JobId late = pool.must(spec);
  pool.allow(false);
  EXPECT_EQ(pool.run(ScaleJob{shop, "", 3}).error().code, ErrorCode::forbidden);
  EXPECT_TRUE(pool.run(ScaleJob{shop, "", 1})) << "less is always right";
  EXPECT_EQ(pool.run(ScaleJob{shop, "", 2}).error().code, ErrorCode::forbidden);
  EXPECT_TRUE(pool.run(SetJobStopped{shop, true}));
  EXPECT_EQ(pool.run(SetJobStopped{shop, false}).error().code, ErrorCode::forbidden);
  const JobVersion* version = pool.at->version_of(late, 1);
  ASSERT_EQ(version->state, VersionState::resolving);
  ASSERT_TRUE(pool.run(ActivateVersion{version->id, {{"far/away:1", "far/away@sha256:1"}}, {}}));
  EXPECT_EQ(pool.at->version_of(late, 1)->state, VersionState::failed);
  EXPECT_THAT(pool.at->version_of(late, 1)->error, HasSubstr("does not allow"));
  pool.allow(true);
  EXPECT_TRUE(pool.run(SetJobStopped{shop, false}));
}

TEST(StateConsent, TakenBackItStopsRestartsOfOneInstance) {
  Consent pool;
  pool.allow(true);
  JobSpec spec = Consent::privileged("shop");
  spec.type = JobType::service;
  Actions actions;
  actions.create.push_back({pool.must(spec), 1, 0, 0, {}, {}, 0, {}});
  ASSERT_TRUE(pool.run(ApplyActions{actions}));
  const InstanceId id{pool.at->instances.last_key()};
  pool.allow(false);
  EXPECT_EQ(pool.run(OperateInstance{id, InstanceVerb::restart}).error().code, ErrorCode::forbidden);
  EXPECT_TRUE(pool.run(OperateInstance{id, InstanceVerb::stop}));
  EXPECT_EQ(pool.run(OperateInstance{id, InstanceVerb::start}).error().code, ErrorCode::forbidden);
}

}  // namespace
}  // namespace tutti::state
