#pragma once
// Driver `fake`: plays containers and machines without running anything, by a script in TaskSpec::options.
//
//   start_delay  "200ms"                  start() takes that long
//   run_for      "5s"                     ends by itself after that; without: runs until stopped
//   exit_code    "3"                      with which it then ends
//   oom          "true"                   …killed for want of memory (137)
//   fail_prepare "rejected|retryable|failed[:n]"   the first n calls for this disk fail; without :n all do
//   fail_start   the same for start()
//   stop_delay   "1s"                     it needs that long to end when asked
//   hang_stop    "true"                   it does not listen to the stop signal: killed after the grace
//                "forever"                …nor to the kill: stop() fails until destroy()
//   machine      "true"                   it can be suspended, and the next generation goes on where this one was
// Any other word is refused, as a real driver refuses a spec that it does not understand.
//
// FakeWorld is the machine: it outlives driver objects as a kernel outlives workers, and holds what runs, the disks (a
// count of the starts, per disk_dir) and the timers. Time is its Clock's: a simulation moves a virtual one and calls
// advance(); FakeTimer does so by a thread on real time. Thread-safe; callbacks come from whoever calls advance(),
// stop() or destroy(), without a lock held.

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "driver/driver.h"

namespace tutti::driver {

// The parsed script. Simulations ask it how long a start takes, as they cannot block.
struct FakeScript {
  Duration start_delay;
  std::optional<Duration> run_for;
  int32_t exit_code = 0;
  bool oom = false;
  struct Failing {
    FailureKind kind = FailureKind::failed;
    int64_t times = 0;  // of the first calls; < 0: all
  };
  Failing prepare;
  Failing start;
  Duration stop_delay;
  bool ignores_stop = false;
  bool ignores_kill = false;
  bool machine = false;
};
Result<FakeScript> parse_fake_script(const std::map<std::string, std::string>& options);

class FakeWorld {
 public:
  // How a call waits: for real, cut short by the token; or, under a virtual clock, not at all.
  using Wait = std::function<void(Duration, std::stop_token)>;
  static Wait sleeping();
  explicit FakeWorld(const Clock& clock, Wait wait = [](Duration, std::stop_token) {});

  // When advance() has something to do next; nullopt: nothing is timed.
  std::optional<BootTime> next_event() const;
  // Ends what is due now and calls those who wait for it; returns how many ended.
  size_t advance();
  // The lease that monitors of tasks with this RunContext::lease_page obey, as if read from the page (lease_page.h).
  void set_lease(const std::string& lease_page, BootTime deadline);
  // As if the machine had crashed: everything that runs is gone without a word, disks stay.
  void reboot();

  size_t running() const;
  // How often something was started on this disk; 0: there is no such disk.
  int64_t starts_on(const std::string& disk_dir) const;

 private:
  friend class FakeDriver;
  friend class FakeTimer;
  enum class Phase : uint8_t { running, paused, ended };
  struct Run {
    FakeScript script;
    Phase phase = Phase::running;
    std::string data;                   // of its handle
    std::optional<BootTime> ends_at;    // running
    std::optional<Duration> remaining;  // paused
    std::string lease_page;             // empty: kept
    Duration lease_grace;
    ExitStatus status;
    std::function<void(ExitStatus)> done;
  };
  struct Disk {
    int64_t starts = 0;
    int64_t prepare_failures = 0;
    int64_t start_failures = 0;
    std::optional<Duration> suspended;  // what was left to run; −1 ns: without end
  };
  using Calls = std::vector<std::function<void()>>;

  std::optional<BootTime> due_at(const Run& run) const;  // lock held
  void end(Run& run, ExitStatus status, Calls& calls);   // lock held
  void changed();                                        // wakes FakeTimer

  const Clock& clock_;
  const Wait wait_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  uint64_t changes_ = 0;
  uint64_t next_pid_ = 1000;
  std::map<std::string, Run> runs_;    // by run_dir
  std::map<std::string, Disk> disks_;  // by disk_dir
  std::map<std::string, BootTime> leases_;
};

std::unique_ptr<Driver> make_fake_driver(std::shared_ptr<FakeWorld> world);

// Drives a world on real time; stops with its destructor.
class FakeTimer {
 public:
  FakeTimer(std::shared_ptr<FakeWorld> world, const Clock& clock);
  ~FakeTimer();

 private:
  std::shared_ptr<FakeWorld> world_;
  bool stop_ = false;  // under the world's mutex
  std::thread thread_;
};

}  // namespace tutti::driver
