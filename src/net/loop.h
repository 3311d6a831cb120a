#pragma once
// Private to net: one thread with an io_context, and the list of what lives on it.
//
//   Loop ── thread ── io_context ── { Tracked: connections, sockets, timers }
//
// Everything tracked is touched on the loop's thread only. A sweep, running while something has a deadline, aborts what
// is late: setting a deadline is one assignment, not a timer operation. stop() aborts everything tracked and joins;
// what is posted after it is never run (owners see that their connection has ended).

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>

#include "base/time.h"

namespace tutti::net {

namespace asio = boost::asio;
using Executor = asio::io_context::executor_type;
using Steady = std::chrono::steady_clock;
using Timer = asio::basic_waitable_timer<Steady, asio::wait_traits<Steady>, Executor>;

class Tracked {
 public:
  virtual ~Tracked() = default;
  virtual void abort(const std::string& reason) = 0;  // on the loop's thread; may be called again
  void expires_in(Duration d) { deadline = Steady::now() + std::chrono::nanoseconds(d.ns); }
  void expires_never() { deadline = Steady::time_point::max(); }
  Steady::time_point deadline = Steady::time_point::max();
};

class Loop : public std::enable_shared_from_this<Loop> {
 public:
  Loop();
  // `gather_from`: of so many connections, what comes within half a millisecond is dealt with together; thousands that
  // say a word now and then would wake the thread for each.
  void start(std::string name, size_t gather_from = SIZE_MAX);
  // Not from the loop's own thread. Gives what is tracked 3 s to end.
  void stop();

  // The following on the loop's thread only. What is added while stopping is aborted at once.
  void add(std::shared_ptr<Tracked> tracked);
  void remove(Tracked* tracked);
  bool stopping() const { return stopping_; }

  asio::io_context io{1};

 private:
  void run();
  void sweep();
  void arm();
  void abort_all();

  size_t gather_from_ = SIZE_MAX;
  std::optional<asio::executor_work_guard<Executor>> work_;
  Timer sweeper_{io.get_executor()};
  bool armed_ = false;
  bool stopping_ = false;
  std::unordered_map<Tracked*, std::weak_ptr<Tracked>> tracked_;
  std::thread thread_;
  std::future<void> ended_;
};

}  // namespace tutti::net
