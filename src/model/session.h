#pragma once
// The worker session: every message between a worker and the manager, as described structs.
//
// One WebSocket over mutual TLS, opened by the worker on the workers' port at /v1/worker/session; JSON text frames,
// each one envelope with exactly one member set. On connect both sides exchange what they have; afterwards
// only differences travel. Statuses are sent again until acknowledged, which happens after the commit.
// Every message of the manager carries the session number it was fenced with; a worker drops older ones.

#include <boost/describe.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/instance.h"
#include "model/node.h"

namespace tutti {

// ---- worker → manager

// What the worker still has of one instance: enough for the manager to send only what differs.
struct HeldInstance {
  InstanceId instance;
  uint32_t generation = 0;
  uint64_t assignment_hash = 0;  // hash_of(Assignment) last accepted; 0: running, assignment lost
  bool operator==(const HeldInstance&) const = default;
};
BOOST_DESCRIBE_STRUCT(HeldInstance, (), (instance, generation, assignment_hash))

struct HelloMessage {
  std::string boot_id;
  uint64_t process = 0;  // random per worker process
  Inventory inventory;
  std::vector<HeldInstance> held;
};
BOOST_DESCRIBE_STRUCT(HelloMessage, (), (boot_id, process, inventory, held))

struct BeatMessage {
  uint64_t sequence = 0;
  double load = 0;  // 1-minute load average
  Bytes memory_used;
};
BOOST_DESCRIBE_STRUCT(BeatMessage, (), (sequence, load, memory_used))

struct InstanceReport {
  InstanceId instance;
  std::vector<TaskStatus> tasks;  // whole; apply keeps what is further on
  std::string address;
  bool gone = false;  // nothing of it is left on this node: processes, mounts, files, rules
};
BOOST_DESCRIBE_STRUCT(InstanceReport, (), (instance, tasks, address, gone))

struct StatusMessage {
  uint64_t sequence = 0;
  std::vector<InstanceReport> reports;
  std::optional<NodeImages> images{};  // what is unpacked on the node, after it changed and in a new session
};
BOOST_DESCRIBE_STRUCT(StatusMessage, (), (sequence, reports, images))

struct WorkerMessage {
  std::optional<HelloMessage> hello;
  std::optional<BeatMessage> beat;
  std::optional<StatusMessage> status;
};
BOOST_DESCRIBE_STRUCT(WorkerMessage, (), (hello, beat, status))

// ---- manager → worker

struct WelcomeMessage {
  NodeId node;
  std::string node_name;
  std::string pool_id;
  std::string pool_name;
  std::string subnet;
  int64_t beat_ms = 1000;
  int64_t lease_ms = 5000;
  Time now;
};
BOOST_DESCRIBE_STRUCT(WelcomeMessage, (), (node, node_name, pool_id, pool_name, subnet, beat_ms, lease_ms, now))

// Which spec: a version of a job.
struct SpecKey {
  JobId job;
  uint32_t version = 0;
  auto operator<=>(const SpecKey&) const = default;
};
BOOST_DESCRIBE_STRUCT(SpecKey, (), (job, version))

// A spec travels once per session and (job, version), and again if it was forgotten meanwhile: a session begins with
// none, and the manager says which the worker shall drop, in the message that took the last instance of them away.
struct SpecMessage {
  JobId job;
  uint32_t version = 0;
  std::shared_ptr<const JobSpec> spec;
  std::map<std::string, std::string> images;  // reference → repository@digest
};
BOOST_DESCRIBE_STRUCT(SpecMessage, (), (job, version, spec, images))

struct Assignment {
  InstanceId instance;
  JobId job;
  uint32_t job_version = 0;
  std::string name;
  std::string job_name;
  std::string project;
  uint16_t group = 0;
  uint32_t slot = 0;
  uint32_t generation = 1;
  Desired desired = Desired::running;
  std::vector<PortBinding> ports;
  std::vector<DeviceBinding> devices;
  bool operator==(const Assignment&) const = default;
};
BOOST_DESCRIBE_STRUCT(Assignment, (),
                      (instance, job, job_version, name, job_name, project, group, slot, generation, desired, ports,
                       devices))

struct AssignMessage {
  bool complete = false;                // first of a session: what is not named here is to be removed
  bool more = false;                    // the complete set goes on in the next message
  std::vector<SpecMessage> specs;       // before the assignments that need them
  std::vector<Assignment> assignments;  // new or changed
  std::vector<InstanceId> keep;         // complete only: held as it should be
  std::vector<InstanceId> removed;      // clear away and report gone
  std::vector<SpecKey> forget_specs;    // behind all of that: no instance is assigned of them any more
};
BOOST_DESCRIBE_STRUCT(AssignMessage, (), (complete, more, specs, assignments, keep, removed, forget_specs))

// Please open a WebSocket to /v1/worker/stream?ticket=… for this. One per stream, each with its own flow control.
enum class StreamKind : uint8_t { logs, exec, attach, copy_in, copy_out, stats, signal };
BOOST_DESCRIBE_ENUM(StreamKind, logs, exec, attach, copy_in, copy_out, stats, signal)

struct StreamRequest {
  std::string ticket;
  StreamKind kind = StreamKind::logs;
  InstanceId instance;
  std::string task;                  // empty: the first
  std::vector<std::string> command;  // exec
  std::map<std::string, std::string> env;
  std::string user;
  std::string workdir;
  bool tty = false;
  bool stdin_open = false;
  int32_t columns = 80;
  int32_t rows = 24;
  bool follow = false;  // logs
  int64_t tail = -1;    // logs: the last n lines; −1: all kept
  Time since;
  bool out = true;  // logs: which streams
  bool err = true;
  bool timestamps = false;  // logs: each line begins with its time
  bool replay = false;      // attach: what was written before comes first
  std::string path;         // copy
  std::string signal;       // signal: "HUP"
};
BOOST_DESCRIBE_STRUCT(StreamRequest, (),
                      (ticket, kind, instance, task, command, env, user, workdir, tty, stdin_open, columns, rows,
                       follow, tail, since, out, err, timestamps, replay, path, signal))

struct StatusAck {
  uint64_t sequence = 0;
};
BOOST_DESCRIBE_STRUCT(StatusAck, (), (sequence))
struct BeatAck {
  uint64_t sequence = 0;
  int32_t beat_ms = 0;  // from now on so often; 0: as the welcome said
};
BOOST_DESCRIBE_STRUCT(BeatAck, (), (sequence, beat_ms))
struct GoodbyeMessage {
  std::string reason;
};  // superseded, removed, too old: do not come back with this
BOOST_DESCRIBE_STRUCT(GoodbyeMessage, (), (reason))

struct ManagerMessage {
  uint64_t epoch = 0;
  uint64_t session = 0;
  std::optional<WelcomeMessage> welcome;
  std::optional<BeatAck> beat_ack;
  std::optional<AssignMessage> assign;
  std::optional<StatusAck> status_ack;
  std::optional<StreamRequest> stream;
  std::optional<GoodbyeMessage> goodbye;
};
BOOST_DESCRIBE_STRUCT(ManagerMessage, (), (epoch, session, welcome, beat_ack, assign, status_ack, stream, goodbye))

// Frames on a stream's WebSocket are binary: one byte of channel, then bytes.
//   0 stdin · 1 stdout · 2 stderr · 3 control (JSON StreamControl) ; an empty frame on 0 is end of input.
// What a client of exec and attach asks the manager for, as ?request=.
struct StreamQuery {
  std::vector<std::string> command;
  std::string task;
  std::map<std::string, std::string> env;
  std::string user;
  std::string workdir;
  bool tty = false;
  bool stdin_open = false;
  bool replay = false;  // attach: what was written before comes first
  int32_t columns = 80;
  int32_t rows = 24;
};
BOOST_DESCRIBE_STRUCT(StreamQuery, (), (command, task, env, user, workdir, tty, stdin_open, replay, columns, rows))

struct StreamControl {
  std::optional<int32_t> exit_code;  // worker → client: the last frame
  std::string error;
  std::optional<int32_t> columns;  // client → worker
  std::optional<int32_t> rows;
  std::string signal;
};
BOOST_DESCRIBE_STRUCT(StreamControl, (), (exit_code, error, columns, rows, signal))

// FNV-1a over the canonical encoding; compares assignments and specs between the two sides.
uint64_t hash_of(const Assignment& assignment);

}  // namespace tutti
