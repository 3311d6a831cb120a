// When what a user asked of an instance has ended, and how.
#include "manager/control/operations.h"

#include <gtest/gtest.h>

#include "state/test_draft_pool.h"

namespace tutti::manager {
namespace {

using namespace state;

// One instance that runs. What reconcile would decide is said here.
struct Asked : ::testing::Test, DraftPool {
  NodeId node;
  InstanceId id;

  Asked() : DraftPool(Duration{}) {
    Inventory inventory;
    inventory.capacity = {{4'000}, {4LL << 30}, {10LL << 30}};
    inventory.drivers = {{"fake", "1", true, ""}};
    node = join(inventory);
    JobSpec spec;
    spec.job = "box";
    TaskSpec task;
    task.name = "main";
    task.driver = "fake";
    spec.tasks.push_back(task);
    const JobId job{run(SubmitJob{spec, project, {}, {}})->id};
    Actions make;
    make.create.push_back({.job = job, .job_version = 1});
    EXPECT_TRUE(run(ApplyActions{make}));
    at->instances.for_each([&](uint64_t each, const Instance&) { id = InstanceId{each}; });
    Plan plan;
    plan.based_on = at->revision;
    plan.placements.push_back({.instance = id, .node = node});
    EXPECT_TRUE(run(ApplyPlan{plan}));
    report(TaskState::running);
  }
  const Instance& row() const { return *at->instances.find(id.value); }
  void report(TaskState state) {
    InstanceReport told;
    told.instance = id;
    TaskStatus task;
    task.task = "main";
    task.position = {row().generation, 1, state};
    task.final = is_terminal(state);
    told.tasks.push_back(task);
    EXPECT_TRUE(run(ReportStatus{node, at->nodes.find(node.value)->session, {told}, {}}));
    EXPECT_EQ(row().state, state);
  }
  void decide(Desired desired, bool start_over = false) {
    Actions actions;
    actions.change.push_back({.instance = id, .desired = desired, .start_over = start_over});
    EXPECT_TRUE(run(ApplyActions{actions}));
  }
  OperationId ask(InstanceVerb verb) {
    const auto out = run(OperateInstance{id, verb});
    EXPECT_TRUE(out) << out.error().to_string();
    return out ? out->operation : OperationId{};
  }
  OperationState state_of(OperationId operation) {
    if (auto update = measure(*at, *at->operations.find(operation.value), now)) EXPECT_TRUE(run(*update));
    return at->operations.find(operation.value)->state;
  }
  std::string message_of(OperationId operation) const { return at->operations.find(operation.value)->message; }
};

TEST_F(Asked, AResumeIsDoneWhenItRunsAgainAndNotBefore) {
  const OperationId suspend = ask(InstanceVerb::suspend);
  decide(Desired::suspended);
  const OperationId resume = ask(InstanceVerb::resume);
  EXPECT_EQ(state_of(suspend), OperationState::cancelled);
  EXPECT_EQ(message_of(suspend), "superseded by instance.resume");
  EXPECT_EQ(state_of(resume), OperationState::running) << "it is still being suspended";
  report(TaskState::suspended);
  EXPECT_EQ(state_of(resume), OperationState::running);
  decide(Desired::running, true);
  EXPECT_EQ(state_of(resume), OperationState::running) << "it waits for its node";
}

TEST_F(Asked, AStopThatIsTakenBackEndsItsOperation) {
  const OperationId stop = ask(InstanceVerb::stop);
  EXPECT_EQ(state_of(stop), OperationState::running);
  const OperationId start = ask(InstanceVerb::start);
  EXPECT_EQ(state_of(stop), OperationState::cancelled);
  EXPECT_EQ(state_of(start), OperationState::succeeded) << "nothing was told to stop yet";
  const OperationId again = ask(InstanceVerb::stop);
  decide(Desired::stopped);
  const OperationId remove = ask(InstanceVerb::delete_);
  EXPECT_EQ(state_of(again), OperationState::cancelled);
  EXPECT_EQ(message_of(again), "superseded by instance.delete");
  report(TaskState::stopped);
  EXPECT_EQ(state_of(remove), OperationState::succeeded);
}

TEST_F(Asked, ARestartOfWhatIsStoppingStartsOverOnceItHasStopped) {
  ask(InstanceVerb::stop);
  decide(Desired::stopped);
  const OperationId restart = ask(InstanceVerb::restart);
  EXPECT_EQ(row().generation, 1u);
  report(TaskState::stopped);
  EXPECT_EQ(state_of(restart), OperationState::running);
  decide(Desired::running, true);
  EXPECT_EQ(row().generation, 2u);
}

TEST_F(Asked, ASuspendOfWhatEndedBeforeHasFailed) {
  const OperationId suspend = ask(InstanceVerb::suspend);
  decide(Desired::suspended);
  report(TaskState::stopped);
  EXPECT_EQ(state_of(suspend), OperationState::failed);
}

TEST_F(Asked, ADrainIsDoneOnceWhatWasLeftAtItsDeadlineHasStopped) {
  NodeSpec spec = at->nodes.find(node.value)->spec;
  spec.eligibility = Eligibility::draining;
  spec.drain_deadline = now + seconds(60);
  const OperationId drain = run(UpdateNode{node, spec, {}})->operation;
  EXPECT_EQ(state_of(drain), OperationState::running);
  EXPECT_EQ(message_of(drain), "1 instance left");
  now = spec.drain_deadline + seconds(1);
  EXPECT_EQ(state_of(drain), OperationState::running) << "it is being stopped";
  EXPECT_EQ(message_of(drain), "the deadline has passed, stopping what is left: 1 instance left");
  decide(Desired::stopped);
  report(TaskState::stopped);
  EXPECT_EQ(state_of(drain), OperationState::succeeded) << message_of(drain);
}

TEST_F(Asked, ADrainWhoseInstancesDoNotStopHasFailed) {
  NodeSpec spec = at->nodes.find(node.value)->spec;
  spec.eligibility = Eligibility::draining;
  spec.drain_deadline = now + seconds(60);
  const OperationId drain = run(UpdateNode{node, spec, {}})->operation;
  now = spec.drain_deadline + seconds(601);
  EXPECT_EQ(state_of(drain), OperationState::failed);
  EXPECT_EQ(message_of(drain), "what was left at the deadline did not stop within 10m: 1 instance left");
}

}  // namespace
}  // namespace tutti::manager
