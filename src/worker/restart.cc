#include "worker/restart.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace tutti::worker {

RestartDecision decide_restart(const RestartPolicy& policy, JobType type, std::vector<Time>& recent, bool ended_well,
                               uint64_t seed, Time now) {
  const RestartMode mode =
      policy.policy.value_or(type == JobType::batch ? RestartMode::on_failure : RestartMode::always);
  if (mode == RestartMode::never || (mode == RestartMode::on_failure && ended_well)) return {};
  std::erase_if(recent, [&](Time t) { return now - t > policy.interval; });
  if (static_cast<int64_t>(recent.size()) >= policy.attempts) return {};

  double wait_ns = static_cast<double>(policy.delay.ns) * std::pow(policy.backoff, static_cast<double>(recent.size()));
  wait_ns = std::min(wait_ns, static_cast<double>(std::max(policy.max_delay.ns, policy.delay.ns)));
  SeededRandom random(seed + recent.size());
  const double unit = static_cast<double>(random.next() >> 11) / static_cast<double>(uint64_t{1} << 53);
  wait_ns *= 1.0 + policy.jitter * (2.0 * unit - 1.0);
  recent.push_back(now);
  return {false, now + Duration{static_cast<int64_t>(wait_ns)}};
}

}  // namespace tutti::worker
