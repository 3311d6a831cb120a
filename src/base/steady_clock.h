#pragma once
// SteadyClock: wall-clock time that never goes back and never stands still.
//
// What waits for a time (a retry, a schedule, a deadline) would wait as long as a clock was set back. This one follows
// the clock below it forward at once; when that one is behind, it goes on at nine tenths of the speed until both agree.
// Thread-safe.

#include <mutex>

#include "base/time.h"

namespace tutti {

class SteadyClock final : public Clock {
 public:
  explicit SteadyClock(const Clock& below) : below_(below) {}
  Time now() const override;
  BootTime boot_now() const override { return below_.boot_now(); }
  // Time was that far already, as somebody else knows: an earlier process, another machine.
  void advance_to(Time at);

 private:
  const Clock& below_;
  mutable std::mutex mutex_;
  mutable Time last_;
  mutable BootTime last_boot_;
};

}  // namespace tutti
