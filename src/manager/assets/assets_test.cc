#include "manager/assets/assets.h"

#include <gmock/gmock.h>

namespace tutti::manager {
namespace {

TEST(Assets, ThePageAndAllItRefersToIsInside) {
  const auto page = find_asset("index.html");
  ASSERT_TRUE(page);
  const std::string text = unpack(*page);
  for (const char* name : {"swagger-ui.css", "swagger-ui-bundle.js", "start.js", "favicon-32x32.png"}) {
    EXPECT_THAT(text, testing::HasSubstr(name));
    const auto asset = find_asset(name);
    ASSERT_TRUE(asset) << name;
    EXPECT_GT(unpack(*asset).size(), 50u) << name;
  }
  EXPECT_THAT(unpack(*find_asset("start.js")), testing::HasSubstr("/v1/openapi.json"));
  EXPECT_EQ(find_asset("start.js")->media_type, "text/javascript; charset=utf-8");
}

TEST(Assets, NothingElseIsThere) {
  for (const char* name : {"", "x", "../index.html", "index.html/"}) EXPECT_FALSE(find_asset(name)) << name;
}

}  // namespace
}  // namespace tutti::manager
