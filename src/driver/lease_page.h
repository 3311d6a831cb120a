#pragma once
// The page through which a worker tells monitors until when its lease runs.
//
// One file of 4096 bytes under the worker's /run folder, mapped shared. The worker writes, monitors only read.
// 8 bytes, native order, written atomically: the lease's end on CLOCK_BOOTTIME in nanoseconds; 0: not leased yet
// (monitors then do nothing). A monitor adds its task's disconnect grace and stops its work when that has passed,
// whether or not the worker lives.

#include <atomic>
#include <cstdint>

namespace tutti::driver {

struct LeasePage {
  std::atomic<int64_t> deadline_boot_ns;
};
static_assert(std::atomic<int64_t>::is_always_lock_free);

}  // namespace tutti::driver
