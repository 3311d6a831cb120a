#include "cli/run_spec.h"

#include <gmock/gmock.h>

#include "cli/session.h"
#include "model/validate.h"

namespace tutti::cli {
namespace {

using testing::HasSubstr;

const char* ours(const char* name) {
  return std::string_view(name) == "HOME" ? "/root" : nullptr;
}

Result<JobSpec> spec_of(const std::vector<std::string>& words) {
  std::vector<std::string> all{"run"};
  all.insert(all.end(), words.begin(), words.end());
  TUTTI_TRY(const Invocation call, parse_command_line(all));
  return run_spec(call, "run-1", ours);
}

TEST(RunSpec, SaysWhatDockerWouldDo) {
  auto spec =
      spec_of({"--rm", "-e", "A=b=c",   "-e",     "HOME",       "-e",      "NONE", "-p",       "53:53/udp", "-p",
               "80",   "-v", "data:/d", "-v",     "/srv:/s:ro", "--cpus",  "0.5",  "--memory", "256m",      "-u",
               "7",    "-w", "/tmp",    "--name", "x",          "hello:1", "ls",   "-l"});
  ASSERT_TRUE(spec) << spec.error().message;
  apply_defaults(*spec);
  ASSERT_TRUE(validate(*spec)) << validate(*spec).error().to_string();
  const TaskSpec& task = spec->tasks[0];
  EXPECT_EQ(spec->job, "x");
  EXPECT_EQ(spec->ttl, kAttachedTtl);
  EXPECT_EQ(task.env, (std::map<std::string, std::string>{{"A", "b=c"}, {"HOME", "/root"}}));
  EXPECT_EQ(task.ports[0], (PortSpec{"53", 53, 53, Protocol::udp}));
  EXPECT_EQ(task.ports[1], (PortSpec{"80", 80, 0, Protocol::tcp}));
  EXPECT_EQ(task.volumes[0], (VolumeMount{VolumeKind::local, "data", "/d", false, {}}));
  EXPECT_EQ(task.volumes[1], (VolumeMount{VolumeKind::host, "/srv", "/s", true, {}}));
  EXPECT_EQ(task.resources.cpu.value, 500);
  EXPECT_EQ(task.resources.memory.value, 256 << 20);
  EXPECT_EQ(task.user, "7");
  EXPECT_EQ(task.workdir, "/tmp");
  EXPECT_EQ(task.command, (std::vector<std::string>{"ls", "-l"}));
}

TEST(RunSpec, RemovalIsThePoolsWork) {
  EXPECT_EQ(spec_of({"-d", "--rm", "hello:1"})->ttl, Duration{});
  EXPECT_EQ(spec_of({"-d", "hello:1"})->ttl, std::nullopt);
  EXPECT_FALSE(spec_of({"-d", "--rm", "--service", "hello:1"}));
}

TEST(RunSpec, WrongValuesSayHowTheyAreWritten) {
  for (const char* wrong : {"foo", "0", "70000", "80:foo", ":80", "80:", "80/sctp", "127.0.0.1:80:80"})
    EXPECT_THAT(spec_of({"-p", wrong, "hello:1"}).error().message, HasSubstr("8080:80")) << wrong;
  for (const char* wrong : {"foo", ":/x", "a:b", "a:/b:rx", "a:/b:ro:x"})
    EXPECT_THAT(spec_of({"-v", wrong, "hello:1"}).error().message, HasSubstr("NAME:/path")) << wrong;
  EXPECT_FALSE(spec_of({"-e", "=x", "hello:1"}));
  EXPECT_FALSE(spec_of({"--network", "mesh", "hello:1"}));
  EXPECT_THAT(spec_of({}).error().message, HasSubstr("usage: tutti run IMAGE"));
}

TEST(PlacedInFile, EachDetailBeginsWithItsPlace) {
  const Error error =
      placed_in_file({ErrorCode::invalid,
                      "job file is not valid",
                      {{"tasks[0].imgae", "there is no such key (line 4, column 5)", "did you mean 'image'?"},
                       {"job", "not a name", ""}},
                      0},
                     "shop.yaml");
  EXPECT_EQ(error.message, "shop.yaml is not valid");
  EXPECT_EQ(error.details[0].path, "shop.yaml:4:5: tasks[0].imgae");
  EXPECT_EQ(error.details[0].message, "there is no such key");
  EXPECT_EQ(error.details[1].path, "job");
  EXPECT_EQ(placed_in_file({ErrorCode::not_found, "no project 'x'", {}, 0}, "-").message, "no project 'x'");
}

}  // namespace
}  // namespace tutti::cli
