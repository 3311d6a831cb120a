#pragma once
// The drivers of a worker: the one place that knows which there are.

#include <string>

#include "driver/driver.h"

namespace tutti::app {

// Everything this machine can offer; what is unhealthy says so in its fingerprint. Errors: unsupported (no usable
// cgroups).
Status add_drivers(driver::Registry& drivers, const std::string& data_dir, const std::string& run_dir,
                   const std::string& container_runtime);

}  // namespace tutti::app
