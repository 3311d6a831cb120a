#include "driver/monitor/monitored.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "base/hash.h"
#include "base/limits.h"
#include "driver/monitor/exit_file.h"
#include "model/codec.h"
#include "sys/file.h"
#include "sys/process.h"

extern "C" {
extern const char tutti_monitor_begin[];
extern const char tutti_monitor_end[];
}

namespace tutti::driver {
namespace {

constexpr Duration kRemoveTimeout = seconds(5);
constexpr Duration kStartTimeout = seconds(90);  // longer than the monitor waits for a runtime
constexpr Duration kSlice = milliseconds(20);    // how soon a stop token is seen

sys::CgroupLimits limits_of(const RunContext& run) {
  sys::CgroupLimits out;
  const TaskSpec& task = run.task;
  out.cpu_shares_millicores = task.resources.cpu.value;
  out.cpu_quota_millicores = task.limits.cpu.value;
  out.defer_cpu = true;  // the runtime works inside the group: a small share would make a start on a busy node slow
  out.cpuset = task.limits.cpuset;
  out.memory_bytes = task.limits.memory.value > 0 ? task.limits.memory.value : task.resources.memory.value;
  out.pids = task.limits.pids;
  out.only_harmless_devices = !task.security.privileged && task.driver == "container";
  if (task.limits.io_read_per_second.value > 0 || task.limits.io_write_per_second.value > 0) {
    out.io_device = sys::io_device_of(run.disk_dir);
    out.io_read_bytes_per_second = task.limits.io_read_per_second.value;
    out.io_write_bytes_per_second = task.limits.io_write_per_second.value;
  }
  return out;
}

// What the monitor answers when it could start the task or not: a letter, then words. `cancelled` when `stop` is asked
// first.
DriverStatus read_report(int fd, const std::stop_token& stop) {
  std::string text;
  char buffer[2304];
  for (;;) {
    pollfd watched{fd, POLLIN, 0};
    if (::poll(&watched, 1, static_cast<int>(kSlice.ms())) > 0) {
      const ssize_t n = ::read(fd, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      text.append(buffer, static_cast<size_t>(n));
    } else if (stop.stop_requested()) {
      return retryable({ErrorCode::cancelled, "the start was given up", {}, 0});
    }
  }
  if (text.empty()) return retryable({ErrorCode::io, "the monitor ended without a word", {}, 0});
  Error error{ErrorCode::unprocessable, text.substr(1), {}, 0};
  switch (text[0]) {
    case 'R': return {};
    case 'r': return retryable(std::move(error));
    case 'x': return rejected(std::move(error));
    default: return failed(std::move(error));
  }
}

DriverStatus as_failure(Status status) {
  if (status) return {};
  return retryable(std::move(status).error());
}

}  // namespace

void MonitorConfig::add(std::string_view key, std::string_view value) {
  bytes_.append(key).append("=").append(value.substr(0, value.find('\0'))).push_back('\0');
}

Result<std::string> MonitoredDriver::install_monitor(const std::string& program_dir) {
  const std::string_view program(tutti_monitor_begin, static_cast<size_t>(tutti_monitor_end - tutti_monitor_begin));
  char name[40];
  std::snprintf(name, sizeof name, "/tutti-monitor-%016llx", static_cast<unsigned long long>(fnv1a(program)));
  const std::string path = program_dir + name;
  if (sys::exists(path)) return path;
  TUTTI_CHECK(sys::make_dirs(program_dir));
  TUTTI_CHECK(sys::write_file_atomic(path, program, {0755, false}));
  return path;
}

DriverStatus MonitoredDriver::prepare(const RunContext& run, std::stop_token) {
  for (const std::string& dir : {run.run_dir, run.disk_dir, run.log_dir}) {
    if (Status made = sys::make_dirs(dir, 0711); !made) return retryable(std::move(made).error());
  }
  return {};
}

void MonitoredDriver::add_groups(const RunContext& run, MonitorConfig& config) const {
  for (const std::string& folder : cgroups_->folders(run.cgroup)) {
    config.add("cgroup", folder);
    if (sys::exists(folder + "/cgroup.kill")) config.add("kill_file", folder + "/cgroup.kill");
    if (sys::exists(folder + "/freezer.state"))
      config.add("freeze_file", folder + "/freezer.state"), config.add("thaw_word", "THAWED");
    else if (sys::exists(folder + "/cgroup.freeze") && cgroups_->layout() == sys::CgroupLayout::v2) {
      config.add("freeze_file", folder + "/cgroup.freeze");
      config.add("thaw_word", "0");
    }
    if (sys::exists(folder + "/memory.oom_control"))
      config.add("oom_file", folder + "/memory.oom_control");
    else if (sys::exists(folder + "/memory.events"))
      config.add("oom_file", folder + "/memory.events");
  }
}

DriverResult<Handle> MonitoredDriver::start(const RunContext& run, std::stop_token stop) {
  if (auto there = recover(run)) return there;
  // What a monitor that was killed on its way may have left would be in the new task's group.
  if (Status killed = cgroups_->kill_all(run.cgroup, kRemoveTimeout); !killed)
    return retryable(std::move(killed).error());
  if (auto prepared = prepare(run, stop); !prepared) return tl::make_unexpected(std::move(prepared).error());
  sys::CgroupLimits limits = limits_of(run);
  limits.allow_tun = needs_tun();
  if (Status made = cgroups_->create(run.cgroup, limits); !made) {
    Error error = std::move(made).error();
    if (error.code == ErrorCode::unsupported) return rejected(std::move(error));
    return retryable(std::move(error));
  }
  MonitorConfig config;
  const TaskSpec& task = run.task;
  if (!run.netns.empty()) config.add("netns", run.netns);
  add_groups(run, config);
  for (const auto& [file, value] : cgroups_->cpu_settings(run.cgroup, limits_of(run)))
    config.add("after", file + "\x1f" + value);
  config.add("log", run.log_dir + "/task.log");
  config.add("log_bytes", static_cast<int64_t>(limits::kLogFileBytesMax));
  config.add("log_files", limits::kLogFilesKept);
  config.flag("tty", task.tty);
  config.flag("stdin_open", task.stdin_open);
  if (!run.lease_page.empty() && task.on_disconnect == DisconnectPolicy::stop_after) {
    config.add("lease", run.lease_page);
    config.add("lease_grace_ns", task.disconnect_grace.ns);
    if (run.start_by.ns != 0) config.add("start_by_ns", run.start_by.ns + task.disconnect_grace.ns);
  }
  config.add("stop_signal", sys::parse_signal(task.stop_signal).value_or(SIGTERM));
  config.add("stop_grace_ns", task.stop_grace.ns);
  if (auto configured = configure(run, config); !configured) return tl::make_unexpected(std::move(configured).error());
  if (Status written = sys::write_file_atomic(run.run_dir + "/monitor.conf", config.bytes(), {0600, false}); !written)
    return retryable(std::move(written).error());

  auto lock = sys::take_lock(run.run_dir + "/lock");
  if (!lock) return retryable(std::move(lock).error());
  auto report = sys::make_pipe();
  if (!report) return retryable(std::move(report).error());
  sys::SpawnOptions spawn;
  spawn.argv = {monitor_, "run", run.run_dir};
  spawn.fds = {{lock->get(), 3}, {report->write.get(), 4}};
  spawn.new_session = true;
  auto pid = sys::spawn(spawn);
  if (!pid) return retryable(std::move(pid).error());
  lock->reset();
  report->write.reset();
  // Its zombie is collected whenever it ends; who waits for the task watches it as well.
  if (auto pidfd = sys::pidfd_open(*pid)) (void)reaper_->watch(std::move(*pidfd), [](int) {});
  if (auto said = read_report(report->read.get(), stop); !said) {
    end_monitor(run, milliseconds(0));
    (void)cgroups_->kill_all(run.cgroup, kRemoveTimeout);
    return tl::make_unexpected(std::move(said).error());
  }
  return recover(run);
}

DriverResult<Handle> MonitoredDriver::recover(const RunContext& run) {
  const std::string lock = run.run_dir + "/lock";
  SystemClock clock;
  // An earlier worker may have ended while its monitor was on the way: that comes to a handle, or lets the lock go.
  for (BootTime until = clock.boot_now() + kStartTimeout; clock.boot_now() < until;) {
    const bool held = sys::lock_is_held(lock);
    if (auto text = sys::read_file(run.run_dir + "/handle.json")) {
      // Its monitor was killed: the task cannot be watched any more, so it must not go on.
      if (!held && !sys::exists(run.run_dir + "/exit.json")) (void)cgroups_->kill_all(run.cgroup, kRemoveTimeout);
      return Handle{name(), *text};
    }
    if (!held) break;
    ::poll(nullptr, 0, 2);
  }
  return retryable({ErrorCode::not_found, "nothing was started in " + run.run_dir, {}, 0});
}

ExitStatus MonitoredDriver::exit_of(const RunContext& run) {
  ExitStatus out;
  auto text = sys::read_file(run.run_dir + "/exit.json");
  auto parsed = text ? from_json<ExitFile>(*text, {.allow_unknown = true}) : tl::make_unexpected(text.error());
  if (!parsed) {
    (void)cgroups_->kill_all(run.cgroup, kRemoveTimeout);
    out.exit_code = 137;
    out.finished = SystemClock().now();
    out.reason = "its monitor was killed, and the task with it";
    return out;
  }
  out.exit_code = parsed->exit_code;
  out.oom_killed = parsed->oom_killed;
  out.lease_expired = parsed->lease_expired;
  out.finished = Time{parsed->finished_ns};
  out.reason = parsed->reason;
  return out;
}

void MonitoredDriver::wait(const RunContext& run, const Handle& handle, std::function<void(ExitStatus)> done) {
  auto parsed = from_json<HandleFile>(handle.data, {.allow_unknown = true});
  if (!parsed || sys::exists(run.run_dir + "/exit.json") || !sys::lock_is_held(run.run_dir + "/lock"))
    return done(exit_of(run));
  auto pidfd = sys::pidfd_open(parsed->monitor);
  // Held before and after: the number was not given to another process in between.
  if (!pidfd || !sys::lock_is_held(run.run_dir + "/lock")) return done(exit_of(run));
  Status watched = reaper_->watch(std::move(*pidfd), [this, run, done](int) { done(exit_of(run)); });
  if (!watched) done(exit_of(run));
}

Result<int> MonitoredDriver::pid_of(const Handle& handle) {
  TUTTI_TRY(const HandleFile file, from_json<HandleFile>(handle.data, {.allow_unknown = true}));
  return file.pid;
}

// The monitor keeps the task's number from being given again as long as it holds the lock; seen held after the pidfd
// was opened, that proves which process the pidfd means.
DriverResult<sys::UniqueFd> MonitoredDriver::task_of(const RunContext& run, const Handle& handle) const {
  auto pid = pid_of(handle);
  if (!pid) return failed(std::move(pid).error());
  auto pidfd = sys::pidfd_open(*pid);
  if (!pidfd || !sys::lock_is_held(run.run_dir + "/lock") || sys::exists(run.run_dir + "/exit.json")) {
    return failed(
        {ErrorCode::not_found, "task " + run.task_name + " of " + run.instance_name + " does not run", {}, 0});
  }
  return std::move(*pidfd);
}

DriverStatus MonitoredDriver::stop(const RunContext& run, const Handle& handle, Duration grace, std::stop_token token) {
  if (auto task = task_of(run, handle)) {
    (void)sys::pidfd_signal(task->get(), sys::parse_signal(run.task.stop_signal).value_or(SIGTERM));
    (void)cgroups_->freeze(run.cgroup, false);  // a paused task could not obey
    SystemClock clock;
    for (BootTime until = clock.boot_now() + grace; clock.boot_now() < until;) {
      if (sys::pidfd_wait(task->get(), std::min(until - clock.boot_now(), kSlice))) break;
      if (token.stop_requested()) return retryable({ErrorCode::cancelled, "the stop was given up", {}, 0});
    }
    (void)sys::pidfd_signal(task->get(), SIGKILL);
  }
  return as_failure(cgroups_->kill_all(run.cgroup, kRemoveTimeout));
}

// Waits for the monitor to go by itself, then kills it.
void MonitoredDriver::end_monitor(const RunContext& run, Duration patience) {
  const std::string lock = run.run_dir + "/lock";
  if (!sys::lock_is_held(lock)) return;
  auto owner = sys::read_file(lock);
  const int monitor = owner ? std::atoi(owner->c_str()) : 0;
  if (monitor <= 1) return;
  auto pidfd = sys::pidfd_open(monitor);
  if (!pidfd || !sys::lock_is_held(lock)) return;
  if (!sys::pidfd_wait(pidfd->get(), patience)) (void)sys::pidfd_signal(pidfd->get(), SIGKILL);
  (void)sys::pidfd_wait(pidfd->get(), kRemoveTimeout);
}

DriverStatus MonitoredDriver::destroy(const RunContext& run) {
  if (Status killed = cgroups_->kill_all(run.cgroup, kRemoveTimeout); !killed)
    return retryable(std::move(killed).error());
  // The monitor sees its task's end and goes by itself; one that hangs, or still is on its way to start one, is killed.
  end_monitor(run, seconds(2));
  if (Status killed = cgroups_->kill_all(run.cgroup, kRemoveTimeout); !killed)
    return retryable(std::move(killed).error());
  if (Status removed = cgroups_->remove(run.cgroup, kRemoveTimeout); !removed)
    return retryable(std::move(removed).error());
  return as_failure(sys::remove_tree(run.run_dir));
}

DriverStatus MonitoredDriver::destroy_disk(const RunContext& run) {
  return as_failure(sys::remove_tree(run.disk_dir));
}

DriverStatus MonitoredDriver::signal(const RunContext& run, const Handle& handle, const std::string& name) {
  auto number = sys::parse_signal(name);
  if (!number) return rejected(std::move(number).error());
  auto task = task_of(run, handle);
  if (!task) return tl::make_unexpected(std::move(task).error());
  return as_failure(sys::pidfd_signal(task->get(), *number));
}

DriverResult<Stats> MonitoredDriver::stats(const RunContext& run, const Handle&) {
  auto stats = cgroups_->stats(run.cgroup);
  if (!stats) return failed(std::move(stats).error());
  return Stats{stats->cpu_ns, stats->memory_bytes, stats->pids};
}

DriverStatus MonitoredDriver::pause(const RunContext& run, const Handle&) {
  return as_failure(cgroups_->freeze(run.cgroup, true));
}
DriverStatus MonitoredDriver::unpause(const RunContext& run, const Handle&) {
  return as_failure(cgroups_->freeze(run.cgroup, false));
}

DriverResult<std::string> MonitoredDriver::root_path(const RunContext& run, const Handle& handle) {
  if (auto task = task_of(run, handle); !task) return tl::make_unexpected(std::move(task).error());
  return "/proc/" + std::to_string(pid_of(handle).value_or(0)) + "/root";
}

namespace {

// The session's ends (ours) and the child's; all are closed unless released.
struct ExecEnds {
  sys::UniqueFd in, out, err;
  sys::UniqueFd child_in, child_out, child_err;
};

Status open_terminal(const ExecRequest& request, ExecEnds& ends) {
  ends.in.reset(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  int unlocked = 0;
  if (!ends.in || ::ioctl(ends.in.get(), TIOCSPTLCK, &unlocked) != 0) return fail_errno("open a terminal", errno);
  ends.child_in.reset(::ioctl(ends.in.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  ends.out.reset(::fcntl(ends.in.get(), F_DUPFD_CLOEXEC, 3));
  if (!ends.child_in || !ends.out) return fail_errno("open a terminal's other end", errno);
  winsize size{};
  size.ws_col = static_cast<unsigned short>(request.columns);
  size.ws_row = static_cast<unsigned short>(request.rows);
  ::ioctl(ends.in.get(), TIOCSWINSZ, &size);
  return {};
}

Status open_pipes(ExecEnds& ends) {
  TUTTI_TRY(sys::Pipe in, sys::make_pipe());
  TUTTI_TRY(sys::Pipe out, sys::make_pipe());
  TUTTI_TRY(sys::Pipe err, sys::make_pipe());
  ends = {std::move(in.write), std::move(out.read),  std::move(err.read),
          std::move(in.read),  std::move(out.write), std::move(err.write)};
  return {};
}

}  // namespace

DriverResult<ExecSession> MonitoredDriver::enter(MonitorConfig config, const ExecRequest& request,
                                                 std::string_view input) {
  if (request.command.empty()) return rejected({ErrorCode::invalid, "exec needs a command", {}, 0});
  config.flag("tty", request.tty);
  auto conf = sys::make_pipe();
  if (!conf) return failed(std::move(conf).error());
  ExecEnds ends;
  if (Status opened = request.tty ? open_terminal(request, ends) : open_pipes(ends); !opened)
    return failed(std::move(opened).error());
  sys::SpawnOptions spawn;
  spawn.argv = {monitor_, "enter"};
  spawn.new_session = true;
  const int in = ends.child_in.get();
  spawn.fds = {{in, 0},
               {request.tty ? in : ends.child_out.get(), 1},
               {request.tty ? in : ends.child_err.get(), 2},
               {conf->read.get(), 3}};
  sys::UniqueFd memory;
  if (!input.empty()) {
    memory.reset(static_cast<int>(::syscall(SYS_memfd_create, "tutti-exec", 1u /* MFD_CLOEXEC */)));
    if (!memory) return failed(fail_errno("memfd_create", errno).value());
    if (Status written = sys::write_all(memory.get(), input); !written) return failed(std::move(written).error());
    ::lseek(memory.get(), 0, SEEK_SET);
    spawn.fds.emplace_back(memory.get(), kInputFd);
  }
  auto pid = sys::spawn(spawn);
  if (!pid) return failed(std::move(pid).error());
  conf->read.reset();
  if (Status sent = sys::write_all(conf->write.get(), config.bytes()); !sent) {
    conf->write.reset();
    (void)sys::reap(*pid);
    return failed(std::move(sent).error());
  }
  return ExecSession{ends.in.release(), ends.out.release(), ends.err.release(), *pid, {}};
}

// The monitor hands out descriptors: see program/attach.h.
DriverResult<ExecSession> MonitoredDriver::attach(const RunContext& run, const Handle&) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // Through /proc/self/fd: a socket's path may have 107 bytes only.
  const int dir = ::open(run.run_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return failed(fail_errno("open " + run.run_dir, errno).value());
  sys::UniqueFd dir_fd(dir);
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/attach.sock", dir);
  sys::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return failed({ErrorCode::unprocessable,
                   "this task has neither a terminal nor an open input: there is nothing to attach to (see its logs)",
                   {},
                   0});
  }
  char data[2] = {};
  iovec part{data, sizeof data};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC) < 2)
    return failed({ErrorCode::io, "the monitor did not answer", {}, 0});
  int fds[2] = {-1, -1};
  if (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    std::memcpy(fds, CMSG_DATA(header), std::min<size_t>(sizeof fds, header->cmsg_len - CMSG_LEN(0)));
  }
  ExecSession out;
  int at = 0;
  if ((data[1] & 1) != 0) out.err = fds[at++];
  if ((data[1] & 2) != 0) out.in = fds[at];
  out.out = socket.release();
  return out;
}

}  // namespace tutti::driver
