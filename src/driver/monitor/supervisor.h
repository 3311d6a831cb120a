#pragma once
// Supervisor: the half of a driver that lives in the worker and deals with monitors (program/main.cc). The container
// and the process driver differ only in what they tell the monitor to start.
//
// It owns nothing that matters: all is found again from RunContext. What lies in run_dir:
//   lock          held by the monitor for life; its text is the monitor's process id
//   monitor.conf  what it was told          handle.json  the task runs, or has run
//   exit.json     the task has ended        attach.sock  with a terminal or open input
//   lock free, handle.json, no exit.json    the monitor was killed: the task is killed too, and ends with 137
// Threads: as driver.h says; callbacks of wait() come from the reaper's thread.

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "driver/driver.h"
#include "driver/monitor/plan.h"
#include "sys/cgroup.h"
#include "sys/reaper.h"

namespace tutti::driver::monitor {

class Supervisor {
 public:
  // `driver` is the name in handles. Fails where there are no cgroups.
  static Result<std::unique_ptr<Supervisor>> make(std::string driver);

  sys::Cgroups& cgroups() { return *cgroups_; }
  // The program's path, written beside the run folders at first need.
  Result<std::string> program(const RunContext& run);

  // make_config is called once the control group is there, and only if nothing runs yet.
  using MakeConfig = std::function<Result<ConfigText>()>;
  DriverResult<Handle> start(const RunContext& run, const MakeConfig& make_config, std::stop_token stop);
  DriverResult<Handle> recover(const RunContext& run);
  void wait(const RunContext& run, std::function<void(ExitStatus)> done);
  DriverStatus stop(const RunContext& run, Duration grace, int signal, std::stop_token token);
  DriverStatus destroy(const RunContext& run);
  DriverStatus signal(const RunContext& run, const std::string& name);
  DriverResult<Stats> stats(const RunContext& run);
  DriverStatus freeze(const RunContext& run, bool frozen);
  DriverResult<ExecSession> attach(const RunContext& run);
  // The task's process; not_found (failed) when it does not run. Valid as long as the monitor holds the lock.
  DriverResult<int> task_pid(const RunContext& run);

 private:
  struct Watch {
    std::mutex mutex;
    std::condition_variable changed;
    bool ended = false;
    ExitStatus status;
    std::function<void(ExitStatus)> done;
  };
  Supervisor(std::string driver, std::unique_ptr<sys::Cgroups> cgroups, std::unique_ptr<sys::Reaper> reaper)
      : driver_(std::move(driver)), cgroups_(std::move(cgroups)), reaper_(std::move(reaper)) {}

  DriverResult<Handle> existing(const RunContext& run);
  DriverResult<Handle> await_report(const RunContext& run, int pipe, std::stop_token stop);
  Result<std::shared_ptr<Watch>> watch_monitor(const RunContext& run, int monitor_pid, bool verify_lock);
  ExitStatus collect(const RunContext& run);
  bool wait_unlocked(const RunContext& run, Duration timeout);
  void kill_monitor(const RunContext& run);

  std::string driver_;
  std::unique_ptr<sys::Cgroups> cgroups_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Watch>> watches_;  // by run_dir
  std::string program_;
  std::unique_ptr<sys::Reaper> reaper_;  // last: its thread ends before the rest goes
};

// The integer behind "key": in a JSON text of ours; `otherwise` without it.
int64_t json_number(const std::string& text, std::string_view key, int64_t otherwise);

}  // namespace tutti::driver::monitor
