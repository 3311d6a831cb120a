#pragma once
// Job and Task: what a user wants to run. Specs are the user's; the system never changes one.
//
// A job is submitted by name; the same name again is a new version of it and the id stays. Tasks that
// name the same group are placed together as one instance and share a network namespace; a task
// without a group is a group of its own name. Limits: base/limits.h. Validation: model/validate.h.

#include <boost/describe.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "model/deployment.h"
#include "model/device.h"
#include "model/health.h"
#include "model/ids.h"
#include "model/launch.h"
#include "model/resources.h"

namespace tutti {

enum class JobType : uint8_t { service, batch, system };
BOOST_DESCRIBE_ENUM(JobType, service, batch, system)

// Which of the nodes that will do (scheduler/policy.h). default: as the pool says. A trailing _ is not part of the
// word.
enum class PlacementPolicy : uint8_t { default_, binpack, spread, roundrobin, greedy, epvm, fragmentation };
BOOST_DESCRIBE_ENUM(PlacementPolicy, default_, binpack, spread, roundrobin, greedy, epvm, fragmentation)

enum class RestartMode : uint8_t { never, on_failure, always };  // written on-failure in files
BOOST_DESCRIBE_ENUM(RestartMode, never, on_failure, always)

enum class PullPolicy : uint8_t { missing, always, never };
BOOST_DESCRIBE_ENUM(PullPolicy, missing, always, never)

enum class NetworkMode : uint8_t { bridge, host, none };
BOOST_DESCRIBE_ENUM(NetworkMode, bridge, host, none)

enum class Protocol : uint8_t { tcp, udp };
BOOST_DESCRIBE_ENUM(Protocol, tcp, udp)

enum class DisconnectPolicy : uint8_t { keep, stop_after };
BOOST_DESCRIBE_ENUM(DisconnectPolicy, keep, stop_after)

struct PortSpec {
  std::string name;       // unique in the task; empty: the container port's digits
  int32_t container = 0;  // 1..65535
  int32_t host = 0;       // 0: chosen by the scheduler from the node's range
  Protocol protocol = Protocol::tcp;
  bool operator==(const PortSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(PortSpec, (), (name, container, host, protocol))

enum class VolumeKind : uint8_t { local, host, tmpfs };
BOOST_DESCRIBE_ENUM(VolumeKind, local, host, tmpfs)

struct VolumeMount {
  VolumeKind kind = VolumeKind::local;
  std::string source;  // local: the volume's name; host: an allow-listed absolute path; tmpfs: empty
  std::string target;  // absolute path inside
  bool read_only = false;
  Bytes size;  // tmpfs: its limit
  bool operator==(const VolumeMount&) const = default;
};
BOOST_DESCRIBE_STRUCT(VolumeMount, (), (kind, source, target, read_only, size))

// H01. In place, by the worker, also while cut off: raises `attempt`.
// At most `attempts` restarts within `interval`; then the task has failed for good and `reschedule` decides.
// The wait before restart n is delay · backoff^(n−1), at most max_delay, ± jitter (a fraction).
struct RestartPolicy {
  std::optional<RestartMode> policy;  // service and system: always; batch: on_failure
  int32_t attempts = 3;
  Duration interval = seconds(600);
  Duration delay = seconds(1);
  Duration max_delay = seconds(60);
  double backoff = 2.0;
  double jitter = 0.1;
  bool operator==(const RestartPolicy&) const = default;
};
BOOST_DESCRIBE_STRUCT(RestartPolicy, (), (policy, attempts, interval, delay, max_delay, backoff, jitter))

enum class Backoff : uint8_t { exponential, constant, fibonacci };
BOOST_DESCRIBE_ENUM(Backoff, exponential, constant, fibonacci)

// H02. By the manager: a new instance in the same slot, elsewhere if it can, after the node was given up
// or restarts are exhausted. At most `attempts` within `interval`; attempts < 0: without end; interval 0: ever.
// The wait before the n-th is delay (constant), delay · backoff^(n−1) (exponential) or delay · F(n) with F = 1, 2, 3,
// 5, 8 … (fibonacci), at most max_delay.
struct ReschedulePolicy {
  int32_t attempts = -1;
  Duration interval;
  Backoff function = Backoff::exponential;
  Duration delay = seconds(5);
  Duration max_delay = seconds(300);
  double backoff = 2.0;
  bool operator==(const ReschedulePolicy&) const = default;
};
BOOST_DESCRIBE_STRUCT(ReschedulePolicy, (), (attempts, interval, function, delay, max_delay, backoff))

// Ceilings beyond the reservation. Zero means: as the driver's default says.
struct Limits {
  Millicores cpu;  // hard quota; 0: resources.cpu are shares only
  Bytes memory;    // hard; 0: resources.memory
  int64_t pids = 1024;
  std::string cpuset;  // "0-3,8"
  int64_t open_files = 0;
  Bytes io_read_per_second;
  Bytes io_write_per_second;
  bool operator==(const Limits&) const = default;
};
BOOST_DESCRIBE_STRUCT(Limits, (), (cpu, memory, pids, cpuset, open_files, io_read_per_second, io_write_per_second))

struct Security {
  bool privileged = false;  // only where the project allows it
  bool read_only_root = false;
  bool no_new_privileges = true;
  std::vector<std::string> cap_add;   // "NET_ADMIN"
  std::vector<std::string> cap_drop;  // "ALL" drops every default
  bool operator==(const Security&) const = default;
};
BOOST_DESCRIBE_STRUCT(Security, (), (privileged, read_only_root, no_new_privileges, cap_add, cap_drop))

struct TaskSpec {
  std::string name;
  std::string group;                    // empty: its own name
  std::string driver = "container";     // container | process | fake | docker | vm
  std::string image;                    // repository[:tag][@digest]; container needs one
  std::vector<std::string> entrypoint;  // replaces the image's entrypoint; then args
  std::vector<std::string> command;     // replaces the image's command (process: the whole argv)
  std::map<std::string, std::string> env;
  std::string user;  // "uid[:gid]" or a name of the image's /etc/passwd
  std::string workdir;
  int64_t count = 1;  // of a group: that of its first task
  Resources resources{{100}, {64 << 20}, {}};
  Limits limits;
  NetworkMode network = NetworkMode::bridge;
  std::vector<PortSpec> ports;
  std::vector<VolumeMount> volumes;
  RestartPolicy restart;
  ReschedulePolicy reschedule;
  Security security;
  PullPolicy pull = PullPolicy::missing;
  std::vector<std::string> constraints;        // "node.arch == x86_64" (model/constraint.h)
  std::map<std::string, int64_t> node_limits;  // countable things that a node has few of: name → how many (W10)
  std::optional<DeviceSpec> gpu;               // the usual case of devices: kind gpu
  std::vector<DeviceSpec> devices;
  std::string stop_signal = "TERM";
  Duration stop_grace = seconds(10);
  DisconnectPolicy on_disconnect = DisconnectPolicy::keep;  // docs/decisions: a manager's outage must not stop work
  Duration disconnect_grace;                                // beyond the lease, with stop_after
  bool tty = false;
  bool stdin_open = false;
  std::map<std::string, std::string> options;  // the driver's own words; fake: its script
  std::vector<After> after;                    // other tasks of the job, which its group waits for (J06)
  std::vector<HealthCheck> health;             // H03
  bool operator==(const TaskSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(TaskSpec, (),
                      (name, group, driver, image, entrypoint, command, env, user, workdir, count, resources, limits,
                       network, ports, volumes, restart, reschedule, security, pull, constraints, node_limits, gpu,
                       devices, stop_signal, stop_grace, on_disconnect, disconnect_grace, tty, stdin_open, options,
                       after, health))

// A wish: nodes that meet the constraint are preferred, or avoided where the weight is negative. 100 outweighs the
// whole difference between the best and the worst node of the policy.
struct Affinity {
  std::string constraint;  // "node.label.disk == ssd"
  int32_t weight = 50;     // -100..100
  bool operator==(const Affinity&) const = default;
};
BOOST_DESCRIBE_STRUCT(Affinity, (), (constraint, weight))

// The job's instances are shared out over the values of an attribute: evenly, or by percentages.
struct SpreadOver {
  std::string attribute;                   // "node.label.zone"
  int32_t weight = 100;                    // 1..100: how much it counts beside the policy
  std::map<std::string, int32_t> targets;  // value → percent; what is not named shares the rest
  bool operator==(const SpreadOver&) const = default;
};
BOOST_DESCRIBE_STRUCT(SpreadOver, (), (attribute, weight, targets))

struct PlacementSpec {
  std::string node_pool;  // only nodes of this pool; empty: of any
  std::vector<Affinity> affinities;
  std::vector<SpreadOver> spread;
  bool same_node = false;       // the whole job on one node (J04)
  bool all_or_nothing = false;  // no instance is placed unless all can be (S07)
  bool operator==(const PlacementSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(PlacementSpec, (), (node_pool, affinities, spread, same_node, all_or_nothing))

struct JobSpec {
  std::string job;      // its name: unique in the project
  std::string project;  // empty: the identity's default
  JobType type = JobType::service;
  int32_t priority = 50;  // 0..100
  PlacementPolicy policy = PlacementPolicy::default_;
  PlacementSpec placement;
  std::map<std::string, std::string> labels;
  Duration pending_timeout;     // 0: waits without end
  std::optional<Duration> ttl;  // batch: how long it stays once all of it has ended; 0: removed at once; none: for ever
  UpdatePolicy update;
  DisruptionPolicy disruption;
  std::vector<After> after;                        // batch: other jobs of the project that it waits for (J06)
  std::optional<PeriodicSpec> periodic;            // launched by the clock (J03)
  std::optional<ParameterizedSpec> parameterized;  // launched by requests (J03)
  std::map<std::string, std::string> meta;         // ${meta.key} in commands and env; TUTTI_META_KEY in the environment
  std::string payload;                             // base64; given to every task as a file
  Duration deadline;  // batch: stopped, and failed, when it has not ended so long after it began; 0: none
  std::vector<TaskSpec> tasks;
  bool operator==(const JobSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(JobSpec, (),
                      (job, project, type, priority, policy, placement, labels, pending_timeout, ttl, update,
                       disruption, after, periodic, parameterized, meta, payload, deadline, tasks))

// One submitted spec. Its images become digests before it is activated; until then reconcile ignores it.
enum class VersionState : uint8_t { resolving, active, failed };
BOOST_DESCRIBE_ENUM(VersionState, resolving, active, failed)

struct JobVersion {
  JobVersionId id;
  JobId job;
  uint32_t number = 1;
  Time created;
  VersionState state = VersionState::resolving;
  std::string error;                          // why it failed
  std::map<std::string, std::string> images;  // reference in the spec → repository@sha256:…
  std::shared_ptr<const JobSpec> spec;        // never null
  std::vector<JobId> waits_for;               // whom spec.after names, in its order
};
BOOST_DESCRIBE_STRUCT(JobVersion, (), (id, job, number, created, state, error, images, spec, waits_for))

struct Job {
  JobId id;
  ProjectId project;
  std::string name;
  uint64_t version = 0;         // of the latest submitted spec; what If-Match compares
  uint32_t active_version = 0;  // what reconcile makes true; 0: none yet
  Revision revision;            // of the commit that changed this row last
  Time created;
  Time updated;
  std::string creator;                    // an identity's text: "user:admin"
  std::map<std::string, int64_t> counts;  // group → count where a user scaled without a new version
  bool stopped = false;                   // the user wants nothing of it to run
  bool deleted = false;                   // stopped, and the row goes when the last instance is gone
  JobType type = JobType::service;
  uint32_t stable_version = 0;         // the newest that was healthy as a whole; 0: none yet
  Deployment deployment;               // the newest one; of batch jobs: none
  std::vector<JobId> waits_for;        // of the active version
  Time begun;                          // its active version, or its last start
  JobResult result = JobResult::none;  // batch: how it has ended, by reconcile; none again when it is to go on
  Time ended;
  std::string reason;     // why it has ended so, or what it waits for
  LaunchRecord launches;  // of a periodic job
  JobId parent;           // the job that launched this one
  LaunchKind launch = LaunchKind::none;
  Time launched_for;  // the time of the schedule; dispatched or forced: when that was asked
};
BOOST_DESCRIBE_STRUCT(Job, (),
                      (id, project, name, version, active_version, revision, created, updated, creator, counts, stopped,
                       deleted, type, stable_version, deployment, waits_for, begun, result, ended, reason, launches,
                       parent, launch, launched_for))

// The deployment that begins where `version` becomes the active one. Pure.
Deployment begin_deployment(const Job& job, const JobVersion& version, Time now);

// The groups of a spec, in order of first appearance: name and indexes of its tasks.
struct GroupView {
  std::string name;
  std::vector<size_t> tasks;
  int64_t count = 1;                           // of its first task
  Resources resources;                         // sum over its tasks
  std::map<std::string, int64_t> node_limits;  // likewise
  std::vector<DeviceAsk> devices;              // of its tasks, in their order; gpu before devices
  std::vector<After> after;                    // likewise
  uint32_t feature_level = 1;                  // of the whole spec: a worker is sent all of it
};
std::vector<GroupView> groups_of(const JobSpec& spec);
// How many of a group there are to be: as a user scaled it, else as the version says.
int64_t count_of(const Job& job, const GroupView& group);

// It has no instances of its own: its children have.
bool is_parent(const JobSpec& spec);
// "backup-1763713200": of the launch at that time. Names taken get a further number.
std::string child_name(std::string_view parent, LaunchKind kind, Time at, JobId id);
// What is launched: the parent's spec without its schedule, with this name, meta (over the parent's own) and payload.
JobSpec child_spec(const JobSpec& parent, std::string name, const std::map<std::string, std::string>& meta,
                   std::string payload);
// The task with every ${meta.key} of its command, entrypoint and env replaced; a key that is not there is empty.
TaskSpec with_meta(TaskSpec task, const std::map<std::string, std::string>& meta);

}  // namespace tutti
