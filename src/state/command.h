#pragma once
// Command: the closed set of things that can be done to the state; the internal API of the manager.
//
// A command is applied by apply() (state/apply.h) in the single-writer loop: validated against the present state,
// turned into row changes, or refused with an Error that changes nothing. One command touches at most
// limits::kCommandRowsMax rows. Deterministic: time comes in from the loop, secrets and hashes from the caller.

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/objects.h"
#include "model/plan.h"
#include "model/session.h"
#include "model/snapshot.h"

namespace tutti::state {

// Who asked, for events, ownership and idempotency. Internal loops use identity "system".
struct CommandMeta {
  std::string identity = "system";
  std::string idempotency_key;  // empty: none
  std::string request_hash;     // compared when the key comes again
};

// ---- jobs (users)
// Same name: a new version; the same spec with the same images: nothing changes, the answer is the present version.
struct SubmitJob {
  JobSpec spec;  // validated, defaults applied
  ProjectId project;
  std::map<std::string, std::string> images;  // what is already known: reference → repository@digest
  std::optional<uint64_t> if_version;         // stale unless it is the present one; 0: must not exist
};
// The image loop's answer for a version that is `resolving`. Replaces the active one if it is the newest.
struct ActivateVersion {
  JobVersionId version;
  std::map<std::string, std::string> images;
  std::string error;  // non-empty: the version failed, the active one stays
};
struct ScaleJob {
  JobId job;
  std::string group;  // empty: the only one
  int64_t count = 0;
};
struct SetJobStopped {
  JobId job;
  bool stopped = true;
};
struct DeleteJob {
  JobId job;
};

// The new version that stands beside the old one takes over. Refused unless the deployment wants it.
struct PromoteJob {
  JobId job;
};
// Ends the deployment under way as cancelled, and submits the version that served before again; without one, the job
// stays as it is.
struct AbortJob {
  JobId job;
};

// A child of a parameterized job. Outcome::id is the child's.
struct DispatchJob {
  JobId job;
  std::map<std::string, std::string> meta;
  std::string payload;  // base64
};
// A child of a periodic job now, whatever its schedule says. Outcome::id is the child's; the parent's where a child has
// to end first (overlap: replace).
struct ForceJob {
  JobId job;
};

// ---- deciders
struct ApplyActions {
  Actions actions;
};
struct ApplyPlan {
  Plan plan;
};

// ---- instances (users)
enum class InstanceVerb : uint8_t { start, stop, restart, pause, unpause, suspend, resume, delete_ };
BOOST_DESCRIBE_ENUM(InstanceVerb, start, stop, restart, pause, unpause, suspend, resume, delete_)
struct OperateInstance {
  InstanceId instance;
  InstanceVerb verb = InstanceVerb::stop;
};

// ---- nodes
struct JoinNode {
  TokenId token;
  std::string name;             // wanted; empty: "node-<n>"
  std::string key_fingerprint;  // a retry with the same key gets the same node
};
// A worker's session begins. Outcome::number is its fencing number.
struct BeginSession {
  NodeId node;
  std::string key_fingerprint;
  Inventory inventory;
  std::vector<InstanceId> held;  // what the worker still has: the rest of what ran there starts over (a reboot)
};
struct ReportStatus {
  NodeId node;
  uint64_t session = 0;  // stale unless it is the node's newest
  std::vector<InstanceReport> reports;
  std::optional<NodeImages> images{};  // none: as before
};
struct SetNodeHealth {
  NodeId node;
  uint64_t session = 0;  // ignored unless it is the node's newest
  NodeHealth health = NodeHealth::ready;
  std::string reason;
};
struct UpdateNode {
  NodeId node;
  NodeSpec spec;
  std::optional<uint64_t> if_version;
};
// Gives up everything on it, at most kCommandRowsMax / 2 rows at a time. Without `fenced` refused while the node holds
// live instances. While rows are left the node stays as `removing`, Outcome::number says how many, and the manager asks
// again.
struct RemoveNode {
  NodeId node;
  bool fenced = false;
};

// ---- images, tokens, projects, operations, events
struct PutImage {
  Image image;  // id and times are apply's
};
struct DeleteImage {
  ImageId image;
};
struct CreateToken {
  Token token;  // secret already hashed; id and created are apply's
};
struct RevokeToken {
  TokenId token;
};
struct PutProject {
  Project project;
};
// What the pool's users may say of it. Outcome::version is the pool's.
struct UpdatePool {
  PlacementPolicy policy = PlacementPolicy::binpack;  // not default_
  std::optional<uint64_t> if_version;
};
struct StartOperation {
  Operation operation;
};
// Its moves are carried out by what follows from the operation (manager/control/rebalance.h). Refused while another one
// runs.
struct StartRebalance {
  Rebalance rebalance;
};
// A move goes on to this state; one that begins to move gets its successor in the same commit, or is dropped where the
// instance is not any more what it was.
struct MoveStep {
  uint32_t index = 0;  // in Rebalance::moves
  MoveState state = MoveState::moving;
  std::string reason;  // dropped
};
struct UpdateOperation {
  OperationId operation;
  OperationState state = OperationState::running;
  std::vector<OperationStep> steps;
  int32_t progress = 0;
  int64_t done = 0;
  int64_t total = 0;
  std::string message;
  std::vector<MoveStep> moves;  // of a rebalance: those that go on
};
struct CancelOperation {
  OperationId operation;
};
struct AddEvent {
  Event event;
};
// First start of a new store.
struct InitializePool {
  Pool pool;
};
// Trims what has an age in limits.h: events, finished operations, idempotency records, expired and revoked tokens; at
// most kTrimRowsMax rows, Outcome::number says how many. (Counts are kept by the commits that add.)
struct TrimHistory {};

using Command = std::variant<SubmitJob, ActivateVersion, ScaleJob, SetJobStopped, DeleteJob, PromoteJob, AbortJob,
                             DispatchJob, ForceJob, ApplyActions, ApplyPlan, OperateInstance, JoinNode, BeginSession,
                             ReportStatus, SetNodeHealth, UpdateNode, RemoveNode, PutImage, DeleteImage, CreateToken,
                             RevokeToken, PutProject, UpdatePool, StartOperation, StartRebalance, UpdateOperation,
                             CancelOperation, AddEvent, InitializePool, TrimHistory>;

// What a committed command made or changed.
struct Outcome {
  TableId table = TableId::pool;
  uint64_t id = 0;        // of the object
  uint64_t version = 0;   // of its spec
  uint64_t number = 0;    // BeginSession: the fencing number; SubmitJob: the version's number
  OperationId operation;  // SubmitJob, ScaleJob, SetJobStopped, DeleteJob, OperateInstance, UpdateNode to draining
  Revision revision;      // of the commit (set by the loop)
  bool replayed = false;  // an idempotency key seen before: nothing was done now
  bool unchanged = false;
};

}  // namespace tutti::state
