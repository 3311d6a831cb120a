#pragma once
// TaskHealth: what the answers to one run's checks add up to. A machine without I/O.
//
// Owner: Checks, one per run that has checks; its I/O thread. It counts answers in a row (model/health.h) and says when
// the whole has changed: only then is anybody told.
//
//   starting ──(every check passes)──▶ healthy ◀──▶ unhealthy (a check has failed often enough)
//
// A run that an earlier worker process looked after begins where that one left it: a healthy one has to fail again
// before it is called so, and what had started is not asked again whether it has.

#include <optional>
#include <string>
#include <vector>

#include "model/health.h"

namespace tutti::worker {

struct CheckResult {
  bool well = false;
  std::string output;  // for people: what was wrong
};

struct HealthChange {
  HealthState state = HealthState::starting;
  std::string reason;    // unhealthy: which check, and its last output
  bool restart = false;  // startup or liveness: the run is to end
};

class TaskHealth {
 public:
  // `before`: starting for a new run.
  TaskHealth(std::vector<HealthCheck> checks, HealthState before);

  size_t size() const { return checks_.size(); }
  const HealthCheck& spec(size_t check) const { return checks_.at(check).spec; }
  // Whether it is to be asked now: startup checks until they pass, the others from then on.
  bool asks(size_t check) const;
  // An answer to a check; nothing where it was not asked, or where nothing changes. After a restart it is over.
  std::optional<HealthChange> record(size_t check, const CheckResult& result);

 private:
  enum class Verdict : uint8_t { open, passes, fails };
  struct Check {
    HealthCheck spec;
    Verdict verdict = Verdict::open;
    int32_t in_a_row = 0;  // answers of the kind of the last one
    bool last_well = false;
    std::string output;  // of the last failure
  };
  bool started() const;
  static std::string complaint(const Check& check);

  std::vector<Check> checks_;
  HealthState state_;
};

}  // namespace tutti::worker
