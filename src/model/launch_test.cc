// What a job file says of work that begins later, and what is wrong with it.
#include "model/launch.h"

#include <gmock/gmock.h>

#include "base/limits.h"
#include "model/codec.h"
#include "model/job.h"
#include "model/validate.h"

namespace tutti {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

JobSpec read(std::string_view text) {
  auto spec = parse_job_file(text, "job.yaml");
  if (!spec) throw std::runtime_error(spec.error().to_string());
  apply_defaults(*spec);
  return *spec;
}

std::vector<std::string> wrong(std::string_view text) {
  std::vector<std::string> out;
  if (Status status = validate(read(text)); !status)
    for (const ErrorDetail& d : status.error().details) out.push_back(d.path + ": " + d.message + "; " + d.hint);
  return out;
}

std::string head(const std::string& more, const std::string& name = "x") {
  return "job: " + name + "\ntype: batch\n" + more;
}
constexpr std::string_view kTask = "tasks: [{name: a, image: hello}]\n";

TEST(Launch, AfterIsANameOrANameAndACondition) {
  const JobSpec spec = read(head("after: [prepare, {name: check, when: failed}]\n") + std::string(kTask));
  EXPECT_EQ(spec.after, (std::vector<After>{{"prepare", AfterCondition::complete}, {"check", AfterCondition::failed}}));
  auto json = from_json<JobSpec>(R"({"job":"x","after":["prepare"]})");
  ASSERT_TRUE(json);
  EXPECT_EQ(json->after[0].name, "prepare");
  EXPECT_EQ(from_json<JobSpec>(to_json(spec))->after, spec.after);
  EXPECT_THAT(parse_job_file("job: x\nafter: [{nmae: a}]\n", "f").error().to_string(), HasSubstr("did you mean"));
}

TEST(Launch, HclWritesThemAsBlocks) {
  const JobSpec spec = read(
      "job \"x\" {\n  type = \"batch\"\n  after = [\"y\"]\n  periodic {\n    cron = \"@daily\"\n"
      "    overlap = \"forbid\"\n  }\n  task \"a\" {\n    image = \"hello\"\n  }\n}\n");
  ASSERT_TRUE(spec.periodic);
  EXPECT_EQ(spec.periodic->overlap, OverlapPolicy::forbid);
  EXPECT_EQ(spec.after.size(), 1u);
}

TEST(Launch, SchedulesAreCheckedAtSubmit) {
  EXPECT_THAT(wrong(head("periodic: {cron: \"0 2 * * *\", time_zone: Europe/Zurich}\n") + std::string(kTask)),
              ::testing::IsEmpty());
  EXPECT_THAT(wrong(head("periodic: {cron: \"0 25 * * *\"}\n") + std::string(kTask)),
              Contains(HasSubstr("not a hour (0 to 23)")));
  EXPECT_THAT(wrong(head("periodic: {}\n") + std::string(kTask)), Contains(HasSubstr("a schedule is needed")));
  EXPECT_THAT(wrong("job: x\nperiodic: {cron: \"@daily\"}\n" + std::string(kTask)),
              Contains(HasSubstr("write type: batch")));
  EXPECT_THAT(wrong(head("periodic: {cron: \"@daily\", keep: 1001}\n") + std::string(kTask)),
              Contains(HasSubstr("kChildrenKeptMax")));
  EXPECT_THAT(wrong(head("periodic: {cron: \"@daily\"}\nparameterized: {}\n") + std::string(kTask)),
              Contains(HasSubstr("not both")));
  const std::string longest(limits::kParentNameLengthMax, 'n');
  EXPECT_THAT(wrong(head("periodic: {cron: \"@daily\"}\n", longest) + std::string(kTask)), ::testing::IsEmpty());
  EXPECT_THAT(wrong(head("periodic: {cron: \"@daily\"}\n", longest + "n") + std::string(kTask)),
              Contains(HasSubstr("kParentNameLengthMax")));
}

TEST(Launch, MetaThatCanHaveNoValueIsASlip) {
  const std::string task =
      "tasks: [{name: a, image: hello, command: [\"${meta.user}\"], env: {A: \"${meta.site}\"}}]\n";
  EXPECT_THAT(wrong(head("meta: {site: z}\nparameterized: {meta_required: [user]}\n") + task), ::testing::IsEmpty());
  EXPECT_THAT(wrong(head("parameterized: {meta_optional: [site]}\n") + task), Contains(HasSubstr("no meta \"user\"")));
  EXPECT_THAT(wrong(head("parameterized: {meta_required: [a-b]}\n") + std::string(kTask)),
              Contains(HasSubstr("not a key")));
  EXPECT_THAT(wrong(head("parameterized: {meta_required: [a], meta_optional: [a]}\n") + std::string(kTask)),
              Contains(HasSubstr("twice")));
}

TEST(Launch, MetaIsPutInWhereItIsNamed) {
  TaskSpec task;
  task.command = {"-a", "x${meta.one}y${meta.two}", "${meta.none}", "${meta.open", "$HOME ${other}"};
  task.env["E"] = "${meta.one}";
  const TaskSpec out = with_meta(task, {{"one", "1"}, {"two", "${meta.one}"}});
  EXPECT_EQ(out.command, (std::vector<std::string>{"-a", "x1y${meta.one}", "", "${meta.open", "$HOME ${other}"}));
  EXPECT_EQ(out.env.at("E"), "1");
}

TEST(Launch, OrderIsAmongTasksOfOtherGroupsAndWithoutCircles) {
  auto tasks = [](const std::string& text) { return head("tasks:\n" + text); };
  EXPECT_THAT(
      wrong(tasks(
          "- {name: a, image: i, after: [c]}\n- {name: b, image: i, after: [a]}\n- {name: c, image: i, after: [b]}\n")),
      Contains(HasSubstr("in a circle: a -> c -> b -> a")));
  EXPECT_THAT(wrong(tasks("- {name: build, image: i}\n- {name: b, image: i, after: [biuld]}\n")),
              Contains(HasSubstr("did you mean \"build\"?")));
  EXPECT_THAT(wrong(tasks("- {name: a, image: i, group: g}\n- {name: b, image: i, group: g, after: [a]}\n")),
              Contains(HasSubstr("same group")));
  // Through their groups: b waits for a's group, whose other task waits for b.
  EXPECT_THAT(wrong(tasks("- {name: a, image: i, group: g}\n- {name: a2, image: i, group: g, after: [b]}\n- {name: b, "
                          "image: i, after: [a]}\n")),
              Contains(HasSubstr("in a circle: g -> b -> g")));
  EXPECT_THAT(wrong("job: x\ntasks: [{name: a, image: i}, {name: b, image: i, after: [a]}]\n"),
              Contains(HasSubstr("batch")));
  EXPECT_THAT(wrong(head("after: [x]\n") + std::string(kTask)), Contains(HasSubstr("waits for itself")));
  EXPECT_THAT(wrong("job: x\ndeadline: 1h\n" + std::string(kTask)), Contains(HasSubstr("only a batch job ends")));
}

TEST(Launch, NamesOfChildren) {
  EXPECT_EQ(child_name("backup", LaunchKind::periodic, Time{1'763'713'200'000'000'000}, JobId{7}), "backup-1763713200");
  EXPECT_EQ(child_name("backup", LaunchKind::dispatched, Time{}, JobId{7}), "backup-" + to_text(JobId{7}));
}

}  // namespace
}  // namespace tutti
