#pragma once
// What the pure deciders propose and apply re-checks: Plan (scheduler), Actions (reconcile), Explanation (both, for
// people).

#include <boost/describe.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/instance.h"

namespace tutti {

// One pending instance onto one node. Applied only while the instance is still pending in this generation and
// the node still has the room and the ports.
struct Placement {
  InstanceId instance;
  uint32_t generation = 1;
  NodeId node;
  std::vector<PortBinding> ports;
  std::vector<DeviceBinding> devices;  // in the order of the group's asks
  bool together = false;               // with the others of its job in this plan that say so: all of them or none (S07)
};
BOOST_DESCRIBE_STRUCT(Placement, (), (instance, generation, node, ports, devices, together))

// Who is told to go so that one pending instance finds room on a node (J07); it is placed once they are gone. Applied
// as a whole, and only while each of them is still there, of lower priority, and both sides' projects allow it. Of a
// job that is placed as one there is one for each member, those that need nobody to go too: applied all or none, and
// only while all of the members that wait would fit once the victims are gone.
struct PushAside {
  InstanceId instance;  // for whom
  uint32_t generation = 1;
  NodeId node;
  std::vector<InstanceId> victims;
  bool together = false;  // with the others of its job in this plan that say so
};
BOOST_DESCRIBE_STRUCT(PushAside, (), (instance, generation, node, victims, together))

struct Reason {
  std::string
      reason;  // "not enough memory", "constraint node.arch == aarch64", "cordoned", "port 80 in use", "no driver vm"
  int32_t nodes = 0;  // how many nodes it ruled out
};
BOOST_DESCRIBE_STRUCT(Reason, (), (reason, nodes))

// What a node counts for as a place, and what that is made of. More is better; 100 is what an affinity of weight 100
// counts for.
struct ScoreTerm {
  std::string term;  // "room left over", "affinity node.label.disk == ssd", "spread over node.label.zone"
  double score = 0;
};
BOOST_DESCRIBE_STRUCT(ScoreTerm, (), (term, score))
struct ScoredNode {
  std::string node;
  double score = 0;
  std::vector<ScoreTerm> terms;
};
BOOST_DESCRIBE_STRUCT(ScoredNode, (), (node, score, terms))

// Why an instance is where it is, or is not anywhere (S05).
struct Explanation {
  InstanceId instance;
  std::string name;
  std::string state;  // "placed on node-2" | "pending" | "waiting until …" | "finished" …
  Time pending_since;
  int32_t nodes_total = 0;
  int32_t nodes_feasible = 0;
  std::vector<Reason> reasons;        // most nodes first; the counts and nodes_feasible sum to nodes_total
  std::string nearest_node;           // the node that lacks least
  std::string nearest_lacks;          // "1.5 GiB memory, 500m cpu"; empty where it is no lack
  std::string nearest_reason;         // what `reasons` counts it under: "not enough memory", "cordoned"
  std::vector<std::string> remedies;  // "free 1.5 GiB on node-2", "add a node with 8 cores", "uncordon node-1"
  std::vector<std::string> tasks;     // of each that has ended or started over: attempts, last exit, next try
  std::string node;                   // where it is
  double score = 0;                   // of that node
  std::vector<ScoredNode>
      scores;                // as of now, as if it had no place yet: where it is, then the best others that would do
  int64_t queue_length = 0;  // how many wait for a place, this one among them; 0: it does not
  int64_t queue_before = 0;  // how many of them are served before it: of higher priority, or of its project and older
};
BOOST_DESCRIBE_STRUCT(Explanation, (),
                      (instance, name, state, pending_since, nodes_total, nodes_feasible, reasons, nearest_node,
                       nearest_lacks, nearest_reason, remedies, tasks, node, score, scores, queue_length, queue_before))

struct Plan {
  Revision based_on;
  std::vector<Placement> placements;
  std::vector<PushAside> push_aside;
  std::vector<InstanceId> refused;  // the first of every kind that was tried and found no place; explain() says why
  bool more = false;                // what comes next needs a plan of its own
};
BOOST_DESCRIBE_STRUCT(Plan, (), (based_on, placements, push_aside, refused, more))

// ---- reconcile

struct CreateInstance {
  JobId job;
  uint32_t job_version = 0;
  uint16_t group = 0;
  uint32_t slot = 0;
  NodeId pinned;
  NodeId avoid;
  int32_t reschedules = 0;
  Time counted_since;
  Time not_before;
  bool beside = false;
};
BOOST_DESCRIBE_STRUCT(CreateInstance, (),
                      (job, job_version, group, slot, pinned, avoid, reschedules, counted_since, not_before, beside))

struct ChangeInstance {
  InstanceId instance;
  std::optional<Desired> desired;
  bool start_over = false;  // generation + 1, and pending again, pinned to its node where it has a disk there
  bool give_up = false;     // presence becomes given_up, finally; its reservation goes when it is cleared
  bool take_place = false;  // the one it stood beside is gone: the slot is its own
  uint32_t version = 0;     // taken over by this version as it runs (model/diff.h same_work); 0: no
  uint16_t group = 0;       // in that version
  std::string reason;       // for the event and the detail
};
BOOST_DESCRIBE_STRUCT(ChangeInstance, (), (instance, desired, start_over, give_up, take_place, version, group, reason))

// Applied only while that version's deployment is the job's.
struct ChangeDeployment {
  JobId job;
  uint32_t version = 0;
  DeploymentState state = DeploymentState::running;
  bool promoted = true;
  bool progressed = false;  // the progress deadline counts from now
  bool revert = false;      // and the version that served before is submitted again
  std::string reason;
};
BOOST_DESCRIBE_STRUCT(ChangeDeployment, (), (job, version, state, promoted, progressed, revert, reason))

// A time of a periodic job's schedule. launch: its child is made in the commit that writes down that it was; leave_out:
// the reason becomes an event; wait: launched when the children that run have ended (overlap: replace).
enum class LaunchStep : uint8_t { launch, leave_out, wait };
BOOST_DESCRIBE_ENUM(LaunchStep, launch, leave_out, wait)
struct LaunchChild {
  JobId parent;
  uint32_t version = 0;
  LaunchStep step = LaunchStep::launch;
  Time time;
  std::string reason;
};
BOOST_DESCRIBE_STRUCT(LaunchChild, (), (parent, version, step, time, reason))

// What was found out about a job as a whole.
struct ChangeJob {
  JobId job;
  std::optional<JobResult> result;
  bool stop = false;
  bool remove = false;  // as its user would
  std::string reason;   // result: kept in the row; else for the event
};
BOOST_DESCRIBE_STRUCT(ChangeJob, (), (job, result, stop, remove, reason))

// Everything here is one command, hence one commit: giving up and replacing cannot be torn apart.
// At most limits::kCommandRowsMax rows; `more` says that there is more to do for this job.
struct Actions {
  std::vector<CreateInstance> create;
  std::vector<ChangeInstance> change;
  std::vector<InstanceId> forget;   // rows of finished instances beyond what history keeps, gone from their node
  std::vector<JobId> forget_jobs;   // deleted, and the last instance is gone
  std::vector<JobId> expired_jobs;  // ended, and their ttl is over: deleted now
  std::vector<ChangeDeployment> deployments;
  std::vector<LaunchChild> launches;
  std::vector<ChangeJob> jobs;
  bool more = false;
  Time wake;  // look again then, even if nothing changes; 0: no need
  bool empty() const {
    return create.empty() && change.empty() && forget.empty() && forget_jobs.empty() && expired_jobs.empty() &&
           deployments.empty() && launches.empty() && jobs.empty();
  }
};
BOOST_DESCRIBE_STRUCT(Actions, (),
                      (create, change, forget, forget_jobs, expired_jobs, deployments, launches, jobs, more, wake))

}  // namespace tutti
