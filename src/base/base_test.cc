// Units of base that others rest on: table against std::map, ids, durations, times, text.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/id.h"
#include "base/random.h"
#include "base/table.h"
#include "base/text.h"
#include "base/time.h"

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
          case 0:
            EXPECT_EQ(table.erase(edit, key), model.erase(key) == 1);
            break;
          case 1:
            if (int* row = table.edit(edit, key)) *row += 1, model[key] += 1;
            break;
          default:
            table.put(edit, key, value);
            model[key] = value;
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

TEST(Ids, TextIsABijectionAndNeighboursDiffer) {
  for (uint64_t v : {uint64_t{1}, uint64_t{2}, uint64_t{999999}, (uint64_t{1} << 60) - 1}) {
    EXPECT_EQ(parse_id_text(id_text(v)).value(), v);
  }
  EXPECT_NE(id_text(1).substr(0, 3), id_text(2).substr(0, 3));
  EXPECT_FALSE(parse_id_text("short"));
  EXPECT_FALSE(parse_id_text("iiiiiiiiiiii"));
}

TEST(Durations, RoundTripAndRefusals) {
  for (const char* text : {"0s", "250ms", "30s", "1h30m", "48h", "1us", "5ns"}) {
    EXPECT_EQ(format_duration(parse_duration(text).value()), text);
  }
  EXPECT_EQ(parse_duration("1.5s").value().ms(), 1500);
  for (const char* text : {"", "5", "s", "5x", "-3s", "1h-2m", "99999999999h"}) EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(Times, RoundTripAndRefusals) {
  EXPECT_EQ(format_time(parse_time("2026-11-21T08:15:30.125Z").value()), "2026-11-21T08:15:30.125Z");
  EXPECT_EQ(format_time(parse_time("2026-11-21T10:15:30+02:00").value()), "2026-11-21T08:15:30.000Z");
  for (const char* text : {"2026-11-21", "2026-02-31T00:00:00Z", "2026-11-21T08:15:30", "x", "2026-11-21T25:00:00Z"}) {
    EXPECT_FALSE(parse_time(text)) << text;
  }
}

TEST(Text, NearestWord) {
  EXPECT_EQ(nearest_word("comand", {"command", "count", "env"}), "command");
  EXPECT_EQ(nearest_word("imgae", {"image", "name"}), "image");
  EXPECT_EQ(nearest_word("zzz", {"image", "name"}), "");
  EXPECT_TRUE(is_name("web-1"));
  EXPECT_FALSE(is_name("Web"));
  EXPECT_FALSE(is_name("-web"));
  EXPECT_FALSE(is_name(std::string(64, 'a')));
}

}  // namespace
}  // namespace tutti
