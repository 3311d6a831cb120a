#include "manager/api/hub.h"

#include <algorithm>
#include <chrono>

#include "base/limits.h"
#include "model/token.h"

namespace tutti::manager {
namespace {

struct Bounds {
  size_t all;
  size_t each;
  const char* what;
  const char* all_name;
  const char* each_name;
};

Bounds bounds_of(CommitHub::For what) {
  switch (what) {
    case CommitHub::For::watch:
      return {limits::kWatchersMax, limits::kWatchersPerTokenMax, "watches", "kWatchersMax", "kWatchersPerTokenMax"};
    case CommitHub::For::answer:
      return {limits::kWaitersMax, limits::kWaitersPerTokenMax, "requests that wait", "kWaitersMax",
              "kWaitersPerTokenMax"};
  }
  return {};
}

Error too_many(std::string message) {
  return {ErrorCode::too_many, std::move(message), {}, 1000};
}

}  // namespace

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

Status CommitHub::add(const Identity& who, For what, std::function<bool()> poller) {
  const TokenId whose = root_of(*services_.snapshot(), who.token);
  const Bounds bounds = bounds_of(what);
  {
    std::lock_guard lock(mutex_);
    if (count_of(what) >= bounds.all) {
      return tl::make_unexpected(
          too_many(std::string("too many ") + bounds.what + " are open (limit " + bounds.all_name + "): try again"));
    }
    size_t& share = shares_[{what, whose}];
    if (share >= bounds.each) {
      return tl::make_unexpected(too_many("this token and its sessions have " + std::to_string(share) + " " +
                                          bounds.what + " open (limit " + bounds.each_name + "): end some"));
    }
    ++share;
    ++count_of(what);
    fresh_.push_back({what, whose, std::move(poller)});
    woken_ = true;
  }
  wake_.notify_one();
  return {};
}

std::shared_ptr<void> CommitHub::while_works(TokenId token, std::function<void()> end) {
  auto guard = std::make_shared<Guard>(std::move(end));
  std::lock_guard lock(mutex_);
  guards_[token].push_back(guard);
  return guard;
}

void CommitHub::end_without_right() {
  const BootTime boot = services_.clock().boot_now();
  if (boot - looked_ < milliseconds(900)) return;
  looked_ = boot;
  const auto state = services_.snapshot();
  const Time now = services_.clock().now();
  std::vector<std::shared_ptr<Guard>> over;
  {
    std::lock_guard lock(mutex_);
    for (auto at = guards_.begin(); at != guards_.end();) {
      auto& [token, guards] = *at;
      std::erase_if(guards, [](const auto& weak) { return weak.expired(); });
      if (!guards.empty() && still_works(*state, token, now)) {
        ++at;
        continue;
      }
      for (const auto& weak : guards)
        if (auto guard = weak.lock()) over.push_back(std::move(guard));
      at = guards_.erase(at);
    }
  }
  for (const auto& guard : over) (*guard)();
}

void CommitHub::run() {
  std::vector<Poller> pollers;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, std::chrono::seconds(1), [&] { return woken_ || stopping_; });
      if (stopping_) return;
      woken_ = false;
      for (Poller& poller : fresh_) pollers.push_back(std::move(poller));
      fresh_.clear();
    }
    end_without_right();
    const auto over = std::partition(pollers.begin(), pollers.end(), [](const Poller& one) { return !one.poll(); });
    if (over == pollers.end()) continue;
    {
      std::lock_guard lock(mutex_);
      for (auto poller = over; poller != pollers.end(); ++poller) {
        --count_of(poller->what);
        const auto share = shares_.find({poller->what, poller->whose});
        if (--share->second == 0) shares_.erase(share);
      }
    }
    pollers.erase(over, pollers.end());
  }
}

}  // namespace tutti::manager
