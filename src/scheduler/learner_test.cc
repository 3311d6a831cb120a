// When a lesson is due, what an exam refuses, and that what is taught depends on nothing but fleet and workload.
#include "scheduler/learner.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "model/test_pool.h"
#include "scheduler/planner.h"

namespace tutti::scheduler {
namespace {

constexpr int64_t kGiB = 1LL << 30;
constexpr Lessons kShort{4, 1, 1};
const auto kOn = [] { return false; };

Fleet fleet_of(int machines, int gpus) {
  Fleet out;
  for (int i = 0; i < machines; ++i) {
    Machine machine;
    machine.cpu = 32'000, machine.memory = 100 * kGiB;
    machine.gpus = static_cast<uint8_t>(gpus);
    std::fill_n(machine.free.begin(), gpus, int16_t{1'000});
    machine.kind.fill(kind_number(out.kinds, {"", "gpu", "T4", {}}));
    machine.shape = shape_number(out.shapes, machine, out.kinds);
    out.machines.push_back(machine);
  }
  return out;
}
Wanted wanted(int64_t cores, int64_t share, int64_t weight) {
  return {{{cores * 1'000}, {4 * kGiB}, {}}, {DeviceSpec{"gpu", 1, share, {}, {}}}, weight};
}
Workload workload(int64_t weight) {
  return {
      wanted(4, 1'000, weight), wanted(3, 470, weight), wanted(5, 810, weight), {{{8'000}, {kGiB}, {}}, {}, weight}};
}
Taught passed(bool useful) {
  auto learned = std::make_shared<Learned>();
  learned->useful = useful, learned->exam = 5'000;
  return {true, learned};
}

class Lecture {
 public:
  std::optional<Lesson> due(int second) {
    return learner.due(Time{} + seconds(second), fleet, [&] { return seen; });
  }
  std::shared_ptr<const Learned> done(const Taught& taught, int second) {
    return learner.done(taught, Time{} + seconds(second));
  }
  Learner learner;
  Fleet fleet = fleet_of(8, 4);
  Workload seen = workload(Learner::kEnough);
};

TEST(Learner, WaitsUntilEnoughWasSeenAndThenTeachesOnce) {
  Lecture pool;
  EXPECT_EQ(pool.learner.state(), "");
  pool.fleet = fleet_of(8, 0);
  EXPECT_FALSE(pool.due(1));
  EXPECT_EQ(pool.learner.state(), "");
  pool.fleet = fleet_of(8, 4);
  pool.seen = workload(Learner::kEnough / 3 - 1);  // what asks for no GPU does not count
  EXPECT_FALSE(pool.due(20));
  EXPECT_EQ(pool.learner.state(), "FGD: 195 of 200 requests seen");
  pool.seen = workload(Learner::kEnough);
  EXPECT_FALSE(pool.due(21));  // it has just looked
  const auto lesson = pool.due(40);
  ASSERT_TRUE(lesson);
  EXPECT_EQ(lesson->examine, nullptr);
  EXPECT_EQ(lesson->workload, pool.seen);
  EXPECT_EQ(pool.learner.state(), "FGD; learning from 600 requests");
  EXPECT_FALSE(pool.due(80));  // one at a time
  const auto used = pool.done(passed(true), 90);
  ASSERT_TRUE(used);
  EXPECT_EQ(pool.learner.state(), "learned from 600 requests at 1970-01-01T00:01:30.000Z, exam +0.50 % of all GPU");
  EXPECT_FALSE(pool.due(5'000));  // nothing is another
}

TEST(Learner, WhatFailedTheExamIsNotUsedAndNotTriedAgainUntilTheWorkloadIsAnother) {
  Lecture pool;
  ASSERT_TRUE(pool.due(10));
  EXPECT_EQ(pool.done(passed(false), 20), nullptr);
  EXPECT_EQ(pool.learner.state(), "FGD: nothing better was learned from 600 requests");
  EXPECT_FALSE(pool.due(5'000));
  pool.seen.push_back(wanted(2, 160, 400));
  EXPECT_TRUE(pool.due(5'100));
  // Stopped, or nothing to learn: as before.
  EXPECT_EQ(pool.done({}, 5'200), nullptr);
  EXPECT_TRUE(pool.due(5'300));
}

TEST(Learner, ADriftIsExaminedFirstThenTaught) {
  for (const bool still_good : {true, false}) {
    Lecture pool;
    ASSERT_TRUE(pool.due(10));
    const auto first = pool.done(passed(true), 20);
    pool.seen[0].weight += 100;  // 800 or 900 of them: another by less than kDriftAgain
    EXPECT_FALSE(pool.due(5'000));
    pool.seen.push_back(wanted(2, 160, 400));
    EXPECT_FALSE(Lecture(pool).due(100));  // it rests
    const auto exam = pool.due(5'100);
    ASSERT_TRUE(exam);
    EXPECT_EQ(exam->examine, first);
    EXPECT_EQ(pool.done(passed(still_good), 5'110) != nullptr, still_good);
    const auto lesson = pool.due(5'111);  // at once
    ASSERT_TRUE(lesson);
    EXPECT_EQ(lesson->examine, nullptr);
    const auto second = passed(true);
    EXPECT_EQ(pool.done(second, 5'200), second.learned);
    EXPECT_FALSE(pool.due(9'000));
    pool.fleet = fleet_of(8, 2);  // a fleet drifts as well
    EXPECT_TRUE(pool.due(9'100));
  }
}

TEST(Learner, AnExamRefusesTablesThatAreWorseThanFgd) {
  const Fleet fleet = fleet_of(12, 4);
  const Workload asked = workload(10);
  // Tables that want every piece broken: what is large is said to stay idle, what is small to be filled.
  auto bad = std::make_shared<Learned>();
  bad->shapes = fleet.shapes, bad->workload = asked, bad->useful = true;
  for (int phase = 0; phase < kPhases; ++phase)
    for (int piece = 10; piece <= 1'000; piece += 10)
      for (int cores = 0; cores <= 32; cores += 4)
        for (int idle = 0; idle <= 4; ++idle)
          for (int i = 0; i < 10; ++i)
            bad->means.add(Means::codes_of({phase, 0, idle, cores * 1'000, piece}), static_cast<float>(piece) / 1'000);
  const Taught taught = teach({fleet, asked, bad}, kShort, kOn);
  ASSERT_TRUE(taught.finished && taught.learned);
  EXPECT_FALSE(taught.learned->useful);
  EXPECT_LT(taught.learned->exam, 0);
}

TEST(Learner, TheOrderOfMachinesAndRequestsDoesNotCountAndAStopTellsNothing) {
  Lesson lesson{fleet_of(10, 4), workload(10), nullptr};
  for (size_t i = 0; i < 5; ++i) lesson.fleet.machines[i].cpu = 48'000;
  for (Machine& each : lesson.fleet.machines) each.shape = shape_number(lesson.fleet.shapes, each, lesson.fleet.kinds);
  Lesson turned = lesson;
  std::ranges::reverse(turned.fleet.machines);
  std::ranges::reverse(turned.workload);
  const Taught a = teach(lesson, kShort, kOn), b = teach(turned, kShort, kOn);
  ASSERT_TRUE(a.learned && b.learned);
  EXPECT_EQ(a.learned->means.size(), b.learned->means.size());
  EXPECT_EQ(a.learned->exam, b.learned->exam);
  for (int piece = 50; piece < 1'000; piece += 50)
    EXPECT_EQ(a.learned->means.expected({3, 1, 2, 9'000, piece}), b.learned->means.expected({3, 1, 2, 9'000, piece}));
  int asked = 0;
  const Taught stopped = teach(lesson, kShort, [&] { return ++asked > 100; });  // in the middle of a game
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.learned, nullptr);
  EXPECT_LT(asked, 120);
}

}  // namespace
}  // namespace tutti::scheduler
