#pragma once
// CommitHub: whoever waits for commits (watches, ?wait=), on one thread.
//
// A poller is called after commits and at least once a second until it returns true. Owner: Api. Thread-safe.
// Limit: limits::kWatchersMax.

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "manager/api/services.h"

namespace tutti::manager {

class CommitHub {
 public:
  explicit CommitHub(Services& services);
  ~CommitHub();
  Status add(std::function<bool()> poller);
  void wake();

 private:
  void run();

  Services& services_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::function<bool()>> fresh_;
  size_t count_ = 0;
  bool woken_ = false;
  bool stopping_ = false;
  std::shared_ptr<void> subscription_;
  std::thread thread_;
};

}  // namespace tutti::manager
