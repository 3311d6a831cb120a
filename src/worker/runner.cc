#include "worker/runner.h"

#include <algorithm>

#include "model/values.h"
#include "worker/restart.h"

namespace tutti::worker {
namespace {

constexpr const char* kNeverRan = "stopped before it ran";

// Operations that failed in a way that may pass are tried again after 0.5 s · 2^n, at most a minute.
Duration op_backoff(int32_t failures) {
  return Duration{std::min<int64_t>(60'000, int64_t{500} << std::min(failures, 7)) * 1'000'000};
}

std::vector<size_t> tasks_of_group(const JobSpec& spec, uint16_t group) {
  const std::vector<GroupView> groups = groups_of(spec);
  return group < groups.size() ? groups[group].tasks : std::vector<size_t>{};
}

}  // namespace

Runner::Runner(Assignment assignment, SpecMessage spec, Now now)
    : assignment_(std::move(assignment)), spec_(std::move(spec)) {
  task_indexes_ = tasks_of_group(*spec_.spec, assignment_.group);
  for (size_t index : task_indexes_) {
    Task task;
    task.status.task = spec_.spec->tasks[index].name;
    task.status.position = {assignment_.generation, 1, TaskState::accepted};
    tasks_.push_back(std::move(task));
  }
  (void)now;
}

Runner::Runner(const InstanceRecord& record, Now now) : Runner(record.assignment, record.spec, now) {
  clearing_ = record.clearing;
  address_ = record.address;
  if (!address_.empty()) net_ = Net::unknown;
  for (Task& task : tasks_) {
    for (const TaskStatus& status : record.tasks) {
      if (status.task != task.status.task) continue;
      task.status = status;
      if (status.health == HealthState::unhealthy) task.unwell = status.reason;
      // The clock of the process that wrote it may have been ahead.
      const Time latest = now.wall + spec_of(task).restart.max_delay * 2;
      task.status.retry_at = std::min(task.status.retry_at, latest);
    }
    // Whatever the record says, what is there decides. An attempt that has ended has at most remains to clear: to
    // recover them would call it running again, and its position would go back.
    task.phase = is_terminal(task.status.position.state) ? Phase::ended : Phase::recovering;
  }
}

const TaskSpec& Runner::task_spec(uint16_t task) const {
  return spec_.spec->tasks[task_indexes_.at(task)];
}

const TaskSpec& Runner::spec_of(const Task& task) const {
  return task_spec(static_cast<uint16_t>(&task - tasks_.data()));
}

bool Runner::uses_bridge() const {
  return std::any_of(task_indexes_.begin(), task_indexes_.end(), [&](size_t i) {
    const TaskSpec& task = spec_.spec->tasks[i];
    return task.network != NetworkMode::host && (task.driver == "container" || task.driver == "vm");
  });
}

void Runner::assign(Assignment assignment, SpecMessage spec) {
  if (assignment.generation < assignment_.generation) return;
  if (assignment == assignment_) return;
  assignment_ = std::move(assignment);
  spec_ = std::move(spec);
  for (Task& task : tasks_) forget_hampered(task);
  record_due_ = true;
  changed_ = true;
}

// What could not be done is not wanted any more, or is done: nothing of it holds up what is wanted now.
void Runner::forget_hampered(Task& task) {
  if (!std::exchange(task.hampered, false)) return;
  task.refused = false;
  task.retry_op_at = {};
  task.status.reason = task.status.health == HealthState::unhealthy ? task.unwell : "";
  changed_ = true;
}

void Runner::clear() {
  if (clearing_) return;
  clearing_ = true;
  record_due_ = true;
}

bool Runner::wants_run(const Task& task) const {
  const Desired desired = assignment_.desired;
  if (clearing_ || desired == Desired::removed || desired == Desired::stopped) return false;
  if (task.status.position.generation != assignment_.generation) return false;
  if (desired == Desired::suspended) return false;
  // A task of a group that failed for good takes its siblings with it.
  return std::none_of(tasks_.begin(), tasks_.end(), [&](const Task& other) {
    return &other != &task && other.status.final && other.status.position.state == TaskState::failed;
  });
}

void Runner::move(Task& task, TaskState state) {
  if (task.status.position.state == state) return;
  task.status.position.state = state;
  changed_ = true;
}

void Runner::finish(Task& task, TaskState state, std::string reason, Now now, bool final) {
  move(task, state);
  task.status.reason = std::move(reason);
  task.status.finished = now.wall;
  task.status.final = final;
  task.status.retry_at = {};
  task.status.paused = false;
  task.hampered = task.refused = false;
  task.status.health = HealthState::none;
  task.status.health_since = {};
  changed_ = true;
  record_due_ = true;
}

void Runner::issue(Task& task, uint16_t index, OpKind kind, std::vector<Op>& out) {
  task.busy = true;
  const Position& at = task.status.position;
  out.push_back({kind, assignment_.instance, at.generation, at.attempt, index, spec_of(task).stop_grace});
}

bool Runner::passing() const {
  return std::all_of(tasks_.begin(), tasks_.end(),
                     [](const Task& task) { return task.status.position.state < TaskState::running; });
}

std::vector<Op> Runner::step(Now now, bool lease_valid) {
  std::vector<Op> out;
  if (gone_) return out;
  if (instance_retry_at_ <= now.wall) instance_retry_at_ = {};
  reset_for_generation();
  for (uint16_t i = 0; i < tasks_.size(); ++i) step_task(i, now, lease_valid, out);
  for (uint16_t i = 0; i < tasks_.size(); ++i) step_health(i);
  step_instance(now, out);
  return out;
}

// A new generation starts each task over, once nothing of the old one is left.
void Runner::reset_for_generation() {
  for (Task& task : tasks_) {
    Position& at = task.status.position;
    if (at.generation >= assignment_.generation || task.busy) continue;
    if (task.phase != Phase::over && task.phase != Phase::absent) continue;
    TaskStatus fresh;
    fresh.task = task.status.task;
    fresh.position = {assignment_.generation, 1, TaskState::accepted};
    task = Task{};
    task.status = std::move(fresh);
    changed_ = record_due_ = true;
  }
}

void Runner::step_task(uint16_t index, Now now, bool lease_valid, std::vector<Op>& out) {
  Task& task = tasks_[index];
  if (task.busy || now.wall < task.retry_op_at) return;
  task.retry_op_at = {};
  switch (task.phase) {
    case Phase::recovering: issue(task, index, OpKind::recover, out); return;
    case Phase::absent:
    case Phase::imaged:
    case Phase::prepared: step_absent(index, now, lease_valid, out); return;
    case Phase::running: step_running(index, out); return;
    case Phase::ended: step_ended(index, now, lease_valid, out); return;
    case Phase::over: return;
  }
}

// Nothing runs: what is missing between here and running, in order.
void Runner::step_absent(uint16_t index, Now now, bool lease_valid, std::vector<Op>& out) {
  Task& task = tasks_[index];
  if (!wants_run(task)) {
    // A start that came to nothing may have left a process: what it had is in use until that is gone.
    if (task.status.position.state < TaskState::starting) finish(task, TaskState::stopped, kNeverRan, now, true);
    task.phase = Phase::ended;
    step_ended(index, now, lease_valid, out);
    return;
  }
  if (assignment_.desired == Desired::paused && task.status.position.state == TaskState::accepted) return;
  if (uses_bridge() && net_ != Net::up) {
    if (!net_busy_ && now.wall >= instance_retry_at_) {
      net_busy_ = true;
      out.push_back({OpKind::network_up, assignment_.instance, assignment_.generation, 0, 0, {}});
    }
    return;
  }
  if (task.phase == Phase::absent) {
    move(task, TaskState::preparing);
    issue(task, index, OpKind::image, out);
  } else if (task.phase == Phase::imaged) {
    issue(task, index, OpKind::prepare, out);
  } else if (lease_valid || spec_of(task).on_disconnect != DisconnectPolicy::stop_after) {
    move(task, TaskState::starting);
    record_due_ = true;  // the attempt is on record before its process can exist
    issue(task, index, OpKind::start, out);
  }
}

void Runner::step_running(uint16_t index, std::vector<Op>& out) {
  Task& task = tasks_[index];
  if (!task.condemned.empty() && wants_run(task)) {
    issue(task, index, OpKind::stop, out);
  } else if (!wants_run(task)) {
    const bool suspend = assignment_.desired == Desired::suspended && !clearing_ &&
                         task.status.position.generation == assignment_.generation;
    if (suspend && task.refused) return;
    issue(task, index, suspend ? OpKind::suspend : OpKind::stop, out);
  } else if (assignment_.desired == Desired::paused && !task.status.paused) {
    if (!task.refused) issue(task, index, OpKind::pause, out);
  } else if (assignment_.desired == Desired::running && task.status.paused) {
    issue(task, index, OpKind::unpause, out);
  }
}

// Asked while it runs as it shall; not while it is paused, or on its way out.
void Runner::step_health(uint16_t index) {
  Task& task = tasks_[index];
  const bool wanted = !spec_of(task).health.empty() && task.phase == Phase::running && wants_run(task) &&
                      !task.status.paused && task.condemned.empty();
  if (wanted == task.watched) return;
  task.watched = wanted;
  const Position& at = task.status.position;
  watches_.push_back({assignment_.instance, index, wanted, at.generation, at.attempt, task.status.health});
}

void Runner::checked(uint16_t index, uint32_t generation, uint32_t attempt, HealthState state, std::string reason,
                     bool restart, Now now) {
  if (index >= tasks_.size()) return;
  Task& task = tasks_[index];
  const Position& at = task.status.position;
  if (at.generation != generation || at.attempt != attempt || !task.watched) return;
  forgive(task, now);
  if (restart) task.condemned = reason;
  task.status.health = state;
  task.status.health_since = now.wall;
  task.unwell = state == HealthState::unhealthy ? reason : "";
  task.status.reason = std::move(reason);
  changed_ = record_due_ = true;
}

// H01: restarts before a time of health do not count any more.
void Runner::forgive(Task& task, Now now) {
  const bool healthy = task.status.health == HealthState::healthy &&
                       now.wall >= task.status.health_since + spec_.spec->update.min_healthy_time;
  if (healthy) task.restarts.clear();
}

// The run has ended; its remains are cleared before anything else, then the next attempt waits for its time.
void Runner::step_ended(uint16_t index, Now now, bool lease_valid, std::vector<Op>& out) {
  Task& task = tasks_[index];
  TaskStatus& status = task.status;
  if (!status.final && wants_run(task)) {
    if (task.lease_ended && !lease_valid) return;
    if (now.wall < status.retry_at) return;
  }
  issue(task, index, OpKind::destroy_run, out);
}

void Runner::step_instance(Now now, std::vector<Op>& out) {
  const bool over = std::all_of(tasks_.begin(), tasks_.end(), [](const Task& t) { return t.phase == Phase::over; });
  if (!over || net_busy_ || clear_busy_ || now.wall < instance_retry_at_) return;
  if (clearing_ || assignment_.desired == Desired::removed) {
    clear_busy_ = true;
    out.push_back({OpKind::clear, assignment_.instance, assignment_.generation, 0, 0, {}});
  } else if (net_ != Net::down) {
    net_busy_ = true;
    out.push_back({OpKind::network_down, assignment_.instance, assignment_.generation, 0, 0, {}});
  }
}

void Runner::op_done(const OpResult& result, Now now) {
  const Op& op = result.op;
  if (op.kind == OpKind::network_up || op.kind == OpKind::network_down || op.kind == OpKind::clear) {
    (op.kind == OpKind::clear ? clear_busy_ : net_busy_) = false;
    if (result.failure) {
      instance_retry_at_ = now.wall + op_backoff(instance_failures_++);
      const bool rejected = result.failure->kind == driver::FailureKind::rejected && op.kind == OpKind::network_up;
      for (Task& task : tasks_) {
        task.status.reason = result.failure->error.to_string();
        if (rejected && task.phase != Phase::over) {
          finish(task, TaskState::rejected, task.status.reason, now, true);
          task.phase = Phase::ended;
        }
      }
      changed_ = true;
      return;
    }
    instance_failures_ = 0;
    if (op.kind == OpKind::clear) gone_ = changed_ = true;
    if (op.kind != OpKind::clear) net_ = op.kind == OpKind::network_up ? Net::up : Net::down;
    if (op.kind == OpKind::network_up && address_ != result.address)
      address_ = result.address, changed_ = record_due_ = true;
    return;
  }
  if (op.task >= tasks_.size()) return;
  Task& task = tasks_[op.task];
  const Position& at = task.status.position;
  if (op.generation != at.generation || op.attempt != at.attempt) return;
  task.busy = false;
  if (result.failure) return task_op_failed(task, result, now);
  task.failures = 0;
  task.retry_op_at = {};
  switch (op.kind) {
    case OpKind::image: task.phase = Phase::imaged; break;
    case OpKind::prepare: task.phase = Phase::prepared; break;
    case OpKind::recover:
      if (uses_bridge()) net_ = Net::up;
      [[fallthrough]];
    case OpKind::start:
      if (task.phase == Phase::ended) break;  // it was over before we heard that it had started
      task.phase = Phase::running;
      task.status.started = task.status.started ? task.status.started : now.wall;
      // One that an earlier process looked after is as healthy as it was: it is asked again.
      if (task.status.position.state != TaskState::running || task.status.health == HealthState::none) {
        task.status.health = spec_of(task).health.empty() ? HealthState::none : HealthState::starting;
        task.status.health_since = task.status.health == HealthState::none ? Time{} : now.wall;
      }
      if (task.status.health != HealthState::unhealthy) task.status.reason.clear();
      move(task, TaskState::running);
      changed_ = record_due_ = true;
      break;
    case OpKind::stop: break;  // exited() says the rest
    case OpKind::pause:
      forget_hampered(task);
      task.status.paused = changed_ = true;
      break;
    case OpKind::unpause:
      forget_hampered(task);
      task.status.paused = false, changed_ = true;
      break;
    case OpKind::suspend:
      finish(task, TaskState::suspended, "suspended", now, true);
      task.phase = Phase::ended;
      break;
    case OpKind::destroy_run:
      if (task.status.final || !wants_run(task)) {
        if (!is_terminal(task.status.position.state)) finish(task, TaskState::stopped, kNeverRan, now, true);
        if (!task.status.final) task.status.final = changed_ = record_due_ = true;
        task.phase = Phase::over;
        break;
      }
      task.status.position.attempt += 1;
      task.status.position.state = TaskState::accepted;
      task.status.restarts += 1;
      task.status.started = task.status.finished = task.status.retry_at = {};
      task.phase = Phase::absent;
      task.lease_ended = false;
      changed_ = record_due_ = true;
      break;
    case OpKind::network_up:
    case OpKind::network_down:
    case OpKind::clear: break;
  }
}

// Of what is done to a running task: assigned as it was when it began.
bool Runner::still_wanted(OpKind kind) const {
  if (kind == OpKind::suspend) return assignment_.desired == Desired::suspended;
  if (kind == OpKind::pause) return assignment_.desired == Desired::paused;
  if (kind == OpKind::unpause) return assignment_.desired == Desired::running;
  return true;
}

void Runner::task_op_failed(Task& task, const OpResult& result, Now now) {
  const driver::Failure& failure = *result.failure;
  if (!still_wanted(result.op.kind)) return;  // it was taken back meanwhile: that it failed is nobody's concern
  task.status.reason = failure.error.to_string();
  changed_ = true;
  if (result.op.kind == OpKind::recover) {
    // Nothing was started, or nothing of it is left: this attempt did not happen. Its number is used up.
    task.phase = Phase::ended;
    task.status.reason = "lost with its node's restart";
    if (!is_terminal(task.status.position.state)) finish(task, TaskState::failed, task.status.reason, now, false);
    return;
  }
  const bool before_run =
      result.op.kind == OpKind::image || result.op.kind == OpKind::prepare || result.op.kind == OpKind::start;
  if (before_run && failure.kind == driver::FailureKind::rejected) {
    finish(task, TaskState::rejected, task.status.reason, now, true);
    task.phase = Phase::ended;
  } else if (before_run && failure.kind == driver::FailureKind::failed) {
    driver::ExitStatus status;
    status.exit_code = 127;
    status.reason = task.status.reason;
    ended_by_itself(task, status, now);
  } else {
    task.retry_op_at = now.wall + op_backoff(task.failures++);
    if (result.op.kind == OpKind::suspend || result.op.kind == OpKind::pause || result.op.kind == OpKind::unpause) {
      task.retry_op_at = now.wall + seconds(5);
      task.hampered = true;
      task.refused = failure.error.code == ErrorCode::unsupported;
    }
  }
}

void Runner::ended_by_itself(Task& task, const driver::ExitStatus& status, Now now) {
  forgive(task, now);
  const std::string condemned = std::exchange(task.condemned, {});
  const bool well = status.exit_code == 0 && !status.oom_killed && !status.lease_expired && condemned.empty();
  task.status.exit_code = status.exit_code;
  task.status.oom_killed = status.oom_killed;
  task.phase = Phase::ended;
  std::string reason = status.reason;
  if (status.oom_killed) {
    const TaskSpec& spec = spec_of(task);
    const Bytes limit = spec.limits.memory.value > 0 ? spec.limits.memory : spec.resources.memory;
    reason = "out of memory: killed at its limit of " + format_bytes(limit);
  } else if (!condemned.empty()) {
    reason = condemned;
  } else if (reason.empty()) {
    reason = "exit code " + std::to_string(status.exit_code);
  }
  Now at = now;
  if (status.finished) at.wall = status.finished;
  if (!wants_run(task)) {
    finish(task,
           well && !clearing_ && assignment_.desired == Desired::running ? TaskState::completed : TaskState::stopped,
           std::move(reason), at, true);
    return;
  }
  if (status.lease_expired) {
    task.lease_ended = true;
    finish(task, TaskState::failed, "stopped: the node was cut off and its lease ended", at, false);
    return;
  }
  const uint64_t seed = assignment_.instance.value * 1000003 + task.status.position.attempt;
  const RestartDecision decision =
      decide_restart(spec_of(task).restart, spec_.spec->type, task.restarts, well, seed, now.wall);
  finish(task, well ? TaskState::completed : TaskState::failed, std::move(reason), at, decision.final);
  task.status.retry_at = decision.retry_at;
}

void Runner::exited(uint16_t index, uint32_t generation, uint32_t attempt, const driver::ExitStatus& status, Now now) {
  if (index >= tasks_.size()) return;
  Task& task = tasks_[index];
  const Position& at = task.status.position;
  if (at.generation != generation || at.attempt != attempt) return;
  if (task.phase == Phase::ended || task.phase == Phase::over) return;
  if (!task.status.started) task.status.started = now.wall;
  ended_by_itself(task, status, now);
}

InstanceReport Runner::report() const {
  InstanceReport out;
  out.instance = assignment_.instance;
  out.address = address_;
  out.gone = gone_;
  for (const Task& task : tasks_) out.tasks.push_back(task.status);
  return out;
}

InstanceRecord Runner::record() const {
  InstanceRecord out{assignment_, spec_, {}, address_, clearing_};
  for (const Task& task : tasks_) out.tasks.push_back(task.status);
  return out;
}

Time Runner::wake() const {
  Time wake;
  auto consider = [&](Time t) {
    if (t && (!wake || t < wake)) wake = t;
  };
  consider(instance_retry_at_);
  for (const Task& task : tasks_) {
    if (task.busy) continue;
    consider(task.retry_op_at);
    if (task.phase == Phase::ended && !task.status.final) consider(task.status.retry_at);
  }
  return wake;
}

}  // namespace tutti::worker
