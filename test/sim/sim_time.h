#pragma once
// Simulation: the virtual clock, the queue of events to come, and the one seed that decides everything.
//
// One thread. Events run in the order of (time, sequence), so a seed gives the same run every time. Nothing here
// reads the machine's clock. count() is how a run tells afterwards what has happened in it, and how often.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "base/time.h"

namespace tutti::sim {

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random(seed), trace_(std::getenv("SIM_TRACE") != nullptr) {}

  // True time; what a process takes for it is its own clock's affair (WallClock).
  Time wall() const { return Time{1'700'000'000'000'000'000 + now_.ns}; }
  BootTime boot() const { return BootTime{3'600'000'000'000 + now_.ns}; }
  Duration elapsed() const { return now_; }

  void after(Duration delay, std::function<void()> work) {
    events_.push_back({now_.ns + std::max<int64_t>(0, delay.ns), ++sequence_, std::move(work)});
    std::push_heap(events_.begin(), events_.end());
  }
  // The next event; false when there is none.
  bool step() {
    if (events_.empty()) return false;
    std::pop_heap(events_.begin(), events_.end());
    Event first = std::move(events_.back());
    events_.pop_back();
    now_.ns = first.at;
    first.work();
    return true;
  }
  size_t events_to_come() const { return events_.size(); }

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
  template <class... Parts>
  void trace(const Parts&... parts) const {
    if (!trace_) return;
    std::string line;
    ((line += parts), ...);
    std::fprintf(stderr, "%10.4f %s\n", static_cast<double>(now_.ns) / 1e9, line.c_str());
  }
  // `what` is a literal.
  void count(std::string_view what, uint64_t more = 1) { counted[what] += more; }

  SeededRandom random;
  std::string failure;
  bool faults = true;  // false: the network is whole, nothing crashes, every operation succeeds
  std::map<std::string_view, uint64_t> counted;

 private:
  struct Event {
    int64_t at = 0;
    uint64_t sequence = 0;
    std::function<void()> work;
    bool operator<(const Event& o) const { return std::pair(at, sequence) > std::pair(o.at, o.sequence); }
  };
  std::vector<Event> events_;  // a heap, the earliest on top
  Duration now_;
  uint64_t sequence_ = 0;
  const bool trace_;
};

// The clocks of one machine: its wall clock may be wrong and jump, the boot-time clock is right.
class WallClock final : public Clock {
 public:
  explicit WallClock(const Simulation& sim) : sim_(sim) {}
  Time now() const override { return sim_.wall() + offset; }
  BootTime boot_now() const override { return sim_.boot(); }
  Duration offset;

 private:
  const Simulation& sim_;
};

}  // namespace tutti::sim
