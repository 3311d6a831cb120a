#pragma once
// Control groups: one interface over version 1, version 2 and the hybrid of both.
//
//   v2       everything in the one tree; controllers handed down with cgroup.subtree_control
//   v1       one folder for each controller
//   hybrid   limits by v1; kill, freeze, "is anybody in it" and CPU time by the v2 tree beside it, which has no
//   controllers
//
// A group is named by its path below the root ("tutti-pool/node/instance-task"). All calls may be repeated, and are
// fine with a group that is not (any more) there. Thread-safe: no state but the mount points found by detect().

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tutti::sys {

enum class CgroupLayout : uint8_t { v1, v2, hybrid };
std::string_view cgroup_layout_name(CgroupLayout layout);

// 0 or empty: no such limit.
struct CgroupLimits {
  int64_t cpu_shares_millicores = 0;  // its part when the processor is contended
  int64_t cpu_quota_millicores = 0;   // never more than this
  bool defer_cpu = false;             // create() leaves shares and quota to who writes cpu_settings() later
  std::string cpuset;                 // "0-3,8"
  int64_t memory_bytes = 0;           // hard, without swap
  int64_t pids = 0;
  std::string io_device;  // "253:0", a whole disk
  int64_t io_read_bytes_per_second = 0;
  int64_t io_write_bytes_per_second = 0;
  bool allow_tun = false;  // besides those: /dev/net/tun, which runc gives to every container and fails without
  bool only_harmless_devices = false;  // null, zero, full, random, urandom, tty, ptmx, pts; making nodes stays allowed
};

struct CgroupStats {
  int64_t cpu_ns = 0;
  int64_t memory_bytes = 0;
  int64_t pids = 0;
};

class Cgroups {
 public:
  virtual ~Cgroups() = default;
  virtual CgroupLayout layout() const = 0;

  // Makes the group and its parents and sets the limits; again: sets them anew. A limit that this machine cannot
  // enforce is `unsupported`, and names the controller that is missing; io limits alone are left out silently.
  virtual Status create(const std::string& path, const CgroupLimits& limits) = 0;
  // File and value, in order, of shares and quota. Written once a task runs, they do not slow down its start.
  virtual std::vector<std::pair<std::string, std::string>> cpu_settings(const std::string& path,
                                                                        const CgroupLimits& limits) const = 0;
  // The files to write "0" into for a process that moves itself into the group, in order.
  virtual std::vector<std::string> join_files(const std::string& path) const = 0;
  // The group's folders, for whoever removes it without us.
  virtual std::vector<std::string> folders(const std::string& path) const = 0;
  virtual Result<CgroupStats> stats(const std::string& path) const = 0;
  // Returns when all have stopped (or go on); `timeout` after 2 s.
  virtual Status freeze(const std::string& path, bool frozen) = 0;
  // The number of processes that were killed for want of memory in it.
  virtual int64_t oom_kills(const std::string& path) const = 0;
  // Processes in it and below it.
  virtual std::vector<int> processes(const std::string& path) const = 0;
  // SIGKILL to one and all, thawed if need be, until none is left; `timeout` names the survivors.
  virtual Status kill_all(const std::string& path, Duration timeout) = 0;
  // Removes the group and those below it, trying again while the kernel is not done with it.
  virtual Status remove(const std::string& path, Duration timeout) = 0;

  // `unsupported` where no usable cgroups are mounted, saying what is missing.
  static Result<std::unique_ptr<Cgroups>> detect();
};

// "253:0" of the whole disk that holds `path`; empty where there is none (tmpfs, network).
std::string io_device_of(const std::string& path);

}  // namespace tutti::sys
