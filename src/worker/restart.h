#pragma once
// H01: what becomes of a task that ended. Pure.

#include <vector>

#include "base/time.h"
#include "model/instance.h"
#include "model/job.h"

namespace tutti::worker {

struct RestartDecision {
  bool final = true;  // this generation of the task is over
  Time retry_at;      // otherwise: when the next attempt may start
};

// `recent` holds the times of earlier restarts of this generation; those older than the policy's interval are
// forgotten. `seed` spreads the jitter. A task that ended well (exit code 0) restarts only under `always`.
RestartDecision decide_restart(const RestartPolicy& policy, JobType type, std::vector<Time>& recent, bool ended_well,
                               uint64_t seed, Time now);

}  // namespace tutti::worker
