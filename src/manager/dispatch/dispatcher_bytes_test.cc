// What is sent at a time is bounded by bytes too.
#include <gtest/gtest.h>

#include "base/limits.h"
#include "manager/dispatch/dispatcher.h"
#include "model/codec.h"
#include "model/test_pool.h"

namespace tutti::manager {
namespace {

TEST(Dispatcher, NoMessageIsLargerThanAWorkerTakes) {
  TestPool pool;
  const NodeId node = pool.add_node({{100'000}, {64LL << 30}, {64LL << 30}});
  Dispatcher dispatcher;
  pool.commit();
  dispatcher.rebuild(pool.published());
  dispatcher.connected(1, node, "key");
  WorkerMessage hello;
  hello.hello = HelloMessage{};
  dispatcher.received(1, hello, pool.s.now);
  state::Outcome begun;
  begun.number = 1;
  dispatcher.committed(1, 1, begun, pool.s.now);
  (void)dispatcher.take_outputs();
  for (int i = 0; i < 20; ++i) {
    JobSpec spec = TestPool::service("job" + std::to_string(i), 1, {{100}, {1 << 20}, {}});
    for (int a = 0; a < 4; ++a) spec.tasks[0].env["A" + std::to_string(a)] = std::string(20'000, 'x');
    pool.place(pool.add_pending(pool.submit(spec)), node, TaskState::placed, {});
  }
  dispatcher.follow(pool.commit());
  size_t messages = 0;
  size_t assigned = 0;
  for (const DispatchOutput& output : dispatcher.take_outputs()) {
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
