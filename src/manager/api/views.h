#pragma once
// Views: what the API shows of a row. Every object is {kind, id, name, project, version, revision, created, updated,
// labels, spec, status}; the specs are the model's, the statuses stand here. Pure functions of a snapshot.

#include <boost/describe.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/plan.h"
#include "model/snapshot.h"
#include "scheduler/rebalance.h"

namespace tutti::manager {

struct PoolStatus {
  std::string version;
  uint32_t feature_level = 1;
  std::string network;
  int64_t nodes = 0;
  int64_t nodes_ready = 0;
  int64_t jobs = 0;
  int64_t instances = 0;
  int64_t running = 0;
  int64_t pending = 0;
  Resources capacity;
  Resources used;
  Resources available;
};
BOOST_DESCRIBE_STRUCT(PoolStatus, (),
                      (version, feature_level, network, nodes, nodes_ready, jobs, instances, running, pending, capacity,
                       used, available))

struct ResourceRow {
  std::string arch;
  int64_t nodes = 0;
  Resources capacity;
  Resources reserved;
  Resources used;
  Resources available;
};
BOOST_DESCRIBE_STRUCT(ResourceRow, (), (arch, nodes, capacity, reserved, used, available))

struct DeploymentStatus {
  uint32_t version = 0;
  uint32_t from = 0;
  DeploymentState state = DeploymentState::none;
  bool promoted = true;
  bool reverting = false;
  int64_t updated = 0;  // live instances of the new version, those beside the old ones too
  int64_t healthy = 0;  // of those
  int64_t old = 0;      // live instances of other versions
  int64_t wanted = 0;
  std::string reason;  // why it waits, or ended as it did
  Time started;
  Time finished;
};
BOOST_DESCRIBE_STRUCT(DeploymentStatus, (),
                      (version, from, state, promoted, reverting, updated, healthy, old, wanted, reason, started,
                       finished))

struct JobStatus {
  std::string type;
  std::string state;  // resolving, failed, running, pending, starting, waiting, completed, skipped, stopping, stopped,
                      // periodic, parameterized
  uint32_t active_version = 0;
  int64_t wanted = 0;
  int64_t running = 0;
  int64_t pending = 0;
  int64_t completed = 0;
  int64_t failed = 0;
  bool stopped = false;
  std::map<std::string, int64_t> counts;
  std::map<std::string, std::string> images;
  std::string error;
  std::string creator;
  uint32_t stable_version = 0;
  std::optional<DeploymentStatus> deployment;  // the newest update
  JobResult result = JobResult::none;          // batch: how it has ended
  Time ended;
  std::string reason;  // why it ended so, or what it waits for
  std::string parent;  // the job that launched it
  LaunchKind launch = LaunchKind::none;
  Time launched_for;
  Time last_launch;  // periodic
  Time next_launch;
  int64_t children = 0;       // that it launched and that are kept
  int64_t children_live = 0;  // of those: not ended
};
BOOST_DESCRIBE_STRUCT(JobStatus, (),
                      (type, state, active_version, wanted, running, pending, completed, failed, stopped, counts,
                       images, error, creator, stable_version, deployment, result, ended, reason, parent, launch,
                       launched_for, last_launch, next_launch, children, children_live))

// What a list says of an instance.
struct InstanceSummary {
  std::string state;  // a task state, or pending, restarting, stopping, suspending, paused, unknown, lost
  Desired desired = Desired::running;
  Presence presence = Presence::here;
  std::string node;
  std::string node_address;
  std::string job;
  uint32_t job_version = 0;
  std::string group;
  uint32_t slot = 0;
  uint32_t generation = 0;
  std::string driver;
  std::string image;
  std::string address;
  std::vector<PortBinding> ports;
  int32_t restarts = 0;
  HealthState health = HealthState::none;  // the worst of its tasks; none: it has no checks, or does not run
  Time health_since;
  std::string reason;
  Time pending_since;
  bool finished = false;
};
BOOST_DESCRIBE_STRUCT(InstanceSummary, (),
                      (state, desired, presence, node, node_address, job, job_version, group, slot, generation, driver,
                       image, address, ports, restarts, health, health_since, reason, pending_since, finished))

struct InstanceStatus : InstanceSummary {
  std::vector<DeviceBinding> devices;
  std::vector<TaskStatus> tasks;
  Resources reserved;
};
BOOST_DESCRIBE_STRUCT(InstanceStatus, (InstanceSummary), (devices, tasks, reserved))

// One that schedules: the one inside the manager, or a process of its own.
struct SchedulerStatus {
  std::string name;
  std::string health;  // ready, starting (it is being sent the snapshot)
  std::string share;   // "1 of 2": of the jobs
  int64_t behind = 0;  // commits that it has not seen, as it last said
  std::string version;
  Time since;
  int64_t proposed = 0;       // placements, since its session began
  int64_t placed = 0;         // of them
  Duration plan;              // how long the last plan took
  std::string fragmentation;  // what it goes by where it places by that policy: FGD, or what was learned
};
BOOST_DESCRIBE_STRUCT(SchedulerStatus, (),
                      (name, health, share, behind, version, since, proposed, placed, plan, fragmentation))

struct NodeStatus {
  NodeHealth health = NodeHealth::joining;
  std::string reason;
  Time since;
  std::string address;
  std::string arch;
  Resources capacity;
  Resources reserved;
  Resources used;
  Resources available;
  int64_t instances = 0;
  std::string version;
  std::string subnet;
  std::vector<DriverInfo> drivers;
  std::shared_ptr<const Inventory> inventory;
  std::shared_ptr<const NodeImages> images;
};
BOOST_DESCRIBE_STRUCT(NodeStatus, (),
                      (health, reason, since, address, arch, capacity, reserved, used, available, instances, version,
                       subnet, drivers, inventory, images))

struct VersionStatus {
  VersionState state = VersionState::resolving;
  std::string error;
  std::map<std::string, std::string> images;
  bool active = false;
};
BOOST_DESCRIBE_STRUCT(VersionStatus, (), (state, error, images, active))

struct ImageStatus {
  std::string repository;
  std::string tag;
  std::string digest;
  std::string media_type;
  std::string source;
  int64_t size = 0;
  std::vector<std::string> architectures;
};
BOOST_DESCRIBE_STRUCT(ImageStatus, (), (repository, tag, digest, media_type, source, size, architectures))

// A move that is proposed, or on its way (S08).
struct MoveStatus {
  std::string instance;
  std::string from;
  std::string to;
  std::string why;
  int64_t gain = 0;  // thousandths: of a node that is freed, or of the deviation from an even load
  MoveState state = MoveState::waiting;
  std::string reason;  // dropped: why
};
BOOST_DESCRIBE_STRUCT(MoveStatus, (), (instance, from, to, why, gain, state, reason))

struct RebalanceStatus {
  std::string policy;  // of the pool
  std::string aim;     // "fewer nodes in use", "an even load"
  std::vector<MoveStatus> moves;
  int64_t nodes_used = 0;
  int64_t nodes_used_after = 0;
  int64_t imbalance = 0;  // standard deviation of the load, in thousandths of a node (roundrobin: of an instance)
  int64_t imbalance_after = 0;
  std::vector<scheduler::LeftOut> left_out;
};
BOOST_DESCRIBE_STRUCT(RebalanceStatus, (),
                      (policy, aim, moves, nodes_used, nodes_used_after, imbalance, imbalance_after, left_out))

struct OperationStatus {
  std::string operation;  // "job.submit"
  std::string target_kind;
  std::string target;
  OperationState state = OperationState::running;
  int32_t progress = 0;
  int64_t done = 0;
  int64_t total = 0;
  int64_t eta_ms = -1;  // −1: cannot be said
  std::string message;
  std::vector<OperationStep> steps;
  std::optional<std::vector<MoveStatus>> moves;  // of a rebalance
  Time finished;
};
BOOST_DESCRIBE_STRUCT(OperationStatus, (),
                      (operation, target_kind, target, state, progress, done, total, eta_ms, message, steps, moves,
                       finished))

struct TokenStatus {
  TokenKind token_kind = TokenKind::api;
  Role role = Role::viewer;
  Time expires;
  int32_t uses_left = -1;
  std::string node_name;
  bool revoked = false;
};
BOOST_DESCRIBE_STRUCT(TokenStatus, (), (token_kind, role, expires, uses_left, node_name, revoked))

struct EventStatus {
  Time time;
  std::string type;
  std::string severity;
  std::string object_kind;
  std::string object;
  std::string object_name;
  std::string message;
};
BOOST_DESCRIBE_STRUCT(EventStatus, (), (time, type, severity, object_kind, object, object_name, message))

JobStatus job_status(const Snapshot& s, const Job& job, bool summary);
InstanceSummary instance_summary(const Snapshot& s, const Instance& instance);
InstanceStatus instance_status(const Snapshot& s, const Instance& instance);
NodeStatus node_status(const Snapshot& s, const Node& node);
PoolStatus pool_status(const Snapshot& s);
RebalanceStatus rebalance_status(const Snapshot& s, const scheduler::RebalancePlan& plan);
std::vector<ResourceRow> resource_rows(const Snapshot& s);  // one per architecture, then the pool's sum

// The whole object as JSON; `summary` leaves out what lists do not need (inventory, spec of jobs, tasks of instances).
std::string render(const Snapshot& s, const Job& row, bool summary = false);
std::string render(const Snapshot& s, const JobVersion& row);
std::string render(const Snapshot& s, const Instance& row, bool summary = false);
std::string render(const Snapshot& s, const Node& row, bool summary = false);
std::string render(const Snapshot& s, const Image& row);
// Without `whole`: what it says of nodes and of other projects' instances is left out.
std::string render(const Snapshot& s, const Operation& row, Time now, bool whole = true);
std::string render(const Snapshot& s, const Token& row);
std::string render(const Snapshot& s, const Event& row);
std::string render(const Snapshot& s, const Project& row);
std::string render_pool(const Snapshot& s);
// Any row by table and id; empty where it is not there (any more) or is not shown.
std::string render_row(const Snapshot& s, TableId table, uint64_t id, Time now);

}  // namespace tutti::manager
