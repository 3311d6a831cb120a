// Supervisor: what ends tasks, and what needs a running one.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "driver/monitor/supervisor.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::driver::monitor {
namespace {

constexpr Duration kKillTimeout = seconds(10);
constexpr Duration kSlice = milliseconds(20);

std::string lock_path(const RunContext& run) { return run.run_dir + "/lock"; }

Error about(Error error, const RunContext& run) { return std::move(error).in("task " + run.task_name + " of " + run.instance_name); }

// The monitor, by a pidfd that is known to mean it; none when it has ended.
sys::UniqueFd open_monitor(const RunContext& run) {
  auto text = sys::read_file(lock_path(run));
  int pid = text ? atoi(text->c_str()) : 0;
  if (pid <= 0) return {};
  auto pidfd = sys::pidfd_open(pid);
  if (!pidfd || !sys::lock_is_held(lock_path(run))) return {};
  return std::move(*pidfd);
}

}  // namespace

DriverResult<int> Supervisor::task_pid(const RunContext& run) {
  auto handle = sys::read_file(run.run_dir + "/handle.json");
  bool runs = handle && !sys::exists(run.run_dir + "/exit.json") && sys::lock_is_held(lock_path(run));
  int pid = runs ? static_cast<int>(json_number(*handle, "pid", 0)) : 0;
  if (pid <= 0) return failed(about({ErrorCode::not_found, "it does not run", {}, 0}, run));
  return pid;
}

bool Supervisor::wait_unlocked(const RunContext& run, Duration timeout) {
  if (!sys::lock_is_held(lock_path(run))) return true;
  sys::UniqueFd monitor = open_monitor(run);
  return !monitor || sys::pidfd_wait(monitor.get(), timeout) || !sys::lock_is_held(lock_path(run));
}

void Supervisor::kill_monitor(const RunContext& run) {
  sys::UniqueFd monitor = open_monitor(run);
  if (!monitor) return;
  (void)sys::pidfd_signal(monitor.get(), SIGKILL);
  sys::pidfd_wait(monitor.get(), kKillTimeout);
}

DriverStatus Supervisor::stop(const RunContext& run, Duration grace, int signal, std::stop_token token) {
  sys::UniqueFd monitor = open_monitor(run);
  if (monitor) {
    if (auto pid = task_pid(run)) {
      auto task = sys::pidfd_open(*pid);
      if (task && sys::lock_is_held(lock_path(run))) (void)sys::pidfd_signal(task->get(), signal);
      (void)cgroups_->freeze(run.cgroup, false);  // a paused task could not obey
    }
    SystemClock clock;
    for (BootTime until = clock.boot_now() + grace; clock.boot_now() < until;) {
      Duration left = until - clock.boot_now();
      if (sys::pidfd_wait(monitor.get(), std::min(left, kSlice))) break;
      if (token.stop_requested()) return retryable(about({ErrorCode::cancelled, "stop was given up", {}, 0}, run));
    }
  }
  // Also what a monitor that is gone left behind.
  if (Status killed = cgroups_->kill_all(run.cgroup, kKillTimeout); !killed) return retryable(about(killed.error(), run));
  if (monitor && !sys::pidfd_wait(monitor.get(), seconds(5))) kill_monitor(run);
  return {};
}

DriverStatus Supervisor::destroy(const RunContext& run) {
  if (sys::lock_is_held(lock_path(run))) {
    if (Status killed = cgroups_->kill_all(run.cgroup, kKillTimeout); !killed) return retryable(about(killed.error(), run));
    // It ends by itself once its task is dead; not if it still is on the way to start one.
    if (!wait_unlocked(run, seconds(3))) kill_monitor(run);
  }
  if (Status killed = cgroups_->kill_all(run.cgroup, kKillTimeout); !killed) return retryable(about(killed.error(), run));
  std::shared_ptr<Watch> watch;
  {
    std::lock_guard lock(mutex_);
    auto found = watches_.find(run.run_dir);
    if (found != watches_.end()) watch = found->second;
  }
  if (watch) {  // the reaper reads exit.json: it goes first
    std::unique_lock lock(watch->mutex);
    watch->changed.wait_for(lock, std::chrono::seconds(10), [&] { return watch->ended; });
  }
  if (Status removed = cgroups_->remove(run.cgroup, kKillTimeout); !removed) return retryable(about(removed.error(), run));
  if (Status removed = sys::remove_tree(run.run_dir); !removed) return retryable(about(removed.error(), run));
  std::lock_guard lock(mutex_);
  watches_.erase(run.run_dir);
  return {};
}

DriverStatus Supervisor::signal(const RunContext& run, const std::string& name) {
  auto number = sys::parse_signal(name);
  if (!number) return rejected(about(number.error(), run));
  auto pid = task_pid(run);
  if (!pid) return tl::make_unexpected(pid.error());
  auto task = sys::pidfd_open(*pid);
  if (!task) return failed(about(task.error(), run));
  if (!sys::lock_is_held(lock_path(run))) return failed(about({ErrorCode::not_found, "it does not run", {}, 0}, run));
  if (Status sent = sys::pidfd_signal(task->get(), *number); !sent) return failed(about(sent.error(), run));
  return {};
}

DriverResult<Stats> Supervisor::stats(const RunContext& run) {
  auto found = cgroups_->stats(run.cgroup);
  if (!found) return failed(about(found.error(), run));
  return Stats{found->cpu_ns, found->memory_bytes, found->pids};
}

DriverStatus Supervisor::freeze(const RunContext& run, bool frozen) {
  if (auto pid = task_pid(run); !pid) return tl::make_unexpected(pid.error());
  if (Status done = cgroups_->freeze(run.cgroup, frozen); !done) return retryable(about(done.error(), run));
  return {};
}

DriverResult<ExecSession> Supervisor::attach(const RunContext& run) {
  if (!run.task.tty && !run.task.stdin_open) {
    return rejected(about({ErrorCode::unprocessable, "it has neither a terminal nor open input", {{"tty", "set tty or stdin_open", ""}}, 0}, run));
  }
  sys::UniqueFd folder(open(run.run_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  sys::UniqueFd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // Through the folder's descriptor: run_dir may be longer than a socket's name can be.
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/attach.sock", folder.get());
  timeval patience{5, 0};
  setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return failed(about({ErrorCode::not_found, std::string("attach: ") + strerror(errno), {}, 0}, run));
  }
  char greeting[2] = {0, 0};
  iovec part{greeting, sizeof greeting};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (recvmsg(client.get(), &message, MSG_CMSG_CLOEXEC) != 2 || greeting[0] != 'A') {
    return failed(about({ErrorCode::unavailable, "its monitor does not take another client", {}, 0}, run));
  }
  int given[2] = {-1, -1};
  if (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    memcpy(given, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
  }
  timeval forever{0, 0};
  setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
  ExecSession out;
  out.out = client.release();
  int next = 0;
  if ((greeting[1] & 1) != 0) out.err = given[next++];
  if ((greeting[1] & 2) != 0) out.in = given[next];
  return out;
}

}  // namespace tutti::driver::monitor
