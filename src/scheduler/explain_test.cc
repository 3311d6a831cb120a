// S05: what a person is told of an instance that finds no place.
#include <gmock/gmock.h>

#include "model/test_pool.h"
#include "scheduler/scheduler.h"

namespace tutti::scheduler {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr Bytes kMemory{64 << 20};

class Explain : public testing::Test {
 protected:
  Explain() {
    pool_.put_project(1, "default", false);
    node_ = pool_.add_node({{2'000}, {4LL << 30}, {8LL << 30}});
    pool_.edit_inventory(node_, [](Inventory& i) {
      i.devices = {{"gpu0", "gpu", "T4", {}}};
      i.limits["licence"] = 2;
    });
  }
  InstanceId waiting(const JobSpec& spec) {
    const JobId job = pool_.submit(spec);
    pool_.edit_job(job, [](Job& row) { row.project = ProjectId{1}; });
    return pool_.add_pending(job);
  }
  static JobSpec spec(int64_t cpu = 20, int32_t priority = 50) {
    JobSpec out = TestPool::service("j", 1, {{cpu}, kMemory, {}});
    out.priority = priority;
    return out;
  }
  Explanation of(InstanceId id) { return explain(pool_.s, id, pool_.s.now); }
  static std::string all(const Explanation& e) {
    std::string out;
    for (const std::string& remedy : e.remedies) out += remedy + "\n";
    return out;
  }
  TestPool pool_;
  NodeId node_;
};

TEST_F(Explain, ACountableThingInUseIsNamedAndNoRoomIsAskedFor) {
  JobSpec wants = spec();
  wants.tasks[0].node_limits["licence"] = 2;
  const InstanceId holder = waiting(wants);
  pool_.place(holder, node_);
  wants.tasks[0].node_limits["licence"] = 1;
  const Explanation e = of(waiting(wants));
  EXPECT_EQ(e.nearest_lacks, "1 licence (2 of 2 in use)");
  EXPECT_THAT(e.remedies, Contains("free 1 licence on node-1"));
  EXPECT_THAT(e.remedies, Contains("add a node that has 1 licence free"));
  EXPECT_THAT(all(e), Not(HasSubstr("memory")));
}

TEST_F(Explain, ADeviceInUseIsNamed) {
  JobSpec wants = spec();
  wants.tasks[0].gpu = DeviceSpec{};
  const InstanceId holder = waiting(wants);
  pool_.place(holder, node_, TaskState::running, {}, {{"j", "gpu0", "gpu", kWholeDevice}});
  wants.tasks[0].gpu->share = 300;
  const Explanation e = of(waiting(wants));
  EXPECT_EQ(e.nearest_lacks, "300/1000 of a gpu that is free");
  EXPECT_THAT(e.remedies, Contains("free 300/1000 of a gpu on node-1"));
  EXPECT_THAT(all(e), Not(HasSubstr("cpu and")));
}

TEST_F(Explain, WhatNoNodeHasIsNamed) {
  JobSpec wants = spec();
  wants.tasks[0].gpu = DeviceSpec{};
  wants.tasks[0].gpu->models = {"A100"};
  Explanation e = of(waiting(wants));
  EXPECT_EQ(e.nearest_lacks, "1 gpu of A100");
  EXPECT_THAT(e.remedies, Contains("add a node that has 1 gpu of A100"));
  EXPECT_THAT(all(e), Not(HasSubstr("free ")));
  wants = spec();
  wants.tasks[0].driver = "vm";
  e = of(waiting(wants));
  EXPECT_EQ(e.nearest_lacks, "driver vm");
}

TEST_F(Explain, WhatIsNoLackIsSaidAsItIs) {
  pool_.edit_node(node_, [](Node& n) { n.spec.eligibility = Eligibility::cordoned; });
  const Explanation e = of(waiting(spec()));
  EXPECT_EQ(e.nearest_lacks, "");
  EXPECT_EQ(e.nearest_reason, "cordoned");
}

// What runs in another project is not for this one's people to know.
TEST_F(Explain, WhoHoldsAPortIsNamedWithinTheProjectOnly) {
  JobSpec wants = spec();
  wants.tasks[0].ports = {{.name = "web", .container = 80, .host = 8080}};
  wants.job = "secret";
  const InstanceId holder = waiting(wants);
  pool_.place(holder, node_, TaskState::running, {{"j", "web", 80, 8080, Protocol::tcp}});
  wants.job = "j";
  const InstanceId id = waiting(wants);
  EXPECT_EQ(of(id).nearest_reason, "port 8080/tcp in use: instance secret-j-0 of job secret has it");
  pool_.put_project(2, "hidden", false);
  pool_.edit_job(pool_.at(holder).job, [](Job& row) { row.project = ProjectId{2}; });
  const Explanation e = of(id);
  EXPECT_EQ(e.nearest_reason, "port 8080/tcp in use: an instance of another project has it");
  EXPECT_THAT(all(e), HasSubstr("an instance of another project has it"));
  EXPECT_THAT(all(e), Not(HasSubstr("secret")));
}

TEST_F(Explain, OfWhatHasItsPlaceNoNearestNodeIsTold) {
  const InstanceId id = waiting(spec());
  pool_.place(id, node_);
  pool_.edit_node(node_, [](Node& n) { n.spec.eligibility = Eligibility::cordoned; });
  const Explanation e = of(id);
  EXPECT_EQ(e.nearest_node + e.nearest_lacks + e.nearest_reason + all(e), "");
}

// Nothing to push aside, or not enough: then it is no advice.
TEST_F(Explain, PushingAsideIsAdvisedWhereItHelps) {
  constexpr const char* kLet = "let project default push";
  EXPECT_THAT(all(of(waiting(spec(500'000, 90)))), Not(HasSubstr(kLet)));
  pool_.place(waiting(spec(1'900, 10)), node_);
  EXPECT_THAT(all(of(waiting(spec(500'000, 90)))), Not(HasSubstr(kLet)));
  EXPECT_THAT(all(of(waiting(spec(1'000, 10)))), Not(HasSubstr(kLet)));
  EXPECT_THAT(all(of(waiting(spec(1'000, 90)))), HasSubstr(kLet));
  JobSpec wants = spec(1'000, 90);
  wants.tasks[0].node_limits["licence"] = 3;
  EXPECT_THAT(all(of(waiting(wants))), Not(HasSubstr(kLet)));
}

TEST_F(Explain, WhoWasPushedAsideIsToldByWhom) {
  const InstanceId victim = waiting(spec(1'900, 10));
  pool_.place(victim, node_);
  const InstanceId high = waiting(spec(1'000, 90));
  pool_.edit_detail(victim,
                    [&](InstanceDetail& d) { d.pushed_by = high, d.reason = "pushed aside by high-0 (priority 90)"; });
  pool_.edit_instance(victim, [](Instance& i) { i.desired = Desired::removed, i.finished = true; });
  const InstanceId next = pool_.add_pending(pool_.at(victim).job);
  EXPECT_THAT(of(next).remedies, Contains("before: pushed aside by high-0 (priority 90)"));
}

}  // namespace
}  // namespace tutti::scheduler
