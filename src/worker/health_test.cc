// What answers in a row add up to.
#include "worker/health.h"

#include <gtest/gtest.h>

namespace tutti::worker {
namespace {

const CheckResult kWell{true, {}};
CheckResult bad(std::string why = "no answer") {
  return {false, std::move(why)};
}
HealthCheck check(CheckKind kind, int32_t failures = 2, int32_t successes = 1, std::string name = {}) {
  HealthCheck out;
  out.kind = kind;
  out.failures = failures;
  out.successes = successes;
  out.name = std::move(name);
  return out;
}
HealthState state_of(const std::optional<HealthChange>& change) {
  return change ? change->state : HealthState::none;  // none: nothing to tell
}

TEST(TaskHealth, ReadinessTurnsWithItsThresholdsAndTellsChangesOnly) {
  TaskHealth health({check(CheckKind::readiness, 2, 2, "up")}, HealthState::starting);
  EXPECT_EQ(state_of(health.record(0, kWell)), HealthState::none);
  EXPECT_EQ(state_of(health.record(0, bad())), HealthState::none);
  EXPECT_EQ(state_of(health.record(0, kWell)), HealthState::none) << "not two in a row";
  EXPECT_EQ(state_of(health.record(0, kWell)), HealthState::healthy);
  EXPECT_EQ(state_of(health.record(0, kWell)), HealthState::none);
  EXPECT_EQ(state_of(health.record(0, bad())), HealthState::none);
  const auto sick = health.record(0, bad("status 500\nfor now"));
  ASSERT_EQ(state_of(sick), HealthState::unhealthy);
  EXPECT_EQ(sick->reason, "readiness check up failed 2 times in a row: status 500 for now");
  EXPECT_FALSE(sick->restart);
  EXPECT_EQ(state_of(health.record(0, bad())), HealthState::none);
  EXPECT_EQ(state_of(health.record(0, kWell)), HealthState::none);
  EXPECT_EQ(state_of(health.record(0, kWell)), HealthState::healthy);
}

TEST(TaskHealth, LivenessEndsTheRun) {
  TaskHealth health({check(CheckKind::liveness, 1), check(CheckKind::readiness)}, HealthState::starting);
  EXPECT_EQ(state_of(health.record(0, kWell)), HealthState::none) << "the other one is open";
  EXPECT_EQ(state_of(health.record(1, kWell)), HealthState::healthy);
  const auto dead = health.record(0, bad("refused"));
  ASSERT_TRUE(dead && dead->restart);
  EXPECT_EQ(dead->reason, "liveness check failed: refused");
}

TEST(TaskHealth, TheOthersWaitForStartup) {
  TaskHealth health({check(CheckKind::liveness, 1), check(CheckKind::startup, 3)}, HealthState::starting);
  EXPECT_FALSE(health.asks(0));
  EXPECT_TRUE(health.asks(1));
  EXPECT_FALSE(health.record(0, bad())) << "it was not asked";
  EXPECT_FALSE(health.record(1, bad()));
  EXPECT_FALSE(health.record(1, kWell));
  EXPECT_TRUE(health.asks(0));
  EXPECT_FALSE(health.asks(1)) << "once is enough";
  EXPECT_EQ(state_of(health.record(0, kWell)), HealthState::healthy);
}

TEST(TaskHealth, AStartThatTakesTooLongEndsTheRun) {
  TaskHealth health({check(CheckKind::startup, 2)}, HealthState::starting);
  EXPECT_FALSE(health.record(0, bad()));
  const auto over = health.record(0, bad());
  ASSERT_TRUE(over && over->restart);
  EXPECT_EQ(over->reason, "startup check failed 2 times in a row: no answer");
}

TEST(TaskHealth, WhatWasHealthyBeforeHasToFailAgain) {
  TaskHealth health({check(CheckKind::startup), check(CheckKind::readiness)}, HealthState::healthy);
  EXPECT_FALSE(health.asks(0));
  EXPECT_TRUE(health.asks(1));
  EXPECT_FALSE(health.record(1, kWell)) << "nothing new";
  EXPECT_FALSE(health.record(1, bad()));
  EXPECT_EQ(state_of(health.record(1, bad())), HealthState::unhealthy);
}

TEST(TaskHealth, WhatWasUnhealthyBeforeHasStartedAndRecovers) {
  TaskHealth health({check(CheckKind::startup), check(CheckKind::readiness)}, HealthState::unhealthy);
  EXPECT_FALSE(health.asks(0));
  EXPECT_EQ(state_of(health.record(1, kWell)), HealthState::healthy);
}

TEST(TaskHealth, OfTwoThatFailTheFirstIsNamedUntilBothPass) {
  TaskHealth health({check(CheckKind::readiness, 1, 1, "a"), check(CheckKind::readiness, 1, 1, "b")},
                    HealthState::starting);
  EXPECT_EQ(health.record(1, bad("x"))->reason, "readiness check b failed: x");
  EXPECT_FALSE(health.record(0, bad("y")));
  EXPECT_FALSE(health.record(1, kWell));
  EXPECT_EQ(state_of(health.record(0, kWell)), HealthState::healthy);
}

TEST(TaskHealth, WhatIsToldSteersNoTerminal) {
  TaskHealth health({check(CheckKind::readiness, 1)}, HealthState::starting);
  const auto told = health.record(0, {false, "a\x1b[2Jb\x7f\u009b2Jc\x9b\xff\u00e9"});
  ASSERT_TRUE(told);
  EXPECT_TRUE(told->reason.ends_with(": a [2Jb  2Jc  \u00e9")) << told->reason;
}

TEST(TaskHealth, WhatIsToldIsOneShortLine) {
  TaskHealth health({check(CheckKind::readiness, 1)}, HealthState::starting);
  std::string text;
  for (int i = 0; i < 10'000; ++i) text += "\u20ac\n";
  const auto sick = health.record(0, bad(text));
  EXPECT_LT(sick->reason.size(), 400u);
  EXPECT_EQ(sick->reason.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace tutti::worker
