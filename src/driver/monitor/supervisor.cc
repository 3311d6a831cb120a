#include "driver/monitor/supervisor.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/log.h"
#include "driver/monitor/embedded.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::driver::monitor {
namespace {

constexpr Duration kKillTimeout = seconds(10);
constexpr Duration kStartTimeout = seconds(90);
constexpr Duration kSlice = milliseconds(50);  // how soon a stop token is seen

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }
std::string lock_path(const RunContext& run) { return run.run_dir + "/lock"; }

Error because(Error error, const RunContext& run) { return std::move(error).in("task " + run.task_name + " of " + run.instance_name); }

std::string json_text_of(const std::string& text, std::string_view key) {
  std::string quoted = "\"" + std::string(key) + "\":\"";
  size_t at = text.find(quoted);
  if (at == std::string::npos) return {};
  at += quoted.size();
  return text.substr(at, text.find('"', at) - at);
}

ExitStatus parse_exit(const std::string& text) {
  ExitStatus out;
  out.exit_code = static_cast<int32_t>(json_number(text, "exit_code", 0));
  out.oom_killed = text.find("\"oom_killed\":true") != std::string::npos;
  out.lease_expired = text.find("\"lease_expired\":true") != std::string::npos;
  out.finished = Time{json_number(text, "finished_ns", 0)};
  out.reason = json_text_of(text, "reason");
  return out;
}

}  // namespace

int64_t json_number(const std::string& text, std::string_view key, int64_t otherwise) {
  std::string quoted = "\"" + std::string(key) + "\":";
  size_t at = text.find(quoted);
  if (at == std::string::npos) return otherwise;
  int64_t value = otherwise;
  std::from_chars(text.data() + at + quoted.size(), text.data() + text.size(), value);
  return value;
}

Result<std::unique_ptr<Supervisor>> Supervisor::make(std::string driver) {
  TUTTI_TRY(auto cgroups, sys::Cgroups::detect());
  TUTTI_TRY(auto reaper, sys::Reaper::make());
  return std::unique_ptr<Supervisor>(new Supervisor(std::move(driver), std::move(cgroups), std::move(reaper)));
}

Result<std::string> Supervisor::program(const RunContext& run) {
  std::string bin_dir = folder_of(run.run_dir) + "/bin";
  std::lock_guard lock(mutex_);
  if (!program_.empty() && program_.starts_with(bin_dir + "/") && sys::exists(program_)) return program_;
  TUTTI_TRY(program_, install_monitor(bin_dir));
  return program_;
}

// What an earlier call or worker made: a handle, or not_found.
DriverResult<Handle> Supervisor::existing(const RunContext& run) {
  SystemClock clock;
  int64_t deadline = clock.boot_now().ns + kStartTimeout.ns;
  for (;;) {
    bool held = sys::lock_is_held(lock_path(run));
    auto handle = sys::read_file(run.run_dir + "/handle.json");
    if (handle) return Handle{driver_, *handle};
    if (!held) return retryable({ErrorCode::not_found, "nothing was started for " + run.instance_name, {}, 0});
    if (clock.boot_now().ns > deadline) {
      return retryable({ErrorCode::timeout, "the monitor of " + run.instance_name + " does not come to its end of starting", {}, 0});
    }
    poll(nullptr, 0, 2);
  }
}

DriverResult<Handle> Supervisor::recover(const RunContext& run) {
  auto found = existing(run);
  if (!found && found.error().error.code == ErrorCode::not_found) {
    // A monitor that was killed while it started may have left processes.
    if (Status killed = cgroups_->kill_all(run.cgroup, kKillTimeout); !killed) return retryable(because(killed.error(), run));
  }
  return found;
}

DriverResult<Handle> Supervisor::start(const RunContext& run, const MakeConfig& make_config, std::stop_token stop) {
  if (auto found = recover(run); found || found.error().error.code != ErrorCode::not_found) return found;
  auto lock = sys::take_lock(lock_path(run));
  if (!lock) return retryable(because(lock.error(), run));
  if (Status made = cgroups_->create(run.cgroup, limits_of(run)); !made) {
    bool cannot = made.error().code == ErrorCode::unsupported || made.error().code == ErrorCode::invalid;
    Error error = because(made.error(), run);
    return cannot ? DriverResult<Handle>(rejected(error)) : DriverResult<Handle>(retryable(error));
  }
  auto config = make_config();
  if (!config) return rejected(because(config.error(), run));
  if (!config->ok()) return rejected(because({ErrorCode::invalid, "a value contains a NUL byte", {}, 0}, run));
  auto program_path = program(run);
  if (!program_path) return retryable(because(program_path.error(), run));
  if (Status written = sys::write_file_atomic(run.run_dir + "/monitor.conf", config->text(), {.mode = 0600}); !written) {
    return retryable(because(written.error(), run));
  }
  auto report = sys::make_pipe();
  if (!report) return retryable(because(report.error(), run));
  sys::SpawnOptions spawn;
  spawn.argv = {*program_path, "run", run.run_dir};
  spawn.fds = {{lock->get(), 3}, {report->write.get(), 4}};
  spawn.new_session = true;
  auto pid = sys::spawn(spawn);
  if (!pid) return retryable(because(pid.error(), run));
  report->write.reset();
  lock->reset();  // now the monitor alone holds it
  auto watch = watch_monitor(run, *pid, false);
  if (!watch) return retryable(because(watch.error(), run));
  return await_report(run, report->read.get(), stop);
}

DriverResult<Handle> Supervisor::await_report(const RunContext& run, int pipe, std::stop_token stop) {
  std::string said;
  SystemClock clock;
  int64_t deadline = clock.boot_now().ns + kStartTimeout.ns;
  for (;;) {
    pollfd watched{pipe, POLLIN, 0};
    if (poll(&watched, 1, static_cast<int>(kSlice.ms())) > 0) {
      char buffer[4096];
      ssize_t n = read(pipe, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      said.append(buffer, static_cast<size_t>(n));
      if (said[0] == 'R') break;
      continue;
    }
    if (stop.stop_requested() || clock.boot_now().ns > deadline) {
      kill_monitor(run);
      (void)cgroups_->kill_all(run.cgroup, kKillTimeout);
      return retryable(because({stop.stop_requested() ? ErrorCode::cancelled : ErrorCode::timeout, "start was given up", {}, 0}, run));
    }
  }
  if (!said.empty() && said[0] == 'R') {
    auto handle = sys::read_file(run.run_dir + "/handle.json");
    if (!handle) return retryable(because(handle.error(), run));
    return Handle{driver_, *handle};
  }
  // A failed monitor leaves nothing running; a killed one may.
  (void)wait_unlocked(run, seconds(2));
  (void)cgroups_->kill_all(run.cgroup, kKillTimeout);
  if (said.empty()) return retryable(because({ErrorCode::internal, "its monitor ended before the task ran", {}, 0}, run));
  Error error = because({ErrorCode::unprocessable, said.substr(1), {}, 0}, run);
  switch (said[0]) {
    case 'x': return rejected(std::move(error));
    case 'r': return retryable(std::move(error));
    default: return failed(std::move(error));
  }
}

// Follows a monitor to its end, once for each run. With verify_lock the number comes from a file: only the lock, seen
// held after the pidfd was opened, proves that it still means the monitor.
Result<std::shared_ptr<Supervisor::Watch>> Supervisor::watch_monitor(const RunContext& run, int monitor_pid, bool verify_lock) {
  TUTTI_TRY(sys::UniqueFd pidfd, sys::pidfd_open(monitor_pid));
  if (verify_lock && !sys::lock_is_held(lock_path(run))) return fail(ErrorCode::not_found, "its monitor has ended");
  auto watch = std::make_shared<Watch>();
  {
    std::lock_guard lock(mutex_);
    watches_[run.run_dir] = watch;
  }
  TUTTI_CHECK(reaper_->watch(std::move(pidfd), [this, run, watch](int) {
    ExitStatus status = collect(run);
    std::function<void(ExitStatus)> done;
    {
      std::lock_guard lock(watch->mutex);
      watch->ended = true;
      watch->status = status;
      done = std::move(watch->done);
    }
    watch->changed.notify_all();
    if (done) done(status);
  }));
  return watch;
}

// How it ended, after its monitor is gone. Without exit.json nobody looks after the task: it is ended here, and the fact
// written down so that every later question gets the same answer.
ExitStatus Supervisor::collect(const RunContext& run) {
  if (auto text = sys::read_file(run.run_dir + "/exit.json")) return parse_exit(*text);
  if (!sys::exists(run.run_dir + "/handle.json")) return {.exit_code = 137, .finished = SystemClock().now(), .reason = "it never ran"};
  Status killed = cgroups_->kill_all(run.cgroup, kKillTimeout);
  if (!killed) log_warning("task outlives its monitor", {{"instance", run.instance_name}, {"error", killed.error().to_string()}});
  ExitStatus out{.exit_code = 137, .finished = SystemClock().now(), .reason = "its monitor was killed, and the task with it"};
  std::string text = "{\"exit_code\":137,\"oom_killed\":false,\"lease_expired\":false,\"finished_ns\":" +
                     std::to_string(out.finished.ns) + ",\"reason\":\"" + out.reason + "\"}";
  (void)sys::write_file_atomic(run.run_dir + "/exit.json", text, {.mode = 0600});
  return out;
}

void Supervisor::wait(const RunContext& run, std::function<void(ExitStatus)> done) {
  std::shared_ptr<Watch> watch;
  {
    std::lock_guard lock(mutex_);
    auto found = watches_.find(run.run_dir);
    if (found != watches_.end()) watch = found->second;
  }
  if (!watch) {
    auto pid = sys::read_file(lock_path(run));
    int number = pid ? atoi(pid->c_str()) : 0;
    if (number > 0) {
      if (auto made = watch_monitor(run, number, true)) watch = *made;
    }
  }
  if (!watch) return done(collect(run));
  ExitStatus status;
  {
    std::lock_guard lock(watch->mutex);
    if (!watch->ended) {
      watch->done = std::move(done);
      return;
    }
    status = watch->status;
  }
  done(status);
}

}  // namespace tutti::driver::monitor
