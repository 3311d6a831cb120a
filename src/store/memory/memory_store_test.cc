#include "store/memory/memory_store.h"

#include "store/conformance.h"

namespace tutti::store {
namespace {

TEST(MemoryStore, Conformance) {
  auto disk = std::make_shared<MemoryDisk>();
  run_store_conformance([&] { return make_memory_store(disk); });
}

TEST(MemoryStore, FaultsDoWhatTheySay) {
  auto disk = std::make_shared<MemoryDisk>();
  auto store = make_memory_store(disk);
  ASSERT_TRUE(store->open());
  disk->faults = {AppendFault::refused, AppendFault::none, AppendFault::torn};
  EXPECT_EQ(store->append(1, "a").outcome, AppendOutcome::refused);
  EXPECT_EQ(store->append(1, "a").outcome, AppendOutcome::committed);
  EXPECT_EQ(store->append(2, "bb").outcome, AppendOutcome::unknown);
  EXPECT_EQ(store->open()->head, 1u) << "a torn batch is not there";
  disk->faults = {AppendFault::unknown_stored};
  EXPECT_EQ(store->append(2, "bb").outcome, AppendOutcome::unknown);
  EXPECT_EQ(store->open()->head, 2u);
  disk->faults = {AppendFault::unknown_not_stored};
  EXPECT_EQ(store->append(3, "c").outcome, AppendOutcome::unknown);
  EXPECT_EQ(store->open()->head, 2u);
}

}  // namespace
}  // namespace tutti::store
