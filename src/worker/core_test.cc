// The deciding half of the worker: when it beats, and when it looks at an instance again by itself.
#include "worker/core.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/limits.h"

namespace tutti::worker {
namespace {

struct Bench {
  Core core{1, "boot"};
  Now now{Time{1'000'000'000'000}, BootTime{1'000'000'000'000}};

  void pass(Duration time) {
    now.wall = now.wall + time;
    now.boot = now.boot + time;
  }
  ManagerMessage message() const {
    ManagerMessage out;
    out.epoch = 1;
    out.session = 7;
    return out;
  }
  // Up to the answer to its hello.
  void open() {
    core.session_opened(now);
    ManagerMessage welcome = message();
    welcome.welcome = WelcomeMessage{};
    welcome.welcome->lease_ms = limits::kLeaseMs;
    core.received(welcome, now);
  }
  void assign_one(const std::string& name, uint64_t id) {
    JobSpec spec;
    spec.job = name;
    spec.tasks.resize(1);
    spec.tasks[0].name = "main";
    spec.tasks[0].driver = "fake";
    ManagerMessage out = message();
    out.assign = AssignMessage{};
    out.assign->specs.push_back({JobId{id}, 1, std::make_shared<const JobSpec>(spec), {}});
    Assignment assignment;
    assignment.instance = InstanceId{100 + id};
    assignment.job = JobId{id};
    assignment.job_version = 1;
    assignment.name = name + "-main-0";
    out.assign->assignments.push_back(assignment);
    core.received(out, now);
  }
  // The sequences of the beats among the outputs, which are taken.
  std::vector<uint64_t> beats() {
    std::vector<uint64_t> out;
    for (const Output& output : core.take_outputs()) {
      const auto* send = std::get_if<SendMessage>(&output);
      if (send != nullptr && send->message.beat) out.push_back(send->message.beat->sequence);
    }
    return out;
  }
  std::vector<Op> ops() {
    std::vector<Op> out;
    for (const Output& output : core.take_outputs())
      if (const auto* run = std::get_if<RunOp>(&output)) out.push_back(run->op);
    return out;
  }
  void acknowledge(uint64_t sequence, int32_t beat_ms) {
    ManagerMessage ack = message();
    ack.beat_ack = BeatAck{sequence, beat_ms};
    core.received(ack, now);
  }
  void fail_op(const Op& op) {
    OpResult result{op, driver::Failure{driver::FailureKind::retryable, Error{ErrorCode::io, "not now", {}, 0}}, ""};
    core.op_done(result, now);
  }
};

TEST(Core, BeatsAsOftenAsTheManagerLastSaid) {
  Bench b;
  b.open();
  ASSERT_EQ(b.beats(), std::vector<uint64_t>{1});
  b.acknowledge(1, 2'000);
  b.pass(milliseconds(1'000));  // the next one was due by the welcome; from then on by the answer
  b.core.tick(b.now);
  ASSERT_EQ(b.beats(), std::vector<uint64_t>{2});
  b.pass(milliseconds(1'500));
  b.core.tick(b.now);
  EXPECT_TRUE(b.beats().empty());
  EXPECT_EQ(b.core.wake_in(b.now), milliseconds(500));
  b.pass(milliseconds(500));
  b.core.tick(b.now);
  EXPECT_EQ(b.beats(), std::vector<uint64_t>{3});
}

TEST(Core, BeatsTwiceALeaseWhateverIsSaid) {
  Bench b;
  b.open();
  b.beats();
  b.acknowledge(1, 3'600'000);
  b.pass(milliseconds(1'000));
  b.core.tick(b.now);
  ASSERT_EQ(b.beats().size(), 1u);
  b.pass(milliseconds(limits::kLeaseMs / 2));
  b.core.tick(b.now);
  EXPECT_EQ(b.beats().size(), 1u);
}

TEST(Core, ForgetsSpecsWhenItIsTold) {
  Bench b;
  b.open();
  b.assign_one("first", 1);
  b.assign_one("second", 2);
  ASSERT_EQ(b.core.specs().size(), 2u);
  ManagerMessage gone = b.message();
  gone.assign = AssignMessage{};
  gone.assign->removed = {InstanceId{101}};
  gone.assign->forget_specs = {{JobId{1}, 1}, {JobId{9}, 1}};
  b.core.received(gone, b.now);
  ASSERT_EQ(b.core.specs().size(), 1u);
  EXPECT_EQ(b.core.specs().begin()->first.job, JobId{2});
  EXPECT_NE(b.core.find(InstanceId{101}), nullptr);  // being cleared away, by the spec that it has
  // Of one whose spec was forgotten, it comes again with it.
  b.assign_one("first", 1);
  EXPECT_EQ(b.core.specs().size(), 2u);
}

TEST(Core, ASessionBeginsWithoutSpecs) {
  Bench b;
  b.open();
  b.assign_one("first", 1);
  b.core.session_closed(b.now);
  b.open();
  EXPECT_TRUE(b.core.specs().empty());
  EXPECT_NE(b.core.find(InstanceId{101}), nullptr);
}

TEST(Core, TriesAgainWhatIsDueAndOnlyThat) {
  Bench b;
  b.open();
  b.assign_one("first", 1);
  b.assign_one("second", 2);
  std::vector<Op> ops = b.ops();
  ASSERT_EQ(ops.size(), 2u);  // an image each
  b.fail_op(ops[0]);
  b.pass(milliseconds(200));
  b.fail_op(ops[1]);
  EXPECT_EQ(b.core.wake_in(b.now), milliseconds(300));  // half a second after the first failure
  b.pass(milliseconds(300));
  b.core.tick(b.now);
  std::vector<Op> again = b.ops();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].instance, ops[0].instance);
  b.pass(milliseconds(200));
  b.core.tick(b.now);
  again = b.ops();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].instance, ops[1].instance);
}

}  // namespace
}  // namespace tutti::worker
