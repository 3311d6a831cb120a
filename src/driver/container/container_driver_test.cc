#include "driver/conformance.h"
#include "driver/container/container_harness.h"

namespace tutti::driver::conformance {

TUTTI_DRIVER_CONFORMANCE(container, [] { return std::make_unique<ContainerHarness>(); });

}  // namespace tutti::driver::conformance
