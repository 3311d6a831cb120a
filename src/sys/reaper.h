#pragma once
// Reaper: one thread that waits for many processes to end and says so once for each.
//
//   watch(pidfd, callback)  →  callback() on the reaper's thread, after a child among them was collected
//
// Callbacks are short: they post to somebody else's queue. The destructor stops the thread; what was still watched
// is forgotten without a callback. Thread-safe.

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "base/result.h"
#include "sys/fd.h"

namespace tutti::sys {

class Reaper {
 public:
  static Result<std::unique_ptr<Reaper>> make();
  ~Reaper();
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  // Takes the pidfd of any process. If it is a child it is reaped, and `done` gets its exit code (128 + n after a
  // signal); else −1.
  Status watch(UniqueFd pidfd, std::function<void(int exit_code)> done);

 private:
  Reaper(UniqueFd epoll, UniqueFd wake);
  void loop();

  struct Watched {
    UniqueFd pidfd;
    std::function<void(int)> done;
  };
  UniqueFd epoll_;
  UniqueFd wake_;
  std::mutex mutex_;
  std::map<uint64_t, Watched> watched_;
  uint64_t next_ = 1;  // 0 is the wake-up
  std::thread thread_;
};

}  // namespace tutti::sys
