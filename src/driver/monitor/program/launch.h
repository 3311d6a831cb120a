#pragma once
// How the monitor gets its task running: descriptors that its new mount namespace would hide, the namespaces, the
// overlay, and then either the OCI runtime or the process itself.

#include "config.h"
#include "util.h"

namespace monitor {

struct Launched {
  int pid = 0;  // the task; stays unreaped (a zombie) until the monitor ends, so that it means nothing else
  int pidfd = -1;
  int init_pid = 0;  // pid 1 of a process's own pid namespace
  int out = -1;      // read ends, or the terminal
  int err = -1;
  int in = -1;  // write end; −1 without stdin_open
  bool tty = false;
};

// Opened before unshare(): folders of control groups by their parent, files to write.
struct Groups {
  static constexpr int kMax = 16;
  int count = 0;
  int join[kMax];
  int parent[kMax];
  const char* name[kMax];
  int kill = -1;
  int freeze = -1;
  int oom = -1;
  int after_count = 0;
  int after[kMax];
  const char* after_value[kMax];
};

bool open_groups(const Config& config, Groups& groups, Problem& out);
void kill_groups(const Config& config, const Groups& groups);
void remove_groups(const Groups& groups);
bool join_groups(const Groups& groups);
void write_after(const Groups& groups);

bool enter_network(const Config& config, Problem& out);
bool make_mounts(const Config& config, Problem& out);
bool launch_runtime(const Config& config, const Groups& groups, Launched& task, Problem& out);
bool launch_process(const Config& config, const Groups& groups, Launched& task, Problem& out);

// In a child that is about to become the task: limits, ids, capabilities, then exec. Returns only with an error.
void become(const Config& config, Problem& out);

}  // namespace monitor
