#include "driver/conformance.h"
#include "driver/container/container_harness.h"

namespace tutti::driver::conformance {

TUTTI_DRIVER_CONFORMANCE(container, [] { return std::make_unique<ContainerHarness>(); });
TUTTI_DRIVER_CONFORMANCE(container_runc, [] { return std::make_unique<ContainerHarness>("runc"); });

// Whoever names a runtime gets that one or an answer that says why not.
TEST(ContainerRuntime, AnUnknownOneIsNamed) {
  auto driver = make_container_driver("", std::shared_ptr(sys::Cgroups::detect().value()),
                                      std::shared_ptr(sys::Reaper::make().value()), "youki");
  const DriverInfo info = driver->fingerprint();
  EXPECT_FALSE(info.healthy);
  EXPECT_NE(info.reason.find("'youki'"), std::string::npos) << info.reason;
}

}  // namespace tutti::driver::conformance
