#pragma once
// Bodies that only the API has; the other bodies are the model's structs.

#include <boost/describe.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/limits.h"
#include "base/time.h"
#include "model/job.h"
#include "model/join.h"
#include "model/objects.h"

namespace tutti::manager {

struct ScaleRequest {
  std::string group;  // empty: the only one
  int64_t count = 0;
};
BOOST_DESCRIBE_STRUCT(ScaleRequest, (), (group, count))

struct DispatchRequest {
  std::map<std::string, std::string> meta;
  std::string payload;  // base64
};
BOOST_DESCRIBE_STRUCT(DispatchRequest, (), (meta, payload))

struct RevertRequest {
  uint64_t version = 0;  // 0: the one before the newest
};
BOOST_DESCRIBE_STRUCT(RevertRequest, (), (version))

struct DrainRequest {
  Duration deadline;  // 0: without end
};
BOOST_DESCRIBE_STRUCT(DrainRequest, (), (deadline))

struct RebalanceRequest {
  bool dry_run = false;        // answers with the plan and does nothing
  std::string node_pool;       // empty: all nodes
  int64_t max_moves = 50;      // kRebalanceMovesMax
  int32_t max_parallel = 2;    // kRebalanceParallelMax
  bool include_batch = false;  // batch work too, which starts over
};
BOOST_DESCRIBE_STRUCT(RebalanceRequest, (), (dry_run, node_pool, max_moves, max_parallel, include_batch))

enum class JoinRole : uint8_t { worker, scheduler };
BOOST_DESCRIBE_ENUM(JoinRole, worker, scheduler)
struct JoinTokenRequest {
  std::string name;
  JoinRole role = JoinRole::worker;
  int32_t uses = 1;             // −1: without limit; a scheduler's is used for every session
  std::optional<Duration> ttl;  // an hour; a scheduler's does not expire
  std::string node_name;
};
BOOST_DESCRIBE_STRUCT(JoinTokenRequest, (), (name, role, uses, ttl, node_name))

struct TokenRequest {
  std::string name;
  Role role = Role::viewer;
  Duration ttl;  // 0: does not expire
  std::string project;
};
BOOST_DESCRIBE_STRUCT(TokenRequest, (), (name, role, ttl, project))

// The spec of the pool and of a project, as GET shows it; what a PATCH leaves out stays as it is.
struct PoolSpec {
  std::optional<PlacementPolicy> policy;  // of the jobs that name none; not default
};
BOOST_DESCRIBE_STRUCT(PoolSpec, (), (policy))

struct ProjectSpec {
  std::optional<bool> allow_privileged;  // its tasks may be privileged, have any capability, be any account of a node
  std::optional<bool> preemption;
  std::optional<std::vector<std::string>> host_paths;  // whole list
};
BOOST_DESCRIBE_STRUCT(ProjectSpec, (), (allow_privileged, preemption, host_paths))

struct SessionRequest {
  std::string name;  // empty: as the token is called that makes it; "admin" for the bootstrap credential
};
BOOST_DESCRIBE_STRUCT(SessionRequest, (), (name))

struct SignalRequest {
  std::string signal;
  std::string task;
};
BOOST_DESCRIBE_STRUCT(SignalRequest, (), (signal, task))

struct PullRequest {
  std::string reference;
};
BOOST_DESCRIBE_STRUCT(PullRequest, (), (reference))

struct PushRequest {
  std::string reference;  // of the catalog
  std::string target;     // REGISTRY/NAME[:TAG]
  std::string user;
  std::string password;  // never stored, never logged
};
BOOST_DESCRIBE_STRUCT(PushRequest, (), (reference, target, user, password))

struct PruneRequest {
  Duration grace = seconds(limits::kPruneGraceSeconds);
};
BOOST_DESCRIBE_STRUCT(PruneRequest, (), (grace))

}  // namespace tutti::manager
