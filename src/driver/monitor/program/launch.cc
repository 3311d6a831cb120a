#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace monitor {
namespace {

constexpr int kRuntimeTimeoutMs = 60'000;
constexpr const char* kConsoleSocket = "console.sock";

struct Stdio {
  int child[3] = {-1, -1, -1};
};

// Pipes for a task without terminal; the child's ends in `stdio`.
bool make_stdio(const Config& config, Launched& task, Stdio& stdio, Problem& out) {
  int ends[2];
  if (config.stdin_open) {
    if (pipe2(ends, O_CLOEXEC) != 0) return problem(out, 'r', "make pipe");
    stdio.child[0] = ends[0];
    task.in = ends[1];
  } else {
    stdio.child[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
  if (pipe2(ends, O_CLOEXEC) != 0) return problem(out, 'r', "make pipe");
  task.out = ends[0];
  stdio.child[1] = ends[1];
  if (pipe2(ends, O_CLOEXEC) != 0) return problem(out, 'r', "make pipe");
  task.err = ends[0];
  stdio.child[2] = ends[1];
  return true;
}

void close_stdio(Stdio& stdio) {
  for (int i = 0; i < 3; ++i) {
    if (stdio.child[i] >= 0 && (i == 0 || stdio.child[i] != stdio.child[i - 1])) close(stdio.child[i]);
    stdio.child[i] = -1;
  }
}

void reset_signals() {
  sigset_t none;
  sigemptyset(&none);
  for (int i = 1; i < NSIG; ++i) signal(i, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// A child is told to be an ordinary victim again, and that it ends with us until it has become somebody else.
void begin_child(const Stdio& stdio) {
  for (int i = 0; i < 3; ++i) {
    if (stdio.child[i] >= 0) dup2(stdio.child[i], i);
  }
  reset_signals();
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    write_all(fd, "0", 1);
    close(fd);
  }
}

int listen_console() {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, kConsoleSocket);
  unlink(kConsoleSocket);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd, 1) != 0) return -1;
  return fd;
}

// The runtime has connected and sent before it ended: nothing here waits.
int receive_console(int listener) {
  int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return -1;
  char data[4096];
  iovec part = {data, sizeof data};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  int master = -1;
  if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) >= 0) {
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_type == SCM_RIGHTS) memcpy(&master, CMSG_DATA(header), sizeof master);
  }
  close(fd);
  return master;
}

// The last of what the runtime says of its failure, from its log in the run folder.
void add_runtime_log(Problem& out) {
  int fd = open("runtime.log", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  char text[1024];
  off_t size = lseek(fd, 0, SEEK_END);
  if (size > 0) {
    ssize_t n = pread(fd, text, sizeof text,
                      size > static_cast<off_t>(sizeof text) ? size - static_cast<off_t>(sizeof text) : 0);
    while (n > 0 && text[n - 1] == '\n') --n;
    if (n > 0) out.message.add(": ").add(text, static_cast<size_t>(n));
  }
  close(fd);
}

bool wait_runtime(int pid, const char* name, Problem& out) {
  int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  pollfd watched = {pidfd, POLLIN, 0};
  int ready = 0;
  do ready = poll(&watched, 1, kRuntimeTimeoutMs);
  while (ready < 0 && errno == EINTR);
  if (pidfd >= 0) close(pidfd);
  if (ready == 0) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (ready == 0) return problem(out, 'f', name, "did not come back in 60 s and was killed", false);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  problem(out, 'f', name, "could not start the task", false);
  if (WIFSIGNALED(status)) out.message.add(" (signal ").add_number(WTERMSIG(status)).add(')');
  add_runtime_log(out);
  return false;
}

}  // namespace

bool launch_runtime(const Config& config, const Groups& groups, Launched& task, Problem& out) {
  Stdio stdio;
  int listener = -1;
  if (config.tty) {
    listener = listen_console();
    if (listener < 0) return problem(out, 'r', "listen on the console socket");
    for (int i = 0; i < 3; ++i) stdio.child[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
  } else if (!make_stdio(config, task, stdio, out)) {
    return false;
  }
  int pid = fork();
  if (pid < 0) return problem(out, 'r', "fork");
  if (pid == 0) {
    begin_child(stdio);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (config.join && !join_groups(groups)) _exit(125);
    execve(config.argv.items[0], const_cast<char**>(config.argv.items), const_cast<char**>(config.env.items));
    _exit(127);
  }
  close_stdio(stdio);
  if (!wait_runtime(pid, config.argv.items[0], out)) return false;
  int64_t started = number_of_file("task.pid");
  if (started <= 0) return problem(out, 'f', "the runtime wrote no process id", nullptr, false);
  task.pid = static_cast<int>(started);
  if (config.tty) {
    task.out = receive_console(listener);
    close(listener);
    unlink(kConsoleSocket);
    if (task.out < 0) return problem(out, 'f', "the runtime sent no terminal");
    task.tty = true;
  }
  task.pidfd = static_cast<int>(syscall(SYS_pidfd_open, task.pid, 0));
  if (task.pidfd < 0) return problem(out, 'f', "open the task's process");
  return true;
}

namespace {

// pid 1 of the task's namespace: collects orphans and ends when it is killed, taking all others with it.
[[noreturn]] void be_init() {
  reset_signals();
  prctl(PR_SET_NAME, "tutti-init");
  close_range(0, ~0u, 0);
  for (;;) {
    int status = 0;
    if (waitpid(-1, &status, 0) < 0) pause();
  }
}

bool open_terminal(Launched& task, Stdio& stdio, Problem& out) {
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  int unlocked = 0;
  if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) != 0) return problem(out, 'r', "open a terminal");
  int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0) return problem(out, 'r', "open a terminal's other end");
  task.out = master;
  task.tty = true;
  for (int& fd : stdio.child) fd = slave;
  return true;
}

void drop_capabilities(const Config& config) {
  for (int cap = 0; cap < 64; ++cap) {
    if ((config.capabilities >> cap & 1) == 0) prctl(PR_CAPBSET_DROP, cap);
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

int value_of(char letter) {
  if (letter >= 'A' && letter <= 'Z') return letter - 'A';
  if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
  if (letter >= '0' && letter <= '9') return letter - '0' + 52;
  return letter == '+' ? 62 : letter == '/' ? 63 : -1;
}

// While we still may: without CAP_SYS_ADMIN a filter needs no_new_privs, which the task may have refused.
bool install_filter(const char* base64) {
  size_t letters = strlen(base64);
  char* program = static_cast<char*>(malloc(letters));
  if (program == nullptr) return false;
  size_t size = 0;
  uint32_t bits = 0;
  for (size_t i = 0; i < letters && base64[i] != '='; ++i) {
    int value = value_of(base64[i]);
    if (value < 0) {
      errno = EINVAL;
      return false;
    }
    bits = bits << 6 | static_cast<uint32_t>(value);
    if (i % 4 != 0) program[size++] = static_cast<char>(bits >> (6 - 2 * (i % 4)));
  }
  sock_fprog filter = {static_cast<unsigned short>(size / sizeof(sock_filter)),
                       reinterpret_cast<sock_filter*>(program)};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

void limit_capabilities(const Config& config) {
  if (config.uid != 0) return;  // setuid() took them all
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return;
  for (int half = 0; half < 2; ++half) {
    uint32_t allowed = static_cast<uint32_t>(config.capabilities >> (32 * half));
    data[half].permitted &= allowed;
    data[half].effective &= allowed;
    data[half].inheritable = 0;
  }
  syscall(SYS_capset, &header, data);
}

const char* path_of(const Config& config) {
  for (int i = 0; i < config.env.count; ++i) {
    if (strncmp(config.env.items[i], "PATH=", 5) == 0) return config.env.items[i] + 5;
  }
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

void exec_in_path(const Config& config) {
  char** argv = const_cast<char**>(config.argv.items);
  char** env = const_cast<char**>(config.env.items);
  char* none[] = {nullptr};
  if (env == nullptr) env = none;
  if (strchr(argv[0], '/') != nullptr) {
    execve(argv[0], argv, env);
    return;
  }
  int best = ENOENT;
  for (const char* at = path_of(config); *at != '\0';) {
    size_t length = strcspn(at, ":");
    Buffer<4096> candidate;
    candidate.add(at, length).add('/').add(argv[0]).add('\0');
    execve(candidate.data, argv, env);
    if (errno != ENOENT && errno != ENOTDIR) best = errno;
    at += length + (at[length] == ':' ? 1 : 0);
  }
  errno = best;
}

}  // namespace

void become(const Config& config, Problem& out) {
  if (config.open_files > 0) {
    rlimit own;
    getrlimit(RLIMIT_NOFILE, &own);
    rlim_t wanted = static_cast<rlim_t>(config.open_files);
    if (wanted > own.rlim_max) wanted = own.rlim_max;  // a hard limit cannot be raised without CAP_SYS_RESOURCE
    rlimit limit = {wanted, wanted};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
      problem(out, 'f', "limit open files");
      return;
    }
  }
  if (config.cwd != nullptr && chdir(config.cwd) != 0) {
    problem(out, 'f', "go to the working directory", config.cwd);
    return;
  }
  drop_capabilities(config);
  if (config.seccomp != nullptr && !install_filter(config.seccomp)) {
    problem(out, 'f', "filter system calls");
    return;
  }
  gid_t groups[64];
  int count = 0;
  for (; count < config.groups.count && count < 64; ++count)
    groups[count] = static_cast<gid_t>(atoi(config.groups.items[count]));
  if (setgroups(static_cast<size_t>(count), groups) != 0 ||
      setresgid(static_cast<gid_t>(config.gid), static_cast<gid_t>(config.gid), static_cast<gid_t>(config.gid)) != 0 ||
      setresuid(static_cast<uid_t>(config.uid), static_cast<uid_t>(config.uid), static_cast<uid_t>(config.uid)) != 0) {
    problem(out, 'f', "change to the task's user");
    return;
  }
  limit_capabilities(config);
  if (config.no_new_privileges) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  exec_in_path(config);
  problem(out, 'f', "run", config.argv.items[0]);
}

bool launch_process(const Config& config, const Groups& groups, Launched& task, Problem& out) {
  Stdio stdio;
  if (!(config.tty ? open_terminal(task, stdio, out) : make_stdio(config, task, stdio, out))) return false;
  if (config.pid_namespace) {
    // The first child after this is pid 1 in there, the second is the task: both are ours to wait for.
    if (unshare(CLONE_NEWPID) != 0) return problem(out, 'r', "make a pid namespace");
    task.init_pid = fork();
    if (task.init_pid < 0) return problem(out, 'r', "fork");
    if (task.init_pid == 0) {
      join_groups(groups);
      be_init();
    }
  }
  int said[2];
  if (pipe2(said, O_CLOEXEC) != 0) return problem(out, 'r', "make pipe");
  int pid = fork();
  if (pid < 0) return problem(out, 'r', "fork");
  if (pid == 0) {
    begin_child(stdio);
    setsid();
    if (config.tty) ioctl(0, TIOCSCTTY, 0);
    Problem why;
    if (!join_groups(groups)) {
      problem(why, 'r', "join the cgroup");
    } else if (config.pid_namespace &&
               (unshare(CLONE_NEWNS) != 0 ||
                mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, nullptr) != 0)) {
      problem(why, 'f', "mount /proc");
    } else {
      become(config, why);
    }
    write_all(said[1], &why.kind, 1);
    write_all(said[1], why.message.data, why.message.size);
    _exit(127);
  }
  close_stdio(stdio);
  close(said[1]);
  char text[2048];
  ssize_t n = read(said[0], text, sizeof text);
  close(said[0]);
  if (n > 0) {  // exec closes the pipe without a word
    out.kind = text[0];
    out.message.add(text + 1, static_cast<size_t>(n - 1));
    if (task.init_pid > 0) kill(task.init_pid, SIGKILL);
    return false;
  }
  task.pid = pid;
  task.pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (task.pidfd < 0) return problem(out, 'f', "open the task's process");
  return true;
}

}  // namespace monitor
