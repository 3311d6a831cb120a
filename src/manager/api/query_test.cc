// What a route does not know is refused; nothing that was asked for is passed over.
#include "manager/api/query.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "base/text.h"
#include "manager/api/routes.h"
#include "model/validate.h"

namespace tutti::manager {
namespace {

using testing::HasSubstr;
using Query = std::map<std::string, std::string>;

Status asked(std::string_view method, std::string_view path, const Query& query) {
  for (const Route& route : routes()) {
    if (route.method == method && route.path == path) return check_query(route, query);
  }
  return fail(ErrorCode::internal, "no such route");
}

std::string refusal(std::string_view path, const Query& query) {
  const Status ok = asked("GET", path, query);
  if (ok) return "taken";
  EXPECT_EQ(ok.error().code, ErrorCode::invalid);
  return ok.error().to_string();
}

TEST(Query, EveryRouteRefusesWhatItDoesNotKnowAndTakesWhatItNames) {
  for (const Route& route : routes()) {
    SCOPED_TRACE(std::string(route.method) + " " + std::string(route.path));
    EXPECT_TRUE(check_query(route, {}));
    for (const char* unknown : {"nosuch", "filter", "order", ""}) EXPECT_FALSE(check_query(route, {{unknown, "1"}}));
    const std::vector<std::string> words = split(route.query, ' ');
    for (const std::string& name : words) {
      if (name.empty()) continue;
      const QueryWord* word = query_word(name);
      ASSERT_NE(word, nullptr) << name;
      Query query{{name, word->only.empty() ? "1" : std::string(word->only)}};
      if (name == "from" && std::find(words.begin(), words.end(), "watch") != words.end()) query["watch"] = "";
      EXPECT_TRUE(check_query(route, query)) << name;
    }
  }
}

TEST(Query, TheRefusalNamesTheParameterTheRouteAndWhatItTakes) {
  EXPECT_EQ(refusal("/v1/jobs", {{"nosuch", "1"}}),
            "GET /v1/jobs takes no parameter 'nosuch'; nosuch: unknown parameter (there are: limit, cursor, watch, "
            "from, project, fields, parent)");
  EXPECT_THAT(refusal("/v1/jobs", {{"filter", "a"}, {"order", "b"}}), HasSubstr("; order: unknown parameter"));
  EXPECT_THAT(refusal("/v1/jobs", {{"projet", "a"}}), HasSubstr("did you mean 'project'?"));
  EXPECT_THAT(refusal("/v1/nodes/resources", {{"limit", "1"}}), HasSubstr("(there are none)"));
}

TEST(Query, AValueThatWouldBePassedOverIsRefused) {
  EXPECT_THAT(
      refusal("/v1/jobs", {{"fields", "name"}}),
      HasSubstr("GET /v1/jobs: the parameter 'fields' cannot be 'name'; fields: 'name' is not known (it takes * "
                "only)"));
  EXPECT_THAT(refusal("/v1/instances", {{"live", "yes"}}), HasSubstr("it takes 1 or 0"));
  EXPECT_THAT(refusal("/v1/events", {{"limit", "ten"}}), HasSubstr("it takes a number"));
  EXPECT_EQ(refusal("/v1/instances/{instance}/logs", {{"follow", ""}, {"tail", "-1"}, {"stdout", "false"}}), "taken");
}

TEST(Query, NoMoreErrorsThanTheLimitAreWorkedOut) {
  Query query;
  for (int i = 0; i < 1'000; ++i) query["nosuch" + std::to_string(i)] = "1";
  EXPECT_EQ(asked("GET", "/v1/jobs", query).error().details.size(), kValidationErrorsMax);
}

TEST(Query, AWatchShowsAllOfItsKindAndSaysSo) {
  EXPECT_EQ(refusal("/v1/instances", {{"watch", ""}, {"from", "1"}, {"project", "default"}}), "taken");
  EXPECT_THAT(refusal("/v1/instances", {{"watch", "1"}, {"job", "shop"}}),
              HasSubstr("a watch takes no parameter 'job'"));
  EXPECT_EQ(refusal("/v1/instances", {{"watch", "0"}, {"job", "shop"}}), "taken");
  EXPECT_THAT(refusal("/v1/jobs", {{"from", "1"}}), HasSubstr("'from' with 'watch' only"));
  EXPECT_EQ(refusal("/v1/jobs/{job}/diff", {{"from", "1"}, {"to", "2"}}), "taken");
}

}  // namespace
}  // namespace tutti::manager
