#include "model/instance.h"

#include <gtest/gtest.h>

#include "model/node.h"
#include "model/transitions.h"

namespace tutti {
namespace {

constexpr Resources kAll{{500}, {256}, {1000}};
constexpr Resources kDisk{{0}, {0}, {1000}};
constexpr Resources kSuspended{{0}, {0}, {1256}};
constexpr Resources kNothing{};

struct Row {
  const char* name;
  Instance instance;
  Resources charged;
};

// On a node and admitted, unless the row says otherwise.
Instance placed(Desired desired, TaskState state, bool finished) {
  Instance i;
  i.node = {1};
  i.admitted = true;
  i.desired = desired;
  i.state = state;
  i.finished = finished;
  return i;
}
template <class F>
Instance with(Instance i, F&& change) {
  change(i);
  return i;
}

TEST(Charge, by_what_is_seen) {
  const Instance running = placed(Desired::running, TaskState::running, false);
  const Row rows[] = {
      {"pending", with(running, [](Instance& i) { i.node = {}, i.admitted = false; }), kNothing},
      {"waits to start again where its disk is", with(running, [](Instance& i) { i.admitted = false; }), kDisk},
      {"placed", placed(Desired::running, TaskState::placed, false), kAll},
      {"running", running, kAll},
      {"paused", placed(Desired::paused, TaskState::running, false), kAll},
      {"backing off", placed(Desired::running, TaskState::failed, false), kAll},
      {"asked to stop, still running", placed(Desired::stopped, TaskState::running, false), kAll},
      {"asked to stop, stopped", placed(Desired::stopped, TaskState::stopped, true), kDisk},
      {"stopped, not finally", placed(Desired::stopped, TaskState::stopped, false), kAll},
      {"suspended", placed(Desired::suspended, TaskState::suspended, true), kSuspended},
      {"completed", placed(Desired::running, TaskState::completed, true), kDisk},
      {"failed for good", placed(Desired::running, TaskState::failed, true), kDisk},
      {"to be removed, still running", placed(Desired::removed, TaskState::running, false), kAll},
      {"removed and gone",
       with(placed(Desired::removed, TaskState::stopped, true), [](Instance& i) { i.cleared = true; }), kNothing},
      {"its node is unknown", with(running, [](Instance& i) { i.presence = Presence::unknown; }), kAll},
      {"given up", with(running, [](Instance& i) { i.presence = Presence::given_up; }), kNothing},
  };
  for (const Row& row : rows) EXPECT_EQ(charge(row.instance, kAll), row.charged) << row.name;
}

TEST(InstanceName, leaves_out_a_group_of_the_jobs_own_name) {
  EXPECT_EQ(instance_name("shop", "web", 0), "shop-web-0");
  EXPECT_EQ(instance_name("shop", "shop", 12), "shop-12");
  EXPECT_EQ(instance_name("shop", "", 1), "shop-1");
}

TEST(MovesForward, in_the_order_of_generation_attempt_state) {
  using enum TaskState;
  EXPECT_TRUE(moves_forward({1, 0, placed}, {1, 0, running}));
  EXPECT_FALSE(moves_forward({1, 0, running}, {1, 0, starting}));
  EXPECT_FALSE(moves_forward({1, 0, running}, {1, 0, running}));
  EXPECT_TRUE(moves_forward({1, 0, failed}, {1, 1, placed}));
  EXPECT_TRUE(moves_forward({1, 9, failed}, {2, 0, placed}));
  EXPECT_FALSE(moves_forward({2, 0, placed}, {1, 9, failed}));
  EXPECT_FALSE(moves_forward({1, 0, completed}, {1, 0, failed}));  // the first end is the end
}

TEST(Summary, the_least_that_goes_on_else_the_worst_end) {
  using enum TaskState;
  auto of = [](std::initializer_list<TaskState> states) {
    std::vector<TaskStatus> tasks;
    for (TaskState s : states) tasks.push_back({.position = {1, 0, s}});
    return summary_of(tasks);
  };
  EXPECT_EQ(of({}), placed);
  EXPECT_EQ(of({running, starting}), starting);
  EXPECT_EQ(of({failed, running}), running);
  EXPECT_EQ(of({completed, failed}), failed);
  EXPECT_EQ(of({failed, rejected}), rejected);
  EXPECT_EQ(of({completed, completed}), completed);
}

TEST(Groups, in_order_of_appearance_with_their_sums) {
  JobSpec spec;
  spec.tasks.resize(3);
  spec.tasks[0] = {.name = "web", .group = "front", .count = 2, .resources = {{100}, {10}, {1}}};
  spec.tasks[1] = {.name = "db", .resources = {{50}, {5}, {}}};
  spec.tasks[2] = {.name = "side", .group = "front", .count = 9, .resources = {{1}, {2}, {3}}};
  auto groups = groups_of(spec);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].name, "front");
  EXPECT_EQ(groups[0].count, 2);
  EXPECT_EQ(groups[0].tasks, (std::vector<size_t>{0, 2}));
  EXPECT_EQ(groups[0].resources, (Resources{{101}, {12}, {4}}));
  EXPECT_EQ(groups[1].name, "db");
}

TEST(Allocatable, capacity_without_the_reserve) {
  Node node;
  EXPECT_EQ(allocatable(node), Resources{});
  auto inventory = std::make_shared<Inventory>();
  inventory->capacity = {{1000}, {100}, {10}};
  inventory->reserved = {{100}, {200}, {0}};
  node.inventory = inventory;
  EXPECT_EQ(allocatable(node), (Resources{{900}, {0}, {10}}));
}

}  // namespace
}  // namespace tutti
