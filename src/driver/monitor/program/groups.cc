#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launch.h"

namespace monitor {

bool open_groups(const Config& config, Groups& groups, Problem& out) {
  for (int i = 0; i < config.cgroup.count && groups.count < Groups::kMax; ++i) {
    const char* folder = config.cgroup.items[i];
    const char* slash = strrchr(folder, '/');
    if (slash == nullptr) return problem(out, 'x', "not an absolute cgroup:", folder, false);
    Buffer<4096> path;
    path.add(folder, static_cast<size_t>(slash - folder)).add('\0');
    int at = groups.count;
    groups.parent[at] = open(path.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    groups.name[at] = slash + 1;
    path.size = 0;
    path.add(slash + 1).add("/cgroup.procs").add('\0');
    groups.join[at] = groups.parent[at] < 0 ? -1 : openat(groups.parent[at], path.data, O_RDWR | O_CLOEXEC);
    if (groups.join[at] < 0) return problem(out, 'r', "open cgroup", folder);
    ++groups.count;
  }
  for (int i = 0; i < config.after.count && groups.after_count < Groups::kMax; ++i) {
    Buffer<4096> path;
    const char* separator = strchr(config.after.items[i], '\x1f');
    if (separator == nullptr) return problem(out, 'x', "no value for", config.after.items[i], false);
    path.add(config.after.items[i], static_cast<size_t>(separator - config.after.items[i])).add('\0');
    int fd = open(path.data, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return problem(out, 'r', "open", path.data);
    groups.after[groups.after_count] = fd;
    groups.after_value[groups.after_count++] = separator + 1;
  }
  if (config.kill_file != nullptr) groups.kill = open(config.kill_file, O_WRONLY | O_CLOEXEC);
  if (config.freeze_file != nullptr) groups.freeze = open(config.freeze_file, O_WRONLY | O_CLOEXEC);
  if (config.oom_file != nullptr) groups.oom = open(config.oom_file, O_RDONLY | O_CLOEXEC);
  return true;
}

bool join_groups(const Groups& groups) {
  for (int i = 0; i < groups.count; ++i) {
    if (!write_all(groups.join[i], "0", 1)) return false;
  }
  return true;
}

void write_after(const Groups& groups) {
  for (int i = 0; i < groups.after_count; ++i)
    write_all(groups.after[i], groups.after_value[i], strlen(groups.after_value[i]));
}

void kill_groups(const Config& config, const Groups& groups) {
  if (groups.kill >= 0) write_all(groups.kill, "1", 1);
  for (int i = 0; i < groups.count; ++i) {
    char text[16 * 1024];
    ssize_t n = pread(groups.join[i], text, sizeof text - 1, 0);
    if (n <= 0) continue;
    text[n] = '\0';
    for (char* at = text; *at != '\0';) {
      char* end = at;
      long pid = strtol(at, &end, 10);
      if (end == at) break;
      if (pid > 1) kill(static_cast<pid_t>(pid), SIGKILL);
      at = *end == '\n' ? end + 1 : end;
    }
  }
  // Version 1 delivers the kill when thawed.
  if (groups.freeze >= 0 && config.thaw_word != nullptr)
    write_all(groups.freeze, config.thaw_word, strlen(config.thaw_word));
}

// What does not go within 50 ms is left to the driver's destroy().
void remove_groups(const Groups& groups) {
  for (int i = 0; i < groups.count; ++i) {
    for (int tries = 0; tries < 50; ++tries) {
      if (unlinkat(groups.parent[i], groups.name[i], AT_REMOVEDIR) == 0 || errno != EBUSY) break;
      timespec pause = {0, 1'000'000};
      nanosleep(&pause, nullptr);
    }
  }
}

}  // namespace monitor
