#include "model/values.h"

#include <gmock/gmock.h>

#include "model/ids.h"

namespace tutti {
namespace {

using ::testing::HasSubstr;

TEST(Values, millicores) {
  EXPECT_EQ(parse_millicores("500m")->value, 500);
  EXPECT_EQ(parse_millicores("2c")->value, 2000);
  EXPECT_EQ(parse_millicores("1.5c")->value, 1500);
  EXPECT_EQ(parse_millicores("0.001c")->value, 1);
  for (std::string_view bad : {"", "c", "2", "1.5m", "-1c", "1 c", "1.c", ".5c", "1..5c", "0.0001c", "1C",
                               "99999999999999999c", "9999999999999999999m"}) {
    EXPECT_FALSE(parse_millicores(bad)) << bad;
  }
  EXPECT_THAT(parse_millicores("2").error().message, HasSubstr("it has no unit (m c)"));
  EXPECT_EQ(format_millicores({1500}), "1500m");
  EXPECT_EQ(format_millicores({2000}), "2c");
  EXPECT_EQ(format_millicores({0}), "0m");
}

TEST(Values, bytes) {
  EXPECT_EQ(parse_bytes("1048576")->value, 1048576);
  EXPECT_EQ(parse_bytes("256Mi")->value, 256 << 20);
  EXPECT_EQ(parse_bytes("1G")->value, 1'000'000'000);
  EXPECT_EQ(parse_bytes("1.5Gi")->value, 3 << 29);
  EXPECT_EQ(parse_bytes("8000000Ti")->value, 8'000'000 * (int64_t{1} << 40));
  for (std::string_view bad : {"", "Mi", "1KB", "1mi", "0.3Ki", "9000000Ti", "1e3", "+1", "1 G"})
    EXPECT_FALSE(parse_bytes(bad)) << bad;
  EXPECT_EQ(format_bytes({256 << 20}), "256Mi");
  EXPECT_EQ(format_bytes({3 << 29}), "1.5Gi");
  EXPECT_EQ(format_bytes({1000}), "1000");
}

TEST(Values, cursor) {
  EXPECT_EQ(to_text(Cursor{2, {17}}), "2:17");
  EXPECT_EQ(*parse_cursor("2:17"), (Cursor{2, {17}}));
  for (std::string_view bad : {"", "2", ":", "2:", ":17", "-1:2", "1:2:3", "1: 2", "99999999999999999999:1"})
    EXPECT_FALSE(parse_cursor(bad)) << bad;
}

}  // namespace
}  // namespace tutti
