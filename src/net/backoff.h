#pragma once
// Backoff: how long a connection that failed waits before it is tried again, and which failures are worth a line.
//
// A value of whoever dials, on its thread. 100 to 200 ms at first, doubled with every failure up to 2.5 to 5 s: half of
// it is chance, which keeps a pool from coming back all at once.

#include <algorithm>

#include "base/random.h"
#include "base/time.h"

namespace tutti::net {

class Backoff {
 public:
  struct Next {
    Duration wait;
    bool tell = false;  // the first failure in a row, and every twentieth after it
  };
  Next failed(Random& random) {
    const bool tell = failures_ % kTellEvery == 0;
    ++failures_;
    const int64_t most = std::min(kWaitMsMax, kWaitMs << std::min(failures_, 6));
    return {milliseconds(most / 2 + static_cast<int64_t>(random.below(static_cast<uint64_t>(most / 2 + 1)))), tell};
  }
  // It serves: the peer has said something.
  void worked() { failures_ = 0; }

 private:
  static constexpr int64_t kWaitMs = 100;
  static constexpr int64_t kWaitMsMax = 5'000;
  static constexpr int kTellEvery = 20;
  int failures_ = 0;
};

}  // namespace tutti::net
