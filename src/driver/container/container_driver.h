#pragma once
// Driver `container`: OCI bundles run by crun, or runc where crun refuses.
//
// The monitor mounts the overlay in a mount namespace of its own and joins the network namespace, then runs the
// runtime; nothing is mounted where anybody else sees it. Limits are set by us on the task's control group before the
// start.

#include <memory>
#include <string>

#include "driver/driver.h"
#include "sys/cgroup.h"
#include "sys/reaper.h"

namespace tutti::driver {

// Under runc on cgroup v1 an OOM kill is seen as exit code 137 alone: runc counts it in a group of its own below ours.
// `runtime`: "crun" or "runc", that one and no other; empty: crun, or runc where crun is missing or does not answer.
std::unique_ptr<Driver> make_container_driver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups,
                                              std::shared_ptr<sys::Reaper> reaper, std::string runtime = {});

}  // namespace tutti::driver
