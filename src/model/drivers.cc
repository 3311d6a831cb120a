#include "model/drivers.h"

namespace tutti {

bool driver_can_suspend(std::string_view driver) {
  return driver == "vm" || driver == "fake";
}

}  // namespace tutti
