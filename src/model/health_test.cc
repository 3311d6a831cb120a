// What a job file may say of health checks, what is filled in, and what else knows of them.
#include "model/health.h"

#include <gmock/gmock.h>

#include "base/limits.h"
#include "model/codec.h"
#include "model/diff.h"
#include "model/instance.h"
#include "model/validate.h"

namespace tutti {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kHead =
    "job: shop\ntasks:\n  - name: web\n    image: x\n    ports: [{name: http, container: 80}, {container: 53, "
    "protocol: udp}]\n";

JobSpec parsed(std::string_view health) {
  auto spec = parse_job_file(std::string(kHead) + "    health: " + std::string(health) + "\n", "f.yaml");
  EXPECT_TRUE(spec) << spec.error().to_string();
  if (!spec) return {};
  apply_defaults(*spec);
  return *spec;
}
HealthCheck only(std::string_view health) {
  return parsed(health).tasks.at(0).health.at(0);
}
// Everything that is wrong with it, with path and hint.
std::vector<std::string> wrong(std::string_view health, NetworkMode network = NetworkMode::bridge) {
  JobSpec spec = parsed(health);
  spec.tasks[0].network = network;
  if (network == NetworkMode::none) spec.tasks[0].ports.clear();
  std::vector<std::string> out;
  const Status status = validate(spec);
  if (status) return out;
  for (const ErrorDetail& d : status.error().details) out.push_back(d.path + ": " + d.message + " (" + d.hint + ")");
  return out;
}

TEST(HealthChecks, TheShortFormIsAReadinessCheckOfTheOnlyTcpPort) {
  const HealthCheck check = only("[{type: http, interval: 5s}]");
  EXPECT_EQ(check.kind, CheckKind::readiness);
  EXPECT_EQ(check.name, "readiness");
  EXPECT_EQ(check.port, "http");
  EXPECT_EQ(check.interval, seconds(5));
  EXPECT_EQ(check.failures, 3);
}

TEST(HealthChecks, GoodOnesPass) {
  for (const char* good :
       {"[{type: tcp, port: 6379}]",
        "[{type: http, kind: liveness, path: \"/a?b=c\", headers: {Host: x.y}, status: \"200,300-399\"}]",
        "[{type: exec, command: [cat, /tmp/up], kind: startup, failures: 30, interval: 100ms}]",
        "[{type: grpc, service: shop.Cart}]", "[{type: tcp}, {type: tcp, kind: liveness}, {type: http}]"})
    EXPECT_THAT(wrong(good), IsEmpty()) << good;
  EXPECT_THAT(wrong("[{type: exec, command: [true]}]", NetworkMode::none), IsEmpty());
}

TEST(HealthChecks, NamesAreFilledIn) {
  const JobSpec spec = parsed("[{type: tcp}, {type: tcp, kind: liveness}, {type: http}]");
  std::vector<std::string> names;
  for (const HealthCheck& check : spec.tasks[0].health) names.push_back(check.name);
  EXPECT_THAT(names, ElementsAre("readiness", "liveness", "readiness-2"));
}

TEST(HealthChecks, WhatIsWrongIsToldWithItsPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"[{type: http, port: htp}]", "tasks[0].health[0].port: the task has no port \"htp\" (did you mean \"http\"?)"},
      {"[{type: http, port: 70000}]", "health[0].port: the task has no port"},
      {"[{type: tcp, port: \"53\"}]", "is of UDP"},
      {"[{type: http, path: up}]", "health[0].path"},
      {"[{type: http, path: \"/a b\"}]", "health[0].path"},
      {"[{type: http, method: \"GET X\"}]", "health[0].method"},
      {"[{type: http, status: ok}]", "health[0].status: not an HTTP status or a range: \"ok\""},
      {"[{type: http, status: \"300-200\"}]", "health[0].status"},
      {"[{type: http, status: \"99\"}]", "health[0].status"},
      {"[{type: http, headers: {\"a b\": c}}]", "health[0].headers.a b"},
      {"[{type: http, headers: {a: \"x\\ny: z\"}}]", "health[0].headers.a"},
      {"[{type: exec}]", "health[0].command: there is no command"},
      {"[{type: exec, command: [x], port: http}]", "health[0].port"},
      {"[{type: tcp, path: /x}]", "health[0].path: only a check of type http has one"},
      {"[{type: tcp, command: [x]}]", "health[0].command: only a check of type exec"},
      {"[{type: grpc, service: \"a\\nb\"}]", "health[0].service: not the name of a service"},
      {"[{type: http, service: x}]", "health[0].service: only a check of type grpc"},
      {"[{type: tcp, interval: 10ms}]", "health[0].interval: out of range (from 100ms (kCheckIntervalMsMin) to 24h)"},
      {"[{type: tcp, timeout: 0s}]", "health[0].timeout"},
      {"[{type: tcp, failures: 0}]", "health[0].failures"},
      {"[{type: tcp, successes: 1001}]", "kCheckThresholdMax"},
      {"[{type: tcp, name: A}]", "health[0].name"},
      {"[{type: tcp, name: a}, {type: tcp, name: a}]", "health[1].name: two checks are called \"a\""},
  };
  for (const auto& [health, message] : cases) EXPECT_THAT(wrong(health), Contains(HasSubstr(message))) << health;
  EXPECT_THAT(wrong("[{type: tcp, port: \"80\"}]", NetworkMode::none), Contains(HasSubstr("without a network")));
  std::string many = "[";
  for (size_t i = 0; i <= limits::kHealthChecksMax; ++i) many += "{type: tcp},";
  many.back() = ']';
  EXPECT_THAT(wrong(many), Contains(HasSubstr("kHealthChecksMax")));
}

TEST(HealthChecks, UnknownWordsGetTheRightOne) {
  auto kind = parse_job_file(std::string(kHead) + "    health: [{type: htpp}]\n", "f.yaml");
  ASSERT_FALSE(kind);
  EXPECT_THAT(kind.error().to_string(), HasSubstr("http"));
  auto field = parse_job_file(std::string(kHead) + "    health: [{intervall: 5s}]\n", "f.yaml");
  ASSERT_FALSE(field);
  EXPECT_THAT(field.error().to_string(), HasSubstr("interval"));
}

TEST(HealthChecks, BlocksOfHclAreTheSame) {
  auto spec = parse_job_file(
      "job \"shop\" {\n task \"web\" {\n  image = \"x\"\n  port \"http\" { container = 80 }\n  health \"up\" {\n   "
      "type = \"tcp\"\n   port = \"http\"\n  }\n }\n}\n",
      "f.hcl");
  ASSERT_TRUE(spec) << spec.error().to_string();
  EXPECT_EQ(spec->tasks.at(0).health.at(0).name, "up");
}

TEST(HealthChecks, AChangeIsSeenByItsName) {
  const JobSpec before = parsed("[{type: http, interval: 5s}]");
  const JobSpec after = parsed("[{type: http, interval: 6s}, {type: tcp, kind: liveness}]");
  std::vector<std::string> paths;
  for (const FieldChange& change : diff(before, after)) paths.push_back(change.path);
  EXPECT_THAT(paths, ElementsAre("tasks[web].health[readiness].interval", "tasks[web].health[liveness]"));
}

TEST(HealthChecks, OlderWorkersAreNotGivenAny) {
  EXPECT_EQ(required_feature_level(parsed("[{type: http}]")), 2u);
  EXPECT_EQ(required_feature_level(parsed("[]")), 1u);
}

TEST(HealthChecks, StatusesStoredBeforeAreRead) {
  auto old = from_json<TaskStatus>(R"({"task":"web","position":{"generation":1,"attempt":1,"state":"running"}})");
  ASSERT_TRUE(old);
  EXPECT_EQ(old->health, HealthState::none);
  EXPECT_EQ(to_json(*old, {.omit_defaults = true}).find("health"), std::string::npos);
}

TEST(HealthChecks, StatusRanges) {
  HealthCheck check;
  EXPECT_TRUE(is_expected(check, 200));
  EXPECT_TRUE(is_expected(check, 399));
  EXPECT_FALSE(is_expected(check, 400));
  check.status = "204, 401-403";
  EXPECT_TRUE(is_expected(check, 402));
  EXPECT_FALSE(is_expected(check, 200));
}

}  // namespace
}  // namespace tutti
