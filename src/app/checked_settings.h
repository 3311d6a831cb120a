#pragma once
// Settings of which not every text is right, checked. `tutti up` checks in the same way what it hands on to its manager
// and workers, before it starts anything: one that is told wrong would end at once, and be started again for ever.
//
// Errors: invalid, with the setting and where it came from.

#include <cstdint>
#include <map>
#include <string>

#include "app/settings.h"
#include "model/resources.h"

namespace tutti::app {

// 0 where a setting is empty. `least`: 0, or 1 where nothing at all makes no sense.
Result<Millicores> cpu_setting(const Settings& settings, const std::string& key, int64_t least);
Result<Bytes> memory_setting(const Settings& settings, const std::string& key, int64_t least);
// From node-limits.
Result<std::map<std::string, int64_t>> node_limits_setting(const Settings& settings);
// That container-runtime is one that there is a way to use.
Status check_runtime_setting(const Settings& settings);
Status check_log_level(const Settings& settings);
// That log-level is a level, and log-format a format.
Status check_log_settings(const Settings& settings);
// From network: empty, or a prefix that node subnets can be cut from.
Result<std::string> network_setting(const Settings& settings);

}  // namespace tutti::app
