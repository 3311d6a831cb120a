// Table against std::map: by random commands, with snapshots that must stay as they were, and across threads.
#include "base/table.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"

namespace tutti {
namespace {

void expect_same(const Table<int>& table, const std::map<uint64_t, int>& model) {
  ASSERT_EQ(table.size(), model.size());
  auto at = model.begin();
  table.for_each([&](uint64_t key, const int& value) {
    ASSERT_NE(at, model.end());
    EXPECT_EQ(key, at->first);
    EXPECT_EQ(value, at->second);
    ++at;
  });
  EXPECT_EQ(at, model.end());
  EXPECT_EQ(table.first_key(), model.empty() ? 0 : model.begin()->first);
  EXPECT_EQ(table.last_key(), model.empty() ? 0 : model.rbegin()->first);
}

TEST(Table, AgreesWithAMapAndSnapshotsStayAsTheyWere) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SeededRandom random(seed);
    Table<int> table;
    std::map<uint64_t, int> model;
    std::vector<std::pair<Table<int>, std::map<uint64_t, int>>> snapshots;
    const uint64_t range = seed % 3 == 0 ? uint64_t{1} << 60 : 200 * seed;
    for (int batch = 0; batch < 12; ++batch) {
      const TableEdit edit;
      for (int i = 0; i < 40; ++i) {
        const uint64_t key = random.below(range);
        const int value = static_cast<int>(random.below(1000));
        switch (random.below(4)) {
          case 0: EXPECT_EQ(table.erase(edit, key), model.erase(key) == 1); break;
          case 1:
            if (int* row = table.edit(edit, key)) *row += 1, model[key] += 1;
            break;
          default: table.put(edit, key, value); model[key] = value;
        }
      }
      snapshots.emplace_back(table, model);
    }
    for (const auto& [old_table, old_model] : snapshots) expect_same(old_table, old_model);
  }
}

TEST(Table, VisitsARange) {
  Table<int> table;
  const TableEdit edit;
  for (uint64_t key = 0; key < 3000; key += 3) table.put(edit, key, 1);
  std::vector<uint64_t> keys;
  table.for_each_in(100, 110, [&](uint64_t key, const int&) { keys.push_back(key); });
  EXPECT_EQ(keys, (std::vector<uint64_t>{102, 105, 108}));
  int visited = 0;
  EXPECT_FALSE(table.for_each_from(50, [&](uint64_t, const int&) { return ++visited < 5; }));
  EXPECT_EQ(visited, 5);
}

TEST(Table, EmptyAfterTheLastErase) {
  Table<int> table;
  const TableEdit edit;
  table.put(edit, 77, 1);
  EXPECT_TRUE(table.erase(edit, 77));
  EXPECT_TRUE(table.empty());
  table.put(TableEdit{}, 1ULL << 40, 2);
  EXPECT_EQ(*table.find(1ULL << 40), 2);
}

// Keys that meet every height of the tree, close together and far apart.
rc::Gen<uint64_t> any_key() {
  return rc::gen::oneOf(rc::gen::inRange<uint64_t>(0, 70), rc::gen::inRange<uint64_t>(0, 5000),
                        rc::gen::arbitrary<uint64_t>(),
                        rc::gen::element<uint64_t>(UINT64_MAX, UINT64_MAX - 1, uint64_t{1} << 60, 31, 32, 1023, 1024));
}

struct Step {
  int what = 0;  // 0 erase, 1 edit, 2 snapshot and a new batch, else put
  uint64_t key = 0;
  std::string value;
};
std::ostream& operator<<(std::ostream& out, const Step& step) {
  return out << step.what << ':' << step.key << '=' << step.value;
}

rc::Gen<Step> any_step() {
  return rc::gen::build<Step>(rc::gen::set(&Step::what, rc::gen::inRange(0, 7)), rc::gen::set(&Step::key, any_key()),
                              rc::gen::set(&Step::value, rc::gen::string<std::string>()));
}

using Model = std::map<uint64_t, std::string>;

void check_against(const Table<std::string>& table, const Model& model, uint64_t probe) {
  RC_ASSERT(table.size() == model.size());
  RC_ASSERT(table.empty() == model.empty());
  std::vector<std::pair<uint64_t, std::string>> seen;
  RC_ASSERT(table.for_each([&](uint64_t key, const std::string& value) { seen.emplace_back(key, value); }));
  RC_ASSERT((seen == std::vector<std::pair<uint64_t, std::string>>(model.begin(), model.end())));
  const auto at = model.lower_bound(probe);
  const auto rank = static_cast<size_t>(std::distance(model.begin(), at));
  if (at != model.end()) RC_ASSERT(table.key_at(rank) == at->first);
  size_t visited = 0;
  table.for_each_from(probe, [&](uint64_t key, const std::string&) { visited += key >= probe ? 1 : 1'000'000; });
  RC_ASSERT(visited == model.size() - rank);
  const uint64_t end = probe + 1000;
  visited = 0;
  table.for_each_in(probe, end, [&](uint64_t, const std::string&) { ++visited; });
  RC_ASSERT(visited == (end < probe ? 0 : static_cast<size_t>(std::distance(at, model.lower_bound(end)))));
}

TEST(Table, AgreesWithAMapForAnyCommands) {
  EXPECT_TRUE(rc::check([] {
    Table<std::string> table;
    Model model;
    std::vector<std::pair<Table<std::string>, Model>> snapshots;
    auto edit = std::make_unique<TableEdit>();
    const auto steps = *rc::gen::container<std::vector<Step>>(any_step());
    for (const Step& step : steps) {
      switch (step.what) {
        case 0: RC_ASSERT(table.erase(*edit, step.key) == (model.erase(step.key) == 1)); break;
        case 1: {
          std::string* row = table.edit(*edit, step.key);
          RC_ASSERT((row != nullptr) == model.contains(step.key));
          if (row != nullptr) *row += "!", model[step.key] += "!";
          break;
        }
        case 2:
          snapshots.emplace_back(table, model);
          edit = std::make_unique<TableEdit>();
          break;
        default: table.put(*edit, step.key, step.value); model[step.key] = step.value;
      }
      const std::string* found = table.find(step.key);
      RC_ASSERT((found != nullptr) == model.contains(step.key));
      if (found != nullptr) RC_ASSERT(*found == model[step.key]);
    }
    snapshots.emplace_back(table, model);
    const uint64_t probe = *any_key();
    for (const auto& [old_table, old_model] : snapshots) check_against(old_table, old_model, probe);
  }));
}

// An index as in the snapshot: job → kind → ids. Editing one inner set leaves those of the snapshot alone.
TEST(Table, NestedTablesAreSharedAndCopiedLikeRows) {
  EXPECT_TRUE(rc::check([](const std::vector<std::tuple<uint8_t, uint8_t, uint16_t, bool>>& steps) {
    using Nested = Table<Table<IdSet>>;
    using NestedModel = std::map<uint64_t, std::map<uint64_t, std::set<uint64_t>>>;
    Nested table;
    NestedModel model;
    std::vector<std::pair<Nested, NestedModel>> snapshots;
    size_t done = 0;
    auto edit = std::make_unique<TableEdit>();
    for (const auto& [job, kind, id, remove] : steps) {
      if (!table.contains(job)) table.put(*edit, job, {});
      Table<IdSet>& kinds = *table.edit(*edit, job);
      if (!kinds.contains(kind)) kinds.put(*edit, kind, {});
      if (remove) {
        kinds.edit(*edit, kind)->erase(*edit, id);
        model[job][kind].erase(id);
      } else {
        kinds.edit(*edit, kind)->put(*edit, id, {});
        model[job][kind].insert(id);
      }
      if (++done % 5 != 0) continue;
      snapshots.emplace_back(table, model);
      edit = std::make_unique<TableEdit>();
    }
    snapshots.emplace_back(table, model);
    for (const auto& [old_table, old_model] : snapshots) {
      NestedModel seen;
      old_table.for_each([&](uint64_t job, const Table<IdSet>& kinds) {
        kinds.for_each([&, job](uint64_t kind, const IdSet& ids) {
          std::set<uint64_t>& set = seen[job][kind];
          ids.for_each([&](uint64_t id, const Unit&) { set.insert(id); });
          RC_ASSERT(ids.size() == set.size());
        });
      });
      RC_ASSERT(seen == old_model);
    }
  }));
}

// Rows that count themselves: nothing is leaked, nothing dropped while a snapshot still shows it.
TEST(Table, RowsLiveAsLongAsAnyCopyShowsThem) {
  const auto row = std::make_shared<int>(1);
  {
    Table<std::shared_ptr<int>> table;
    for (uint64_t key = 0; key < 2000; ++key) table.put(TableEdit(1), key * 7, row);
    EXPECT_EQ(row.use_count(), 2001);
    const Table<std::shared_ptr<int>> snapshot = table;
    for (uint64_t key = 0; key < 2000; ++key) EXPECT_TRUE(table.erase(TableEdit(2), key * 7));
    EXPECT_TRUE(table.empty());
    EXPECT_EQ(snapshot.size(), 2000u);
    EXPECT_EQ(row.use_count(), 2001);
    table = snapshot;
    Table<std::shared_ptr<int>> moved = std::move(table);
    EXPECT_EQ(moved.size(), 2000u);
  }
  EXPECT_EQ(row.use_count(), 1);
}

// The largest key is a key like any other.
TEST(Table, VisitsTheLargestKey) {
  IdSet set;
  set.put(TableEdit(), UINT64_MAX, {});
  size_t visited = 0;
  set.for_each([&](uint64_t key, const Unit&) { visited += key == UINT64_MAX ? 1 : 0; });
  EXPECT_EQ(visited, 1u);
  EXPECT_TRUE(set.for_each_in(0, UINT64_MAX, [](uint64_t, const Unit&) { return false; }))
      << "the end is not in the range";
}

// Readers copy, read and drop snapshots while the writer goes on: run under the thread sanitizer.
TEST(Table, SnapshotsAreReadAndDroppedOnOtherThreads) {
  constexpr uint64_t kKeys = 500;
  constexpr int kBatches = 300;
  std::mutex mutex;
  Table<uint64_t> published;  // every row holds the number of its batch
  for (uint64_t key = 0; key < kKeys; ++key) published.put(TableEdit(1), key, 0);
  std::atomic<bool> done{false};
  std::atomic<uint64_t> torn{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        Table<uint64_t> mine;
        {
          std::lock_guard lock(mutex);
          mine = published;
        }
        const uint64_t batch = *mine.find(0);
        mine.for_each([&](uint64_t, uint64_t value) { torn += value == batch ? 0 : 1; });
      }
    });
  }
  for (uint64_t batch = 1; batch <= kBatches; ++batch) {
    Table<uint64_t> next = published;
    const TableEdit edit;
    for (uint64_t key = 0; key < kKeys; ++key) *next.edit(edit, key) = batch;
    std::lock_guard lock(mutex);
    published = std::move(next);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn, 0u);
  EXPECT_EQ(*published.find(kKeys - 1), uint64_t{kBatches});
}

}  // namespace
}  // namespace tutti
