#include "model/instance.h"

#include <algorithm>
#include <optional>

#include "model/transitions.h"

namespace tutti {
namespace {

// What is left on the node by tasks that have ended, and by what desired says, together.
enum class Holding { everything, suspended, disk, nothing };

Holding holding_of(const Instance& instance) {
  if (!instance.node || instance.cleared || instance.presence == Presence::given_up) return Holding::nothing;
  if (!instance.admitted) return Holding::disk;  // waits to start again where its disk is
  // Only the worker's final word frees anything: what was asked to stop, or stopped without being final, may
  // still run or run again without asking.
  if (!instance.finished) return Holding::everything;
  return instance.state == TaskState::suspended ? Holding::suspended : Holding::disk;
}

// Lower is worse.
int badness(TaskState state) {
  switch (state) {
    case TaskState::rejected: return 0;
    case TaskState::failed: return 1;
    case TaskState::stopped: return 2;
    case TaskState::suspended: return 3;
    case TaskState::completed: return 4;
    case TaskState::placed:
    case TaskState::accepted:
    case TaskState::preparing:
    case TaskState::starting:
    case TaskState::running: return 5;
  }
  return 5;
}

}  // namespace

std::string instance_name(std::string_view job, std::string_view group, uint32_t slot) {
  std::string name(job);
  if (!group.empty() && group != job) name += "-" + std::string(group);
  return name + "-" + std::to_string(slot);
}

Resources charge(const Instance& instance, const Resources& request) {
  switch (holding_of(instance)) {
    case Holding::everything: return request;
    case Holding::suspended: return {{0}, {0}, {request.disk.value + request.memory.value}};
    case Holding::disk: return {{0}, {0}, request.disk};
    case Holding::nothing: return {};
  }
  return request;
}

bool checks_pass(const std::vector<TaskStatus>& tasks) {
  return std::ranges::all_of(tasks, [](const TaskStatus& task) {
    return task.health == HealthState::none || task.health == HealthState::healthy;
  });
}

bool works(const Instance& instance) {
  return instance.admitted && !instance.finished && instance.state == TaskState::running &&
         static_cast<bool>(instance.detail->running_since);
}

Health health_of(const Instance& instance, Duration min_healthy_time, Time now) {
  if (!works(instance)) return {};
  const Time from = instance.detail->running_since + min_healthy_time;
  return {from <= now, from};
}

bool moves_forward(Position from, Position to) {
  if (to.generation == from.generation && to.attempt == from.attempt && is_terminal(from.state)) return false;
  return to > from;
}

TaskState summary_of(const std::vector<TaskStatus>& tasks) {
  std::optional<TaskState> least;
  std::optional<TaskState> worst;
  for (const TaskStatus& task : tasks) {
    TaskState state = task.position.state;
    if (!is_terminal(state)) {
      least = least ? std::min(*least, state) : state;
    } else if (!worst || badness(state) < badness(*worst)) {
      worst = state;
    }
  }
  return least.value_or(worst.value_or(TaskState::placed));
}

}  // namespace tutti
