#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch.h"

namespace monitor {
namespace {

// Our copies of the network namespaces' mounts would keep other instances' namespaces alive after their end.
void drop_foreign_namespaces() {
  int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  uint64_t size = 0;
  char* text = read_whole(fd, &size);
  close(fd);
  if (text == nullptr) return;
  for (char* line = text; line != nullptr && *line != '\0';) {
    char* next = strchr(line, '\n');
    if (next != nullptr) *next++ = '\0';
    if (strstr(line, " - nsfs ") != nullptr) {
      char* point = line;
      for (int field = 0; field < 4 && point != nullptr; ++field) {
        point = strchr(point, ' ');
        if (point != nullptr) ++point;
      }
      if (point != nullptr) {
        char* end = strchr(point, ' ');
        if (end != nullptr) *end = '\0';
        umount2(point, MNT_DETACH);
      }
    }
    line = next;
  }
  free(text);
}

bool configure(int fs, const char* key, const char* value) {
  return syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0) == 0;
}

// Since Linux 6.8 each layer is a parameter of its own: no length limit, no characters to escape.
bool mount_overlay_by_fs(const Config& config) {
  int fs = static_cast<int>(syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC));
  if (fs < 0) return false;
  bool ready = true;
  for (int i = 0; i < config.lower.count && ready; ++i) ready = configure(fs, "lowerdir+", config.lower.items[i]);
  if (ready && config.upper != nullptr) {
    ready = configure(fs, "upperdir", config.upper) && configure(fs, "workdir", config.work);
  }
  ready = ready && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
  int mount_fd = ready ? static_cast<int>(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0)) : -1;
  bool done =
      mount_fd >= 0 && syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, config.target, MOVE_MOUNT_F_EMPTY_PATH) == 0;
  if (mount_fd >= 0) close(mount_fd);
  close(fs);
  return done;
}

bool mount_overlay_by_text(const Config& config) {
  char options[4096];
  Text text(options, sizeof options - 1);
  text.add("lowerdir=");
  for (int i = 0; i < config.lower.count; ++i) text.add(i > 0 ? ":" : "").add(config.lower.items[i]);
  if (config.upper != nullptr) text.add(",upperdir=").add(config.upper).add(",workdir=").add(config.work);
  if (text.size >= sizeof options - 1) {
    errno = E2BIG;
    return false;
  }
  options[text.size] = '\0';
  return mount("overlay", config.target, "overlay", 0, options) == 0;
}

bool bind_all(const Config& config, Problem& out) {
  for (int i = 0; i < config.bind.count; ++i) {
    char* source = strdup(config.bind.items[i]);
    char* target = strchr(source, '\x1f');
    if (target == nullptr) return problem(out, 'x', "a bind without target:", source, false);
    *target++ = '\0';
    char* mode = strchr(target, '\x1f');
    if (mode != nullptr) *mode++ = '\0';
    if (mount(source, target, nullptr, MS_BIND | MS_REC, nullptr) != 0) return problem(out, 'f', "bind to", target);
    if (mode != nullptr && strcmp(mode, "ro") == 0 &&
        mount(nullptr, target, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
      return problem(out, 'f', "make read-only", target);
    }
    free(source);
  }
  return true;
}

}  // namespace

bool enter_network(const Config& config, Problem& out) {
  if (config.netns == nullptr) return true;
  int fd = open(config.netns, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return problem(out, 'r', "open network namespace", config.netns);
  bool entered = setns(fd, CLONE_NEWNET) == 0;
  if (!entered) problem(out, 'r', "enter network namespace", config.netns);
  close(fd);
  return entered;
}

bool make_mounts(const Config& config, Problem& out) {
  if (unshare(CLONE_NEWNS) != 0) return problem(out, 'r', "make a mount namespace");
  if (mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) return problem(out, 'r', "make mounts private");
  drop_foreign_namespaces();
  for (int i = 0; i < config.unmount.count; ++i) umount2(config.unmount.items[i], MNT_DETACH);
  if (config.lower.count > 0 && !mount_overlay_by_fs(config) && !mount_overlay_by_text(config)) {
    return problem(out, 'r', "mount the overlay at", config.target);
  }
  return bind_all(config, out);
}

}  // namespace monitor
