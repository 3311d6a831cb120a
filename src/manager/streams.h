#pragma once
// StreamBroker: brings together who wants a stream of an instance and the worker that opens it.
//
// A ticket is made for a request, travels to the worker in its session, and comes back with the worker's dial-in.
// Tickets are random, bound to a node, usable once and valid for kTicketSeconds. Thread-safe.

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "manager/api/services.h"

namespace tutti::manager {

inline constexpr int64_t kTicketSeconds = 15;
inline constexpr size_t kTicketsMax = 4'096;

class StreamBroker {
 public:
  // A new ticket for `node`; too_many when kTicketsMax are open.
  Result<std::string> issue(NodeId node, BootTime now, StreamOpened opened);
  // Takes the ticket's waiter; empty when it is unknown, expired or another node's.
  StreamOpened take(NodeId node, const std::string& ticket);
  // Answers a waiter whose worker could not be asked.
  void fail(const std::string& ticket, Error error);
  // Answers those whose worker did not come, with a timeout.
  void expire(BootTime now);

 private:
  struct Waiter {
    NodeId node;
    BootTime deadline;
    StreamOpened opened;
  };
  std::mutex mutex_;
  std::map<std::string, Waiter> waiters_;
};

}  // namespace tutti::manager
