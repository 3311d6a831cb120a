// The thread teaches what a planner asks for; what it tells is what a replay would learn; it stops in the middle.
#include "manager/learning_thread.h"

#include <gtest/gtest.h>

#include <future>

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

TEST(LearningThread, StopsInTheMiddleOfALessonAndTellsNothing) {
  World world;
  scheduler::Planner planner;
  planner.rebuild(world.pool.published());
  ASSERT_TRUE(planner.step(world.pool.published()->now));
  std::optional<scheduler::Lesson> lesson = planner.lesson(world.pool.published()->now + seconds(60));
  ASSERT_TRUE(lesson);
  bool told = false;
  {
    LearningThread thread({1'000'000, 100, 4});  // would take days
    thread.teach(*lesson, [&](scheduler::Taught) { told = true; });
    thread.teach(*lesson, [&](scheduler::Taught) { told = true; });
  }
  EXPECT_FALSE(told);
}

}  // namespace
}  // namespace tutti::manager
