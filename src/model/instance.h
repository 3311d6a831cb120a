#pragma once
// Instance: one placed copy of a group, and the words for what is wanted and what is seen of it.
//
// One writer per field:
//   override   user        desired    reconcile     node, generation, ports   apply, from a plan or a start-over
//   presence   manager     tasks[].position   worker (through ReportStatus)
//
//   TaskState:   placed → accepted → preparing → starting → running → completed
//                    ╰────────┴──────────┴──────────┴──────────┴────→ failed | stopped | suspended | rejected
// A position is (generation, attempt, state), compared in that order. It only moves forward; what does not is dropped.

#include <boost/describe.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "model/ids.h"
#include "model/job.h"

namespace tutti {

// Numbers leave gaps so that states can be inserted; of two observations of one attempt the larger is right.
enum class TaskState : uint8_t {
  placed = 8,
  accepted = 16,
  preparing = 24,
  starting = 32,
  running = 40,
  completed = 64,
  failed = 72,
  stopped = 80,
  suspended = 88,
  rejected = 96,
};
BOOST_DESCRIBE_ENUM(TaskState, placed, accepted, preparing, starting, running, completed, failed, stopped, suspended,
                    rejected)
constexpr bool is_terminal(TaskState s) {
  return s >= TaskState::completed;
}

enum class Desired : uint8_t { running, stopped, paused, suspended, removed };
BOOST_DESCRIBE_ENUM(Desired, running, stopped, paused, suspended, removed)

enum class Override : uint8_t { none, stop, pause, suspend, delete_ };
BOOST_DESCRIBE_ENUM(Override, none, stop, pause, suspend, delete_)

enum class Presence : uint8_t { here, unknown, given_up };
BOOST_DESCRIBE_ENUM(Presence, here, unknown, given_up)

struct Position {
  uint32_t generation = 0;
  uint32_t attempt = 0;
  TaskState state = TaskState::placed;
  auto operator<=>(const Position&) const = default;
};
BOOST_DESCRIBE_STRUCT(Position, (), (generation, attempt, state))

struct TaskStatus {
  std::string task;
  Position position;
  int32_t exit_code = 0;  // valid in completed and failed; 128 + n after signal n
  bool oom_killed = false;
  std::string reason;  // for people: why it is where it is
  Time started;        // of this attempt
  Time finished;
  int32_t restarts = 0;  // in place, of this generation
  Time retry_at;         // failed, and the worker will start the next attempt then
  bool final = false;    // terminal, and the worker will not restart it
  bool paused = false;
  HealthState health = HealthState::none;  // what its checks say; why it is unhealthy stands in `reason`
  Time health_since;
  bool operator==(const TaskStatus&) const = default;
};
BOOST_DESCRIBE_STRUCT(TaskStatus, (),
                      (task, position, exit_code, oom_killed, reason, started, finished, restarts, retry_at, final,
                       paused, health, health_since))

struct PortBinding {
  std::string task;
  std::string name;
  int32_t container = 0;
  int32_t host = 0;
  Protocol protocol = Protocol::tcp;
  bool operator==(const PortBinding&) const = default;
};
BOOST_DESCRIBE_STRUCT(PortBinding, (), (task, name, container, host, protocol))
// The host port with its protocol, as usage per node keeps it.
constexpr uint32_t port_key(Protocol protocol, int32_t host) {
  return static_cast<uint32_t>(protocol) << 16 | static_cast<uint32_t>(host);
}
constexpr uint32_t port_key(const PortBinding& port) {
  return port_key(port.protocol, port.host);
}

// The cold half of an instance: shared between snapshots, replaced as a whole.
struct InstanceDetail {
  std::vector<TaskStatus> tasks;  // in the order of the group's tasks
  std::vector<PortBinding> ports;
  std::vector<DeviceBinding> devices;
  std::string address;      // on its bridge, reported by the worker
  std::string reason;       // why presence or desired is what it is
  int32_t reschedules = 0;  // how many instances held this slot before, for H02's backoff
  NodeId avoid;             // the node that its predecessor was lost or failed on; its own: that it is moved from
  Time counted_since;       // reschedules are counted from here (ReschedulePolicy::interval)
  Time placed;              // on its node, in this generation
  Time running_since;       // by the manager's clock: it runs and its checks pass, without a restart since; 0: not so
  Time healthy_told;        // when the last event that says so was written
  Time unhealthy_told;
  InstanceId pushed_by;  // told to go to make room for that one (J07); 0: for nobody
  bool operator==(const InstanceDetail&) const = default;
};
BOOST_DESCRIBE_STRUCT(InstanceDetail, (),
                      (tasks, ports, devices, address, reason, reschedules, avoid, counted_since, placed, running_since,
                       healthy_told, unhealthy_told, pushed_by))

// The hot half stays within 128 bytes. Its name is not stored: instance_name().
struct Instance {
  InstanceId id;
  JobId job;
  uint32_t job_version = 0;
  uint32_t slot = 0;
  uint32_t generation = 1;
  uint16_t group = 0;  // index in groups_of(spec)
  Desired desired = Desired::running;
  Override override_ = Override::none;
  Presence presence = Presence::here;
  TaskState state = TaskState::placed;  // summary over tasks, kept by apply: the least of those not yet terminal, else
                                        // the worst terminal
  bool finished =
      false;  // every task final (or the instance given up / never placed and removed): its resources are free
  bool admitted = false;  // its node has reserved for it; false: pending (node, if set, holds its disk)
  bool cleared = false;   // nothing of it is left on its node
  bool beside = false;    // stands beside the one that holds its slot (an update, a move) until that is gone
  NodeId node;
  NodeId pinned;  // system jobs, machines: the only node that may be chosen
  Revision revision;
  Time created;
  Time pending_since;                            // set while it waits for a node
  Time not_before;                               // reschedule backoff: scheduler leaves it alone until then
  std::shared_ptr<const InstanceDetail> detail;  // never null
  // A hint, not stored: the row of (job, job_version), which Snapshot::version_of believes only when it is that.
  // Looking it up anew took a seventh of the state thread's time.
  JobVersionId version_row;
};
BOOST_DESCRIBE_STRUCT(Instance, (),
                      (id, job, job_version, slot, generation, group, desired, override_, presence, state, finished,
                       admitted, cleared, beside, node, pinned, revision, created, pending_since, not_before, detail))

// "shop-web-0": job, group (left out where the job has one group of the job's own name), slot.
std::string instance_name(std::string_view job, std::string_view group, uint32_t slot);

// No task of it has a check that does not pass.
bool checks_pass(const std::vector<TaskStatus>& tasks);
// Whether it works as a whole now: it runs, and whatever checks it has pass.
bool works(const Instance& instance);

// It works, for at least that long. `from` is when it became or will become so, 0 while it does not work.
struct Health {
  bool healthy = false;
  Time from;
};
Health health_of(const Instance& instance, Duration min_healthy_time, Time now);

// What an instance holds on its node. `request` is the group's sum.
//   running, paused, backing off: everything · stopped: disk · suspended: disk and a file the size of the memory
//   finished: disk until removed · removed-and-gone: nothing (given up, until cleared: state/draft.h held_resources)
Resources charge(const Instance& instance, const Resources& request);

}  // namespace tutti
