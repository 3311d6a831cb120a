#include "manager/dispatch/liveness.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "model/test_pool.h"

namespace tutti::manager {
namespace {

class LivenessTest : public ::testing::Test {
 protected:
  LivenessTest() {
    node_ = pool_.add_node({{1'000}, {1LL << 30}, {1LL << 30}});
    pool_.commit();
    liveness_.rebuild(*pool_.published(), now_);
  }
  void committed(NodeHealth health) {
    pool_.edit_node(node_, [&](Node& node) { node.health = health; });
    liveness_.follow(pool_.commit(), now_);
  }
  TestPool pool_;
  NodeId node_;
  Liveness liveness_;
  BootTime now_{seconds(1'000).ns};
};

TEST_F(LivenessTest, ASilentNodeIsLostAndReadyWhenHeard) {
  EXPECT_TRUE(liveness_.tick(now_).empty());
  now_ = now_ + milliseconds(limits::kLeaseMs + limits::kLostAfterMs + 1);
  const auto lost = liveness_.tick(now_);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].health, NodeHealth::lost);
  EXPECT_TRUE(liveness_.tick(now_).empty()) << "once";
  committed(NodeHealth::lost);
  (void)liveness_.heard(node_, now_);
  const auto ready = liveness_.tick(now_);
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].health, NodeHealth::ready);
}

// Found by seed 72388 of the simulation: on a slow disk a node's work was given up under a lease granted meanwhile.
TEST_F(LivenessTest, NoLeaseWhileANodeIsCalledLost) {
  EXPECT_TRUE(liveness_.heard(node_, now_));
  now_ = now_ + milliseconds(limits::kLeaseMs + limits::kLostAfterMs + 1);
  ASSERT_EQ(liveness_.tick(now_).size(), 1u);
  EXPECT_FALSE(liveness_.heard(node_, now_)) << "the commit is under way, and gives its work up perhaps";
  committed(NodeHealth::ready);
  EXPECT_FALSE(liveness_.heard(node_, now_)) << "one from before";
  committed(NodeHealth::lost);
  liveness_.answered(node_, NodeHealth::lost, true);
  EXPECT_FALSE(liveness_.heard(node_, now_));
  committed(NodeHealth::ready);
  EXPECT_TRUE(liveness_.heard(node_, now_));
}

// Lost, and a new session, in one commit: only the last of it is seen.
TEST_F(LivenessTest, ALossThatWasOvertakenInItsOwnCommitIsOver) {
  now_ = now_ + milliseconds(limits::kLeaseMs + limits::kLostAfterMs + 1);
  ASSERT_EQ(liveness_.tick(now_).size(), 1u);
  committed(NodeHealth::ready);
  liveness_.answered(node_, NodeHealth::lost, true);
  EXPECT_TRUE(liveness_.heard(node_, now_));
}

TEST_F(LivenessTest, ARefusedLossIsNone) {
  now_ = now_ + milliseconds(limits::kLeaseMs + limits::kLostAfterMs + 1);
  ASSERT_EQ(liveness_.tick(now_).size(), 1u);
  EXPECT_FALSE(liveness_.heard(node_, now_));
  liveness_.answered(node_, NodeHealth::lost, false);
  EXPECT_TRUE(liveness_.heard(node_, now_));
}

}  // namespace
}  // namespace tutti::manager
