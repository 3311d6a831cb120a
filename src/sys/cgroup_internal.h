#pragma once
// What the cgroup implementations share. Only for src/sys/cgroup*.cc.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "sys/cgroup.h"

namespace tutti::sys::cgroup {

// "/…/memory" + "a/b" with each folder made.
Status make_group(const std::string& root, const std::string& path);
void gather_processes(const std::string& folder, std::vector<int>& out);  // this folder and all below
Status remove_group(const std::string& folder, Duration timeout);         // deepest first, with retries
int64_t read_number(const std::string& file);                             // 0 when unreadable
int64_t read_field(const std::string& file, std::string_view field);      // "name value" lines
bool is_below_root(const std::string& path);                              // no "..", not absolute, not empty
int64_t shares_of(int64_t millicores);                                    // v1's 1024 per core
int64_t weight_of(int64_t millicores);                                    // v2's 1..10000
int64_t quota_us_of(int64_t millicores);                                  // per kQuotaPeriodUs
inline constexpr int64_t kQuotaPeriodUs = 100'000;

// The v2 way to freeze, to ask who is there and to kill: on a pure v2 tree and on the hybrid's.
Status v2_freeze(const std::string& folder, bool frozen);
bool v2_populated(const std::string& folder);

// Puts the eBPF program on a v2 folder that allows harmless devices only.
Status v2_restrict_devices(const std::string& folder);

std::unique_ptr<Cgroups> make_v1(std::map<std::string, std::string> controllers, std::string unified);
std::unique_ptr<Cgroups> make_v2(std::string root);

void short_sleep();  // 1 ms: between two looks at a file that has no better way to tell
Status write_to(const std::string& file, std::string_view value);
void kill_listed(const std::vector<int>& pids);
int64_t monotonic_ms();

// Kills what `list` returns until it returns nothing; kill_file ("" or …/cgroup.kill) makes it one write.
template <class List>
Status kill_until_empty(const List& list, const std::string& kill_file, const std::string& shown, Duration timeout) {
  int64_t deadline = monotonic_ms() + timeout.ms();
  for (;;) {
    std::vector<int> pids = list();
    if (pids.empty()) return {};
    if (kill_file.empty() || !write_to(kill_file, "1")) kill_listed(pids);
    if (monotonic_ms() >= deadline) {
      std::string names;
      for (int pid : pids) names += " " + std::to_string(pid);
      return fail(ErrorCode::timeout, "processes of " + shown + " survive SIGKILL:" + names);
    }
    short_sleep();
  }
}

}  // namespace tutti::sys::cgroup
