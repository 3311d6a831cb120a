#include "driver/monitor/monitored.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
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

int64_t cpu_quota(const TaskSpec& task) { return task.limits.cpu.value; }

sys::CgroupLimits limits_of(const RunContext& run) {
  sys::CgroupLimits out;
  const TaskSpec& task = run.task;
  out.cpu_shares_millicores = task.resources.cpu.value;
  out.cpu_quota_millicores = cpu_quota(task);
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

// What the monitor answers when it could start the task or not: a letter, then words.
DriverStatus read_report(int fd) {
  std::string text;
  char buffer[2304];
  ssize_t n = 0;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(n));
  if (text.empty()) return retryable({ErrorCode::io, "the monitor ended without a word", {}, 0});
  if (text[0] == 'R') return {};
  Error error{ErrorCode::unprocessable, text.substr(1), {}, 0};
  if (text[0] == 'r') return retryable(std::move(error));
  return failed(std::move(error));
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
    if (sys::exists(folder + "/freezer.state")) config.add("freeze_file", folder + "/freezer.state"), config.add("thaw_word", "THAWED");
    else if (sys::exists(folder + "/cgroup.freeze") && cgroups_->layout() == sys::CgroupLayout::v2) {
      config.add("freeze_file", folder + "/cgroup.freeze");
      config.add("thaw_word", "0");
    }
    if (sys::exists(folder + "/memory.oom_control")) config.add("oom_file", folder + "/memory.oom_control");
    else if (sys::exists(folder + "/memory.events")) config.add("oom_file", folder + "/memory.events");
  }
}

DriverResult<Handle> MonitoredDriver::start(const RunContext& run, std::stop_token stop) {
  if (auto there = recover(run)) return there;
  if (auto prepared = prepare(run, stop); !prepared) return tl::make_unexpected(std::move(prepared).error());
  if (Status made = cgroups_->create(run.cgroup, limits_of(run)); !made) {
    Error error = std::move(made).error();
    if (error.code == ErrorCode::unsupported) return rejected(std::move(error));
    return retryable(std::move(error));
  }
  MonitorConfig config;
  const TaskSpec& task = run.task;
  if (!run.netns.empty()) config.add("netns", run.netns);
  add_groups(run, config);
  config.add("log", run.log_dir + "/task.log");
  config.add("log_bytes", static_cast<int64_t>(limits::kLogFileBytesMax));
  config.add("log_files", limits::kLogFilesKept);
  config.flag("tty", task.tty);
  config.flag("stdin_open", task.stdin_open);
  if (!run.lease_page.empty() && task.on_disconnect == DisconnectPolicy::stop_after) {
    config.add("lease", run.lease_page);
    config.add("lease_grace_ns", task.disconnect_grace.ns);
  }
  config.add("stop_signal", sys::parse_signal(task.stop_signal).value_or(SIGTERM));
  config.add("stop_grace_ns", task.stop_grace.ns);
  if (auto configured = configure(run, config); !configured) return tl::make_unexpected(std::move(configured).error());
  if (Status written = sys::write_file_atomic(run.run_dir + "/monitor.conf", config.bytes(), {0600, false}); !written) return retryable(std::move(written).error());

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
  if (auto said = read_report(report->read.get()); !said) return tl::make_unexpected(std::move(said).error());
  return recover(run);
}

DriverResult<Handle> MonitoredDriver::recover(const RunContext& run) {
  auto text = sys::read_file(run.run_dir + "/handle.json");
  if (!text) return retryable({ErrorCode::not_found, "nothing was started in " + run.run_dir, {}, 0});
  const bool over = sys::exists(run.run_dir + "/exit.json");
  if (!over && !sys::lock_is_held(run.run_dir + "/lock")) {
    if (!sys::exists(run.run_dir + "/exit.json")) {
      // Its monitor was killed: the task cannot be watched any more, so it must not go on.
      (void)cgroups_->kill_all(run.cgroup, kRemoveTimeout);
      Handle dead{name(), *text};
      return dead;
    }
  }
  return Handle{name(), *text};
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
  if (!parsed || sys::exists(run.run_dir + "/exit.json") || !sys::lock_is_held(run.run_dir + "/lock")) return done(exit_of(run));
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

DriverStatus MonitoredDriver::stop(const RunContext& run, const Handle& handle, Duration grace, std::stop_token) {
  if (!sys::lock_is_held(run.run_dir + "/lock")) return as_failure(cgroups_->kill_all(run.cgroup, kRemoveTimeout));
  auto pid = pid_of(handle);
  if (!pid) return failed(std::move(pid).error());
  auto pidfd = sys::pidfd_open(*pid);
  if (pidfd) {
    const int signal = sys::parse_signal(run.task.stop_signal).value_or(SIGTERM);
    (void)cgroups_->freeze(run.cgroup, false);
    (void)sys::pidfd_signal(pidfd->get(), signal);
    if (!sys::pidfd_wait(pidfd->get(), grace)) (void)sys::pidfd_signal(pidfd->get(), SIGKILL);
    (void)sys::pidfd_wait(pidfd->get(), kRemoveTimeout);
  }
  if (Status killed = cgroups_->kill_all(run.cgroup, kRemoveTimeout); !killed) return retryable(std::move(killed).error());
  return {};
}

DriverStatus MonitoredDriver::destroy(const RunContext& run) {
  if (!sys::exists(run.run_dir) && cgroups_->processes(run.cgroup).empty()) {
    (void)cgroups_->remove(run.cgroup, kRemoveTimeout);
    return {};
  }
  if (Status killed = cgroups_->kill_all(run.cgroup, kRemoveTimeout); !killed) return retryable(std::move(killed).error());
  // The monitor sees its task's end and goes by itself; one that hangs is killed.
  if (sys::lock_is_held(run.run_dir + "/lock")) {
    auto owner = sys::read_file(run.run_dir + "/lock");
    const int monitor = owner ? std::atoi(owner->c_str()) : 0;
    if (auto pidfd = monitor > 1 ? sys::pidfd_open(monitor) : fail(ErrorCode::not_found, ""); pidfd && sys::lock_is_held(run.run_dir + "/lock")) {
      if (!sys::pidfd_wait(pidfd->get(), seconds(2))) (void)sys::pidfd_signal(pidfd->get(), SIGKILL);
      (void)sys::pidfd_wait(pidfd->get(), kRemoveTimeout);
    }
    if (Status killed = cgroups_->kill_all(run.cgroup, kRemoveTimeout); !killed) return retryable(std::move(killed).error());
  }
  if (Status removed = cgroups_->remove(run.cgroup, kRemoveTimeout); !removed) return retryable(std::move(removed).error());
  return as_failure(sys::remove_tree(run.run_dir));
}

DriverStatus MonitoredDriver::destroy_disk(const RunContext& run) { return as_failure(sys::remove_tree(run.disk_dir)); }

DriverStatus MonitoredDriver::signal(const RunContext&, const Handle& handle, const std::string& name) {
  auto number = sys::parse_signal(name);
  if (!number) return rejected(std::move(number).error());
  auto pid = pid_of(handle);
  if (!pid) return failed(std::move(pid).error());
  auto pidfd = sys::pidfd_open(*pid);
  if (!pidfd) return failed(std::move(pidfd).error());
  return as_failure(sys::pidfd_signal(pidfd->get(), *number));
}

DriverResult<Stats> MonitoredDriver::stats(const RunContext& run, const Handle&) {
  auto stats = cgroups_->stats(run.cgroup);
  if (!stats) return failed(std::move(stats).error());
  return Stats{stats->cpu_ns, stats->memory_bytes, stats->pids};
}

DriverStatus MonitoredDriver::pause(const RunContext& run, const Handle&) { return as_failure(cgroups_->freeze(run.cgroup, true)); }
DriverStatus MonitoredDriver::unpause(const RunContext& run, const Handle&) { return as_failure(cgroups_->freeze(run.cgroup, false)); }

DriverResult<std::string> MonitoredDriver::root_path(const RunContext&, const Handle& handle) {
  auto pid = pid_of(handle);
  if (!pid) return failed(std::move(pid).error());
  return "/proc/" + std::to_string(*pid) + "/root";
}

DriverResult<ExecSession> MonitoredDriver::enter(const MonitorConfig& config, const ExecRequest& request) {
  auto fail_with = [](const std::string& what) { return failed(fail_errno(what, errno).value()); };
  auto conf = sys::make_pipe();
  if (!conf) return failed(std::move(conf).error());
  ExecSession out;
  sys::SpawnOptions spawn;
  spawn.argv = {monitor_, "enter"};
  spawn.new_session = true;
  sys::UniqueFd child_in, child_out, child_err;
  if (request.tty) {
    const int master = ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    int unlocked = 0;
    if (master < 0 || ::ioctl(master, TIOCSPTLCK, &unlocked) != 0) return fail_with("open a terminal");
    const int slave = ::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    winsize size{};
    size.ws_col = static_cast<unsigned short>(request.columns);
    size.ws_row = static_cast<unsigned short>(request.rows);
    ::ioctl(master, TIOCSWINSZ, &size);
    child_in.reset(slave);
    spawn.fds = {{slave, 0}, {slave, 1}, {slave, 2}};
    out.out = master;
    out.in = master;
  } else {
    int in[2], o[2], e[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(o, O_CLOEXEC) != 0 || ::pipe2(e, O_CLOEXEC) != 0) return fail_with("make pipe");
    child_in.reset(in[0]);
    child_out.reset(o[1]);
    child_err.reset(e[1]);
    out.in = in[1];
    out.out = o[0];
    out.err = e[0];
    spawn.fds = {{in[0], 0}, {o[1], 1}, {e[1], 2}};
  }
  spawn.fds.emplace_back(conf->read.get(), 3);
  auto pid = sys::spawn(spawn);
  if (!pid) return failed(std::move(pid).error());
  out.pid = *pid;
  conf->read.reset();
  if (Status sent = sys::write_all(conf->write.get(), config.bytes()); !sent) return failed(std::move(sent).error());
  return out;
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
    return failed({ErrorCode::unprocessable, "this task has neither a terminal nor an open input: there is nothing to attach to (see its logs)", {}, 0});
  }
  char data[2] = {};
  iovec part{data, sizeof data};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC) < 2) return failed({ErrorCode::io, "the monitor did not answer", {}, 0});
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
