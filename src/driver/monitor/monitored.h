#pragma once
// MonitoredDriver: what drivers have in common whose tasks stand beside a monitor (program/main.cc): containers and
// processes.
//
// It writes the monitor's configuration, starts it, and finds it again after a restart of the worker: by the lock that
// the monitor holds on run_dir/lock while it lives, and by exit.json that it writes before it goes. Everything of a run
// is in its run_dir and its control group, so destroy() can clear away any partial state. Thread-safe.

#include <memory>
#include <mutex>
#include <string>

#include "driver/driver.h"
#include "sys/cgroup.h"
#include "sys/fd.h"
#include "sys/reaper.h"

namespace tutti::driver {

// One line for each key of program/config.h.
class MonitorConfig {
 public:
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, int64_t value) { add(key, std::to_string(value)); }
  void flag(std::string_view key, bool value) { add(key, value ? "1" : "0"); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class MonitoredDriver : public Driver, public ExecDriver, public SignalDriver, public StatsDriver, public PauseDriver {
 public:
  // `program_dir`: where the monitor's program is put, once.
  static Result<std::string> install_monitor(const std::string& program_dir);

  DriverStatus prepare(const RunContext& run, std::stop_token stop) override;
  DriverResult<Handle> start(const RunContext& run, std::stop_token stop) override;
  DriverResult<Handle> recover(const RunContext& run) override;
  void wait(const RunContext& run, const Handle& handle, std::function<void(ExitStatus)> done) override;
  DriverStatus stop(const RunContext& run, const Handle& handle, Duration grace, std::stop_token token) override;
  DriverStatus destroy(const RunContext& run) override;
  DriverStatus destroy_disk(const RunContext& run) override;

  ExecDriver* as_exec() override { return this; }
  SignalDriver* as_signal() override { return this; }
  StatsDriver* as_stats() override { return this; }
  PauseDriver* as_pause() override { return this; }
  DriverResult<ExecSession> attach(const RunContext& run, const Handle& handle) override;
  DriverResult<std::string> root_path(const RunContext& run, const Handle& handle) override;
  DriverStatus signal(const RunContext& run, const Handle& handle, const std::string& name) override;
  DriverResult<Stats> stats(const RunContext& run, const Handle& handle) override;
  DriverStatus pause(const RunContext& run, const Handle& handle) override;
  DriverStatus unpause(const RunContext& run, const Handle& handle) override;

 protected:
  MonitoredDriver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups, std::shared_ptr<sys::Reaper> reaper)
      : monitor_(std::move(monitor)), cgroups_(std::move(cgroups)), reaper_(std::move(reaper)) {}

  // What is particular to a kind of task: files of its own, and its part of the configuration.
  virtual DriverStatus configure(const RunContext& run, MonitorConfig& config) = 0;
  // Whether the task's group must allow the device /dev/net/tun besides the harmless ones.
  virtual bool needs_tun() const { return false; }
  // Runs the monitor's `enter` with a configuration, its stdio as the session's.
  // `input`, if any, is what it can read on kInputFd.
  DriverResult<ExecSession> enter(MonitorConfig config, const ExecRequest& request, std::string_view input = {});
  static constexpr int kInputFd = 4;
  void add_groups(const RunContext& run, MonitorConfig& config) const;
  static Result<int> pid_of(const Handle& handle);
  // The running task; `not_found` once it has ended.
  DriverResult<sys::UniqueFd> task_of(const RunContext& run, const Handle& handle) const;

  const std::string monitor_;
  const std::shared_ptr<sys::Cgroups> cgroups_;
  const std::shared_ptr<sys::Reaper> reaper_;

 private:
  ExitStatus exit_of(const RunContext& run);
  void end_monitor(const RunContext& run, Duration patience);
};

}  // namespace tutti::driver
