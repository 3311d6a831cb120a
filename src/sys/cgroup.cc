#include "sys/cgroup.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <sstream>

#include "sys/cgroup_internal.h"
#include "sys/file.h"

namespace tutti::sys {
namespace cgroup {
namespace {

constexpr unsigned kCgroup2Magic = 0x63677270;

std::vector<std::string> children_of(const std::string& folder) {
  std::vector<std::string> out;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return out;
  while (const dirent* entry = readdir(dir)) {
    std::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") out.push_back(folder + "/" + entry->d_name);
  }
  closedir(dir);
  return out;
}

}  // namespace

Status write_to(const std::string& file, std::string_view value) {
  return write_existing(file, value);
}

int64_t monotonic_ms() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1'000'000;
}

void short_sleep() {
  timespec t{0, 1'000'000};
  nanosleep(&t, nullptr);
}

void kill_listed(const std::vector<int>& pids) {
  for (int pid : pids) kill(pid, SIGKILL);
}

bool is_below_root(const std::string& path) {
  if (path.empty() || path.front() == '/') return false;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '/');) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

Status make_group(const std::string& root, const std::string& path) {
  return make_dirs(root + "/" + path);
}

void gather_processes(const std::string& folder, std::vector<int>& out) {
  auto text = read_file(folder + "/cgroup.procs");
  if (!text) return;
  std::istringstream lines(*text);
  for (int pid = 0; lines >> pid;) {
    if (pid > 0) out.push_back(pid);
  }
  for (const std::string& child : children_of(folder)) gather_processes(child, out);
}

Status remove_group(const std::string& folder, Duration timeout) {
  for (const std::string& child : children_of(folder)) TUTTI_CHECK(remove_group(child, timeout));
  int64_t deadline = monotonic_ms() + timeout.ms();
  while (rmdir(folder.c_str()) != 0 && errno != ENOENT) {
    if (errno != EBUSY || monotonic_ms() >= deadline) return fail_errno("remove cgroup " + folder, errno);
    short_sleep();
  }
  return {};
}

int64_t read_number(const std::string& file) {
  auto text = read_file(file);
  int64_t value = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

int64_t read_field(const std::string& file, std::string_view field) {
  auto text = read_file(file);
  if (!text) return 0;
  std::istringstream lines(*text);
  std::string name;
  for (int64_t value = 0; lines >> name >> value;) {
    if (name == field) return value;
  }
  return 0;
}

int64_t shares_of(int64_t millicores) {
  return std::clamp<int64_t>(millicores * 1024 / 1000, 2, 262144);
}
int64_t weight_of(int64_t millicores) {
  return 1 + (shares_of(millicores) - 2) * 9999 / 262142;
}
int64_t quota_us_of(int64_t millicores) {
  return std::max<int64_t>(millicores * kQuotaPeriodUs / 1000, 1000);
}

bool v2_populated(const std::string& folder) {
  return read_field(folder + "/cgroup.events", "populated") != 0;
}

Status v2_freeze(const std::string& folder, bool frozen) {
  TUTTI_CHECK(write_existing(folder + "/cgroup.freeze", frozen ? "1" : "0"));
  int64_t deadline = monotonic_ms() + 2000;
  while ((read_field(folder + "/cgroup.events", "frozen") != 0) != frozen) {
    if (!v2_populated(folder)) return {};
    if (monotonic_ms() >= deadline)
      return fail(ErrorCode::timeout, folder + " does not " + (frozen ? "freeze" : "thaw"));
    short_sleep();
  }
  return {};
}

}  // namespace cgroup

std::string_view cgroup_layout_name(CgroupLayout layout) {
  switch (layout) {
    case CgroupLayout::v1: return "v1";
    case CgroupLayout::v2: return "v2";
    case CgroupLayout::hybrid: return "hybrid";
  }
  return "?";
}

std::string io_device_of(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return {};
  std::string name = std::to_string(major(info.st_dev)) + ":" + std::to_string(minor(info.st_dev));
  std::string folder = "/sys/dev/block/" + name;
  if (!exists(folder)) return {};
  if (!exists(folder + "/partition")) return name;
  char* resolved = realpath((folder + "/..").c_str(), nullptr);  // a partition's parent is its disk
  if (resolved == nullptr) return {};
  auto whole = read_file(std::string(resolved) + "/dev");
  free(resolved);
  if (!whole) return {};
  while (!whole->empty() && whole->back() == '\n') whole->pop_back();
  return *whole;
}

Result<std::unique_ptr<Cgroups>> Cgroups::detect() {
  struct statfs info{};
  if (statfs("/sys/fs/cgroup", &info) == 0 && static_cast<unsigned>(info.f_type) == cgroup::kCgroup2Magic) {
    return cgroup::make_v2("/sys/fs/cgroup");
  }
  TUTTI_TRY(std::string mounts, read_file("/proc/self/mountinfo"));
  std::map<std::string, std::string> controllers;
  std::string unified;
  std::istringstream lines(mounts);
  for (std::string line; std::getline(lines, line);) {
    // "36 25 0:31 / /sys/fs/cgroup/memory rw … - cgroup cgroup rw,memory"
    size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream head(line.substr(0, dash));
    std::istringstream tail(line.substr(dash + 3));
    std::string skip, point, type, source, options;
    head >> skip >> skip >> skip >> skip >> point;
    tail >> type >> source >> options;
    if (type == "cgroup2") unified = point;
    if (type != "cgroup") continue;
    std::istringstream words(options);
    for (std::string word; std::getline(words, word, ',');) controllers.emplace(word, point);
  }
  if (!controllers.contains("memory") || !controllers.contains("cpu") || !controllers.contains("pids")) {
    return fail(
        ErrorCode::unsupported,
        "no usable cgroups: neither version 2 on /sys/fs/cgroup nor the version 1 controllers memory, cpu and pids are "
        "mounted; boot with systemd.unified_cgroup_hierarchy=1 or mount them");
  }
  return cgroup::make_v1(std::move(controllers), std::move(unified));
}

}  // namespace tutti::sys
