#include "sys/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace tutti::sys {
namespace {

int64_t monotonic_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

// posix_spawn's tables, freed whatever happens.
struct SpawnTables {
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  SpawnTables() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnTables() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnTables(const SpawnTables&) = delete;
  SpawnTables& operator=(const SpawnTables&) = delete;
};

std::vector<char*> pointers_of(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<int> spawn(const SpawnOptions& options) {
  if (options.argv.empty()) return fail(ErrorCode::invalid, "nothing to run: the command is empty");
  SpawnTables tables;
  // Sources go out of the way first, so that no dup2 overwrites one that is still needed.
  std::vector<UniqueFd> parked;
  std::array<bool, 3> named{};
  for (const auto& [ours, theirs] : options.fds) {
    UniqueFd high(fcntl(ours, F_DUPFD_CLOEXEC, 64));
    if (!high) return fail_errno("duplicate descriptor for " + options.argv[0], errno);
    posix_spawn_file_actions_adddup2(&tables.actions, high.get(), theirs);
    if (theirs >= 0 && theirs < 3) named[static_cast<size_t>(theirs)] = true;
    parked.push_back(std::move(high));
  }
  for (int fd = 0; fd < 3; ++fd) {
    if (!named[static_cast<size_t>(fd)]) posix_spawn_file_actions_addopen(&tables.actions, fd, "/dev/null", O_RDWR, 0);
  }
  if (!options.cwd.empty()) posix_spawn_file_actions_addchdir_np(&tables.actions, options.cwd.c_str());

  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&tables.attributes, &none);
  posix_spawnattr_setsigdefault(&tables.attributes, &all);
  int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (options.new_session) flags |= POSIX_SPAWN_SETSID;
  posix_spawnattr_setflags(&tables.attributes, static_cast<short>(flags));

  std::vector<char*> argv = pointers_of(options.argv);
  std::vector<char*> env = pointers_of(options.env);
  pid_t pid = 0;
  int error = posix_spawnp(&pid, argv[0], &tables.actions, &tables.attributes, argv.data(),
                           options.inherit_env ? environ : env.data());
  if (error != 0) return fail_errno("run " + options.argv[0], error);
  return pid;
}

Result<uint64_t> raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_errno("read the limit of open files", errno);
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_errno("raise the limit of open files", errno);
  return limit.rlim_cur;
}

Result<UniqueFd> pidfd_open(int pid) {
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) {
    if (errno == ESRCH) return fail(ErrorCode::not_found, "no process " + std::to_string(pid));
    return fail_errno("pidfd_open " + std::to_string(pid), errno);
  }
  return fd;
}

Status pidfd_signal(int pidfd, int signal) {
  if (syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return {};
  if (errno == ESRCH) return fail(ErrorCode::not_found, "the process has ended");
  return fail_errno("send signal " + std::to_string(signal), errno);
}

bool pidfd_wait(int pidfd, Duration timeout) {
  int64_t deadline = monotonic_ns() + timeout.ns;
  for (;;) {
    int64_t left = deadline - monotonic_ns();
    pollfd watched{pidfd, POLLIN, 0};
    int n = poll(&watched, 1, left <= 0 ? 0 : static_cast<int>((left + 999'999) / 1'000'000));
    if (n > 0) return true;
    if (left <= 0) return false;
  }
}

std::optional<int> reap(int pid) {
  int status = 0;
  for (;;) {
    pid_t got = waitpid(pid, &status, 0);
    if (got == pid) break;
    if (got < 0 && errno != EINTR) return std::nullopt;
  }
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  return WEXITSTATUS(status);
}

Result<RunResult> run_program(SpawnOptions options, Duration timeout) {
  constexpr size_t kOutputMax = 1u << 20;
  TUTTI_TRY(Pipe pipe, make_pipe());
  options.fds.emplace_back(pipe.write.get(), 1);
  options.fds.emplace_back(pipe.write.get(), 2);
  TUTTI_TRY(int pid, spawn(options));
  pipe.write.reset();
  auto pidfd = pidfd_open(pid);
  RunResult result;
  int64_t deadline = monotonic_ns() + timeout.ns;
  bool timed_out = false;
  for (;;) {
    int64_t left = deadline - monotonic_ns();
    if (left <= 0) {
      timed_out = true;
      break;
    }
    // The process's end counts, not the pipe's: a grandchild may keep the pipe open.
    pollfd watched[2] = {{pipe.read.get(), POLLIN, 0}, {pidfd ? pidfd->get() : -1, POLLIN, 0}};
    int n = poll(watched, 2, static_cast<int>(left / 1'000'000) + 1);
    if (n < 0 && errno != EINTR) break;
    if (watched[0].revents != 0) {
      char buffer[8192];
      ssize_t got = read(pipe.read.get(), buffer, sizeof buffer);
      if (got <= 0) {
        if (pidfd && !pidfd_wait(pidfd->get(), Duration{deadline - monotonic_ns()})) timed_out = true;
        break;
      }
      if (result.output.size() < kOutputMax) result.output.append(buffer, static_cast<size_t>(got));
      continue;
    }
    if (watched[1].revents != 0) break;
  }
  if (timed_out) kill(pid, SIGKILL);
  result.exit_code = reap(pid).value_or(-1);
  if (timed_out) {
    return fail(ErrorCode::timeout,
                options.argv[0] + " did not finish in " + format_duration(timeout) + ": " + result.output);
  }
  return result;
}

Result<int> parse_signal(std::string_view name) {
  std::string_view word = name.starts_with("SIG") ? name.substr(3) : name;
  int number = 0;
  auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error == std::errc() && end == word.data() + word.size() && number > 0 && number < NSIG) return number;
  std::string upper(word);
  for (int i = 1; i < NSIG; ++i) {
    const char* known = sigabbrev_np(i);
    if (known != nullptr && upper == known) return i;
  }
  return fail(ErrorCode::invalid, "unknown signal '" + std::string(name) + "': write a name like TERM or a number");
}

Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make pipe", errno);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::string find_program(std::string_view name) {
  std::string path = secure_getenv("PATH") != nullptr ? secure_getenv("PATH") : "";
  path += ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find(':', at), path.size());
    if (end > at) {
      std::string candidate = path.substr(at, end - at) + "/" + std::string(name);
      if (access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    at = end + 1;
  }
  return {};
}

}  // namespace tutti::sys
