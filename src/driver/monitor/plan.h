#pragma once
// What a driver asks of a monitor: the text that program/config.h reads, and the limits of the control group.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "driver/driver.h"
#include "sys/cgroup.h"

namespace tutti::driver::monitor {

// NUL-ended "key=value" records. A value with a NUL in it is dropped and remembered: check ok() before use.
class ConfigText {
 public:
  ConfigText& add(std::string_view key, std::string_view value) {
    if (value.find('\0') != std::string_view::npos) bad_ = true;
    text_.append(key).append("=").append(value).push_back('\0');
    return *this;
  }
  ConfigText& add(std::string_view key, int64_t value) { return add(key, std::string_view(std::to_string(value))); }
  ConfigText& add_flag(std::string_view key, bool value) { return add(key, value ? std::string_view("1") : "0"); }
  ConfigText& add_all(std::string_view key, const std::vector<std::string>& values) {
    for (const std::string& value : values) add(key, value);
    return *this;
  }
  bool ok() const { return !bad_; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  bool bad_ = false;
};

// Control group, log, lease, stop and input: the same for every driver. `unmount` what a runtime must not see.
void add_common(ConfigText& config, const RunContext& run, const sys::Cgroups& cgroups, int stop_signal);

// The group's limits as the task's spec and the node say.
sys::CgroupLimits limits_of(const RunContext& run);

// The smallest memory limit that a runtime survives while it starts a task.
inline constexpr int64_t kMemoryBytesMin = 6 << 20;

}  // namespace tutti::driver::monitor
