#pragma once
// The driver contract: how a worker runs one task.
//
// A driver owns nothing of the state; it turns a RunContext into something running and says how it ended.
// Every call is idempotent and may be made again after a crash of the worker at any line: what a call did
// is found again under `run_dir` (in /run: it ends with the kernel, as the work does), not in memory.
// Threads: calls come from the worker's pool, never two at once for one run; they may block and honour `stop`.
// Optional abilities are separate interfaces, asked for with as_*(). driver/conformance.h is the suite.
//
//   prepare ──▶ start ──▶ (wait … exit) ──▶ destroy        recover() instead of start() after a restart
//                  ╰──▶ stop ──────────────────▲

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "model/instance.h"
#include "model/job.h"
#include "model/node.h"

namespace tutti::driver {

// Three kinds of failure decide three outcomes: rejected (nothing was started; this node or spec will not do),
// retryable (the worker tries again), failed (counts as an attempt).
enum class FailureKind { rejected, retryable, failed };

struct Failure {
  FailureKind kind = FailureKind::failed;
  Error error;
};
template <class T>
using DriverResult = tl::expected<T, Failure>;
using DriverStatus = DriverResult<void>;
inline tl::unexpected<Failure> rejected(Error e) {
  return tl::make_unexpected(Failure{FailureKind::rejected, std::move(e)});
}
inline tl::unexpected<Failure> retryable(Error e) {
  return tl::make_unexpected(Failure{FailureKind::retryable, std::move(e)});
}
inline tl::unexpected<Failure> failed(Error e) {
  return tl::make_unexpected(Failure{FailureKind::failed, std::move(e)});
}

// An image made ready on this node: layers unpacked and shared, never written to.
struct ImageOnDisk {
  std::vector<std::string> lower_dirs;  // overlayfs order: top first
  std::vector<std::string> env;         // from the image's config
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::string user;
  std::string workdir;
  std::string stop_signal;
};

struct ResolvedMount {
  std::string source;  // absolute host path; empty: tmpfs
  std::string target;
  bool read_only = false;
  int64_t size_bytes = 0;  // tmpfs
};

// One run: (instance, task, generation, attempt), with all that a driver needs to know of it.
struct RunContext {
  InstanceId instance;
  JobId job;
  uint32_t generation = 1;
  uint32_t attempt = 1;
  std::string instance_name;  // hostname inside
  std::string task_name;
  TaskSpec task;  // as the user wrote it
  std::optional<ImageOnDisk> image;
  std::map<std::string, std::string> extra_env;  // TUTTI_INSTANCE, TUTTI_PORT_http …; the task's own env wins
  std::vector<ResolvedMount> mounts;
  std::vector<std::string> dns;  // for /etc/resolv.conf; may be empty
  std::string
      run_dir;  // /run/…/<instance>.<generation>.<attempt>.<task>: handle, exit status, sockets; of this run only
  std::string disk_dir;  // writable layer and files of this task, kept over attempts and generations until destroy_disk
  std::string log_dir;   // stdout and stderr files (driver/log_file.h)
  std::string netns;     // path to enter; empty: the host's
  std::string cgroup;    // relative path of its own cgroup: "tutti-<pool>/<node>/<instance>-<task>"
  std::string lease_page;  // file with the lease deadline (driver/lease_page.h); empty: none
  // Where the task stops with the lease: when the lease that start() was asked under ends. A start that takes longer is
  // refused as retryable, even if another lease runs by then: in between its slot may have gone to another node. 0: any
  // time.
  BootTime start_by;
};

// What start() made, as opaque text that recover() understands. Versioned by its driver.
struct Handle {
  std::string driver;
  std::string data;  // JSON
};

struct ExitStatus {
  int32_t exit_code = 0;  // 128 + n after signal n
  bool oom_killed = false;
  bool lease_expired = false;  // its monitor stopped it because the lease ended
  Time finished;
  std::string reason;  // where the code alone does not say it
};

struct Capabilities {
  bool images = false;         // wants RunContext::image
  bool network = false;        // wants RunContext::netns with bridge networking
  bool keeps_running = false;  // what it starts outlives the worker
};

class ExecDriver;
class SignalDriver;
class StatsDriver;
class PauseDriver;
class SuspendDriver;

class Driver {
 public:
  virtual ~Driver() = default;
  virtual std::string name() const = 0;
  virtual Capabilities capabilities() const = 0;
  // Whether it works here, with versions; unhealthy with a reason that says what to install. Cheap; every minute.
  virtual DriverInfo fingerprint() = 0;

  // Makes directories and files; nothing runs yet. Deadline: the caller's stop token.
  virtual DriverStatus prepare(const RunContext& run, std::stop_token stop) = 0;
  // Starts it; when it returns, the handle is on disk and the task's process exists. Called again: the same handle.
  virtual DriverResult<Handle> start(const RunContext& run, std::stop_token stop) = 0;
  // Finds what an earlier worker started: running, or ended meanwhile (wait() then answers at once).
  // not_found as `retryable` error when there is nothing: the run never started.
  virtual DriverResult<Handle> recover(const RunContext& run) = 0;
  // Calls `done` exactly once, from any thread, when it has ended (at once if it had). One wait per run.
  virtual void wait(const RunContext& run, const Handle& handle, std::function<void(ExitStatus)> done) = 0;
  // Asks with stop_signal, then kills after `grace`. Returns when it is dead. Fine if it already is.
  virtual DriverStatus stop(const RunContext& run, const Handle& handle, Duration grace, std::stop_token token) = 0;
  // Removes every trace of the run (processes, mounts, cgroup, run_dir) but its disk and its logs. Fine if there is
  // none.
  virtual DriverStatus destroy(const RunContext& run) = 0;
  // Removes disk_dir, after the last run was destroyed.
  virtual DriverStatus destroy_disk(const RunContext& run) = 0;

  virtual ExecDriver* as_exec() { return nullptr; }
  virtual SignalDriver* as_signal() { return nullptr; }
  virtual StatsDriver* as_stats() { return nullptr; }
  virtual PauseDriver* as_pause() { return nullptr; }
  virtual SuspendDriver* as_suspend() { return nullptr; }
};

struct ExecRequest {
  std::vector<std::string> command;
  std::map<std::string, std::string> env;
  std::string user;
  std::string workdir;
  bool tty = false;
  int32_t columns = 80;
  int32_t rows = 24;
};

// A process started beside the task. The caller owns the fds; with a tty, `in` and `out` are one terminal's master
// (dup'ed) and `err` is −1.
struct ExecSession {
  int in = -1;
  int out = -1;
  int err = -1;
  int pid = 0;  // child of this process: reap with waitpid
  std::string
      log;  // exec: a file that gets, in words, why the command could not be started; read and removed by the caller
};

// An account of the node.
struct Account {
  uint32_t uid = 0;
  uint32_t gid = 0;
};

class ExecDriver {
 public:
  virtual ~ExecDriver() = default;
  virtual DriverResult<ExecSession> exec(const RunContext& run, const Handle& handle, const ExecRequest& request) = 0;
  // What attach reads and writes: the task's own stdin and terminal. fds as for ExecSession (in may be −1, pid 0).
  virtual DriverResult<ExecSession> attach(const RunContext& run, const Handle& handle) = 0;
  // The file system of the running task as a path of this process ("/proc/PID/root"), for copy in and out.
  virtual DriverResult<std::string> root_path(const RunContext& run, const Handle& handle) = 0;
  // As whom files are copied, where the task's file system is the node's own; nothing: as the worker, because all that
  // can be reached below root_path() is the task's.
  virtual DriverResult<std::optional<Account>> file_account(const RunContext&) { return std::optional<Account>(); }
};

class SignalDriver {
 public:
  virtual ~SignalDriver() = default;
  virtual DriverStatus signal(const RunContext& run, const Handle& handle, const std::string& name) = 0;  // "HUP"
};

struct Stats {
  int64_t cpu_ns = 0;
  int64_t memory_bytes = 0;
  int64_t pids = 0;
};
class StatsDriver {
 public:
  virtual ~StatsDriver() = default;
  virtual DriverResult<Stats> stats(const RunContext& run, const Handle& handle) = 0;
};

class PauseDriver {
 public:
  virtual ~PauseDriver() = default;
  virtual DriverStatus pause(const RunContext& run, const Handle& handle) = 0;
  virtual DriverStatus unpause(const RunContext& run, const Handle& handle) = 0;
};
// Memory to disk; the run ends as `suspended`, and the next generation's start() continues it.
class SuspendDriver {
 public:
  virtual ~SuspendDriver() = default;
  virtual DriverStatus suspend(const RunContext& run, const Handle& handle) = 0;
};

// The drivers of one worker, by name. Filled by app; constant afterwards.
class Registry {
 public:
  void add(std::unique_ptr<Driver> driver);
  Driver* find(std::string_view name) const;
  std::vector<Driver*> all() const;

 private:
  std::vector<std::unique_ptr<Driver>> drivers_;
};

}  // namespace tutti::driver
