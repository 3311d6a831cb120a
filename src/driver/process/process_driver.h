#pragma once
// Driver `process` (C09): a plain program of the node's own file system, with the same limits, logs and monitor as a
// container, in a pid namespace of its own. TaskSpec::command is its argv. Its network is the node's.

#include <memory>
#include <string>

#include "driver/driver.h"
#include "sys/cgroup.h"
#include "sys/reaper.h"

namespace tutti::driver {

// `monitor`: path of the installed monitor program.
std::unique_ptr<Driver> make_process_driver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups,
                                            std::shared_ptr<sys::Reaper> reaper);

}  // namespace tutti::driver
