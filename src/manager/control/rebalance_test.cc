// S08: a rebalance from its plan to its end, with the real state, reconcile and scheduler, and workers that do what
// they are told. Nothing is remembered outside of the state: between any two commits the manager may have been another
// one.
#include "manager/control/rebalance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "manager/control/operations.h"
#include "model/codec.h"
#include "reconcile/reconcile.h"
#include "scheduler/rebalance.h"
#include "scheduler/scheduler.h"
#include "state/test_draft_pool.h"

namespace tutti::manager {
namespace {

using ::testing::HasSubstr;
using namespace state;

struct World : ::testing::Test, DraftPool {
  std::vector<NodeId> nodes;
  std::vector<uint64_t> sessions;
  std::set<NodeId> broken;  // what is placed there never runs
  int64_t under_way_most = 0;

  World() : DraftPool(Duration{}) {
    Token token;
    token.kind = TokenKind::join;
    token.uses_left = -1;
    const auto made = run(CreateToken{token});
    for (int i = 0; i < 3; ++i) {
      const std::string key = "key" + std::to_string(i);
      nodes.push_back(NodeId{run(JoinNode{TokenId{made->id}, "", key})->id});
      Inventory inventory;
      inventory.capacity = {{4'000}, {4LL << 30}, {10LL << 30}};
      inventory.drivers = {{"fake", "1", true, ""}};
      sessions.push_back(run(BeginSession{nodes.back(), key, inventory, {}})->number);
    }
  }
  JobId submit(const std::string& name, int64_t count, int32_t max_unavailable = 1, JobType type = JobType::service) {
    JobSpec spec;
    spec.job = name;
    spec.type = type;
    spec.update.min_healthy_time = seconds(2);
    spec.disruption.max_unavailable = max_unavailable;
    TaskSpec task;
    task.name = "main";
    task.driver = "fake";
    task.count = count;
    task.resources = {{500}, {256 << 20}, {}};
    spec.tasks.push_back(task);
    return JobId{run(SubmitJob{spec, project, {}, {}})->id};
  }
  void eligible(size_t node, Eligibility eligibility) {
    NodeSpec spec = at->nodes.find(nodes[node].value)->spec;
    spec.eligibility = eligibility;
    EXPECT_TRUE(run(UpdateNode{nodes[node], spec, {}}));
  }
  // One on each node, by shutting out the others.
  void scatter(const std::vector<std::pair<std::string, size_t>>& where) {
    for (const auto& [name, node] : where) {
      for (size_t i = 0; i < nodes.size(); ++i) eligible(i, i == node ? Eligibility::eligible : Eligibility::cordoned);
      const Job* known = at->job_by_name(project, name);
      if (known == nullptr)
        submit(name, 1);
      else
        EXPECT_TRUE(run(ScaleJob{known->id, "", static_cast<int64_t>(of(known->id).size()) + 1}));
      turns(12);
    }
    for (size_t i = 0; i < nodes.size(); ++i) eligible(i, Eligibility::eligible);
  }
  std::vector<Instance> of(JobId job) const {
    std::vector<Instance> out;
    at->instances.for_each([&](uint64_t, const Instance& i) {
      if (i.job == job && !i.finished && i.desired == Desired::running) out.push_back(i);
    });
    return out;
  }
  size_t on(size_t node) const {
    size_t out = 0;
    at->instances.for_each([&](uint64_t, const Instance& i) { out += i.node == nodes[node] && !i.finished ? 1 : 0; });
    return out;
  }
  void work() {
    for (size_t n = 0; n < nodes.size(); ++n) {
      std::vector<InstanceReport> reports;
      at->instances.for_each([&](uint64_t, const Instance& i) {
        if (i.node != nodes[n] || i.cleared || !i.admitted) return;
        InstanceReport report{i.id, i.detail->tasks, "", i.desired == Desired::removed};
        const bool stuck = broken.contains(i.node);
        for (TaskStatus& task : report.tasks)
          if (!stuck && task.position.state < TaskState::running)
            task.position = {i.generation, 1, TaskState::running}, task.started = now;
        reports.push_back(std::move(report));
      });
      EXPECT_TRUE(run(ReportStatus{nodes[n], sessions[n], std::move(reports)}));
    }
  }
  // Everybody looks once at what there is. Whoever serves now has never been fewer than `least`.
  void turn(JobId watched = {}, size_t least = 0) {
    std::vector<OperationId> operations;
    at->operations.for_each([&](uint64_t id, const Operation&) { operations.push_back(OperationId{id}); });
    for (const OperationId id : operations) {
      const auto before = at;  // twice from the same look: the second changes nothing
      for (int twice = 0; twice < 2; ++twice)
        if (auto update = measure(*before, *before->operations.find(id.value), now)) EXPECT_TRUE(run(*update));
      const Operation& row = *at->operations.find(id.value);
      const auto stored = from_json<Operation>(to_json(row), {});  // all that the next manager has
      EXPECT_TRUE(stored && stored->rebalance == row.rebalance);
      int64_t under_way = 0;
      if (row.rebalance)
        for (const Move& move : row.rebalance->moves) under_way += move.state == MoveState::moving ? 1 : 0;
      under_way_most = std::max(under_way_most, under_way);
    }
    std::vector<JobId> jobs;
    at->jobs.for_each([&](uint64_t id, const Job&) { jobs.push_back(JobId{id}); });
    for (const JobId job : jobs) {
      const Actions actions = reconcile::reconcile(*at, job, now);
      if (!actions.empty()) EXPECT_TRUE(run(ApplyActions{actions}));
    }
    auto scheduler = scheduler::make_scheduler();
    scheduler->rebuild(at);
    EXPECT_TRUE(run(ApplyPlan{scheduler->schedule_all_pending(1, now, 100)}));
    work();
    if (watched) {
      size_t serving = 0;
      at->instances.for_each([&](uint64_t, const Instance& i) {
        serving +=
            i.job == watched && !i.finished && i.state == TaskState::running && i.desired == Desired::running ? 1 : 0;
      });
      EXPECT_GE(serving, least);
    }
    now = now + seconds(1);
  }
  void turns(int count, JobId watched = {}, size_t least = 0) {
    for (int i = 0; i < count; ++i) turn(watched, least);
  }
  OperationId start(scheduler::RebalanceWish wish = {}, int32_t parallel = 2) {
    auto out = run(StartRebalance{{parallel, wish.include_batch, scheduler::propose_rebalance(*at, wish).moves}});
    EXPECT_TRUE(out) << out.error().to_string();
    return out->operation;
  }
  const Operation& row(OperationId id) const { return *at->operations.find(id.value); }
};

TEST_F(World, EmptiesANodeAndNeverServesWithLess) {
  scatter({{"web", 0}, {"web", 0}, {"web", 0}, {"web", 1}, {"web", 1}, {"web", 2}});
  const JobId job = at->job_by_name(project, "web")->id;
  ASSERT_EQ(on(0), 3u);
  const auto before = at;
  const auto plan = scheduler::propose_rebalance(*at, {});
  EXPECT_EQ(at, before) << "a plan changes nothing";
  ASSERT_EQ(plan.moves.size(), 3u);
  const OperationId id = start();
  turns(60, job, 6);
  EXPECT_EQ(row(id).state, OperationState::succeeded) << row(id).message;
  EXPECT_EQ(row(id).message, "3 of 3 moved");
  EXPECT_EQ(on(0), 6u);
  EXPECT_EQ(on(1) + on(2), 0u);
  EXPECT_EQ(under_way_most, 1) << "the job allows one at a time";
  EXPECT_TRUE(scheduler::propose_rebalance(*at, {}).moves.empty()) << "there is nothing left to do";
  for (const Instance& i : of(job)) EXPECT_FALSE(i.pinned || i.beside);
}

TEST_F(World, NoMoreAtATimeThanAskedFor) {
  scatter({{"a", 0}, {"b", 0}, {"c", 0}, {"d", 0}, {"e", 1}, {"f", 1}, {"g", 1}});
  const OperationId id = start({}, 2);
  turns(60);
  EXPECT_EQ(row(id).state, OperationState::succeeded) << row(id).message;
  EXPECT_EQ(under_way_most, 2);
  EXPECT_EQ(on(1), 0u);
}

TEST_F(World, OneAtATimeInThePool) {
  scatter({{"a", 0}, {"b", 0}, {"c", 1}});
  const OperationId id = start();
  const auto second = run(StartRebalance{});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::conflict);
  EXPECT_THAT(second.error().message, HasSubstr(to_text(id)));
}

TEST_F(World, NoMoreMovesThanTheLimit) {
  Rebalance much;
  much.moves.resize(limits::kRebalanceMovesMax + 1);
  const auto refused = run(StartRebalance{much});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("kRebalanceMovesMax"));
}

TEST_F(World, NothingToMoveEndsAtOnce) {
  const OperationId id = start();
  turn();
  EXPECT_EQ(row(id).state, OperationState::succeeded);
  EXPECT_EQ(row(id).message, "nothing to move");
}

TEST_F(World, AStaleMoveIsDroppedWithAReason) {
  scatter({{"a", 0}, {"b", 0}, {"c", 1}});
  const OperationId id = start();
  EXPECT_TRUE(run(SetJobStopped{at->job_by_name(project, "c")->id, true}));
  turns(5);
  EXPECT_EQ(row(id).state, OperationState::failed);
  EXPECT_EQ(row(id).rebalance->moves[0].state, MoveState::dropped);
  EXPECT_THAT(row(id).message, HasSubstr("c-main-0: its job is stopped"));
}

TEST_F(World, WhatChangedInTheVeryCommitIsDropped) {
  scatter({{"a", 0}, {"b", 0}, {"c", 1}});
  const OperationId id = start();
  const auto looked = at;
  EXPECT_TRUE(run(SetJobStopped{at->job_by_name(project, "c")->id, true}));
  const auto update = measure(*looked, *looked->operations.find(id.value), now);
  ASSERT_TRUE(update);
  ASSERT_EQ(update->moves.size(), 1u);
  EXPECT_EQ(update->moves[0].state, MoveState::moving);
  EXPECT_TRUE(run(*update));
  EXPECT_EQ(row(id).rebalance->moves[0].state, MoveState::dropped);
  EXPECT_THAT(row(id).rebalance->moves[0].reason, HasSubstr("changed"));
}

TEST_F(World, ANodeWithoutRoomAnyMoreIsLeftAlone) {
  scatter({{"a", 0}, {"b", 0}, {"c", 1}});
  const OperationId id = start();
  eligible(0, Eligibility::cordoned);
  turns(5);
  EXPECT_EQ(row(id).state, OperationState::failed);
  EXPECT_THAT(row(id).message, HasSubstr("cordoned"));
  EXPECT_EQ(on(1), 1u);
}

TEST_F(World, AMoveThatDoesNotBecomeHealthyLeavesTheOldOneServing) {
  scatter({{"a", 0}, {"b", 0}, {"c", 1}});
  const JobId job = at->job_by_name(project, "c")->id;
  broken.insert(nodes[0]);
  const OperationId id = start();
  turns(340, job, 1);
  EXPECT_EQ(row(id).state, OperationState::failed) << row(id).message;
  EXPECT_THAT(row(id).message, HasSubstr("did not become healthy"));
  EXPECT_EQ(of(job).size(), 1u);
  EXPECT_EQ(of(job)[0].node, nodes[1]);
}

TEST_F(World, CancelledItEndsWhenWhatIsUnderWayHas) {
  scatter({{"web", 0}, {"web", 0}, {"web", 0}, {"web", 1}, {"web", 1}});
  const JobId job = at->job_by_name(project, "web")->id;
  const OperationId id = start();
  turns(2, job, 5);
  EXPECT_TRUE(run(CancelOperation{id}));
  turns(40, job, 5);
  EXPECT_EQ(row(id).state, OperationState::cancelled);
  EXPECT_EQ(on(1), 1u) << "the one under way has moved, the other stays";
  EXPECT_THAT(row(id).message, HasSubstr("1 of 2 moved"));
}

TEST_F(World, BatchWorkIsMovedOnlyWhenAskedAndStartsOver) {
  scatter({{"a", 0}, {"b", 0}});
  for (size_t i = 0; i < 3; ++i) eligible(i, i == 1 ? Eligibility::eligible : Eligibility::cordoned);
  const JobId job = submit("work", 1, 1, JobType::batch);
  turns(8);
  for (size_t i = 0; i < 3; ++i) eligible(i, Eligibility::eligible);
  ASSERT_EQ(on(1), 1u);
  for (const Move& move : scheduler::propose_rebalance(*at, {}).moves) EXPECT_NE(move.from, nodes[1]);
  const OperationId id = start({.include_batch = true});
  turns(20);
  EXPECT_EQ(row(id).state, OperationState::succeeded) << row(id).message;
  ASSERT_EQ(of(job).size(), 1u);
  EXPECT_EQ(of(job)[0].node, nodes[0]);
  EXPECT_EQ(on(1), 0u);
}

}  // namespace
}  // namespace tutti::manager
