#include "base/steady_clock.h"

#include <algorithm>

namespace tutti {

Time SteadyClock::now() const {
  const Time below = below_.now();
  const BootTime boot = below_.boot_now();
  std::lock_guard lock(mutex_);
  const int64_t passed = std::max<int64_t>(0, (boot - last_boot_).ns);
  last_ = last_ ? std::max(below, last_ + Duration{passed - passed / 10}) : below;
  last_boot_ = std::max(last_boot_, boot);
  return Time{last_.ns - last_.ns % 1'000'000};  // whole milliseconds, as it is shown
}

void SteadyClock::advance_to(Time at) {
  (void)now();
  std::lock_guard lock(mutex_);
  last_ = std::max(last_, at);
}

}  // namespace tutti
