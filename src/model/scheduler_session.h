#pragma once
// What a scheduler of its own and the manager say to each other over one WebSocket (T04). Text messages are JSON of
// these types; binary ones, from the manager only, are rows as the store keeps them (state/replica.h): first those of a
// snapshot, then what each commit changed.

#include <boost/describe.hpp>
#include <optional>
#include <string>

#include "model/plan.h"

namespace tutti {

struct SchedulerHello {
  std::string name;  // of this process; two of the same name are told apart by a number
  std::string version;
};
BOOST_DESCRIBE_STRUCT(SchedulerHello, (), (name, version))

// Every second; who says nothing for longer than limits::kSchedulerSilentSeconds is no longer counted on.
struct SchedulerHealth {
  uint64_t revision = 0;      // what it has seen
  int64_t proposed = 0;       // placements, since its session began
  int64_t plan_us = 0;        // how long the last plan took
  std::string fragmentation;  // what it goes by under that policy, in a line for people
};
BOOST_DESCRIBE_STRUCT(SchedulerHealth, (), (revision, proposed, plan_us, fragmentation))

struct SchedulerMessage {
  std::optional<SchedulerHello> hello;
  std::optional<Plan> plan;  // one at a time: the next when `applied` has come
  std::optional<SchedulerHealth> health;
};
BOOST_DESCRIBE_STRUCT(SchedulerMessage, (), (hello, plan, health))

// The part of the jobs that falls to it.
struct SchedulerShare {
  uint32_t index = 0;
  uint32_t of = 1;
};
BOOST_DESCRIBE_STRUCT(SchedulerShare, (), (index, of))

struct SchedulerApplied {
  int64_t placed = 0;  // how much of its plan holds
};
BOOST_DESCRIBE_STRUCT(SchedulerApplied, (), (placed))

struct SchedulerOrder {
  std::optional<SchedulerShare> share;
  std::optional<SchedulerApplied> applied;
};
BOOST_DESCRIBE_STRUCT(SchedulerOrder, (), (share, applied))

}  // namespace tutti
