// tutti-monitor: stands beside one running task and outlives the worker.
//
//   tutti-monitor run RUN_DIR   fd 3: the lock on RUN_DIR/lock   fd 4: where success or failure is reported
//   tutti-monitor enter         fd 3: configuration; runs a command beside a task (exec)
//
// RUN_DIR/monitor.conf says what to do (config.h). What it leaves: handle.json once the task runs, exit.json when it
// has ended, written before the lock goes. Its mounts live in a namespace of its own and go with it. It may be killed
// at any line: the driver then finds the lock free and no exit.json, and cleans up by the control group. One thread,
// one poll() loop, no heap after start, no wake-ups while nothing happens but one per lease.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "config.h"
#include "launch.h"
#include "logs.h"
#include "util.h"

namespace monitor {
namespace {

constexpr int kLockFd = 3;
constexpr int kReportFd = 4;
constexpr int64_t kSecond = 1'000'000'000;

struct Monitor {
  Config config;
  Groups groups;
  Launched task;
  Logs logs;
  Attach attach;
  int signals = -1;
  int timer = -1;
  const volatile int64_t* lease = nullptr;
  bool lease_expired = false;
  int64_t kill_at = 0;  // boot time; set once the stop signal was sent
};

void report(char kind, const char* text, size_t size) {
  Buffer<2304> message;
  message.add(kind).add(text, size);
  write_all(kReportFd, message.data, message.size);
  close(kReportFd);
}

void arm(Monitor& m, int64_t boot_ns) {
  itimerspec when = {};
  when.it_value.tv_sec = boot_ns / kSecond;
  when.it_value.tv_nsec = boot_ns % kSecond;
  timerfd_settime(m.timer, TFD_TIMER_ABSTIME, &when, nullptr);
}

// The lease moves on every second; the timer looks again only when the deadline it knew has come.
void check_lease(Monitor& m) {
  uint64_t expirations;
  (void)!read(m.timer, &expirations, sizeof expirations);
  int64_t now = clock_ns(CLOCK_BOOTTIME);
  if (m.kill_at != 0) {
    if (now >= m.kill_at) kill_groups(m.config, m.groups);
    arm(m, now >= m.kill_at ? now + kSecond : m.kill_at);
    return;
  }
  int64_t deadline = __atomic_load_n(m.lease, __ATOMIC_ACQUIRE);
  if (deadline == 0) return arm(m, now + 5 * kSecond);
  deadline += m.config.lease_grace_ns;
  if (now < deadline) return arm(m, deadline);
  m.lease_expired = true;
  kill(m.task.pid, static_cast<int>(m.config.stop_signal));
  if (m.groups.freeze >= 0 && m.config.thaw_word != nullptr) {
    write_all(m.groups.freeze, m.config.thaw_word, strlen(m.config.thaw_word));
  }
  m.kill_at = now + m.config.stop_grace_ns;
  arm(m, m.kill_at);
}

void open_lease(Monitor& m) {
  if (m.config.lease == nullptr) return;
  int fd = open(m.config.lease, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  struct stat info;
  if (fstat(fd, &info) == 0 && info.st_size >= 8) {
    void* page = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) m.lease = static_cast<const volatile int64_t*>(page);
  }
  close(fd);
}

// True when the source may have more.
bool pump(Monitor& m, int& fd, int stream) {
  static char buffer[32 * 1024];
  ssize_t n = read(fd, buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) {  // end, or EIO of a terminal whose last user has gone
    close(fd);
    fd = -1;
    return false;
  }
  m.attach.output(stream, buffer, static_cast<size_t>(n));
  m.logs.write(stream, buffer, static_cast<size_t>(n));
  return true;
}

// Orphans that came to us are collected; the task stays as it is, so that its number is not given again.
void collect_orphans(Monitor& m) {
  signalfd_siginfo ignored[8];
  while (read(m.signals, ignored, sizeof ignored) > 0) {
  }
  for (;;) {
    siginfo_t info = {};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0 || info.si_pid == m.task.pid)
      return;
    waitpid(info.si_pid, nullptr, WNOHANG);
  }
}

void loop(Monitor& m) {
  for (;;) {
    pollfd watched[5 + Attach::kClientsMax] = {{m.task.pidfd, POLLIN, 0},
                                               {m.task.out, POLLIN, 0},
                                               {m.task.err, POLLIN, 0},
                                               {m.timer, POLLIN, 0},
                                               {m.signals, POLLIN, 0}};
    int count = 5 + m.attach.add_to_poll(watched + 5);
    if (poll(watched, static_cast<nfds_t>(count), -1) < 0) continue;
    if (watched[1].revents != 0) pump(m, m.task.out, 1);
    if (watched[2].revents != 0) pump(m, m.task.err, 2);
    if (watched[3].revents != 0) check_lease(m);
    if (watched[4].revents != 0) collect_orphans(m);
    m.attach.handle(watched + 5, count - 5, m.task.in, m.task.tty ? m.task.out : -1);
    if (watched[0].revents != 0) return;
  }
}

void write_exit(Monitor& m, int code) {
  bool oom = m.groups.oom >= 0 && field_of_file(m.groups.oom, "oom_kill") > 0;
  Buffer<1024> text;
  text.add("{\"exit_code\":").add_number(code).add(",\"oom_killed\":").add(oom ? "true" : "false");
  text.add(",\"lease_expired\":").add(m.lease_expired ? "true" : "false");
  text.add(",\"finished_ns\":").add_number(clock_ns(CLOCK_REALTIME)).add(",\"reason\":\"");
  if (m.lease_expired)
    text.add("the worker's lease ended and the task's on_disconnect says to stop then");
  else if (oom)
    text.add("killed for using more memory than its limit");
  text.add("\"}");
  write_file("exit.json", text.data, text.size);
}

// A runtime forks twice: its inner process may still be the task's parent when the outer one has ended, and the task
// itself too. Then the task comes to us, its subreaper, a moment later.
int exit_code_of(const Monitor& m) {
  for (int tries = 0; tries < 5000; ++tries) {
    siginfo_t info = {};
    if (waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(m.task.pidfd), &info, WEXITED | WNOWAIT) == 0) {
      return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    }
    timespec pause = {0, 1'000'000};
    nanosleep(&pause, nullptr);
  }
  return 255;
}

int finish(Monitor& m) {
  int code = exit_code_of(m);
  if (m.task.init_pid > 0) kill(m.task.init_pid, SIGKILL);
  kill_groups(m.config, m.groups);
  int* const ends[] = {&m.task.out, &m.task.err};
  for (int* fd : ends) {
    if (*fd < 0) continue;
    fcntl(*fd, F_SETFL, O_NONBLOCK);
    while (*fd >= 0 && pump(m, *fd, fd == &m.task.out ? 1 : 2)) {
    }
  }
  m.logs.finish();
  write_exit(m, code);
  remove_groups(m.groups);
  return 0;
}

void write_handle(const Monitor& m) {
  Buffer<512> text;
  text.add("{\"v\":1,\"monitor\":").add_number(getpid()).add(",\"pid\":").add_number(m.task.pid);
  text.add(",\"started_ns\":").add_number(clock_ns(CLOCK_REALTIME)).add('}');
  write_file("handle.json", text.data, text.size);
}

bool load(Config& config, int fd, Problem& out) {
  uint64_t size = 0;
  char* data = read_whole(fd, &size);
  close(fd);
  const char* error = nullptr;
  if (data == nullptr) return problem(out, 'r', "read monitor.conf");
  if (!parse_config(data, size, config, &error)) return problem(out, 'r', "monitor.conf:", error, false);
  return true;
}

bool prepare(Monitor& m, Problem& out) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  const int ignored[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGQUIT};
  for (int number : ignored) signal(number, SIG_IGN);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  m.signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  m.timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
  if (m.signals < 0 || m.timer < 0) return problem(out, 'r', "make signalfd and timerfd");
  int fd = open("monitor.conf", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return problem(out, 'r', "open monitor.conf");
  if (!load(m.config, fd, out)) return false;
  if (m.config.log != nullptr) m.logs.start(m.config.log, m.config.log_bytes, m.config.log_files);
  open_lease(m);
  if ((m.config.tty || m.config.stdin_open) && !m.attach.listen_on("attach.sock"))
    return problem(out, 'r', "listen on attach.sock");
  return open_groups(m.config, m.groups, out) && enter_network(m.config, out) && make_mounts(m.config, out);
}

// A start that hung over the end of its lease must not come to life under the next one.
bool in_time(const Monitor& m, Problem& out) {
  if (m.config.start_by_ns == 0 || clock_ns(CLOCK_BOOTTIME) < m.config.start_by_ns) return true;
  return problem(out, 'r', "start before the worker's lease ended", nullptr, false);
}

int run(const char* run_dir) {
  static Monitor m;
  static Problem why;
  fcntl(kLockFd, F_SETFD, FD_CLOEXEC);
  fcntl(kReportFd, F_SETFD, FD_CLOEXEC);
  close_range(5, ~0u, 0);
  Buffer<32> own;
  own.add_number(getpid());
  (void)!pwrite(kLockFd, own.data, own.size, 0);
  int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0) {
    write_all(score, "-900", 4);  // refused without CAP_SYS_RESOURCE; then it is as likely a victim as any
    close(score);
  }
  bool started = chdir(run_dir) == 0 ? prepare(m, why) : problem(why, 'r', "go to", run_dir);
  started = started && in_time(m, why);
  started = started && (m.config.process ? launch_process(m.config, m.groups, m.task, why)
                                         : launch_runtime(m.config, m.groups, m.task, why));
  started = started && in_time(m, why);
  if (!started) {
    kill_groups(m.config, m.groups);
    remove_groups(m.groups);
    report(why.kind, why.message.data, why.message.size);
    return 1;
  }
  write_after(m.groups);
  write_handle(m);
  report('R', "", 0);
  if (m.lease != nullptr) arm(m, 1);
  loop(m);
  return finish(m);
}

void enter_failed(const Problem& why) {
  write_all(2, why.message.data, why.message.size);
  write_all(2, "\n", 1);
}

// exec: a runtime's `exec` in the task's control group, or a command of our own in a process's namespaces.
int enter() {
  static Config config;
  static Groups groups;
  static Problem why;
  if (!load(config, 3, why) || !open_groups(config, groups, why)) return enter_failed(why), 126;
  signal(SIGPIPE, SIG_DFL);
  if (!config.process) {
    bool ready = config.unmount.count == 0 || make_mounts(config, why);
    if (ready && config.join && !join_groups(groups)) ready = problem(why, 'f', "join the cgroup");
    if (ready) {
      if (config.tty) ioctl(0, TIOCSCTTY, 0);  // so that the runtime hears of a resize
      execve(config.argv.items[0], const_cast<char**>(config.argv.items), const_cast<char**>(config.env.items));
      problem(why, 'f', "run", config.argv.items[0]);
    }
    return enter_failed(why), 126;
  }
  int target = static_cast<int>(syscall(SYS_pidfd_open, config.enter_pid, 0));
  if (target < 0 || setns(target, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) != 0) {
    problem(why, 'f', "enter the task's namespaces");
    return enter_failed(why), 126;
  }
  close(target);
  int pid = fork();  // a pid namespace takes effect on children
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (config.tty) {
      setsid();
      ioctl(0, TIOCSCTTY, 0);
    }
    if (!join_groups(groups))
      problem(why, 'f', "join the cgroup");
    else
      become(config, why);
    enter_failed(why);
    _exit(why.message.size > 0 ? 127 : 126);
  }
  for (int fd = 0; fd < 3; ++fd) close(fd);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace
}  // namespace monitor

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "run") == 0) return monitor::run(argv[2]);
  if (argc == 2 && strcmp(argv[1], "enter") == 0) return monitor::enter();
  if (argc == 2 && strcmp(argv[1], "version") == 0) return write(1, "1\n", 2) == 2 ? 0 : 1;
  static const char kUsage[] = "tutti-monitor is started by a tutti worker\n";
  return write(2, kUsage, sizeof kUsage - 1) > 0 ? 2 : 2;
}
