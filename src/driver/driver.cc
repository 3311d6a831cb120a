#include "driver/driver.h"

namespace tutti::driver {

void Registry::add(std::unique_ptr<Driver> driver) {
  drivers_.push_back(std::move(driver));
}

Driver* Registry::find(std::string_view name) const {
  for (const auto& driver : drivers_) {
    if (driver->name() == name) return driver.get();
  }
  return nullptr;
}

std::vector<Driver*> Registry::all() const {
  std::vector<Driver*> out;
  for (const auto& driver : drivers_) out.push_back(driver.get());
  return out;
}

}  // namespace tutti::driver
