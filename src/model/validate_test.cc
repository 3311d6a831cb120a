#include "model/validate.h"

#include <gmock/gmock.h>

#include "base/limits.h"
#include "model/codec.h"

namespace tutti {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

JobSpec good() {
  JobSpec spec;
  spec.job = "shop";
  spec.tasks.resize(2);
  spec.tasks[0].name = "web";
  spec.tasks[0].image = "nginx:1.27";
  spec.tasks[0].ports = {{"", 53, 0, Protocol::tcp}, {"", 53, 0, Protocol::udp}};
  spec.tasks[1].name = "db";
  spec.tasks[1].image = "postgres";
  apply_defaults(spec);
  return spec;
}

// The paths of what is wrong, each with its message.
std::vector<std::string> wrong(const JobSpec& spec) {
  std::vector<std::string> out;
  Status status = validate(spec);
  if (!status) {
    for (const ErrorDetail& d : status.error().details) out.push_back(d.path + ": " + d.message);
  }
  return out;
}

TEST(Validate, a_good_job_passes) {
  EXPECT_THAT(wrong(good()), ::testing::IsEmpty());
}

TEST(Validate, defaults_follow_from_the_rest_and_settle_at_once) {
  JobSpec spec = good();
  EXPECT_EQ(spec.tasks[0].restart.policy, RestartMode::always);
  EXPECT_EQ(spec.tasks[0].group, "web");
  EXPECT_EQ(spec.tasks[0].ports[0].name, "53");
  EXPECT_EQ(spec.tasks[0].ports[1].name, "53-udp");
  JobSpec again = spec;
  apply_defaults(again);
  EXPECT_EQ(again, spec);
  JobSpec batch;
  batch.type = JobType::batch;
  batch.tasks.resize(2);
  batch.tasks[0].group = batch.tasks[1].group = "g";
  batch.tasks[0].count = 4;
  apply_defaults(batch);
  EXPECT_EQ(batch.tasks[1].restart.policy, RestartMode::on_failure);
  EXPECT_EQ(batch.tasks[1].count, 4);
}

struct Case {
  const char* name;
  void (*change)(JobSpec&);
  const char* path_and_message;
};

class ValidateRefuses : public ::testing::TestWithParam<Case> {};

TEST_P(ValidateRefuses, with_the_path_of_the_field) {
  JobSpec spec = good();
  GetParam().change(spec);
  EXPECT_THAT(wrong(spec), Contains(HasSubstr(GetParam().path_and_message)));
}

INSTANTIATE_TEST_SUITE_P(
    Each, ValidateRefuses,
    ::testing::Values(
        Case{"name", [](JobSpec& s) { s.job = "Shop!"; }, "job: not a name"},
        Case{"no_name", [](JobSpec& s) { s.tasks[1].name = ""; }, "tasks[1].name: a name is needed"},
        Case{"twice", [](JobSpec& s) { s.tasks[1].name = "web"; }, "tasks[1].name: two tasks are called \"web\""},
        Case{"no_tasks", [](JobSpec& s) { s.tasks.clear(); }, "tasks: a job has at least one task"},
        Case{"many_tasks", [](JobSpec& s) { s.tasks.resize(limits::kTasksPerJobMax + 1); }, "kTasksPerJobMax"},
        Case{"count", [](JobSpec& s) { s.tasks[0].count = limits::kCountMax + 1; }, "tasks[0].count: out of range"},
        Case{"negative", [](JobSpec& s) { s.tasks[0].count = -1; }, "tasks[0].count: out of range"},
        Case{"system_count", [](JobSpec& s) { s.type = JobType::system, s.tasks[0].count = 2; },
             "tasks[0].count: a system job"},
        Case{"priority", [](JobSpec& s) { s.priority = 101; }, "priority: out of range"},
        Case{"driver", [](JobSpec& s) { s.tasks[0].driver = "contaner"; }, "tasks[0].driver: there is no driver"},
        Case{"image", [](JobSpec& s) { s.tasks[0].image = ""; }, "tasks[0].image: a container needs an image"},
        Case{"reference", [](JobSpec& s) { s.tasks[0].image = "A b"; }, "tasks[0].image: not an image reference"},
        Case{"process", [](JobSpec& s) { s.tasks[0].driver = "process"; },
             "tasks[0].command: a process needs a command"},
        Case{"cpu", [](JobSpec& s) { s.tasks[0].resources.cpu = {2}; }, "tasks[0].resources.cpu: less than 10m"},
        Case{"memory", [](JobSpec& s) { s.tasks[0].resources.memory = {512}; },
             "tasks[0].resources.memory: less than 1Mi"},
        Case{"limit", [](JobSpec& s) { s.tasks[0].limits.memory = {1 << 20}; },
             "tasks[0].limits.memory: less than resources.memory"},
        Case{"port", [](JobSpec& s) { s.tasks[0].ports[0].container = 65536; },
             "tasks[0].ports[0].container: out of range"},
        Case{"port_name", [](JobSpec& s) { s.tasks[0].ports[1].name = "53"; },
             "tasks[0].ports[1].name: two ports are called"},
        Case{"port_twice", [](JobSpec& s) { s.tasks[0].ports[1].protocol = Protocol::tcp; },
             "ports[1].container: port 53 is there twice"},
        Case{"none_ports", [](JobSpec& s) { s.tasks[0].network = NetworkMode::none; },
             "tasks[0].ports: a task without a network"},
        Case{"volume", [](JobSpec& s) { s.tasks[0].volumes = {{VolumeKind::host, "data", "/d", false, {}}}; },
             "volumes[0].source: not an absolute path"},
        Case{"dots", [](JobSpec& s) { s.tasks[0].volumes = {{VolumeKind::local, "d", "/a/../etc", false, {}}}; },
             "volumes[0].target: a path may not go up"},
        Case{"workdir", [](JobSpec& s) { s.tasks[0].workdir = "x"; }, "tasks[0].workdir: not an absolute path"},
        Case{"signal", [](JobSpec& s) { s.tasks[0].stop_signal = "TERMM"; },
             "tasks[0].stop_signal: there is no signal"},
        Case{"constraint", [](JobSpec& s) { s.tasks[0].constraints = {"node.arch x"}; },
             "tasks[0].constraints[0]: not a constraint"},
        Case{"backoff", [](JobSpec& s) { s.tasks[0].restart.backoff = 0.5; }, "tasks[0].restart.backoff: out of range"},
        Case{"jitter", [](JobSpec& s) { s.tasks[0].restart.jitter = 1.5; }, "tasks[0].restart.jitter: out of range"},
        Case{"env", [](JobSpec& s) { s.tasks[0].env["A=B"] = ""; }, "tasks[0].env: not a variable"},
        Case{"cap", [](JobSpec& s) { s.tasks[0].security.cap_add = {"net_admin"}; },
             "security.cap_add[0]: not a capability"},
        Case{"group_count", [](JobSpec& s) { s.tasks[1].group = "web", s.tasks[1].count = 3; },
             "tasks[1].count: differs from that of task \"web\""},
        Case{"group_network", [](JobSpec& s) { s.tasks[1].group = "web", s.tasks[1].network = NetworkMode::host; },
             "tasks[1].network: differs"},
        Case{"group_port",
             [](JobSpec& s) { s.tasks[1].group = "web", s.tasks[1].ports = {{"x", 53, 0, Protocol::udp}}; },
             "tasks[1].ports[0].container: port 53 is taken by task \"web\""},
        Case{"ttl", [](JobSpec& s) { s.ttl = seconds(1); }, "ttl: only a batch job ends by itself"},
        Case{"labels",
             [](JobSpec& s) {
               for (int i = 0; i < 65; ++i) s.labels[std::to_string(i)] = "";
             },
             "kLabelsMax"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Validate, a_spec_fits_a_message_to_a_worker) {
  JobSpec spec = good();
  spec.tasks.resize(6, spec.tasks[1]);
  for (size_t i = 1; i < spec.tasks.size(); ++i) {
    spec.tasks[i].name = "t" + std::to_string(i);
    spec.tasks[i].group.clear();
    spec.tasks[i].command = {"x", std::string(120'000, 'y')};
  }
  apply_defaults(spec);
  ASSERT_EQ(wrong(spec).size(), 1u);
  EXPECT_THAT(wrong(spec)[0], HasSubstr("bytes as JSON are too many"));
}

TEST(Validate, everything_is_gathered_up_to_twenty) {
  JobSpec spec = good();
  spec.priority = -1;
  spec.tasks[0].image = "";
  spec.tasks[1].workdir = "x";
  EXPECT_EQ(wrong(spec).size(), 3u);
  spec.tasks.assign(50, TaskSpec{});
  EXPECT_EQ(wrong(spec).size(), 20u);
}

// What a stranger made long is refused for its length, before anything is worked out that grows faster than it.
TEST(Validate, long_lists_are_told_and_not_looked_into) {
  JobSpec spec = good();
  spec.tasks[0].health.resize(4'000);
  spec.tasks[0].ports.assign(20'000, PortSpec{"", 80, 0, Protocol::tcp});
  spec.tasks[1].group = "web";
  spec.tasks[1].ports = spec.tasks[0].ports;
  apply_defaults(spec);
  EXPECT_EQ(spec.tasks[0].health[0].name, "") << "numbered one by one among all of them";
  EXPECT_EQ(spec.tasks[0].ports[0].name, "");
  EXPECT_THAT(wrong(spec), ::testing::ElementsAre("tasks[0].ports: more than 256",
                                                  "tasks[0].health: more than 16 checks (kHealthChecksMax)",
                                                  "tasks[1].ports: more than 256"));
  JobSpec many;
  many.job = "many";
  many.type = JobType::batch;
  many.tasks.resize(20'000);
  for (TaskSpec& task : many.tasks) task.after = {{"nowhere-near-" + std::string(40, 'x'), AfterCondition::complete}};
  apply_defaults(many);
  EXPECT_THAT(wrong(many), ::testing::ElementsAre("tasks: more than 100 tasks (kTasksPerJobMax)"));
}

TEST(Validate, a_long_key_is_not_told_again_and_again) {
  JobSpec spec = good();
  std::string value;
  for (int i = 0; i < 3'000; ++i) value += "${meta.x}";
  spec.tasks[0].env[std::string(100'000, 'K')] = value;
  Status status = validate(spec);
  ASSERT_FALSE(status);
  ASSERT_EQ(status.error().details.size(), kValidationErrorsMax);
  for (const ErrorDetail& d : status.error().details) EXPECT_EQ(d.path, "tasks[0].env." + std::string(80, 'K'));
}

TEST(Validate, the_ports_of_a_group_are_compared_once_each) {
  JobSpec spec = good();
  spec.tasks.resize(100, spec.tasks[1]);
  for (size_t i = 0; i < spec.tasks.size(); ++i) {
    spec.tasks[i].name = "t" + std::to_string(i);
    spec.tasks[i].group = "g";
    for (int port = 0; port < 20; ++port)
      spec.tasks[i].ports.push_back({"", static_cast<int32_t>(1 + i * 20) + port, 0, Protocol::tcp});
  }
  spec.tasks[0].ports.clear();
  apply_defaults(spec);
  EXPECT_THAT(wrong(spec), ::testing::IsEmpty());
  spec.tasks[99].ports[7].container = 21;
  EXPECT_THAT(wrong(spec), ::testing::ElementsAre(
                               "tasks[99].ports[7].container: port 21 is taken by task \"t1\" of the same group"));
}

TEST(Validate, the_counts_of_a_job_have_a_limit_together) {
  JobSpec spec = good();
  spec.tasks.resize(6, spec.tasks[1]);
  for (size_t i = 0; i < spec.tasks.size(); ++i) {
    spec.tasks[i].name = spec.tasks[i].group = "t" + std::to_string(i);
    spec.tasks[i].count = i < 5 ? limits::kCountMax : 0;
  }
  EXPECT_THAT(wrong(spec), ::testing::IsEmpty());
  spec.tasks[5].count = 1;
  EXPECT_THAT(wrong(spec), ::testing::ElementsAre("tasks: 500001 instances in all"));
}

TEST(Validate, signals) {
  EXPECT_EQ(*parse_signal("TERM"), 15);
  EXPECT_EQ(*parse_signal("SIGHUP"), 1);
  EXPECT_EQ(*parse_signal("9"), 9);
  for (std::string_view bad : {"", "0", "65", "term", "SIG", "9x"}) EXPECT_FALSE(parse_signal(bad)) << bad;
}

TEST(Validate, feature_levels) {
  EXPECT_EQ(field_feature_level("TaskSpec", "image"), 1u);
  EXPECT_EQ(required_feature_level(good()), 1u);
}

}  // namespace
}  // namespace tutti
