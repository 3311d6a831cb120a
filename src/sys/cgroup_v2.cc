// cgroup version 2.

#include <algorithm>

#include "sys/cgroup_internal.h"
#include "sys/file.h"

namespace tutti::sys::cgroup {
namespace {

class CgroupsV2 final : public Cgroups {
 public:
  explicit CgroupsV2(std::string root) : root_(std::move(root)) {}
  CgroupLayout layout() const override { return CgroupLayout::v2; }

  Status create(const std::string& path, const CgroupLimits& limits) override {
    if (!is_below_root(path)) return fail(ErrorCode::invalid, "not a cgroup path: '" + path + "'");
    std::vector<std::string> needed;
    if (limits.cpu_shares_millicores > 0 || limits.cpu_quota_millicores > 0) needed.emplace_back("cpu");
    if (limits.memory_bytes > 0) needed.emplace_back("memory");
    if (limits.pids > 0) needed.emplace_back("pids");
    if (!limits.cpuset.empty()) needed.emplace_back("cpuset");
    if (!limits.io_device.empty()) needed.emplace_back("io");
    for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      TUTTI_CHECK(hand_down(root_ + (slash == path.find('/') ? "" : "/" + parent(path.substr(0, slash))), needed));
      TUTTI_CHECK(make_group(root_, path.substr(0, slash)));
    }
    TUTTI_CHECK(hand_down(path.find('/') == std::string::npos ? root_ : root_ + "/" + parent(path), needed));
    TUTTI_CHECK(make_group(root_, path));
    std::string folder = root_ + "/" + path + "/";
    if (!limits.defer_cpu) {
      for (const auto& [file, value] : cpu_settings(path, limits)) TUTTI_CHECK(write_existing(file, value));
    }
    if (limits.memory_bytes > 0) {
      TUTTI_CHECK(write_existing(folder + "memory.max", std::to_string(limits.memory_bytes)));
      if (exists(folder + "memory.swap.max")) TUTTI_CHECK(write_existing(folder + "memory.swap.max", "0"));
    }
    if (limits.pids > 0) TUTTI_CHECK(write_existing(folder + "pids.max", std::to_string(limits.pids)));
    if (!limits.cpuset.empty()) TUTTI_CHECK(write_existing(folder + "cpuset.cpus", limits.cpuset));
    if (!limits.io_device.empty()) set_io(folder, limits);
    if (limits.only_harmless_devices) TUTTI_CHECK(v2_restrict_devices(root_ + "/" + path));
    return {};
  }

  std::vector<std::pair<std::string, std::string>> cpu_settings(const std::string& path,
                                                                const CgroupLimits& limits) const override {
    std::vector<std::pair<std::string, std::string>> out;
    const std::string base = root_ + "/" + path + "/cpu.";
    if (limits.cpu_shares_millicores > 0)
      out.emplace_back(base + "weight", std::to_string(weight_of(limits.cpu_shares_millicores)));
    if (limits.cpu_quota_millicores > 0) {
      out.emplace_back(base + "max",
                       std::to_string(quota_us_of(limits.cpu_quota_millicores)) + " " + std::to_string(kQuotaPeriodUs));
    }
    return out;
  }

  std::vector<std::string> join_files(const std::string& path) const override {
    return {root_ + "/" + path + "/cgroup.procs"};
  }
  std::vector<std::string> folders(const std::string& path) const override { return {root_ + "/" + path}; }

  Result<CgroupStats> stats(const std::string& path) const override {
    std::string folder = root_ + "/" + path + "/";
    if (!exists(folder)) return fail(ErrorCode::not_found, "no cgroup " + path);
    CgroupStats out;
    out.cpu_ns = read_field(folder + "cpu.stat", "usage_usec") * 1000;
    int64_t usage = read_number(folder + "memory.current");
    out.memory_bytes = std::max<int64_t>(usage - read_field(folder + "memory.stat", "inactive_file"), 0);
    out.pids = read_number(folder + "pids.current");
    return out;
  }

  Status freeze(const std::string& path, bool frozen) override { return v2_freeze(root_ + "/" + path, frozen); }

  int64_t oom_kills(const std::string& path) const override {
    return read_field(root_ + "/" + path + "/memory.events", "oom_kill");
  }

  std::vector<int> processes(const std::string& path) const override {
    std::vector<int> out;
    gather_processes(root_ + "/" + path, out);
    return out;
  }

  Status kill_all(const std::string& path, Duration timeout) override {
    std::string folder = root_ + "/" + path;
    std::string kill_file = exists(folder + "/cgroup.kill") ? folder + "/cgroup.kill" : "";  // since Linux 5.14
    return kill_until_empty([&] { return processes(path); }, kill_file, path, timeout);
  }

  Status remove(const std::string& path, Duration timeout) override {
    if (!is_below_root(path)) return fail(ErrorCode::invalid, "not a cgroup path: '" + path + "'");
    return remove_group(root_ + "/" + path, timeout);
  }

 private:
  static std::string parent(const std::string& path) {
    size_t slash = path.rfind('/');
    return slash == std::string::npos ? std::string() : path.substr(0, slash);
  }

  // A child has a controller's files only when its parent passes the controller on.
  Status hand_down(const std::string& folder, const std::vector<std::string>& needed) const {
    std::string file = folder + "/cgroup.subtree_control";
    TUTTI_TRY(std::string enabled, read_file(file));
    for (const std::string& controller : needed) {
      if ((" " + enabled + " ").find(" " + controller + " ") != std::string::npos ||
          (" " + enabled).find(" " + controller + "\n") != std::string::npos) {
        continue;
      }
      if (Status done = write_existing(file, "+" + controller); !done) {
        if (controller == "io") continue;  // io limits are kept where the machine can
        return fail(ErrorCode::unsupported,
                    "the cgroup controller " + controller + " cannot be passed on in " + folder + " (" +
                        done.error().message +
                        "): let the worker's unit have Delegate=yes, and no process in that group");
      }
    }
    return {};
  }

  static void set_io(const std::string& folder, const CgroupLimits& limits) {
    std::string rule = limits.io_device;
    if (limits.io_read_bytes_per_second > 0) rule += " rbps=" + std::to_string(limits.io_read_bytes_per_second);
    if (limits.io_write_bytes_per_second > 0) rule += " wbps=" + std::to_string(limits.io_write_bytes_per_second);
    (void)write_existing(folder + "io.max", rule);
  }

  std::string root_;
};

}  // namespace

std::unique_ptr<Cgroups> make_v2(std::string root) {
  return std::make_unique<CgroupsV2>(std::move(root));
}

}  // namespace tutti::sys::cgroup
