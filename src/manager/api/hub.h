#pragma once
// CommitHub: whoever waits for commits (watches, ?wait=), and whatever is open for as long as a token works, on one
// thread.
//
// A poller is called after commits and at least once a second until it returns true. Tokens are looked at once a
// second. Owner: Api. Thread-safe. Limits: kWatchersMax, kWaitersMax, and of each the share of one token and its
// sessions.

#include <array>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "manager/api/services.h"

namespace tutti::manager {

class CommitHub {
 public:
  enum class For : uint8_t { watch, answer };

  explicit CommitHub(Services& services);
  ~CommitHub();
  // too_many, with the limit's name.
  Status add(const Identity& who, For what, std::function<bool()> poller);
  // `end` is called, on this object's thread, when the token has ended: revoked, expired, or what it was made with. Not
  // any more once the answer is dropped, unless it is being called.
  [[nodiscard]] std::shared_ptr<void> while_works(TokenId token, std::function<void()> end);
  void wake();

 private:
  struct Poller {
    For what = For::watch;
    TokenId whose;
    std::function<bool()> poll;
  };
  using Guard = std::function<void()>;
  void run();
  void end_without_right();
  size_t& count_of(For what) { return counts_[static_cast<size_t>(what)]; }

  Services& services_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Poller> fresh_;
  std::array<size_t, 2> counts_{};
  std::map<std::pair<For, TokenId>, size_t> shares_;
  std::map<TokenId, std::vector<std::weak_ptr<Guard>>> guards_;
  BootTime looked_;
  bool woken_ = false;
  bool stopping_ = false;
  std::shared_ptr<void> subscription_;
  std::thread thread_;
};

}  // namespace tutti::manager
