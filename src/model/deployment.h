#pragma once
// How a new version of a job takes over: what the user asks for (UpdatePolicy, DisruptionPolicy) and how far it is
// (Deployment). The policy is part of the spec; the deployment is a field of the job's row, so that whichever manager
// comes next goes on with it.
//
//   running ──► waiting ──► running ──► succeeded
//      │  (canaries healthy) (promoted)     ▲
//      ├──► failed ─────────────────────────╯ (a first version that made no progress and then did)
//      ╰──► cancelled (by its user, or a newer version came)
//
// Until a canary or blue-green deployment is promoted, and after any has failed, what leaves its slot is followed by
// the version that served before (`from`): only what was asked for stands on the new one.

#include <boost/describe.hpp>
#include <string>

#include "base/time.h"

namespace tutti {

enum class UpdateStrategy : uint8_t { rolling, canary, blue_green, recreate };
BOOST_DESCRIBE_ENUM(UpdateStrategy, rolling, canary, blue_green, recreate)

// H04. Of service and system jobs; a batch job's new version replaces the old one at once.
struct UpdatePolicy {
  UpdateStrategy strategy = UpdateStrategy::rolling;
  int32_t max_parallel = 1;  // slots of a group that may be without service, or double, at a time
  bool start_first = false;  // the new one beside the old one, which goes when the new one is healthy
  int32_t canary = 1;        // strategy canary: how many of a group stand beside the old ones until promoted
  Duration min_healthy_time = seconds(5);     // healthy: running, with checks that pass, for so long
  Duration healthy_deadline = seconds(300);   // from placed to healthy, of each new one; 0: none
  Duration progress_deadline = seconds(600);  // since one more became healthy, of them all; 0: none
  bool auto_promote = false;
  bool auto_revert = false;  // failed: back to the version that served before
  bool operator==(const UpdatePolicy&) const = default;
};
BOOST_DESCRIBE_STRUCT(UpdatePolicy, (),
                      (strategy, max_parallel, start_first, canary, min_healthy_time, healthy_deadline,
                       progress_deadline, auto_promote, auto_revert))

// What drains and rebalancing may do to a job at a time.
struct DisruptionPolicy {
  int32_t max_unavailable = 1;
  bool operator==(const DisruptionPolicy&) const = default;
};
BOOST_DESCRIBE_STRUCT(DisruptionPolicy, (), (max_unavailable))

enum class DeploymentState : uint8_t { none, running, waiting, succeeded, failed, cancelled };
BOOST_DESCRIBE_ENUM(DeploymentState, none, running, waiting, succeeded, failed, cancelled)

struct Deployment {
  uint32_t version = 0;  // what is brought in
  uint32_t from = 0;     // the newest version that was healthy as a whole before; 0: none
  DeploymentState state = DeploymentState::none;
  bool promoted = true;    // false: the new ones stand beside the old ones until a user (or auto_promote) says so
  bool reverting = false;  // it goes back: should it fail too, it stays as it is
  std::string reason;      // why it waits, or ended as it did
  Time started;
  Time progressed;  // the progress deadline counts from here, or from the newest one that became healthy
  Time finished;
  bool operator==(const Deployment&) const = default;
};
BOOST_DESCRIBE_STRUCT(Deployment, (),
                      (version, from, state, promoted, reverting, reason, started, progressed, finished))

constexpr bool under_way(const Deployment& d) {
  return d.state == DeploymentState::running || d.state == DeploymentState::waiting;
}
// New ones beside the old ones, until promoted.
constexpr bool wants_promotion(const UpdatePolicy& policy) {
  return policy.strategy == UpdateStrategy::canary || policy.strategy == UpdateStrategy::blue_green;
}

}  // namespace tutti
