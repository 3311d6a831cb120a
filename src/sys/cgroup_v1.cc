// cgroup version 1, alone or beside a version 2 tree without controllers (hybrid).

#include <algorithm>

#include "sys/cgroup_internal.h"
#include "sys/file.h"

namespace tutti::sys::cgroup {
namespace {

constexpr std::string_view kHarmlessDevices[] = {"c *:* m",   "b *:* m",   "c 1:3 rwm",  "c 1:5 rwm",
                                                 "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",  "c 5:0 rwm",
                                                 "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"};

class CgroupsV1 final : public Cgroups {
 public:
  CgroupsV1(std::map<std::string, std::string> controllers, std::string unified)
      : controllers_(std::move(controllers)), unified_(std::move(unified)) {}

  CgroupLayout layout() const override { return unified_.empty() ? CgroupLayout::v1 : CgroupLayout::hybrid; }

  Status create(const std::string& path, const CgroupLimits& limits) override {
    if (!is_below_root(path)) return fail(ErrorCode::invalid, "not a cgroup path: '" + path + "'");
    for (const std::string& root : roots_for(limits)) TUTTI_CHECK(make_group(root, path));
    if (!limits.defer_cpu) {
      for (const auto& [file, value] : cpu_settings(path, limits)) TUTTI_CHECK(write_existing(file, value));
    }
    if (limits.pids > 0) TUTTI_CHECK(set("pids", path, "pids.max", std::to_string(limits.pids)));
    if (limits.memory_bytes > 0) TUTTI_CHECK(set_memory(path, limits.memory_bytes));
    if (!limits.cpuset.empty()) TUTTI_CHECK(set_cpuset(path, limits.cpuset));
    if (limits.only_harmless_devices) {
      TUTTI_CHECK(set("devices", path, "devices.deny", "a"));
      for (std::string_view rule : kHarmlessDevices) TUTTI_CHECK(set("devices", path, "devices.allow", rule));
      if (limits.allow_tun) TUTTI_CHECK(set("devices", path, "devices.allow", "c 10:200 rwm"));
    }
    if (!limits.io_device.empty()) set_io(path, limits);
    return {};
  }

  std::vector<std::pair<std::string, std::string>> cpu_settings(const std::string& path,
                                                                const CgroupLimits& limits) const override {
    std::vector<std::pair<std::string, std::string>> out;
    const std::string base = folder("cpu", path) + "/cpu.";
    if (limits.cpu_shares_millicores > 0)
      out.emplace_back(base + "shares", std::to_string(shares_of(limits.cpu_shares_millicores)));
    if (limits.cpu_quota_millicores > 0) {
      out.emplace_back(base + "cfs_period_us", std::to_string(kQuotaPeriodUs));
      out.emplace_back(base + "cfs_quota_us", std::to_string(quota_us_of(limits.cpu_quota_millicores)));
    }
    return out;
  }

  std::vector<std::string> join_files(const std::string& path) const override {
    std::vector<std::string> out;
    for (const std::string& folder : folders(path)) out.push_back(folder + "/cgroup.procs");
    return out;
  }

  std::vector<std::string> folders(const std::string& path) const override {
    std::vector<std::string> out;
    for (const std::string& root : all_roots()) {
      if (exists(root + "/" + path)) out.push_back(root + "/" + path);
    }
    return out;
  }

  Result<CgroupStats> stats(const std::string& path) const override {
    if (!exists(folder("memory", path))) return fail(ErrorCode::not_found, "no cgroup " + path);
    CgroupStats out;
    if (!unified_.empty()) {
      out.cpu_ns = read_field(unified_ + "/" + path + "/cpu.stat", "usage_usec") * 1000;
    } else {
      out.cpu_ns = read_number(folder("cpuacct", path) + "/cpuacct.usage");
    }
    // What could be given back at once (inactive file cache) is not "used", as every other tool shows it.
    int64_t usage = read_number(folder("memory", path) + "/memory.usage_in_bytes");
    out.memory_bytes =
        std::max<int64_t>(usage - read_field(folder("memory", path) + "/memory.stat", "total_inactive_file"), 0);
    out.pids = read_number(folder("pids", path) + "/pids.current");
    return out;
  }

  Status freeze(const std::string& path, bool frozen) override {
    if (!unified_.empty()) return v2_freeze(unified_ + "/" + path, frozen);
    std::string file = folder("freezer", path) + "/freezer.state";
    int64_t deadline = monotonic_ms() + 2000;
    std::string_view wish = frozen ? "FROZEN" : "THAWED";
    for (;;) {
      TUTTI_CHECK(write_existing(file, wish));
      auto state = read_file(file);
      if (state && state->starts_with(wish)) return {};
      if (monotonic_ms() >= deadline) return fail(ErrorCode::timeout, file + " does not become " + std::string(wish));
      short_sleep();
    }
  }

  int64_t oom_kills(const std::string& path) const override {
    return read_field(folder("memory", path) + "/memory.oom_control", "oom_kill");
  }

  std::vector<int> processes(const std::string& path) const override {
    std::vector<int> out;
    for (const std::string& root : all_roots()) gather_processes(root + "/" + path, out);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  Status kill_all(const std::string& path, Duration timeout) override {
    std::vector<int> pids = processes(path);
    if (pids.empty()) return {};
    std::string kill_file;
    if (unified_.empty()) {
      // A frozen process takes its SIGKILL when it is thawed, not before.
      kill_listed(pids);
      if (exists(folder("freezer", path) + "/freezer.state"))
        (void)write_existing(folder("freezer", path) + "/freezer.state", "THAWED");
    } else if (exists(unified_ + "/" + path + "/cgroup.kill")) {
      // Once, for what is there; stragglers that are not in every tree yet are killed one by one.
      (void)write_existing(unified_ + "/" + path + "/cgroup.kill", "1");
    }
    return kill_until_empty([&] { return processes(path); }, kill_file, path, timeout);
  }

  Status remove(const std::string& path, Duration timeout) override {
    if (!is_below_root(path)) return fail(ErrorCode::invalid, "not a cgroup path: '" + path + "'");
    for (const std::string& root : all_roots()) TUTTI_CHECK(remove_group(root + "/" + path, timeout));
    return {};
  }

 private:
  std::string folder(const std::string& controller, const std::string& path) const {
    auto found = controllers_.find(controller);
    return found == controllers_.end() ? std::string("/nonexistent") : found->second + "/" + path;
  }

  // Each mount point once: controllers may share one.
  std::vector<std::string> all_roots() const {
    std::vector<std::string> out;
    for (const char* name : {"cpu", "cpuacct", "memory", "pids", "devices", "freezer", "cpuset", "blkio"}) {
      auto found = controllers_.find(name);
      if (found != controllers_.end() && std::find(out.begin(), out.end(), found->second) == out.end()) {
        out.push_back(found->second);
      }
    }
    if (!unified_.empty()) out.push_back(unified_);
    return out;
  }

  // Moving a process costs per tree, so only those that are needed get a group.
  std::vector<std::string> roots_for(const CgroupLimits& limits) const {
    std::vector<std::string> names = {"memory", "pids", "cpu"};
    if (limits.only_harmless_devices) names.push_back("devices");
    if (unified_.empty()) names.insert(names.end(), {"freezer", "cpuacct"});
    if (!limits.cpuset.empty()) names.push_back("cpuset");
    if (!limits.io_device.empty()) names.push_back("blkio");
    std::vector<std::string> out;
    for (const std::string& name : names) {
      auto found = controllers_.find(name);
      if (found != controllers_.end() && std::find(out.begin(), out.end(), found->second) == out.end()) {
        out.push_back(found->second);
      }
    }
    if (!unified_.empty()) out.push_back(unified_);
    return out;
  }

  Status set(const std::string& controller, const std::string& path, const std::string& file, std::string_view value) {
    if (!controllers_.contains(controller)) {
      return fail(ErrorCode::unsupported, "the cgroup controller " + controller + " is not mounted on this machine");
    }
    return write_existing(folder(controller, path) + "/" + file, value);
  }

  Status set_memory(const std::string& path, int64_t bytes) {
    std::string limit = folder("memory", path) + "/memory.limit_in_bytes";
    std::string with_swap = folder("memory", path) + "/memory.memsw.limit_in_bytes";
    std::string value = std::to_string(bytes);
    // memsw >= limit must hold at every moment: the order depends on whether the limit grows.
    bool grows = read_number(with_swap) < bytes;
    if (exists(with_swap) && grows) TUTTI_CHECK(write_existing(with_swap, value));
    TUTTI_CHECK(write_existing(limit, value));
    if (exists(with_swap) && !grows) TUTTI_CHECK(write_existing(with_swap, value));
    return {};
  }

  // Version 1 starts a cpuset empty, and a child cannot have what its parent has not.
  Status set_cpuset(const std::string& path, const std::string& cpus) {
    if (!controllers_.contains("cpuset"))
      return fail(ErrorCode::unsupported, "the cgroup controller cpuset is not mounted on this machine");
    const std::string& root = controllers_.at("cpuset");
    for (const char* file : {"cpuset.mems", "cpuset.cpus"}) {
      TUTTI_TRY(std::string value, read_file(root + "/" + file));
      for (size_t slash = path.find('/');; slash = path.find('/', slash + 1)) {
        std::string folder_file = root + "/" + path.substr(0, slash) + "/" + file;
        auto now = read_file(folder_file);
        if (!now || *now == "\n" || now->empty()) TUTTI_CHECK(write_existing(folder_file, value));
        if (slash == std::string::npos) break;
      }
    }
    return write_existing(root + "/" + path + "/cpuset.cpus", cpus);
  }

  void set_io(const std::string& path, const CgroupLimits& limits) {
    std::string base = folder("blkio", path) + "/blkio.throttle.";
    if (limits.io_read_bytes_per_second > 0) {
      (void)write_existing(base + "read_bps_device",
                           limits.io_device + " " + std::to_string(limits.io_read_bytes_per_second));
    }
    if (limits.io_write_bytes_per_second > 0) {
      (void)write_existing(base + "write_bps_device",
                           limits.io_device + " " + std::to_string(limits.io_write_bytes_per_second));
    }
  }

  std::map<std::string, std::string> controllers_;  // name → mount point
  std::string unified_;                             // empty: none
};

}  // namespace

std::unique_ptr<Cgroups> make_v1(std::map<std::string, std::string> controllers, std::string unified) {
  return std::make_unique<CgroupsV1>(std::move(controllers), std::move(unified));
}

}  // namespace tutti::sys::cgroup
