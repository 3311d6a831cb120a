#include "net/loop.h"

#include <pthread.h>

#include <boost/asio/post.hpp>
#include <exception>
#include <vector>

#include "base/log.h"

namespace tutti::net {

namespace {
constexpr auto kSweepEvery = std::chrono::milliseconds(250);
constexpr size_t kSweptAtOnce = 2500;  // the more there are, the more seldom: deadlines are seconds
constexpr auto kStopWait = std::chrono::seconds(3);

constexpr auto kGather = std::chrono::microseconds(500);

}  // namespace

// What one peer brings about ends its own work, not the process: what was under way is dropped, the others go on.
void Loop::run() {
  for (;;) {
    try {
      while (io.run_one() > 0) {
        io.poll();
        if (tracked_.size() >= gather_from_) std::this_thread::sleep_for(kGather);
      }
      return;
    } catch (const std::exception& e) {
      log_error("a defect: an I/O thread goes on after an exception", {{"what", e.what()}});
    } catch (...) {
      log_error("a defect: an I/O thread goes on after an exception");
    }
  }
}

Loop::Loop() : work_(asio::make_work_guard(io)) {}

void Loop::start(std::string name, size_t gather_from) {
  gather_from_ = gather_from;
  std::promise<void> ended;
  ended_ = ended.get_future();
  thread_ = std::thread([this, name = std::move(name).substr(0, 15), done = std::move(ended)]() mutable {
    pthread_setname_np(pthread_self(), name.c_str());
    run();
    done.set_value();
  });
}

void Loop::stop() {
  if (!thread_.joinable()) return;
  asio::post(io, [this] { abort_all(); });
  if (ended_.wait_for(kStopWait) != std::future_status::ready) io.stop();
  thread_.join();
}

void Loop::abort_all() {
  stopping_ = true;
  work_.reset();
  sweeper_.cancel();
  std::vector<std::shared_ptr<Tracked>> all;
  for (auto& [key, tracked] : tracked_)
    if (auto alive = tracked.lock()) all.push_back(std::move(alive));
  for (auto& each : all) each->abort("stopping");
}

void Loop::add(std::shared_ptr<Tracked> tracked) {
  Tracked* key = tracked.get();
  if (stopping_) {
    asio::post(io, [tracked = std::move(tracked)] { tracked->abort("stopping"); });
    return;
  }
  tracked_[key] = tracked;
  arm();
}

void Loop::remove(Tracked* tracked) {
  tracked_.erase(tracked);
}

void Loop::arm() {
  if (armed_ || stopping_ || tracked_.empty()) return;
  armed_ = true;
  sweeper_.expires_after(kSweepEvery * (1 + tracked_.size() / kSweptAtOnce));
  sweeper_.async_wait([this](const boost::system::error_code&) {
    armed_ = false;
    sweep();
  });
}

void Loop::sweep() {
  if (stopping_) return;
  auto now = Steady::now();
  std::vector<std::shared_ptr<Tracked>> late;
  for (auto at = tracked_.begin(); at != tracked_.end();) {
    auto alive = at->second.lock();
    if (alive && alive->deadline <= now) late.push_back(alive);
    at = alive ? std::next(at) : tracked_.erase(at);
  }
  for (auto& each : late) {
    each->expires_never();
    each->abort("timeout");
  }
  arm();
}

}  // namespace tutti::net
