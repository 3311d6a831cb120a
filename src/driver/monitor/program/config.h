#pragma once
// What the monitor is told: "key=value" records, each ended by a NUL byte, in one file (or on fd 3 for `enter`).
// Written by driver/monitor/config.h; unknown keys are refused, so that both always agree. The program links no C++
// library: lists are malloc'ed arrays that are never freed, as the process reads one configuration in its life.

#include <stdint.h>

namespace monitor {

struct List {
  const char** items = nullptr;  // ended by a null pointer
  int count = 0;
  void add(const char* item);
};

struct Bind {
  const char* source;
  const char* target;
  bool read_only;
};

struct Config {
  bool process = false;  // mode=process: fork and exec argv itself; else argv is a runtime's command line
  const char* netns = nullptr;
  List lower;  // overlay, top first; empty: none
  const char* upper = nullptr;
  const char* work = nullptr;
  const char* target = nullptr;     // where the overlay is mounted
  List unmount;                     // mounts that shall not be seen (the v2 tree of a hybrid machine)
  List bind;                        // source \x1f target \x1f ro|rw (process)
  List cgroup;                      // folders, to join in this order and to remove at the end
  const char* kill_file = nullptr;  // cgroup.kill
  const char* freeze_file = nullptr;
  const char* thaw_word = nullptr;
  const char* oom_file = nullptr;  // with a line "oom_kill N"
  List after;                      // file \x1f value: written once the task runs (its share of the processor)
  bool join = true;                // false: the runtime joins the groups itself
  List argv;
  List env;
  const char* cwd = nullptr;
  bool pid_namespace = false;
  int64_t uid = 0;
  int64_t gid = 0;
  List groups;
  bool no_new_privileges = true;
  uint64_t capabilities = ~0ull;
  const char* seccomp = nullptr;  // the filter of system calls, as the kernel's program in base64 (process)
  int64_t open_files = 0;
  const char* log = nullptr;  // path of the live log file
  int64_t log_bytes = 0;
  int64_t log_files = 1;
  bool tty = false;
  bool stdin_open = false;
  const char* lease = nullptr;  // lease page; null: none, or the task is kept
  int64_t lease_grace_ns = 0;
  int64_t start_by_ns = 0;  // CLOCK_BOOTTIME; 0: any time
  int64_t stop_signal = 15;
  int64_t stop_grace_ns = 0;
  int64_t enter_pid = 0;  // enter: whose namespaces
};

// False with a message on what is wrong. `data` stays referenced and must be writable and end with a NUL.
bool parse_config(char* data, uint64_t size, Config& config, const char** error);
// The whole file in malloc'ed memory with a NUL behind it; null on error.
char* read_whole(int fd, uint64_t* size);

}  // namespace monitor
