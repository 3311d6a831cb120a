#include "model/codec.h"

#include <gmock/gmock.h>

#include "base/limits.h"
#include "model/instance.h"
#include "model/job.h"
#include "model/node.h"
#include "model/objects.h"
#include "model/plan.h"
#include "model/session.h"

namespace tutti {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> details_of(const Error& error) {
  std::vector<std::string> lines;
  for (const ErrorDetail& d : error.details)
    lines.push_back(d.path + ": " + d.message + (d.hint.empty() ? "" : " [" + d.hint + "]"));
  return lines;
}

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
  EXPECT_EQ(to_json(TaskSpec{}, {.omit_defaults = true}), "{}");
}

TEST(CodecJson, every_kind_of_member_has_its_text) {
  Instance instance;
  instance.id = {7};
  instance.override_ = Override::delete_;
  instance.presence = Presence::given_up;
  instance.revision = {12};
  instance.created = {seconds(1).ns};
  instance.state = TaskState::preparing;
  instance.detail = std::make_shared<InstanceDetail>(InstanceDetail{.address = "10.0.0.1"});
  EXPECT_EQ(to_json(instance, {.omit_defaults = true}),
            R"({"id":")" + to_text(instance.id) +
                R"(","override":"delete","presence":"given-up","state":"preparing",)" +
                R"("revision":12,"created":"1970-01-01T00:00:01.000Z","detail":{"address":"10.0.0.1"}})");
  auto back = from_json<Instance>(to_json(instance));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(to_json(*back), to_json(instance));
  EXPECT_EQ(back->detail->address, "10.0.0.1");
  EXPECT_EQ(from_json<Instance>(R"({"presence":"given_up"})")->presence, Presence::given_up);
}

TEST(CodecJson, optionals_are_absent_or_the_value) {
  EXPECT_EQ(to_json(StreamControl{.exit_code = 0}, {.omit_defaults = true}), R"({"exit_code":0})");
  EXPECT_EQ(to_json(StreamControl{}), R"({"error":"","signal":""})");
  EXPECT_EQ(from_json<StreamControl>(R"({"exit_code":null})")->exit_code, std::nullopt);
  auto message = from_json<ManagerMessage>(to_json(ManagerMessage{.session = 3, .status_ack = StatusAck{}}));
  ASSERT_TRUE(message);
  EXPECT_TRUE(message->status_ack.has_value());
  EXPECT_FALSE(message->welcome.has_value());
}

TEST(CodecJson, integers_are_exact_to_the_last_bit) {
  HeldInstance held{{1}, 4294967295u, 18446744073709551615u};
  EXPECT_EQ(*from_json<HeldInstance>(to_json(held)), held);
  PortSpec lowest{.container = std::numeric_limits<int32_t>::min()};
  EXPECT_EQ(*from_json<PortSpec>(to_json(lowest)), lowest);
  EXPECT_FALSE(from_json<PortSpec>(R"({"container":2147483648})"));
  EXPECT_FALSE(from_json<HeldInstance>(R"({"generation":-1})"));
  EXPECT_FALSE(from_json<HeldInstance>(R"({"assignment_hash":18446744073709551616})"));
  EXPECT_FALSE(from_json<PortSpec>(R"({"container":80.0})"));
}

TEST(CodecJson, what_is_not_utf8_is_written_so_that_it_can_be_read) {
  TaskStatus status{.reason = std::string("bad \xff\xC0\x80 ok é \x01 \xF0\x9F\x98\x80 \xE2\x82")};
  auto back = from_json<TaskStatus>(to_json(status));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(back->reason, "bad \uFFFD\uFFFD\uFFFD ok é \x01 😀 \uFFFD\uFFFD");
}

TEST(CodecJson, pretty_is_for_people) {
  EXPECT_EQ(to_json(GoodbyeMessage{"x"}, {.pretty = true}), "{\n  \"reason\": \"x\"\n}");
  EXPECT_EQ(to_json(Plan{.placements = {{.generation = 2}}}, {.omit_defaults = true, .pretty = true}),
            "{\n  \"placements\": [\n    {\n      \"generation\": 2\n    }\n  ]\n}");
}

TEST(CodecErrors, each_is_named_with_path_place_and_remedy) {
  auto spec = from_json<JobSpec>(R"({
  "job": "shop", "tpye": "service", "priority": "5",
  "type": "servce",
  "tasks": [{"name": "web", "cout": 3, "resources": {"cpu": "2x"}, "command": "sh"},
            {"name": "db", "name": "db2", "stop_grace": 10, "tty": 1, "env": null}]
})",
                                 {.what = "request"});
  ASSERT_FALSE(spec);
  EXPECT_EQ(spec.error().code, ErrorCode::invalid);
  EXPECT_EQ(spec.error().message, "request is not valid");
  EXPECT_THAT(
      details_of(spec.error()),
      ElementsAre(
          "tpye: unknown field \"tpye\" (line 2, column 18) [did you mean \"type\"?]",
          "priority: expected an integer, not \"5\" (line 2, column 49) [without quotes]",
          "type: unknown word \"servce\" (line 3, column 11) [did you mean \"service\"? one of service, batch, system]",
          "tasks[0].cout: unknown field \"cout\" (line 4, column 29) [did you mean \"count\"?]",
          "tasks[0].resources.cpu: not an amount of cpu: \"2x\": no such unit (m c), like 500m or 1.5c (line 4, column "
          "61) "
          "[write 500m, 2c or 1.5c]",
          "tasks[0].command: expected a list, not \"sh\" (line 4, column 79) [write [\"sh\"]]",
          "tasks[1].name: the key \"name\" is there twice (line 5, column 28) [keep one of them]",
          "tasks[1].stop_grace: expected a duration, not a number (line 5, column 57) [with a unit: 10s]",
          "tasks[1].tty: expected true or false, not a number (line 5, column 68)",
          "tasks[1].env: expected an object, not null (line 5, column 78) [leave it out, or write {}]"));
}

TEST(CodecErrors, ten_are_kept) {
  std::string json = R"({"tasks":[)";
  for (int i = 0; i < 20; ++i) json += (i == 0 ? "" : ",") + std::string("7");
  auto spec = from_json<JobSpec>(json + "]}");
  ASSERT_FALSE(spec);
  EXPECT_EQ(spec.error().details.size(), 11u);
  EXPECT_EQ(spec.error().details.back().message, "there are more errors");
}

TEST(CodecErrors, broken_json_is_told_where_it_breaks) {
  auto message = [](std::string_view text) { return from_json<JobSpec>(text, {.what = "body"}).error().message; };
  EXPECT_EQ(message("{\"a\": 1,\n  \"b\" 2}"), "body: not valid JSON: expected ':' (line 2, column 7)");
  EXPECT_EQ(message("{\"a\": [1 2]}"), "body: not valid JSON: expected ',' or ']' (line 1, column 10)");
  EXPECT_EQ(message("{\"a\": 012}"), "body: not valid JSON: a number cannot start with 0 (line 1, column 7)");
  EXPECT_EQ(message("{\"a\": \"x"), "body: not valid JSON: a string is not closed (line 1, column 9)");
  EXPECT_EQ(message("{} {}"),
            "body: not valid JSON: there is something after the end of the document (line 1, column 4)");
  EXPECT_EQ(message(""), "body: not valid JSON: the document ends where a value is expected (line 1, column 1)");
  EXPECT_THAT(message("{\"a\": \"\xff\"}"), HasSubstr("not UTF-8"));
  EXPECT_THAT(message("{\"a\": 99999999999999999999999}"), HasSubstr("out of range (line 1, column 7)"));
}

TEST(CodecErrors, limits_are_named) {
  std::string deep;
  for (size_t i = 0; i < 100'000; ++i) deep += '[';
  EXPECT_THAT(from_json<JobSpec>(deep).error().message, HasSubstr("kDocumentDepthMax"));
  std::string edge = std::string(33, '[') + std::string(33, ']');
  EXPECT_THAT(from_json<JobSpec>(edge).error().message, HasSubstr("kDocumentDepthMax"));
  std::string wide = "[0";
  for (size_t i = 0; i < limits::kDocumentNodesMax; ++i) wide += ",0";
  EXPECT_THAT(from_json<JobSpec>(wide + "]").error().message, HasSubstr("kDocumentNodesMax"));
  std::string large(limits::kRequestBodyBytesMax + 1, ' ');
  EXPECT_THAT(from_json<JobSpec>(large).error().message, HasSubstr("kRequestBodyBytesMax"));
  EXPECT_EQ(from_json<JobSpec>(large).error().code, ErrorCode::too_large);
}

TEST(CodecErrors, unknown_members_pass_only_where_they_may) {
  std::string_view json = R"({"reason":"x","new":{"a":[1,{"reason":"y"}]}})";
  EXPECT_FALSE(from_json<GoodbyeMessage>(json));
  EXPECT_EQ(from_json<GoodbyeMessage>(json, {.allow_unknown = true})->reason, "x");
}

TEST(CodecSession, an_assignments_hash_follows_its_content) {
  Assignment a{.instance = {1}, .name = "shop-web-0"};
  Assignment b = a;
  EXPECT_EQ(hash_of(a), hash_of(b));
  b.generation = 2;
  EXPECT_NE(hash_of(a), hash_of(b));
}

TEST(CodecSchema, names_every_type_that_is_reached) {
  auto schemas = schemas_of<JobSpec>();
  std::map<std::string, std::string> by_name;
  for (auto& s : schemas) by_name[s.name] = s.json;
  EXPECT_EQ(by_name.size(), schemas.size());
  ASSERT_TRUE(by_name.contains("JobSpec") && by_name.contains("TaskSpec") && by_name.contains("RestartMode"));
  EXPECT_EQ(by_name["RestartMode"], R"({"type":"string","enum":["never","on-failure","always"]})");
  EXPECT_THAT(by_name["JobSpec"],
              HasSubstr(R"("tasks":{"type":"array","items":{"$ref":"#/components/schemas/TaskSpec"},"default":[]})"));
  EXPECT_THAT(by_name["JobSpec"],
              HasSubstr(R"("priority":{"type":"integer","minimum":-2147483648,"maximum":2147483647,"default":50})"));
  for (auto& [name, json] : by_name) EXPECT_TRUE(json_to_yaml(json)) << name << ": " << json;  // each is JSON
}

}  // namespace
}  // namespace tutti
