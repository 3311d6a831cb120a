#pragma once
// Simulation: the virtual clock, the queue of events to come, and the one seed that decides everything.
//
// One thread. Events run in the order of (time, sequence), so a seed gives the same run every time. Nothing here
// reads the machine's clock.

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "base/random.h"
#include "base/time.h"

namespace tutti::sim {

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random(seed), trace_(std::getenv("SIM_TRACE") != nullptr) {}

  Time wall() const { return Time{1'700'000'000'000'000'000 + now_.ns}; }
  BootTime boot() const { return BootTime{3'600'000'000'000 + now_.ns}; }
  Duration elapsed() const { return now_; }

  void after(Duration delay, std::function<void()> work) {
    events_.emplace(std::pair{now_.ns + delay.ns, ++sequence_}, std::move(work));
  }
  // The next event; false when there is none.
  bool step() {
    if (events_.empty()) return false;
    auto first = events_.extract(events_.begin());
    now_.ns = first.key().first;
    first.mapped()();
    return true;
  }

  bool chance(uint64_t one_in) { return random.below(one_in) == 0; }
  Duration between(int64_t least_ms, int64_t most_ms) {
    return Duration{least_ms * 1'000'000 +
                    static_cast<int64_t>(random.below(static_cast<uint64_t>((most_ms - least_ms) * 1'000'000 + 1)))};
  }

  // The first broken invariant ends the run.
  void broken(const std::string& what) {
    if (failure.empty()) failure = "at " + format_duration(milliseconds(now_.ms())) + ": " + what;
  }
  bool tracing() const { return trace_; }
  void trace(const std::string& line) const {
    if (trace_) std::fprintf(stderr, "%10.4f %s\n", static_cast<double>(now_.ns) / 1e9, line.c_str());
  }

  SeededRandom random;
  std::string failure;
  bool faults = true;  // false: the network is whole, nothing crashes, every operation succeeds

 private:
  std::multimap<std::pair<int64_t, uint64_t>, std::function<void()>> events_;
  Duration now_;
  uint64_t sequence_ = 0;
  const bool trace_;
};

}  // namespace tutti::sim
