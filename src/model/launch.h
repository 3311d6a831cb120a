#pragma once
// Work that begins later: by the clock (periodic), by a request (parameterized), or once other work has ended (after).
//
// A periodic or parameterized job has no instances of its own. Each launch is an ordinary batch job, a child: named
// after its parent, made from the parent's active version, and kept for a while after its end. `after` names tasks of
// the same job or jobs of the same project; together they form no circle. Limits: base/limits.h. Pure values.

#include <boost/describe.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/ids.h"

namespace tutti {

// A launch is due while an earlier child still runs: start it beside, leave it out, or stop the earlier one first.
enum class OverlapPolicy : uint8_t { allow, forbid, replace };
BOOST_DESCRIBE_ENUM(OverlapPolicy, allow, forbid, replace)

// The newest time that passed unseen (no manager was there): leave it out, or launch once now. Older ones never come.
enum class MissedPolicy : uint8_t { skip, run_once };
BOOST_DESCRIBE_ENUM(MissedPolicy, skip, run_once)

struct PeriodicSpec {
  std::string cron;                // "*/5 * * * *" (model/schedule.h)
  std::vector<std::string> crons;  // further ones; a time that several name comes once
  std::string time_zone = "UTC";   // "Europe/Zurich"
  OverlapPolicy overlap = OverlapPolicy::allow;
  MissedPolicy missed = MissedPolicy::run_once;
  int32_t keep = 10;  // children that have ended and are kept
  bool operator==(const PeriodicSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(PeriodicSpec, (), (cron, crons, time_zone, overlap, missed, keep))

enum class PayloadRule : uint8_t { optional, required, forbidden };
BOOST_DESCRIBE_ENUM(PayloadRule, optional, required, forbidden)

struct ParameterizedSpec {
  PayloadRule payload = PayloadRule::optional;
  std::vector<std::string> meta_required;
  std::vector<std::string> meta_optional;
  int32_t keep = 100;  // children that have ended and are kept
  bool operator==(const ParameterizedSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(ParameterizedSpec, (), (payload, meta_required, meta_optional, keep))

// What is waited for. complete: ended well; failed: ended otherwise, for good; ended: either; started: all of it runs,
// or has run.
enum class AfterCondition : uint8_t { complete, failed, ended, started };
BOOST_DESCRIBE_ENUM(AfterCondition, complete, failed, ended, started)

struct After {
  std::string name;  // of a task in the same job; of a job in the same project
  AfterCondition when = AfterCondition::complete;
  bool operator==(const After&) const = default;
  static constexpr std::string_view kShorthand = "name";  // after: [build] is after: [{name: build}]
};
BOOST_DESCRIBE_STRUCT(After, (), (name, when))

// How a batch job has ended. stopped: by its user, before its end. skipped: what it would have run after went the
// other way, as with `when: failed` after what completed.
enum class JobResult : uint8_t { none, completed, failed, stopped, skipped };
BOOST_DESCRIBE_ENUM(JobResult, none, completed, failed, stopped, skipped)

// Why a child was launched.
enum class LaunchKind : uint8_t { none, periodic, forced, dispatched };
BOOST_DESCRIBE_ENUM(LaunchKind, none, periodic, forced, dispatched)

// The launches of a periodic job: written in the commit that makes the child, so that no time is launched twice.
struct LaunchRecord {
  Time seen;            // every time of the schedule up to here was launched or left out
  Time waiting;         // overlap replace: launched as soon as the earlier child has ended; 0: nothing waits
  bool forced = false;  // what waits was asked for by hand
  Time last;            // the last launch
  bool operator==(const LaunchRecord&) const = default;
};
BOOST_DESCRIBE_STRUCT(LaunchRecord, (), (seen, waiting, forced, last))

}  // namespace tutti
