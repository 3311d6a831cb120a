#pragma once
// QueueThread: one thread that runs posted closures in order and, when idle, a turn that says how long to wait.
//
// Owner: Manager, for control and the scheduler inside; Schedulers; LearningThread. post() from any thread.
// Without a bound of its own, so only for closures that stand for something bounded elsewhere: messages of a
// session (intake.h), commits, commands of limits.h.

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/time.h"

namespace tutti::manager {

class QueueThread {
 public:
  // `turn` runs after each batch of closures and returns how long to sleep at most if nothing is posted.
  QueueThread(std::string name, std::function<Duration()> turn);
  ~QueueThread();
  QueueThread(const QueueThread&) = delete;
  QueueThread& operator=(const QueueThread&) = delete;

  void post(std::function<void()> work);
  // Runs with what is posted next, or when the sleep that the last turn asked for is over: a wake-up for each of many
  // small things costs more than the things.
  void post_unhurried(std::function<void()> work);
  // Finishes the batch under way, which is all that was posted before it began; what was posted since, and what comes
  // later, is dropped.
  void stop();

 private:
  bool push(std::function<void()> work);
  void run();

  std::function<Duration()> turn_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::function<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tutti::manager
