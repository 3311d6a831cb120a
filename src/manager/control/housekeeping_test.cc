#include "manager/control/housekeeping.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace tutti::manager {
namespace {

constexpr BootTime kStart{seconds(100).ns};

state::Outcome outcome(uint64_t number) {
  state::Outcome out;
  out.number = number;
  return out;
}

Node removing_node(uint64_t id) {
  Node node;
  node.id = NodeId{id};
  node.removing = true;
  return node;
}

TEST(Housekeeping, TrimmingGoesOnAtOnceWhileThereIsMoreAndRestsOtherwise) {
  Housekeeping house;
  auto due = house.step(kStart);
  ASSERT_EQ(due.size(), 1u);
  ASSERT_TRUE(std::holds_alternative<state::TrimHistory>(due[0]));
  EXPECT_TRUE(house.step(kStart + seconds(3600)).empty()) << "one at a time";
  house.answered(due[0], outcome(limits::kTrimRowsMax), kStart);
  EXPECT_EQ(house.step(kStart).size(), 1u);
  house.answered(due[0], outcome(1), kStart);
  EXPECT_TRUE(house.step(kStart + seconds(59)).empty());
  EXPECT_EQ(house.step(kStart + Housekeeping::kTrimEvery).size(), 1u);
  house.answered(due[0], fail(ErrorCode::too_many, "busy"), kStart);
  EXPECT_EQ(house.step(kStart + Housekeeping::kTrimEvery).size(), 1u) << "a refusal waits for the next round";
}

TEST(Housekeeping, ARemovalIsAskedAgainUntilTheNodeIsGone) {
  Housekeeping house;
  Snapshot snapshot;
  const TableEdit edit;
  snapshot.nodes.put(edit, 7, removing_node(7));
  house.rebuild(snapshot);  // the process before this one was killed in the middle
  auto due = house.step(kStart);
  ASSERT_EQ(due.size(), 2u);
  const auto* removal = std::get_if<state::RemoveNode>(&due[1]);
  ASSERT_NE(removal, nullptr);
  EXPECT_EQ(removal->node, NodeId{7});
  house.answered(due[0], outcome(0), kStart);
  house.answered(due[1], outcome(1'000), kStart);
  EXPECT_EQ(house.step(kStart).size(), 1u);
  house.answered(due[1], fail(ErrorCode::unavailable, "not stored"), kStart);
  EXPECT_TRUE(house.step(kStart).empty());
  EXPECT_EQ(house.step(kStart + Housekeeping::kRetryAfter).size(), 1u);
  ChangeSet gone;
  gone.rows = {{TableId::node, 7}};
  gone.before = std::make_shared<const Snapshot>(snapshot);
  gone.after = std::make_shared<const Snapshot>();
  house.follow(gone);
  house.answered(due[1], outcome(0), kStart);
  EXPECT_TRUE(house.step(kStart + seconds(30)).empty());
}

TEST(Housekeeping, TheCatalogIsPrunedOnceAnHourAndNotAtStart) {
  Housekeeping house;
  EXPECT_FALSE(house.prune_due(kStart));
  EXPECT_FALSE(house.prune_due(kStart + seconds(3599)));
  EXPECT_TRUE(house.prune_due(kStart + Housekeeping::kPruneEvery));
  EXPECT_FALSE(house.prune_due(kStart + Housekeeping::kPruneEvery));
}

}  // namespace
}  // namespace tutti::manager
