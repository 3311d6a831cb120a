#include "app/drivers.h"

#include "driver/container/container_driver.h"
#include "driver/monitor/monitored.h"
#include "driver/process/process_driver.h"
#include "sys/cgroup.h"
#include "sys/reaper.h"

namespace tutti::app {

Status add_drivers(driver::Registry& drivers, const std::string& data_dir, const std::string& run_dir,
                   const std::string& container_runtime) {
  (void)data_dir;
  TUTTI_TRY(auto made, sys::Cgroups::detect());
  std::shared_ptr<sys::Cgroups> cgroups = std::move(made);
  TUTTI_TRY(auto watching, sys::Reaper::make());
  std::shared_ptr<sys::Reaper> reaper = std::move(watching);
  TUTTI_TRY(const std::string monitor, driver::MonitoredDriver::install_monitor(run_dir + "/bin"));
  drivers.add(driver::make_container_driver(monitor, cgroups, reaper, container_runtime));
  drivers.add(driver::make_process_driver(monitor, cgroups, reaper));
  return {};
}

}  // namespace tutti::app
