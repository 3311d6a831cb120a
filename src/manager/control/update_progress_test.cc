// J13: how far an update is, and why it went back, as its operation says.
#include <gmock/gmock.h>

#include "manager/control/operations.h"
#include "model/test_pool.h"
#include "state/test_draft_pool.h"

namespace tutti::manager {
namespace {

struct Upd : ::testing::Test {
  TestPool pool;
  NodeId node = pool.add_node({{8'000}, {8LL << 30}, {}});
  JobId job = pool.submit(TestPool::service("upd", 3));
  std::vector<InstanceId> old;

  Upd() {
    for (uint32_t slot = 0; slot < 3; ++slot) old.push_back(run(slot));
    JobSpec next = TestPool::service("upd", 3);
    next.labels["new"] = "yes";
    pool.submit(next, job);
  }
  // A running one of the newest version.
  InstanceId run(uint32_t slot, bool beside = false) {
    const InstanceId id = pool.add_pending(job, slot);
    pool.place(id, node);
    pool.edit_instance(id, [&](Instance& row) { row.beside = beside; });
    return id;
  }
  void ends(InstanceId id) {
    pool.edit_instance(id, [](Instance& row) {
      row.finished = true;
      row.desired = Desired::removed;
    });
  }
  state::UpdateOperation measured(uint32_t version = 2) {
    Operation operation;
    operation.kind = "job.promote";
    operation.target = job.value;
    operation.target_version = version;
    operation.created = pool.s.now;
    return measure(pool.s, operation, pool.s.now).value();
  }
};

TEST_F(Upd, ACanaryIsOneOfTheNewAndNoneOfTheOld) {
  run(0, true);
  EXPECT_EQ(measured().message, "1 of 3 running, 3 old ones left");
  EXPECT_EQ(measured().done, 1);
  ends(old[0]);
  EXPECT_EQ(measured().message, "1 of 3 running, 2 old ones left");
  ends(old[1]);
  ends(old[2]);
  run(1);
  EXPECT_EQ(measured().message, "2 of 3 running");
  EXPECT_EQ(measured().state, OperationState::running);
  run(2);
  EXPECT_EQ(measured().state, OperationState::succeeded);
}

TEST_F(Upd, WhatMovesCountsOnce) {
  for (InstanceId id : old) ends(id);
  run(0);
  run(1);
  run(0, true);  // slot 0 moves, slot 2 has none yet
  EXPECT_EQ(measured().message, "2 of 3 running");
  EXPECT_EQ(measured().state, OperationState::running);
}

TEST_F(Upd, ASuccessorThatWaitsForANodeIsSaid) {
  pool.edit_instance(pool.add_pending(job, 0), [](Instance& row) { row.beside = true; });
  EXPECT_EQ(measured().message, "0 of 3 running, 1 waiting for a node, 3 old ones left");
}

struct Reverted : ::testing::Test, state::DraftPool {
  JobId job;

  Reverted() : DraftPool(Duration{}) {
    submit(1);
    told({.state = DeploymentState::succeeded});
    submit(2);
  }
  void submit(int64_t count) {
    JobSpec spec = TestPool::service("upd", count);
    job = JobId{run(state::SubmitJob{spec, project, {}, {}})->id};
  }
  void told(ChangeDeployment step) {
    step.job = job;
    step.version = at->jobs.find(job.value)->deployment.version;
    state::ApplyActions command;
    command.actions.deployments.push_back(std::move(step));
    EXPECT_TRUE(run(command));
  }
  const std::string& error_of(uint32_t version) const { return at->version_of(job, version)->error; }
  state::UpdateOperation submitted(uint32_t version, const char* kind = "job.submit") {
    Operation operation;
    operation.kind = kind;
    operation.target = job.value;
    operation.target_version = version;
    return measure(*at, operation, now).value();
  }
};

TEST_F(Reverted, AnUpdateThatIsRevertedSaysWhy) {
  told({.state = DeploymentState::failed, .revert = true, .reason = "nothing more became healthy within 30s"});
  ASSERT_EQ(at->jobs.find(job.value)->version, 3u);
  const state::UpdateOperation end = submitted(2);
  EXPECT_EQ(end.state, OperationState::failed);
  EXPECT_EQ(end.message, "version 2: nothing more became healthy within 30s; version 3 brings back what served before");
  EXPECT_EQ(error_of(1) + error_of(3), "");
}

// It was under way beside the update; that this failed is not what became of it.
TEST_F(Reverted, AScaleOfAVersionThatFailedIsSuperseded) {
  told({.state = DeploymentState::failed, .reason = "late"});
  submit(3);
  EXPECT_EQ(submitted(2).message, "version 2: late; superseded by version 3");
  for (const char* kind : {"job.scale", "job.start"}) {
    const state::UpdateOperation end = submitted(2, kind);
    EXPECT_EQ(end.state, OperationState::cancelled);
    EXPECT_EQ(end.message, "superseded by version 3");
  }
}

TEST_F(Reverted, AFailureStaysWithItsVersionUntilItServesAfterAll) {
  told({.state = DeploymentState::failed, .reason = "late"});
  EXPECT_EQ(error_of(2), "late");
  told({.state = DeploymentState::succeeded});
  EXPECT_EQ(error_of(2), "");
  submit(3);
  const state::UpdateOperation end = submitted(2);
  EXPECT_EQ(end.state, OperationState::cancelled);
  EXPECT_EQ(end.message, "superseded by version 3");
}

}  // namespace
}  // namespace tutti::manager
