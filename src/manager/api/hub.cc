#include "manager/api/hub.h"

#include <chrono>

#include "base/limits.h"

namespace tutti::manager {

CommitHub::CommitHub(Services& services) : services_(services) {
  thread_ = std::thread([this] { run(); });
  subscription_ = services_.on_commit([this] { wake(); });
}

CommitHub::~CommitHub() {
  subscription_.reset();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void CommitHub::wake() {
  {
    std::lock_guard lock(mutex_);
    if (woken_) return;
    woken_ = true;
  }
  wake_.notify_one();
}

Status CommitHub::add(std::function<bool()> poller) {
  {
    std::lock_guard lock(mutex_);
    if (count_ >= limits::kWatchersMax) {
      return tl::make_unexpected(Error{ErrorCode::too_many, "too many watches are open (limit kWatchersMax): try again", {}, 1000});
    }
    ++count_;
    fresh_.push_back(std::move(poller));
    woken_ = true;
  }
  wake_.notify_one();
  return {};
}

void CommitHub::run() {
  std::vector<std::function<bool()>> pollers;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, std::chrono::seconds(1), [&] { return woken_ || stopping_; });
      if (stopping_) return;
      woken_ = false;
      for (auto& poller : fresh_) pollers.push_back(std::move(poller));
      fresh_.clear();
      count_ = pollers.size();
    }
    std::erase_if(pollers, [](auto& poller) { return poller(); });
    std::lock_guard lock(mutex_);
    count_ = pollers.size() + fresh_.size();
  }
}

}  // namespace tutti::manager
