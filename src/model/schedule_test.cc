#include "model/schedule.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

namespace tutti {
namespace {

Schedule schedule(const std::string& cron, const std::string& zone = "UTC") {
  auto parsed = Schedule::parse({cron}, zone);
  if (!parsed) throw std::runtime_error(parsed.error().to_string());
  return *parsed;
}

Time at(const std::string& text) {
  return *parse_time(text);
}

// The next `count` times, in UTC without milliseconds.
std::vector<std::string> next(const Schedule& s, const std::string& from, int count) {
  std::vector<std::string> out;
  Time t = at(from);
  for (int i = 0; i < count; ++i) {
    const auto found = s.next_after(t);
    if (!found) break;
    t = *found;
    const std::string text = format_time(t);
    out.push_back(text.substr(0, 10) + " " + text.substr(11, 8));
  }
  return out;
}

using Times = std::vector<std::string>;

TEST(Schedule, FieldsAsCronHasThem) {
  EXPECT_EQ(next(schedule("*/20 * * * *"), "2026-03-01T10:15:00Z", 3),
            (Times{"2026-03-01 10:20:00", "2026-03-01 10:40:00", "2026-03-01 11:00:00"}));
  EXPECT_EQ(next(schedule("0 9-17/4 * * mon-fri"), "2026-03-06T10:00:00Z", 3),
            (Times{"2026-03-06 13:00:00", "2026-03-06 17:00:00", "2026-03-09 09:00:00"}));
  EXPECT_EQ(next(schedule("5,10 0 1 JAN,jul *"), "2026-01-01T00:05:00Z", 2),
            (Times{"2026-01-01 00:10:00", "2026-07-01 00:05:00"}));
  EXPECT_EQ(next(schedule("30/15 * * * *"), "2026-01-01T00:00:00Z", 3),
            (Times{"2026-01-01 00:30:00", "2026-01-01 00:45:00", "2026-01-01 01:30:00"}));
  EXPECT_EQ(next(schedule("0 0 29 2 *"), "2096-03-01T00:00:00Z", 1), (Times{"2104-02-29 00:00:00"}));  // 2100 is none
  EXPECT_EQ(next(schedule("0 0 * * 7"), "2026-03-01T00:00:00Z", 1), (Times{"2026-03-08 00:00:00"}));   // 7 is Sunday
}

TEST(Schedule, DayOrWeekdayWhereBothAreLimited) {
  EXPECT_EQ(next(schedule("0 0 13 * fri"), "2026-03-02T00:00:00Z", 3),
            (Times{"2026-03-06 00:00:00", "2026-03-13 00:00:00", "2026-03-20 00:00:00"}));
  EXPECT_EQ(next(schedule("0 0 1 * *"), "2026-03-02T00:00:00Z", 1), (Times{"2026-04-01 00:00:00"}));
}

TEST(Schedule, SecondsAndEveryAndWords) {
  EXPECT_EQ(next(schedule("*/20 * * * * *"), "2026-03-01T10:15:50Z", 2),
            (Times{"2026-03-01 10:16:00", "2026-03-01 10:16:20"}));
  EXPECT_EQ(next(schedule("@every 90s"), "1970-01-01T00:00:01Z", 2),
            (Times{"1970-01-01 00:01:30", "1970-01-01 00:03:00"}));
  EXPECT_EQ(next(schedule("@daily"), "2026-03-01T10:15:50Z", 1), (Times{"2026-03-02 00:00:00"}));
  // Between two seconds: the next whole one.
  EXPECT_EQ(*schedule("* * * * * *").next_after(Time{1'500'000'000}), (Time{2'000'000'000}));
}

TEST(Schedule, SeveralCronsNameATimeOnce) {
  const Schedule both = *Schedule::parse({"0 * * * *", "*/30 * * * *"}, "UTC");
  EXPECT_EQ(next(both, "2026-03-01T10:10:00Z", 3),
            (Times{"2026-03-01 10:30:00", "2026-03-01 11:00:00", "2026-03-01 11:30:00"}));
}

// Zurich: on 2026-03-29 02:00 becomes 03:00 (01:00 UTC), on 2026-10-25 03:00 becomes 02:00 (01:00 UTC).
TEST(Schedule, ALocalTimeThatIsLeftOutComesOnceBehindTheGap) {
  const Schedule nightly = schedule("30 2 * * *", "Europe/Zurich");
  EXPECT_EQ(next(nightly, "2026-03-27T12:00:00Z", 3),
            (Times{"2026-03-28 01:30:00", "2026-03-29 01:00:00", "2026-03-30 00:30:00"}));
  // Two times in the gap, and one at its end, are one time.
  EXPECT_EQ(next(schedule("15,45 2,3 * * *", "Europe/Zurich"), "2026-03-29T00:00:00Z", 3),
            (Times{"2026-03-29 01:00:00", "2026-03-29 01:15:00", "2026-03-29 01:45:00"}));
}

TEST(Schedule, ALocalTimeThatComesTwiceCountsOnce) {
  EXPECT_EQ(next(schedule("30 2 * * *", "Europe/Zurich"), "2026-10-24T12:00:00Z", 2),
            (Times{"2026-10-25 00:30:00", "2026-10-26 01:30:00"}));
  // Asked within the second pass, too.
  EXPECT_EQ(next(schedule("30 2 * * *", "Europe/Zurich"), "2026-10-25T01:10:00Z", 1), (Times{"2026-10-26 01:30:00"}));
}

TEST(Schedule, EveryHourKeepsItsPaceThroughChangesOfTheClock) {
  EXPECT_EQ(next(schedule("30 * * * *", "Europe/Zurich"), "2026-10-24T23:45:00Z", 4),
            (Times{"2026-10-25 00:30:00", "2026-10-25 01:30:00", "2026-10-25 02:30:00", "2026-10-25 03:30:00"}));
  EXPECT_EQ(next(schedule("30 * * * *", "Europe/Zurich"), "2026-03-28T23:45:00Z", 3),
            (Times{"2026-03-29 00:30:00", "2026-03-29 01:30:00", "2026-03-29 02:30:00"}));
  // Lord Howe moves by half an hour: on 2026-04-05 02:00 becomes 01:30 (15:00 UTC the day before).
  EXPECT_EQ(next(schedule("15,45 * * * *", "Australia/Lord_Howe"), "2026-04-04T14:30:00Z", 3),
            (Times{"2026-04-04 14:45:00", "2026-04-04 15:15:00", "2026-04-04 15:45:00"}));
}

TEST(Schedule, WrongOnesAreNamed) {
  auto message = [](const std::string& cron, const std::string& zone = "UTC") {
    auto parsed = Schedule::parse({cron}, zone);
    return parsed ? std::string("taken") : parsed.error().message;
  };
  EXPECT_NE(message("* * * *").find("five fields"), std::string::npos);
  EXPECT_NE(message("60 * * * *").find("\"60\" is not a minute (0 to 59)"), std::string::npos);
  EXPECT_NE(message("* * * foo *").find("not a month"), std::string::npos);
  EXPECT_NE(message("5-1 * * * *").find("backwards"), std::string::npos);
  EXPECT_NE(message("*/0 * * * *").find("step"), std::string::npos);
  EXPECT_NE(message("0 0 30 2 *").find("never comes"), std::string::npos);
  EXPECT_NE(message("@every 100ms").find("at least 1s"), std::string::npos);
  EXPECT_NE(message("@often").find("@every"), std::string::npos);
  EXPECT_NE(message("* * * * *", "Europe/Zuerich").find("not known here"), std::string::npos);
  EXPECT_NE(message("* * * * *", "../../etc/passwd").find("not known here"), std::string::npos);
}

TEST(Schedule, LastInIsTheNewestOfAWalk) {
  const Schedule s = schedule("0 4 * * *", "Europe/Zurich");
  EXPECT_EQ(s.last_in(at("2026-01-01T00:00:00Z"), at("2026-03-01T10:00:00Z")), at("2026-03-01T03:00:00Z"));
  EXPECT_EQ(s.last_in(at("2026-03-01T03:00:00Z"), at("2026-03-01T10:00:00Z")), std::nullopt);
  EXPECT_EQ(schedule("* * * * * *").last_in(Time{1}, at("2026-03-01T10:00:00Z")), at("2026-03-01T10:00:00Z"));
}

// Against what the definition says, second by second over the two nights on which clocks change.
TEST(ScheduleProperty, NextIsTheFirstThatTheFieldsName) {
  rc::check([] {
    const bool spring = *rc::gen::arbitrary<bool>();
    const int minute_a = *rc::gen::inRange(0, 60);
    const int minute_b = *rc::gen::inRange(0, 60);
    const int hour = *rc::gen::inRange(0, 5);
    const bool every_hour = *rc::gen::arbitrary<bool>();
    const std::string cron = std::to_string(minute_a) + "," + std::to_string(minute_b) + " " +
                             (every_hour ? "*" : std::to_string(hour)) + " * * *";
    const Schedule s = schedule(cron, "Europe/Zurich");
    const Time change = at(spring ? "2026-03-29T01:00:00Z" : "2026-10-25T01:00:00Z");
    const Time begin = change - seconds(4 * 3600);
    const Time end = change + seconds(6 * 3600);
    // The definition: minute after minute with the offset that holds then.
    std::vector<Time> named;
    bool gap = false;
    std::vector<int64_t> seen;
    for (Time t = begin; t < end; t = t + seconds(60)) {
      const int64_t offset = (spring == (t < change) ? 1 : 2) * 3600;
      const int64_t local = t.ns / 1'000'000'000 + offset;
      const int m = static_cast<int>(local / 60 % 60);
      const int h = static_cast<int>(local / 3600 % 24);
      const bool fits = (m == minute_a || m == minute_b) && (every_hour || h == hour);
      const bool again = std::ranges::find(seen, local) != seen.end();
      seen.push_back(local);
      gap = spring && !every_hour && hour == 2 && t == change;
      if (gap || (fits && (every_hour || !again))) named.push_back(t);
    }
    Time t = begin - seconds(1);
    for (const Time expected : named) {
      const auto found = s.next_after(t);
      RC_ASSERT(found.has_value());
      RC_ASSERT(found->ns == expected.ns);
      RC_ASSERT(s.last_in(t, expected)->ns == expected.ns);
      t = expected;
    }
    RC_ASSERT(s.next_after(t)->ns >= end.ns);
  });
}

}  // namespace
}  // namespace tutti
