#include "manager/api/refusal.h"

#include <gmock/gmock.h>

namespace tutti::manager {
namespace {

TEST(Refusal, AWrongMethodHasTheStatusOfItsAnswer) {
  net::Request request;
  request.method = "DELETE";
  request.path = "/v1/jobs";
  const net::Response response = wrong_method(request, "GET, HEAD, POST", "r7");
  EXPECT_EQ(response.status, 405);
  EXPECT_EQ(response.content_type, "application/problem+json");
  EXPECT_THAT(response.headers, testing::Contains(std::pair<std::string, std::string>("Allow", "GET, HEAD, POST")));
  EXPECT_EQ(response.body, R"({"type":"urn:tutti:error:method_not_allowed","title":"method_not_allowed","status":405,)"
                           R"("detail":"DELETE is not for /v1/jobs, which takes GET, HEAD, POST","request_id":"r7"})");
}

TEST(Refusal, EveryOneHasTheStatusOfItsAnswer) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
    const net::Response response = refusal(Error{static_cast<ErrorCode>(code), "why", {}, 0}, "r1");
    EXPECT_THAT(response.body, testing::HasSubstr("\"status\":" + std::to_string(response.status) + ","));
  }
}

}  // namespace
}  // namespace tutti::manager
