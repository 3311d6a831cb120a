#pragma once
// The monitor's program, carried inside this executable, and its copy on disk.

#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"

namespace tutti::driver::monitor {

std::span<const std::byte> embedded_monitor();

// The path of BIN_DIR/tutti-monitor-<hash>, written at first need; another version beside it does not matter.
Result<std::string> install_monitor(const std::string& bin_dir);

}  // namespace tutti::driver::monitor
