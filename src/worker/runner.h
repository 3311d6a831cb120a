#pragma once
// Runner: one instance on this worker, a machine without I/O.
//
// Owner: Core, one per instance. It compares what is assigned with what is there and says the next operations; the
// worker carries them out on its pool and reports back. One operation at a time per task, one for the instance's
// network. Every operation is idempotent, so a runner made anew from its record after a crash begins with `recover`.
//
//   task phases:  recovering → absent → imaged → prepared → running → ended → absent (next attempt) | over
//   instance:     network down → up → down once everything is over; clear → gone

#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "driver/driver.h"
#include "model/session.h"

namespace tutti::worker {

struct Now {
  Time wall;
  BootTime boot;
};

enum class OpKind : uint8_t {
  network_up,
  network_down,
  image,
  recover,
  prepare,
  start,
  stop,
  destroy_run,
  pause,
  unpause,
  suspend,
  clear,
};

struct Op {
  OpKind kind = OpKind::image;
  InstanceId instance;
  uint32_t generation = 0;
  uint32_t attempt = 0;
  uint16_t task = 0;  // index in the group; unused for network and clear
  Duration grace;     // stop
  BootTime start_by;  // start: when the lease it was issued under ends
};

struct OpResult {
  Op op;
  std::optional<driver::Failure> failure;
  std::string address;  // network_up
};

// The checks of a run begin, or end (worker/checks.h carries it out).
struct WatchHealth {
  InstanceId instance;
  uint16_t task = 0;
  bool on = false;
  uint32_t generation = 0;  // on, and the following
  uint32_t attempt = 0;
  HealthState before = HealthState::starting;
};

// What is stored under /run before acting, and read by the next worker process.
struct InstanceRecord {
  Assignment assignment;
  SpecMessage spec;
  std::vector<TaskStatus> tasks;
  std::string address;
  bool clearing = false;
};
BOOST_DESCRIBE_STRUCT(InstanceRecord, (), (assignment, spec, tasks, address, clearing))

class Runner {
 public:
  // A new assignment. The spec must be that of the assignment's job version.
  Runner(Assignment assignment, SpecMessage spec, Now now);
  // From a record of an earlier process: begins by recovering every task.
  Runner(const InstanceRecord& record, Now now);

  // The manager wants it otherwise: desired, generation, ports. Older generations are ignored.
  void assign(Assignment assignment, SpecMessage spec);
  // The manager wants nothing of it left.
  void clear();

  // No task of it runs or has ended: it is on its way.
  bool passing() const;
  // Next operations; call after every input and at wake(). `lease_valid`: tasks stopped for an ended lease wait for it.
  std::vector<Op> step(Now now, bool lease_valid);
  void op_done(const OpResult& result, Now now);
  // A task's run ended, as its driver's wait() said.
  void exited(uint16_t task, uint32_t generation, uint32_t attempt, const driver::ExitStatus& status, Now now);

  // What the checks of a run add up to now. `restart`: the run ends, and its restart policy decides what follows.
  void checked(uint16_t task, uint32_t generation, uint32_t attempt, HealthState state, std::string reason,
               bool restart, Now now);

  const Assignment& assignment() const { return assignment_; }
  const SpecMessage& spec() const { return spec_; }
  const TaskSpec& task_spec(uint16_t task) const;
  size_t task_count() const { return tasks_.size(); }
  InstanceReport report() const;
  InstanceRecord record() const;
  bool gone() const { return gone_; }
  Time wake() const;  // earliest retry; 0: none
  std::vector<WatchHealth> take_watches() { return std::exchange(watches_, {}); }
  bool take_changed() { return std::exchange(changed_, false); }        // since last asked: report it
  bool take_record_due() { return std::exchange(record_due_, false); }  // store record() before running new operations

 private:
  enum class Phase : uint8_t { recovering, absent, imaged, prepared, running, ended, over };
  struct Task {
    TaskStatus status;
    Phase phase = Phase::absent;
    bool busy = false;       // an operation is under way
    bool exit_seen = false;  // ended while an operation was under way
    bool lease_ended = false;
    int32_t failures = 0;  // of retryable operations, for their backoff
    Time retry_op_at;
    std::vector<Time> restarts;
    bool watched = false;   // its checks were told to begin
    std::string condemned;  // by a check, in its words: stopped, and then restarted
    std::string unwell;     // why its checks call it unhealthy, whatever else `reason` says meanwhile
    bool hampered = false;  // `reason` says why it is not paused, going on or suspended as assigned
    bool refused = false;   // its driver has no way to do what is assigned: not tried again, it runs on
  };
  // unknown: an earlier process had set it up. Set up again (idempotent) before a start, taken down at the end.
  enum class Net : uint8_t { down, up, unknown };

  const TaskSpec& spec_of(const Task& task) const;
  bool wants_run(const Task& task) const;
  bool uses_bridge() const;
  void reset_for_generation();
  void step_task(uint16_t index, Now now, bool lease_valid, std::vector<Op>& out);
  void step_absent(uint16_t index, Now now, bool lease_valid, std::vector<Op>& out);
  void step_running(uint16_t index, std::vector<Op>& out);
  void step_ended(uint16_t index, Now now, bool lease_valid, std::vector<Op>& out);
  void step_health(uint16_t index);
  void forgive(Task& task, Now now);
  void forget_hampered(Task& task);
  bool still_wanted(OpKind kind) const;
  void step_instance(Now now, std::vector<Op>& out);
  void move(Task& task, TaskState state);
  void finish(Task& task, TaskState state, std::string reason, Now now, bool final);
  void issue(Task& task, uint16_t index, OpKind kind, std::vector<Op>& out);
  void task_op_failed(Task& task, const OpResult& result, Now now);
  void ended_by_itself(Task& task, const driver::ExitStatus& status, Now now);

  Assignment assignment_;
  SpecMessage spec_;
  std::vector<size_t> task_indexes_;  // into spec_.spec->tasks
  std::vector<Task> tasks_;
  Net net_ = Net::down;
  bool net_busy_ = false;
  bool clear_busy_ = false;
  int32_t instance_failures_ = 0;
  Time instance_retry_at_;
  std::string address_;
  bool clearing_ = false;
  bool gone_ = false;
  std::vector<WatchHealth> watches_;
  bool changed_ = true;
  bool record_due_ = true;
};

}  // namespace tutti::worker
