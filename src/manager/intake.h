#pragma once
// Intake: how many messages of one session are under way from its socket to the thread that handles them. Above kMost
// nothing more is read from that socket, so TCP holds the peer back; below half of it reading goes on.
//
// Owner: the session's callbacks and the messages under way, together. Thread-safe: came() on the socket's thread,
// handled() on the other. The lock keeps the two from telling the socket in the wrong order.

#include <memory>
#include <mutex>

#include "net/http.h"

namespace tutti::manager {

class Intake {
 public:
  static constexpr size_t kMost = 64;
  // Weak: the socket's callbacks hold this.
  explicit Intake(std::weak_ptr<net::WebSocket> socket) : socket_(std::move(socket)) {}

  void came();
  void handled();

 private:
  void pause(bool paused);

  const std::weak_ptr<net::WebSocket> socket_;
  std::mutex mutex_;
  size_t under_way_ = 0;
  bool paused_ = false;
};

}  // namespace tutti::manager
