#pragma once
// SignalRelay: SIGINT and SIGTERM of this process as calls on a thread of its own, while it lives.
//
// Owner: a command that is attached to something. Made before any other thread of the process, so that none of them
// takes the signals.

#include <csignal>
#include <functional>
#include <thread>

namespace tutti::cli {

class SignalRelay {
 public:
  // `each` gets the signal and how many have come; it may block.
  explicit SignalRelay(std::function<void(int signal, int count)> each);
  ~SignalRelay();
  SignalRelay(const SignalRelay&) = delete;
  SignalRelay& operator=(const SignalRelay&) = delete;

 private:
  sigset_t before_{};
  int signals_ = -1;
  int stop_ = -1;
  std::thread thread_;
};

}  // namespace tutti::cli
