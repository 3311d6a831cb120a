#include <gmock/gmock.h>

#include "base/limits.h"
#include "model/codec.h"
#include "model/job.h"
#include "model/validate.h"

namespace tutti {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(std::string_view text) {
  auto spec = parse_job_file(text, "shop.yaml");
  return spec ? "accepted" : spec.error().to_string();
}

constexpr std::string_view kYaml = R"(# a shop
job: shop
type: service
tasks:
  - name: web
    image: nginx:1.27            # comment
    count: 3
    resources: {cpu: 500m, memory: 256Mi, disk: 1Gi}
    ports: [{name: http, container: 80}]
    restart: {policy: on-failure, attempts: 3, interval: 10m, delay: 5s}
    env: {ANSWER: no, OCTAL: 0755, NUMBER: 1.50, DATE: 2026-11-21, QUOTED: "true"}
    constraints: ["node.arch == x86_64", "node.label.disk == ssd"]
)";

TEST(JobFile, yaml_keeps_words_as_they_are_written) {
  auto spec = parse_job_file(kYaml, "shop.yaml");
  ASSERT_TRUE(spec) << spec.error().to_string();
  ASSERT_EQ(spec->tasks.size(), 1u);
  const TaskSpec& web = spec->tasks[0];
  EXPECT_EQ(web.resources, (Resources{{500}, {256 << 20}, {1 << 30}}));
  EXPECT_EQ(web.restart.policy, RestartMode::on_failure);
  EXPECT_EQ(web.restart.interval, seconds(600));
  EXPECT_EQ(web.restart.max_delay, seconds(60));  // what is not written keeps its default
  EXPECT_EQ(web.env.at("ANSWER"), "no");
  EXPECT_EQ(web.env.at("OCTAL"), "0755");
  EXPECT_EQ(web.env.at("NUMBER"), "1.50");
  EXPECT_EQ(web.env.at("DATE"), "2026-11-21");
  EXPECT_EQ(web.env.at("QUOTED"), "true");
}

TEST(JobFile, yaml_traps_are_refused_with_their_place) {
  EXPECT_EQ(
      refusal("job: a\njob: b\n"),
      "job file shop.yaml is not valid; job: the key \"job\" is there twice (line 2, column 1) (keep one of them)");
  EXPECT_THAT(refusal("job: a\npriority: 010\n"), HasSubstr("expected an integer, not \"010\" (line 2, column 11)"));
  EXPECT_THAT(refusal("job: a\npriority: 0x10\n"), HasSubstr("expected an integer"));
  EXPECT_THAT(refusal("job: a\npriority: 1_000\n"), HasSubstr("expected an integer"));
  EXPECT_THAT(refusal("tasks: [{tty: yes}]"), HasSubstr("tasks[0].tty: expected true or false, not \"yes\""));
  EXPECT_THAT(refusal("tasks: [{tty: \"true\"}]"), HasSubstr("without quotes"));
  EXPECT_THAT(refusal("job:\n"), HasSubstr("expected a string, not null"));
  EXPECT_THAT(refusal("job: ~\n"), HasSubstr("expected a string, not null"));
  EXPECT_THAT(refusal("job: a\nlabels: {a: &x 1, <<: *x}\n"), HasSubstr("merge keys"));
  EXPECT_THAT(refusal("job: a\n---\njob: b\n"), HasSubstr("more than one YAML document"));
  EXPECT_THAT(refusal("job: !!binary aGk=\n"), HasSubstr("tags are not supported"));
  EXPECT_THAT(refusal("job: !mine x\n"), HasSubstr("tags are not supported"));
  EXPECT_THAT(refusal("[a]: b\n"), HasSubstr("a key must be text (line 1, column 1)"));
  EXPECT_THAT(refusal("job: [a\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(refusal("job: a\n\ttype: batch\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(refusal(""), HasSubstr("the document is empty"));
  EXPECT_THAT(refusal("just words"), HasSubstr("expected an object, not \"just words\""));
}

TEST(JobFile, aliases_are_copies_within_the_limits) {
  auto spec =
      parse_job_file("job: a\ntasks:\n  - {name: x, resources: &r {cpu: 1c}}\n  - {name: y, resources: *r}\n", "f");
  ASSERT_TRUE(spec) << spec.error().to_string();
  EXPECT_EQ(spec->tasks[1].resources.cpu.value, 1000);
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c <= 'j'; ++c) {
    std::string before = "*" + std::string(1, static_cast<char>(c - 1));
    bomb += std::string(1, c) + ": &" + c + " [" + before;
    for (int i = 0; i < 9; ++i) bomb += ", " + before;
    bomb += "]\n";
  }
  EXPECT_THAT(refusal(bomb), HasSubstr("kDocumentNodesMax"));
  EXPECT_THAT(refusal("a: &a [*a]\n"), HasSubstr("alias"));
  EXPECT_THAT(refusal(std::string(40, '[') + std::string(40, ']')), HasSubstr("kDocumentDepthMax"));
  EXPECT_NE(refusal(std::string(100'000, '[')), "accepted");
  EXPECT_NE(refusal(std::string(100'000, '[') + std::string(100'000, ']')), "accepted");
  std::string nested = "a: " + std::string(20, '[') + "&x " + std::string(11, '[') + std::string(31, ']');
  EXPECT_THAT(refusal(nested), HasSubstr("unknown field"));
}

TEST(JobFile, aliases_are_bounded_by_the_bytes_they_stand_for) {
  const std::string head = "job: a\nmeta:\n  a: &a \"" + std::string(200'000, 'x') + "\"\n";
  std::string bomb = head;
  for (int i = 0; i < 20'000; ++i) bomb += "  k" + std::to_string(i) + ": *a\n";
  EXPECT_THAT(refusal(bomb), HasSubstr("stand for more than 4194304 bytes (kRequestBodyBytesMax)"));
  std::string few = head;
  for (int i = 0; i < 20; ++i) few += "  k" + std::to_string(i) + ": *a\n";
  EXPECT_EQ(refusal(few), "accepted");
  std::string keys = "job: a\nlabels: &a {";
  for (int i = 0; i < 200; ++i) keys += "k" + std::to_string(i) + std::string(900, 'k') + ": x, ";
  keys += "z: x}\n";
  for (int i = 0; i < 30; ++i) keys += "k" + std::to_string(i) + ": *a\n";
  EXPECT_THAT(refusal(keys), HasSubstr("kRequestBodyBytesMax"));
}

// Each place is found by reading the text again: not for what is not told.
TEST(JobFile, of_many_errors_few_are_worked_out) {
  std::string json = "{\"job\":\"a\"";
  for (int i = 0; i < 100'000; ++i) json += ",\"field" + std::to_string(i) + "\":[]";
  const std::string said = refusal(json + "}");
  EXPECT_THAT(said, HasSubstr("unknown field \"field9\""));
  EXPECT_THAT(said, HasSubstr("there are more errors"));
  EXPECT_LT(said.size(), 10'000u);
}

TEST(JobFile, small_bare_quantities_were_meant_otherwise) {
  EXPECT_THAT(refusal("tasks: [{resources: {cpu: 2}}]"),
              HasSubstr("tasks[0].resources.cpu: a bare 2 is ambiguous (line 1, column 27) (2 means 2 millicores: "
                        "write 2c or 2000m)"));
  EXPECT_THAT(refusal(R"({"tasks": [{"resources": {"memory": 512}}]})"), HasSubstr("512 means 512 bytes: write 512Mi"));
  EXPECT_EQ(refusal("tasks: [{resources: {cpu: 0, memory: 0, disk: 0}}]"), "accepted");
  EXPECT_EQ(refusal("tasks: [{resources: {cpu: 10, memory: 1048576}, limits: {io_read_per_second: 4096}}]"),
            "accepted");
}

constexpr std::string_view kHcl = R"(
# a shop
job "shop" {
  type     = "service"   // which type
  priority = 60
  labels   = { team = "web", "tier/x" : "front" }
  group "front" {
    count = 2
    task "web" {
      image   = "nginx:1.27"
      command = ["nginx", "-g", "daemon off;",]
      env { MODE = "x\ty $${HOME}" }
      port "http" { container = 80 }
      port "dns" {
        container = 53
        protocol = "udp"
      }
      volume "data" { target = "/data" }
      resources { cpu = "500m" memory = "256Mi" }
      restart { policy = "on-failure" backoff = 1.5 }
    }
    task "side" { image = "busybox" tty = true }
  }
  /* alone */
  task "db" { image = "postgres" count = 1 }
}
)";

TEST(JobFile, hcl_becomes_the_same_words) {
  auto spec = parse_job_file(kHcl, "shop.hcl");
  ASSERT_TRUE(spec) << spec.error().to_string();
  EXPECT_EQ(spec->job, "shop");
  EXPECT_EQ(spec->priority, 60);
  EXPECT_EQ(spec->labels.at("tier/x"), "front");
  ASSERT_EQ(spec->tasks.size(), 3u);
  const TaskSpec& web = spec->tasks[0];
  EXPECT_EQ(web.name, "web");
  EXPECT_EQ(web.group, "front");
  EXPECT_EQ(web.count, 2);
  EXPECT_THAT(web.command, ElementsAre("nginx", "-g", "daemon off;"));
  EXPECT_EQ(web.env.at("MODE"), "x\ty ${HOME}");
  EXPECT_THAT(web.ports, ElementsAre(PortSpec{"http", 80, 0, Protocol::tcp}, PortSpec{"dns", 53, 0, Protocol::udp}));
  ASSERT_EQ(web.volumes.size(), 1u);
  EXPECT_EQ(web.volumes[0].source, "data");
  EXPECT_EQ(web.resources, (Resources{{500}, {256 << 20}, {}}));
  EXPECT_EQ(web.restart.backoff, 1.5);
  EXPECT_EQ(spec->tasks[1].group, "front");
  EXPECT_TRUE(spec->tasks[1].tty);
  EXPECT_EQ(spec->tasks[2].group, "");
  apply_defaults(*spec);
  EXPECT_TRUE(validate(*spec)) << validate(*spec).error().to_string();
}

TEST(JobFile, hcl_beyond_ours_is_refused_with_its_place) {
  auto with = [](std::string_view inner) { return refusal("job \"a\" {\n  " + std::string(inner) + "\n}\n"); };
  EXPECT_THAT(with("type = var.type"), HasSubstr("references and functions are not supported"));
  EXPECT_THAT(with("type = var.type"), HasSubstr("(line 2, column 10)"));
  EXPECT_THAT(with("project = \"${x}\""), HasSubstr("interpolation is not supported"));
  EXPECT_THAT(with("project = <<EOF\nx\nEOF"), HasSubstr("heredocs"));
  EXPECT_THAT(with("priority = 1 + 2"), HasSubstr("no operators"));
  EXPECT_THAT(with("priority = 10m"), HasSubstr("in quotes"));
  EXPECT_THAT(with("group \"g\" { network {} }"), HasSubstr("\"network\" cannot stand in a group"));
  EXPECT_THAT(with("task { }"), HasSubstr("a task has one name"));
  EXPECT_THAT(with("update \"x\" { }"), HasSubstr("takes no name"));
  EXPECT_THAT(with("task \"t\" { cout = 3 }"),
              HasSubstr("tasks[0].cout: unknown field \"cout\" (line 2, column 14) (did you mean \"count\"?)"));
  EXPECT_THAT(with("task \"t\" { count = 3 count = 4 }"), HasSubstr("is there twice"));
  EXPECT_THAT(with("task \"t\" { resources { memory = 256 } }"), HasSubstr("write 256Mi"));
  EXPECT_THAT(with("task \"t\" {"), HasSubstr("expected '}'"));
  EXPECT_THAT(refusal("job \"a\" {}\njob \"b\" {}"), HasSubstr("one job per file (line 2, column 1)"));
  std::string deep = "job \"a\" { x = ";
  for (int i = 0; i < 100'000; ++i) deep += '[';
  EXPECT_THAT(refusal(deep), HasSubstr("nested too deeply"));
}

TEST(JobFile, json_to_yaml_reads_back) {
  std::string_view json =
      R"({"a":"no","b":[1,[2,3],{"c":null,"d":[]}],"e":{},"f":"x: y","g":1.5,"true":"12","h":"l1\nl2","i":""})";
  auto yaml = json_to_yaml(json);
  ASSERT_TRUE(yaml);
  EXPECT_EQ(
      *yaml,
      "a: \"no\"\nb:\n  - 1\n  - - 2\n    - 3\n  - c: null\n    d: []\ne: {}\nf: \"x: y\"\ng: 1.5\n\"true\": \"12\"\n"
      "h: \"l1\\nl2\"\ni: \"\"\n");
  EXPECT_EQ(*json_to_yaml("[]"), "[]\n");
  EXPECT_FALSE(json_to_yaml("{"));
}

}  // namespace
}  // namespace tutti
