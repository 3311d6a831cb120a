// Ids, durations, times and text.
#include <gtest/gtest.h>

#include <string>

#include "base/id.h"
#include "base/printable.h"
#include "base/text.h"
#include "base/time.h"

namespace tutti {
namespace {

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
  for (const char* text : {"", "5", "s", "5x", "-3s", "1h-2m", "99999999999h"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(Times, RoundTripAndRefusals) {
  EXPECT_EQ(format_time(parse_time("2026-11-21T08:15:30.125Z").value()), "2026-11-21T08:15:30.125Z");
  EXPECT_EQ(format_time(parse_time("2026-11-21T10:15:30+02:00").value()), "2026-11-21T08:15:30.000Z");
  for (const char* text : {"2026-11-21", "2026-02-31T00:00:00Z", "2026-11-21T08:15:30", "x", "2026-11-21T25:00:00Z"}) {
    EXPECT_FALSE(parse_time(text)) << text;
  }
}

TEST(Text, PrintableSteersNoTerminal) {
  EXPECT_EQ(printable("caf\u00e9 \u20ac \U0001f600"), "caf\u00e9 \u20ac \U0001f600");
  EXPECT_EQ(printable("a\x1b[2J\r\n\tb\x7f\u0080\u009f\u00a0"), "a?[2J???b???\u00a0");
  EXPECT_EQ(printable("a\nb\tc\x1b", '?', true), "a\nb\tc?");
  EXPECT_EQ(printable("\x9b\xc2"), "??") << "no UTF-8: some terminals take them for what they are in Latin-1";
  EXPECT_EQ(printable(std::string("\0", 1), ' '), " ");
}

TEST(Text, NearestWord) {
  EXPECT_EQ(nearest_word("comand", {"command", "count", "env"}), "command");
  EXPECT_EQ(nearest_word("imgae", {"image", "name"}), "image");
  EXPECT_EQ(nearest_word("zzz", {"image", "name"}), "");
  EXPECT_EQ(nearest_word("image", {std::string_view("image-of-another-kind"), "imag"}), "imag");
  EXPECT_TRUE(is_name("web-1"));
  EXPECT_FALSE(is_name("Web"));
  EXPECT_FALSE(is_name("-web"));
  EXPECT_FALSE(is_name(std::string(64, 'a')));
}

}  // namespace
}  // namespace tutti
