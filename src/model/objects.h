#pragma once
// The smaller nouns: Project, Volume, Image, Token, Operation, Event, and the pool itself.

#include <boost/describe.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/ids.h"
#include "model/resources.h"

namespace tutti {

struct Pool {
  std::string name = "tutti";
  std::string pool_id;  // random at first start; part of bridge, cgroup and rule names (first 6 letters)
  uint64_t epoch = 1;
  uint32_t feature_level = 1;
  std::string network;  // the pool's prefix that node subnets are cut from: "10.86.0.0/16"
  Time created;
  std::string policy = "binpack";  // a word of PlacementPolicy: of the jobs that name none
  uint64_t version = 1;            // of what its users set: the policy
};
BOOST_DESCRIBE_STRUCT(Pool, (), (name, pool_id, epoch, feature_level, network, created, policy, version))

struct Project {
  ProjectId id;
  std::string name;
  Revision revision;
  Time created;
  bool allow_privileged = false;
  bool preemption = false;  // its work may push aside, and be pushed aside by, work of other priorities (J07)
  std::vector<std::string> host_paths;  // allow list for host volumes
};
BOOST_DESCRIBE_STRUCT(Project, (), (id, name, revision, created, allow_privileged, preemption, host_paths))

struct Volume {
  VolumeId id;
  ProjectId project;
  std::string name;
  NodeId node;  // where it lives; none: not made yet
  Bytes size;
  InstanceId owner;  // of an instance's own disk
  Revision revision;
  Time created;
};
BOOST_DESCRIBE_STRUCT(Volume, (), (id, project, name, node, size, owner, revision, created))

// A tag of a repository: content by digest. The bytes are the catalog's.
struct Image {
  ImageId id;
  ProjectId project;
  std::string repository;  // "library/busybox"
  std::string tag;         // "latest"
  std::string digest;      // of the manifest or index: "sha256:…"
  std::string media_type;
  std::string source;  // "push", "import", or the registry it was fetched from
  Bytes size;          // manifest, config and layers
  std::vector<std::string> architectures;
  Revision revision;
  Time created;
  Time updated;
};
BOOST_DESCRIBE_STRUCT(Image, (),
                      (id, project, repository, tag, digest, media_type, source, size, architectures, revision, created,
                       updated))

enum class TokenKind : uint8_t { api, join, bootstrap };
BOOST_DESCRIBE_ENUM(TokenKind, api, join, bootstrap)

// scheduler: may open a scheduler's session and nothing else (T04).
enum class Role : uint8_t { viewer, operator_, admin, scheduler };
BOOST_DESCRIBE_ENUM(Role, viewer, operator_, admin, scheduler)

struct Token {
  TokenId id;
  TokenKind kind = TokenKind::api;
  std::string name;
  std::string
      secret_hash;  // sha256 of the secret (256 random bits, so no stretching is needed); never leaves the manager
  Role role = Role::viewer;
  std::string node_role = "worker";  // join tokens: what may join with it
  std::string project;               // empty: every project
  Time created;
  Time expires;                         // 0: never
  int32_t uses_left = -1;               // join tokens; −1: without limit
  std::string node_name;                // join tokens: only this name
  std::map<std::string, NodeId> bound;  // join tokens: key fingerprint → node, so that a retry gets the same answer
  bool revoked = false;
  TokenId parent;  // a session's: the token it was made with; it ends when that one does
  Revision revision;
};
BOOST_DESCRIBE_STRUCT(Token, (),
                      (id, kind, name, secret_hash, role, node_role, project, created, expires, uses_left, node_name,
                       bound, revoked, parent, revision))

enum class OperationState : uint8_t { running, succeeded, failed, cancelled };
BOOST_DESCRIBE_ENUM(OperationState, running, succeeded, failed, cancelled)

struct OperationStep {
  std::string name;
  OperationState state = OperationState::running;
  std::string message;
  bool operator==(const OperationStep&) const = default;
};
BOOST_DESCRIBE_STRUCT(OperationStep, (), (name, state, message))

// One move of a rebalance (S08). Its state only goes forward.
enum class MoveState : uint8_t { waiting, moving, moved, dropped };
BOOST_DESCRIBE_ENUM(MoveState, waiting, moving, moved, dropped)
struct Move {
  InstanceId instance;
  std::string name;  // its, for people: the row may be gone when the move is over
  NodeId from;
  NodeId to;
  std::string why;
  int64_t gain = 0;  // thousandths of a node that is freed; of the deviation from an even load
  MoveState state = MoveState::waiting;
  InstanceId successor;  // what stands beside it on `to` meanwhile; of batch work: nothing
  std::string reason;    // dropped: why
  bool operator==(const Move&) const = default;
};
BOOST_DESCRIBE_STRUCT(Move, (), (instance, name, from, to, why, gain, state, successor, reason))

// What a rebalance carries out: its moves, in the order of the plan.
struct Rebalance {
  int32_t max_parallel = 2;  // moves under way at a time
  bool include_batch = false;
  std::vector<Move> moves;
  bool operator==(const Rebalance&) const = default;
};
BOOST_DESCRIBE_STRUCT(Rebalance, (), (max_parallel, include_batch, moves))

inline constexpr std::string_view kRebalanceKind = "pool.rebalance";

// Anything asynchronous. Its progress is derived from what it waits for by a loop of the manager.
struct Operation {
  OperationId id;
  ProjectId project;
  std::string kind;         // "job.submit", "job.scale", "job.stop", "node.drain", "instance.start", "image.fetch" …
  std::string target_kind;  // "job"
  uint64_t target = 0;
  uint32_t target_version = 0;  // of the job, where one is meant
  std::string argument;         // what retry needs: a reference, a count
  OperationState state = OperationState::running;
  std::vector<OperationStep> steps;
  int32_t progress = 0;  // percent
  int64_t done = 0;
  int64_t total = 0;
  std::string message;
  bool cancel_requested = false;
  std::optional<Rebalance> rebalance;  // of kind kRebalanceKind
  std::string creator;
  Time created;
  Time finished;
  Revision revision;
};
BOOST_DESCRIBE_STRUCT(Operation, (),
                      (id, project, kind, target_kind, target, target_version, argument, state, steps, progress, done,
                       total, message, cancel_requested, rebalance, creator, created, finished, revision))

// What happened, for people. Written in the commit that did it.
struct Event {
  EventId id;
  Time time;
  Revision revision;
  std::string type;               // "instance.failed", "node.lost", "job.submitted" …
  std::string severity = "info";  // info | warning | error
  ProjectId project;
  std::string object_kind;  // "instance"
  uint64_t object = 0;
  std::string object_name;
  std::string message;
};
BOOST_DESCRIBE_STRUCT(Event, (),
                      (id, time, revision, type, severity, project, object_kind, object, object_name, message))

// What was answered to an idempotency key, kept a day (limits.h). Part of the commit that did the work.
struct IdempotencyRecord {
  uint64_t id = 0;
  std::string key;  // identity + '\n' + key
  std::string request_hash;
  std::string object_kind;  // the answer: what was made or changed
  uint64_t object = 0;
  uint64_t version = 0;
  OperationId operation;
  Time created;
};
BOOST_DESCRIBE_STRUCT(IdempotencyRecord, (), (id, key, request_hash, object_kind, object, version, operation, created))

}  // namespace tutti
