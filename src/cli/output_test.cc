// What others wrote, on a terminal.
#include <gmock/gmock.h>

#include "cli/session.h"

namespace tutti::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::internal::CaptureStderr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStderr;
using ::testing::internal::GetCapturedStdout;

constexpr const char* kRow = R"({"items":[{"name":"web","reason":"a\u001b[2Jb\u009b2Jc\u007f\nforged line"}]})";

TEST(Output, NoCellSteersTheTerminal) {
  Session session;
  auto answer = Json::parse(kRow);
  ASSERT_TRUE(answer);
  CaptureStdout();
  print_list(session, *answer, {{"NAME", "name"}, {"REASON", "reason"}}, answer->raw());
  EXPECT_EQ(GetCapturedStdout(), "NAME  REASON\nweb   a?[2Jb?2Jc??forged line\n");
}

TEST(Output, NorDoesJsonOrYamlWhichKeepTheText) {
  auto answer = Json::parse(kRow);
  ASSERT_TRUE(answer);
  for (const char* form : {"json", "yaml"}) {
    Session session;
    session.output = form;
    CaptureStdout();
    print_list(session, *answer, {}, answer->raw());
    EXPECT_THAT(GetCapturedStdout(), HasSubstr(R"(a\u001b[2Jb\u009b2Jc\u007f\nforged line)")) << form;
  }
}

TEST(Output, NorDoesAComplaint) {
  CaptureStderr();
  complain({ErrorCode::invalid, "no\x1b[2J\nsecond line", {{"a\x1b]0;x", "b\u009b", "c\x07"}}, 0});
  EXPECT_EQ(GetCapturedStderr(), "tutti: no?[2J\nsecond line\n  a?]0;x: b? \u2014 c?\n");
}

}  // namespace
}  // namespace tutti::cli
