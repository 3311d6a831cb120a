// What a worker is sent: each spec once, as long as something on its node is of it, and no message that is too large.
#include "manager/dispatch/dispatcher.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "model/codec.h"
#include "model/test_pool.h"

namespace tutti::manager {
namespace {

struct Bench {
  TestPool pool;
  NodeId node = pool.add_node({{8'000}, {1LL << 34}, {}});
  Dispatcher dispatcher;

  // A session of a worker that has all of `held` as it should be.
  void open(const std::vector<InstanceId>& held = {}) {
    pool.commit();
    dispatcher.rebuild(pool.published());
    dispatcher.connected(1, node, "");
    WorkerMessage hello;
    hello.hello = HelloMessage{};
    for (InstanceId id : held)
      hello.hello->held.push_back({id, 1, hash_of(*assignment_of(*pool.published(), pool.at(id)))});
    dispatcher.received(1, hello, pool.s.now);
    state::Outcome outcome;
    outcome.number = 1;
    dispatcher.committed(1, 1, outcome, pool.s.now);
    ASSERT_TRUE(dispatcher.live(node));
    (void)dispatcher.take_outputs();
  }
  InstanceId placed(JobId job, uint32_t slot) {
    const InstanceId id = pool.add_pending(job, slot);
    pool.place(id, node);
    return id;
  }
  void clear(InstanceId id) {
    pool.edit_instance(id, [](Instance& row) { row.finished = row.cleared = true; });
  }
  // What the worker is told of the changes since the last call.
  AssignMessage told() {
    dispatcher.follow(pool.commit());
    AssignMessage out;
    int messages = 0;
    for (DispatchOutput& output : dispatcher.take_outputs()) {
      auto* send = std::get_if<SendToWorker>(&output);
      if (send == nullptr || !send->message.assign) continue;
      out = std::move(*send->message.assign);
      ++messages;
    }
    EXPECT_LE(messages, 1);
    return out;
  }
};

TEST(Dispatcher, ASpecIsForgottenWithTheLastInstanceOfIt) {
  Bench b;
  b.open();
  const JobId job = b.pool.submit(TestPool::service("web", 2));
  const InstanceId one = b.placed(job, 0), two = b.placed(job, 1);
  AssignMessage told = b.told();
  EXPECT_EQ(told.specs.size(), 1u);
  EXPECT_EQ(told.assignments.size(), 2u);
  b.clear(one);
  told = b.told();
  EXPECT_EQ(told.removed, std::vector<InstanceId>{one});
  EXPECT_TRUE(told.forget_specs.empty());
  b.clear(two);
  told = b.told();
  EXPECT_EQ(told.removed, std::vector<InstanceId>{two});
  EXPECT_EQ(told.forget_specs, (std::vector<SpecKey>{{job, 1}}));
  b.placed(job, 0);
  EXPECT_EQ(b.told().specs.size(), 1u);
}

TEST(Dispatcher, ASpecThatTheSameMessageNeedsAgainStays) {
  Bench b;
  b.open();
  const JobId job = b.pool.submit(TestPool::service("web", 1));
  const InstanceId one = b.placed(job, 0);
  b.told();
  b.clear(one);
  const InstanceId next = b.placed(job, 0);
  AssignMessage told = b.told();
  EXPECT_EQ(told.removed, std::vector<InstanceId>{one});
  ASSERT_EQ(told.assignments.size(), 1u);
  EXPECT_EQ(told.assignments[0].instance, next);
  EXPECT_TRUE(told.specs.empty() && told.forget_specs.empty());
  b.clear(next);
  EXPECT_EQ(b.told().forget_specs.size(), 1u);
}

TEST(Dispatcher, AVersionThatNothingIsOfAnyMoreIsForgottenWhenAnotherTakesItsPlace) {
  Bench b;
  b.open();
  const JobId job = b.pool.submit(TestPool::service("web", 1));
  const InstanceId id = b.placed(job, 0);
  b.told();
  b.pool.submit(TestPool::service("web", 1, {{200}, {64 << 20}, {}}), job);
  b.pool.edit_instance(id, [](Instance& row) { row.job_version = 2; });
  AssignMessage told = b.told();
  ASSERT_EQ(told.specs.size(), 1u);
  EXPECT_EQ(told.specs[0].version, 2u);
  EXPECT_EQ(told.forget_specs, (std::vector<SpecKey>{{job, 1}}));
  b.pool.edit_instance(id, [](Instance& row) { ++row.generation; });
  told = b.told();
  EXPECT_EQ(told.assignments.size(), 1u);
  EXPECT_TRUE(told.specs.empty() && told.forget_specs.empty());
}

TEST(Dispatcher, WhatWasThereBeforeTheSessionCountsOnceItIsSent) {
  Bench b;
  const JobId job = b.pool.submit(TestPool::service("web", 2));
  const InstanceId one = b.placed(job, 0), two = b.placed(job, 1);
  b.open({one, two});
  b.clear(one);
  AssignMessage told = b.told();
  EXPECT_EQ(told.removed, std::vector<InstanceId>{one});
  EXPECT_TRUE(told.forget_specs.empty());  // never sent in this session
  b.pool.edit_instance(two, [](Instance& row) { ++row.generation; });
  EXPECT_EQ(b.told().specs.size(), 1u);
  b.clear(two);
  EXPECT_EQ(b.told().forget_specs, (std::vector<SpecKey>{{job, 1}}));
}

TEST(Dispatcher, NoMessageIsLargerThanAWorkerTakes) {
  Bench b;
  b.open();
  for (int i = 0; i < 20; ++i) {
    JobSpec spec = TestPool::service("job" + std::to_string(i), 1, {{100}, {1 << 20}, {}});
    for (int a = 0; a < 4; ++a) spec.tasks[0].env["A" + std::to_string(a)] = std::string(20'000, 'x');
    b.placed(b.pool.submit(spec), 0);
  }
  b.dispatcher.follow(b.pool.commit());
  size_t messages = 0;
  size_t assigned = 0;
  for (const DispatchOutput& output : b.dispatcher.take_outputs()) {
    const auto* send = std::get_if<SendToWorker>(&output);
    ASSERT_NE(send, nullptr);
    ASSERT_TRUE(send->message.assign);
    ++messages;
    assigned += send->message.assign->assignments.size();
    EXPECT_LT(to_json(send->message, {.omit_defaults = true}).size(), limits::kMessageBytesMax / 2);
  }
  EXPECT_EQ(assigned, 20u);
  EXPECT_GT(messages, 3u);
}

}  // namespace
}  // namespace tutti::manager
