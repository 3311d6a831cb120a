#include "model/codec.h"

#include <gmock/gmock.h>

#include "model/job.h"
#include "model/node.h"
#include "model/session.h"

namespace tutti {
namespace {

using ::testing::HasSubstr;

TEST(CodecJson, a_job_goes_out_and_comes_back) {
  JobSpec spec;
  spec.job = "shop";
  spec.policy = PlacementPolicy::spread;
  spec.tasks.resize(1);
  spec.tasks[0].name = "web";
  spec.tasks[0].restart.policy = RestartMode::on_failure;
  spec.tasks[0].env["A"] = "é\n\"";
  for (bool omit : {false, true}) {
    auto back = from_json<JobSpec>(to_json(spec, {.omit_defaults = omit}));
    ASSERT_TRUE(back) << back.error().to_string();
    EXPECT_EQ(*back, spec);
  }
  EXPECT_THAT(to_json(spec), HasSubstr(R"("policy":"on-failure")"));
  EXPECT_THAT(to_json(JobSpec{}), HasSubstr(R"("policy":"default")"));
}

TEST(CodecJson, omitted_defaults_are_those_of_the_outer_struct) {
  TaskSpec task;
  task.resources = {};  // the default of a task's is not the default of Resources
  std::string json = to_json(task, {.omit_defaults = true});
  EXPECT_EQ(json, R"({"resources":{"cpu":0,"memory":0}})");
  EXPECT_EQ(from_json<TaskSpec>(json)->resources, Resources{});
}

}  // namespace
}  // namespace tutti
