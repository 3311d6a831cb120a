// U01: every route says all that a reader or a generator of clients needs, and the document holds together.
#include <gmock/gmock.h>

#include <regex>
#include <set>

#include "manager/api/routes.h"
#include "model/document.h"

namespace tutti::manager {
namespace {

TEST(OpenApi, EveryRouteIsWhole) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const Route& route : routes()) {
    SCOPED_TRACE(std::string(route.method) + " " + std::string(route.path));
    EXPECT_TRUE(seen.emplace(route.method, route.path).second) << "twice";
    EXPECT_FALSE(route.summary.empty());
    EXPECT_FALSE(route.example.empty());
    EXPECT_FALSE(route.tag.empty());
    EXPECT_NE(route.handler, nullptr);
    EXPECT_EQ(route.answer.empty(), route.shape == Shape::none);
    // What changes something needs a right; these check only, or bring a token of their own.
    const std::set<std::string_view> open{"/v1/jobs:validate", "/v1/jobs:plan", "/v1/join", "/v1/sessions"};
    if (route.method != "GET" && !open.contains(route.path))
      EXPECT_TRUE(route.right == Right::operator_ || route.right == Right::admin);
  }
}

TEST(OpenApi, TheDocumentParsesAndEveryReferenceIsThere) {
  const std::string text = openapi_json();
  ASSERT_TRUE(parse_json_document(text));
  const std::regex reference("\"#/components/schemas/([A-Za-z0-9_]+)\"");
  size_t count = 0;
  for (std::sregex_iterator at(text.begin(), text.end(), reference), end; at != end; ++at, ++count) {
    EXPECT_NE(text.find("\"" + (*at)[1].str() + "\":{"), std::string::npos) << (*at)[1];
  }
  EXPECT_GT(count, 100u);
}

}  // namespace
}  // namespace tutti::manager
