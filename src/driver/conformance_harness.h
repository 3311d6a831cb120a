#pragma once
// What the conformance suite (driver/conformance.h) needs of each driver, and small tools for its tests. Only for
// tests.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "driver/driver.h"

namespace tutti::driver::conformance {

// What a task shall do, which each harness says in its driver's words.
struct Program {
  std::string print;          // a line on standard output first
  bool forever = false;       // then runs until stopped
  bool ignores_term = false;  // …and only SIGKILL ends it
  int exit_code = 0;          // else ends with this
};

class Harness {
 public:
  virtual ~Harness() = default;
  virtual std::optional<std::string> why_not() { return std::nullopt; }  // a reason to skip everything
  virtual std::unique_ptr<Driver> make_driver() = 0;
  virtual RunContext make_run(const Program& program) = 0;  // a new instance each time
  // Files, processes, mounts and cgroups that a destroyed run left: what is wrong, or empty.
  virtual std::string leftovers(const RunContext& run) = 0;
  virtual std::optional<std::string> log_of(const RunContext&) { return std::nullopt; }  // nullopt: no logs
  virtual bool kill_monitor(const RunContext&) { return false; }                         // false: has none
  virtual void await_ready(const RunContext&) {}  // until a program that runs forever listens to signals
  virtual void let_time_pass() {}                 // a virtual clock moves here; called while waiting
};
using MakeHarness = std::function<std::unique_ptr<Harness>()>;

// The end of one run, awaited by polling so that a virtual clock can go on meanwhile.
class Ending {
 public:
  std::function<void(ExitStatus)> callback() {
    return [state = state_](ExitStatus status) {
      std::lock_guard lock(state->mutex);
      state->status = std::move(status);
      ++state->calls;
      state->changed.notify_all();
    };
  }
  std::optional<ExitStatus> await(Harness& harness) {
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    std::unique_lock lock(state_->mutex);
    while (state_->calls == 0 && std::chrono::steady_clock::now() < deadline) {
      lock.unlock();
      harness.let_time_pass();
      lock.lock();
      state_->changed.wait_for(lock, std::chrono::milliseconds(5), [&] { return state_->calls > 0; });
    }
    return state_->calls > 0 ? std::optional(state_->status) : std::nullopt;
  }
  int calls() {
    std::lock_guard lock(state_->mutex);
    return state_->calls;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    ExitStatus status;
    int calls = 0;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

template <class T>
std::string why(const DriverResult<T>& result) {
  return result ? std::string() : result.error().error.to_string();
}

}  // namespace tutti::driver::conformance
