#include "driver/process/process_driver.h"

#include "driver/conformance.h"
#include "driver/monitor/real_harness.h"

namespace tutti::driver::conformance {
namespace {

class ProcessHarness final : public RealHarness {
 public:
  std::unique_ptr<Driver> make_driver() override {
    auto monitor = MonitoredDriver::install_monitor(bin_dir());
    return make_process_driver(monitor.value(), std::shared_ptr(sys::Cgroups::detect().value()),
                               std::shared_ptr(sys::Reaper::make().value()));
  }

 protected:
  std::string driver_name() const override { return "process"; }
};

}  // namespace

TUTTI_DRIVER_CONFORMANCE(process, [] { return std::make_unique<ProcessHarness>(); });

}  // namespace tutti::driver::conformance
