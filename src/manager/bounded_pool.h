#pragma once
// BoundedPool: threads for work that must not hold up the I/O thread, and a bound on how much of it waits.
//
// Owner: Manager; one for file work, one for planning and explaining. run() from any thread.

#include <atomic>
#include <functional>
#include <string>
#include <utility>

#include "base/result.h"
#include "catalog/work_pool.h"

namespace tutti::manager {

class BoundedPool {
 public:
  BoundedPool(int threads, size_t most, std::string what) : most_(most), what_(std::move(what)), pool_(threads) {}
  // too_many: so much waits or runs already.
  Status run(std::function<void()> work) {
    if (waiting_.fetch_add(1) >= most_) {
      waiting_.fetch_sub(1);
      return fail(ErrorCode::too_many, "too much " + what_ + " is waiting: try again");
    }
    pool_.post([this, work = std::move(work)] {
      work();
      waiting_.fetch_sub(1);
    });
    return {};
  }

 private:
  const size_t most_;
  const std::string what_;
  std::atomic<size_t> waiting_{0};
  catalog::WorkPool pool_;
};

}  // namespace tutti::manager
