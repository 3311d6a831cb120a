#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "base/random.h"
#include "model/codec.h"
#include "model/job.h"
#include "model/oci.h"
#include "model/session.h"
#include "model/validate.h"

// What holds for every job: it comes back from each encoding as it was, and text that is damaged in any way is
// either read or refused, never worse.

namespace tutti {
namespace {

rc::Gen<std::string> word() {
  return rc::gen::oneOf(rc::gen::container<std::string>(rc::gen::inRange<char>(' ', '~')),
                        rc::gen::element<std::string>("", "no", "0755", "~", "null", "1e3", "é\n\t\"\\", "- a", "a: b",
                                                      "#", "{}", "'", "true", " x ", "\x01", "&a", "*a", "!x", "%", "@",
                                                      "`", "0x1F", "1:20", "...", "---", "=", "<<"));
}
rc::Gen<Duration> duration() {
  return rc::gen::map(rc::gen::inRange<int64_t>(0, int64_t{1} << 50), [](int64_t ns) { return Duration{ns}; });
}
rc::Gen<Resources> resources() {
  auto amount = rc::gen::inRange<int64_t>(0, int64_t{1} << 60);
  return rc::gen::map(rc::gen::tuple(amount, amount, amount), [](const std::tuple<int64_t, int64_t, int64_t>& t) {
    return Resources{{std::get<0>(t)}, {std::get<1>(t)}, {std::get<2>(t)}};
  });
}

TaskSpec any_task() {
  TaskSpec t;
  t.name = *word();
  t.group = *word();
  t.image = *word();
  t.command = *rc::gen::container<std::vector<std::string>>(word());
  t.env = *rc::gen::container<std::map<std::string, std::string>>(word(), word());
  t.count = *rc::gen::arbitrary<int64_t>();
  t.resources = *resources();
  t.limits.pids = *rc::gen::arbitrary<int64_t>();
  t.limits.cpu = (*resources()).cpu;
  t.network = *rc::gen::element(NetworkMode::bridge, NetworkMode::host, NetworkMode::none);
  if (*rc::gen::arbitrary<bool>())
    t.ports.push_back({*word(), *rc::gen::arbitrary<int32_t>(), *rc::gen::arbitrary<int32_t>(), Protocol::udp});
  if (*rc::gen::arbitrary<bool>()) t.volumes.push_back({VolumeKind::tmpfs, *word(), *word(), true, {7}});
  if (*rc::gen::arbitrary<bool>())
    t.restart.policy = *rc::gen::element(RestartMode::never, RestartMode::on_failure, RestartMode::always);
  t.restart.delay = *duration();
  t.restart.backoff = static_cast<double>(*rc::gen::arbitrary<int32_t>()) / 7.0;
  t.on_disconnect = *rc::gen::element(DisconnectPolicy::keep, DisconnectPolicy::stop_after);
  t.tty = *rc::gen::arbitrary<bool>();
  return t;
}

JobSpec any_job() {
  JobSpec job;
  job.job = *word();
  job.type = *rc::gen::element(JobType::service, JobType::batch, JobType::system);
  job.priority = *rc::gen::arbitrary<int32_t>();
  job.policy = *rc::gen::element(PlacementPolicy::default_, PlacementPolicy::binpack, PlacementPolicy::spread);
  job.labels = *rc::gen::container<std::map<std::string, std::string>>(word(), word());
  job.pending_timeout = *duration();
  if (*rc::gen::arbitrary<bool>()) job.ttl = *duration();
  int tasks = *rc::gen::inRange(0, 4);
  for (int i = 0; i < tasks; ++i) job.tasks.push_back(any_task());
  return job;
}

TEST(CodecProperty, every_job_comes_back_as_it_was) {
  EXPECT_TRUE(rc::check([] {
    JobSpec job = any_job();
    for (bool omit : {false, true}) {
      for (bool pretty : {false, true}) {
        std::string json = to_json(job, {.omit_defaults = omit, .pretty = pretty});
        auto back = from_json<JobSpec>(json);
        if (!back) RC_FAIL(back.error().to_string() + " in " + json);
        RC_ASSERT(*back == job);
        auto yaml = json_to_yaml(json);
        RC_ASSERT(yaml.has_value());
        auto read = from_yaml<JobSpec>(*yaml);
        if (!read) RC_FAIL(read.error().to_string() + " in " + *yaml);
        RC_ASSERT(*read == job);
      }
    }
  }));
}

// One to three places changed, dropped, doubled or swapped for what parsers stumble over.
std::string damaged(std::string text, Random& random) {
  static constexpr std::string_view kBytes = "{}[]\",:\\\n\t -0e.&*!#|>%@`\x80\xff$=<";
  for (uint64_t i = 0, n = 1 + random.below(3); i < n && !text.empty(); ++i) {
    size_t at = random.below(text.size());
    switch (random.below(4)) {
      case 0: text[at] = kBytes[random.below(kBytes.size())]; break;
      case 1: text.erase(at, 1 + random.below(16)); break;
      case 2: text.insert(at, text.substr(random.below(text.size()), random.below(40))); break;
      default: text.insert(at, 1, kBytes[random.below(kBytes.size())]); break;
    }
  }
  return text;
}

constexpr std::string_view kSamples[] = {
    R"({"job":"shop","tasks":[{"name":"web","image":"x","env":{"A":"b\u00e9"},"count":3,"resources":{"cpu":"1.5c","memory":1048576},"restart":{"policy":"on-failure","backoff":1.5e0}}],"labels":{}})",
    "job: shop\ntasks:\n  - name: web\n    image: &i x\n    resources: {cpu: 500m, memory: 256Mi}\n    command: "
    "[\"a\", 'b', c]\n    env:\n      A: |\n        text\n      B: *i\n",
    "# c\njob \"shop\" {\n  type = \"service\"\n  group \"g\" { count = 2\n    task \"web\" { image = \"x\" env { A = "
    "\"b\\n\" } port \"http\" { container = 80 } command = [\"a\", \"b\"] } }\n}\n"};

TEST(CodecProperty, damaged_files_are_read_or_refused) {
  SeededRandom random(20261121);
  int accepted = 0;
  for (int i = 0; i < 6'000; ++i) {
    std::string text = damaged(std::string(kSamples[i % 3]), random);
    auto spec = parse_job_file(text, "f");
    if (spec) {
      ++accepted;
      apply_defaults(*spec);
      (void)validate(*spec);
      auto again = from_json<JobSpec>(to_json(*spec));
      ASSERT_TRUE(again) << text << again.error().to_string();
      ASSERT_EQ(*again, *spec) << text;
    } else {
      ASSERT_FALSE(spec.error().message.empty()) << text;
    }
  }
  EXPECT_GT(accepted, 100);  // the damage is small enough to reach what lies behind the parsers
}

TEST(CodecProperty, damaged_messages_and_references_are_read_or_refused) {
  SeededRandom random(7);
  StatusMessage status{
      .sequence = 4,
      .reports = {
          {.instance = {9}, .tasks = {{.task = "web", .position = {1, 2, TaskState::running}, .reason = "é"}}}}};
  WorkerMessage message{.beat = BeatMessage{1, 0.25, {1 << 20}}, .status = status};
  std::string whole = to_json(message);
  std::string reference = "registry.example.org:5000/team/app:v1@sha256:" + std::string(64, 'a');
  for (int i = 0; i < 6'000; ++i) {
    std::string text = damaged(whole, random);
    if (auto read = from_json<WorkerMessage>(text)) {
      ASSERT_TRUE(from_json<WorkerMessage>(to_json(*read))) << text;
    }
    std::string image = damaged(reference, random);
    if (auto read = oci::parse_reference(image)) {
      auto again = oci::parse_reference(read->to_string());
      ASSERT_TRUE(again) << image;
      ASSERT_EQ(again->to_string(), read->to_string());
    }
  }
}

}  // namespace
}  // namespace tutti
