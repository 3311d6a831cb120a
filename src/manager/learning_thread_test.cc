// The thread teaches what a planner asks for; what it tells is what a replay would learn; it stops in the middle.
#include "manager/learning_thread.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "model/test_pool.h"
#include "scheduler/planner.h"

namespace tutti::manager {
namespace {

constexpr int64_t kGiB = 1LL << 30;

// A pool of GPUs whose planner has seen enough.
struct World {
  World() {
    pool.s.pool.policy = "fragmentation";
    for (int i = 0; i < 12; ++i) {
      const NodeId id = pool.add_node({{i % 2 == 0 ? 32'000 : 48'000}, {100 * kGiB}, {kGiB}});
      pool.edit_inventory(id, [&](Inventory& inventory) {
        for (int g = 0; g < 4; ++g) inventory.devices.push_back({"gpu" + std::to_string(g), "gpu", "T4", {}});
      });
    }
    auto job = [&](int64_t cores, int64_t share, uint32_t count) {
      JobSpec spec = TestPool::service("job" + std::to_string(share), 1, {{cores * 1'000}, {4 * kGiB}, {}});
      spec.tasks[0].gpu = DeviceSpec{"gpu", 1, share, {}, {}};
      const JobId id = pool.submit(spec);
      for (uint32_t slot = 0; slot < count; ++slot) pool.add_pending(id, slot);
    };
    job(6, 1'000, 80), job(4, 470, 80), job(5, 810, 60);
    pool.commit();
  }
  TestPool pool;
};

TEST(LearningThread, PlacementsByWhatItTellsEqualThoseOfALessonTakenElsewhere) {
  World world;
  scheduler::Planner planner;
  planner.rebuild(world.pool.published());
  const Time now = world.pool.published()->now;
  EXPECT_FALSE(planner.lesson(now));  // nobody has placed by it yet
  ASSERT_TRUE(planner.step(now));
  std::optional<scheduler::Lesson> lesson = planner.lesson(now + seconds(60));
  ASSERT_TRUE(lesson);
  const scheduler::Lessons lessons{6, 1, 1};
  LearningThread thread(lessons);
  std::promise<scheduler::Taught> promise;
  thread.teach(*lesson, [&](scheduler::Taught taught) { promise.set_value(std::move(taught)); });
  scheduler::Taught told = promise.get_future().get();
  ASSERT_TRUE(told.finished && told.learned);
  const auto elsewhere = learn(lesson->fleet, lesson->workload, scheduler::kLessonSeed, lessons, [] { return false; });
  EXPECT_EQ(told.learned->exam, elsewhere->exam);
  EXPECT_EQ(told.learned->useful, elsewhere->useful);
  // Tables are used whether or not they passed: both schedulers must go by them.
  std::vector<Plan> plans;
  for (const auto& each : {told.learned, elsewhere}) {
    auto used = std::make_shared<scheduler::Learned>(*each);
    used->useful = true;
    auto one = scheduler::make_scheduler();
    one->rebuild(world.pool.published());
    one->use(used);
    plans.push_back(one->schedule_all_pending(1, now, 500));
  }
  ASSERT_GT(plans[0].placements.size(), 40u);
  ASSERT_EQ(plans[0].placements.size(), plans[1].placements.size());
  for (size_t i = 0; i < plans[0].placements.size(); ++i) {
    EXPECT_EQ(plans[0].placements[i].node, plans[1].placements[i].node);
    EXPECT_EQ(plans[0].placements[i].devices, plans[1].placements[i].devices);
  }
  planner.taught(told, now + seconds(61));
  EXPECT_NE(planner.learned().find("220 requests"), std::string::npos) << planner.learned();
}

constexpr scheduler::Lessons kDays{1'000'000, 100, 4};

// The thread that teaches, once it has used the processor for a tick of the kernel's clock: it is in the lesson then,
// and asks to be stopped. 0: none in time.
pid_t lesson_thread() {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < until) {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string line;
      std::getline(std::ifstream(task.path() / "stat"), line);
      const size_t named = line.find("(lesson) ");
      if (named == std::string::npos) continue;
      std::istringstream rest(line.substr(named + 9));
      std::string skipped;
      for (int field = 3; field < 14; ++field) rest >> skipped;  // utime is the 14th
      int64_t ticks = 0;
      if (rest >> ticks && ticks > 0) return std::stoi(task.path().filename());
    }
    std::this_thread::yield();
  }
  return 0;
}

std::optional<scheduler::Lesson> lesson_of(World& world) {
  scheduler::Planner planner;
  planner.rebuild(world.pool.published());
  const Time now = world.pool.published()->now;
  return planner.step(now) ? planner.lesson(now + seconds(60)) : std::nullopt;
}

TEST(LearningThread, StopsInTheMiddleOfALessonAndTellsNothing) {
  World world;
  const auto lesson = lesson_of(world);
  ASSERT_TRUE(lesson);
  bool told = false;
  {
    LearningThread thread(kDays);
    thread.teach(*lesson, [&](scheduler::Taught) { told = true; });
    const pid_t teacher = lesson_thread();
    ASSERT_NE(teacher, 0);
    EXPECT_EQ(sched_getscheduler(teacher), SCHED_IDLE);
  }
  EXPECT_FALSE(told);
}

TEST(LearningThread, TheNewestLessonTakesThePlaceOfThoseBefore) {
  World world;
  const auto lesson = lesson_of(world);
  ASSERT_TRUE(lesson);
  std::atomic<int> told_before{0};
  std::promise<int> told;
  LearningThread thread(kDays);
  thread.teach(*lesson, [&](scheduler::Taught) { ++told_before; });
  ASSERT_NE(lesson_thread(), 0);
  for (int i = 0; i < 3; ++i) thread.teach(*lesson, [&](scheduler::Taught) { ++told_before; });
  thread.teach({}, [&](scheduler::Taught) { told.set_value(sched_getscheduler(0)); });  // nothing to learn: at once
  auto policy = told.get_future();
  ASSERT_EQ(policy.wait_for(std::chrono::seconds(60)), std::future_status::ready);
  EXPECT_EQ(policy.get(), SCHED_OTHER);  // whoever is told holds locks that others wait for
  thread.stop();
  EXPECT_EQ(told_before, 0);
}

}  // namespace
}  // namespace tutti::manager
