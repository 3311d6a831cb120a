#include "model/problem.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

TEST(Problem, IsTheErrorItWasMadeFrom) {
  const Error error = problem_of(
      404, R"({"type":"urn:tutti:error:not_found","title":"not_found","status":404,"detail":"no instance 'nosuch'",)"
           R"("errors":[{"path":"a","message":"b","hint":"c"}],"request_id":"r1"})");
  EXPECT_EQ(error, (Error{ErrorCode::not_found, "no instance 'nosuch'", {{"a", "b", "c"}}, 0}));
}

TEST(Problem, WhatIsNoneGivesTheStatus) {
  for (const char* body : {"", "<html>", "{}", "[]", R"({"detail":""})"})
    EXPECT_EQ(problem_of(502, body), (Error{ErrorCode::unprocessable, "the pool answered 502", {}, 0})) << body;
}

TEST(Problem, EveryCodeComesBackFromItsStatus) {
  using enum ErrorCode;
  for (ErrorCode code : {invalid, unauthenticated, forbidden, not_found, conflict, stale, too_large, unprocessable,
                         too_many, unavailable, timeout, unsupported, internal})
    EXPECT_EQ(code_of_status(http_status(code)), code) << error_code_name(code);
}

}  // namespace
}  // namespace tutti
