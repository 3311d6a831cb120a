#include "manager/streams.h"

#include "base/random.h"

namespace tutti::manager {

Result<std::string> StreamBroker::issue(NodeId node, BootTime now, StreamOpened opened) {
  std::string ticket = secure_random_hex(24);
  std::lock_guard lock(mutex_);
  if (waiters_.size() >= kTicketsMax) {
    return tutti::fail(ErrorCode::too_many,
                       "too many streams are being opened (limit " + std::to_string(kTicketsMax) + ")");
  }
  waiters_[ticket] = Waiter{node, now + seconds(kTicketSeconds), std::move(opened)};
  return ticket;
}

StreamOpened StreamBroker::take(NodeId node, const std::string& ticket) {
  std::lock_guard lock(mutex_);
  auto at = waiters_.find(ticket);
  if (at == waiters_.end() || at->second.node != node) return {};
  StreamOpened opened = std::move(at->second.opened);
  waiters_.erase(at);
  return opened;
}

void StreamBroker::fail(const std::string& ticket, Error error) {
  StreamOpened opened;
  {
    std::lock_guard lock(mutex_);
    auto at = waiters_.find(ticket);
    if (at == waiters_.end()) return;
    opened = std::move(at->second.opened);
    waiters_.erase(at);
  }
  opened(tl::make_unexpected(std::move(error)));
}

void StreamBroker::expire(BootTime now) {
  std::vector<StreamOpened> late;
  {
    std::lock_guard lock(mutex_);
    for (auto at = waiters_.begin(); at != waiters_.end();) {
      if (now < at->second.deadline) {
        ++at;
        continue;
      }
      late.push_back(std::move(at->second.opened));
      at = waiters_.erase(at);
    }
  }
  for (StreamOpened& opened : late) {
    opened(tutti::fail(ErrorCode::timeout, "the node did not open the stream in time: is its worker busy or cut off?"));
  }
}

}  // namespace tutti::manager
