#include "manager/queue_thread.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>

namespace tutti::manager {

QueueThread::QueueThread(std::string name, std::function<Duration()> turn) : turn_(std::move(turn)) {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

QueueThread::~QueueThread() {
  stop();
}

bool QueueThread::push(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  if (!stopping_) queue_.push_back(std::move(work));
  return !stopping_;
}

void QueueThread::post(std::function<void()> work) {
  if (push(std::move(work))) wake_.notify_one();
}

void QueueThread::post_unhurried(std::function<void()> work) {
  push(std::move(work));
}

void QueueThread::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void QueueThread::run() {
  Duration sleep{0};
  std::vector<std::function<void()>> batch;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, std::chrono::nanoseconds(std::max<int64_t>(0, sleep.ns)),
                     [&] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      batch.swap(queue_);
    }
    for (auto& work : batch) work();
    batch.clear();
    sleep = turn_();
  }
}

}  // namespace tutti::manager
