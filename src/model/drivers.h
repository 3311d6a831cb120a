#pragma once
// What a driver of this name is able to do, for those who decide before a worker is asked. The drivers' conformance
// suite holds every driver to it (driver/conformance.h).

#include <string_view>

namespace tutti {

// Its tasks' memory can be put on disk, to go on from there later: machines, and what plays one. A container or a
// process cannot.
bool driver_can_suspend(std::string_view driver);

}  // namespace tutti
