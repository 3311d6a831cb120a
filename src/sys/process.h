#pragma once
// Processes: start one with exactly the fds it shall have, name it by pidfd, signal it, wait for it.
// Thread-safe. Descriptors here are close-on-exec, so a child gets what `fds` lists and nothing else.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "sys/fd.h"

namespace tutti::sys {

struct SpawnOptions {
  std::vector<std::string> argv;  // argv[0] is a path, or a name looked up in PATH
  std::vector<std::string> env;   // "NAME=value"; the whole environment
  bool inherit_env = false;       // this process's environment, `env` is left out
  std::string cwd;
  std::vector<std::pair<int, int>> fds;  // (ours, the child's); 0, 1 and 2 are /dev/null where not named
  bool new_session = false;
};
// The pid of a child that the caller must reap (reap(), Reaper or wait_exit()).
Result<int> spawn(const SpawnOptions& options);

Result<UniqueFd> pidfd_open(int pid);
// `not_found` when it has ended.
Status pidfd_signal(int pidfd, int signal);
// Until the process ended or `timeout` passed; true: ended. Also for processes that are not children.
bool pidfd_wait(int pidfd, Duration timeout);
// Collects a child; 128 + n after signal n. Blocks. nullopt when it is not ours.
std::optional<int> reap(int pid);

struct RunResult {
  int exit_code = 0;
  std::string output;  // stdout and stderr together, at most 1 MiB
};
// Runs to the end and gathers what it says; killed after `timeout`, which is an error.
Result<RunResult> run_program(SpawnOptions options, Duration timeout);

// "TERM", "SIGTERM" and "15" are 15. `invalid` for anything else.
Result<int> parse_signal(std::string_view name);

// How many descriptors this process may have from now on: as many as the kernel lets it without asking anybody.
// Children inherit that; it is for processes that start none whose programs could mind.
Result<uint64_t> raise_descriptor_limit();

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
Result<Pipe> make_pipe();

// The path of a program in PATH (or in the usual places a service's PATH leaves out); empty if there is none.
std::string find_program(std::string_view name);

}  // namespace tutti::sys
