#pragma once
// The suite that every store adapter must pass. `reopen` gives a new Store on the same disk, as after a crash.

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "store/store.h"

namespace tutti::store {

inline std::map<uint64_t, std::string> log_of(Store& store, uint64_t after) {
  std::map<uint64_t, std::string> out;
  EXPECT_TRUE(store.read_log(
      after, [&](uint64_t revision, std::string_view blob) { return out.emplace(revision, blob), true; }));
  return out;
}

inline std::map<std::pair<uint32_t, uint64_t>, std::string> pages_of(Store& store) {
  std::map<std::pair<uint32_t, uint64_t>, std::string> out;
  EXPECT_TRUE(store.read_pages(
      [&](const Page& page) -> Status { return out[{page.table, page.number}] = page.blob, Status{}; }));
  return out;
}

inline void run_store_conformance(const std::function<std::unique_ptr<Store>()>& reopen) {
  auto store = reopen();
  auto opened = store->open();
  ASSERT_TRUE(opened) << opened.error().to_string();
  EXPECT_EQ(opened->head, 0u);
  EXPECT_EQ(opened->epoch, 0u);
  ASSERT_TRUE(store->set_epoch(7));

  EXPECT_EQ(store->append(2, "b").outcome, AppendOutcome::refused) << "a gap";
  EXPECT_EQ(store->append(1, "one").outcome, AppendOutcome::committed);
  EXPECT_EQ(store->append(1, "again").outcome, AppendOutcome::refused);
  EXPECT_EQ(store->append(2, std::string("t\0wo", 4)).outcome, AppendOutcome::committed);
  EXPECT_EQ(store->append(3, "three").outcome, AppendOutcome::committed);
  EXPECT_EQ(store->append(4, std::string((1u << 20) + 1, 'x')).outcome, AppendOutcome::refused) << "above the limit";
  EXPECT_EQ(log_of(*store, 1), (std::map<uint64_t, std::string>{{2, std::string("t\0wo", 4)}, {3, "three"}}));

  store.reset();
  store = reopen();
  opened = store->open();
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->head, 3u);
  EXPECT_EQ(opened->epoch, 7u);
  EXPECT_EQ(log_of(*store, 0).size(), 3u);
  ASSERT_TRUE(store->trim_log(3));
  EXPECT_EQ(log_of(*store, 0).size(), 3u) << "never beyond the checkpoint";

  ASSERT_TRUE(store->checkpoint(2, {{1, 0, "p0"}, {1, 1, "p1"}}));
  ASSERT_TRUE(store->checkpoint(3, {{1, 0, ""}, {1, 1, "p1b"}, {2, 9, "q"}}));
  EXPECT_FALSE(store->checkpoint(2, {})) << "backwards";
  ASSERT_TRUE(store->trim_log(2));
  EXPECT_EQ(log_of(*store, 2), (std::map<uint64_t, std::string>{{3, "three"}}));
  EXPECT_FALSE(store->read_log(0, [](uint64_t, std::string_view) { return true; })) << "older than what is kept";

  store.reset();
  store = reopen();
  opened = store->open();
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->head, 3u);
  EXPECT_EQ(opened->checkpoint, 3u);
  EXPECT_EQ(pages_of(*store), (std::map<std::pair<uint32_t, uint64_t>, std::string>{{{1, 1}, "p1b"}, {{2, 9}, "q"}}));
  ASSERT_TRUE(store->trim_log(3));
  store.reset();
  store = reopen();
  opened = store->open();
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->head, 3u) << "the checkpoint remembers it when the log is empty";
  EXPECT_EQ(store->append(4, "four").outcome, AppendOutcome::committed);
}

}  // namespace tutti::store
