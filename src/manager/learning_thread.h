#pragma once
// LearningThread: teaches what a Planner asks to be taught (scheduler/learner.h), on a thread that runs only when
// nothing else wants the processor.
//
// Owner: Manager, or a scheduler process. One lesson at a time, the newest; its work and memory are bounded by
// learning.h (up to kMachinesMax machines and kWantedMax requests: minutes of one core, and tens of megabytes, freed
// when it has ended). stop() takes milliseconds.
//
// Each lesson has a thread of its own, made idle for good: where a process may not raise itself, there is no way back.
// What came of it is told by the thread that waits for it, at the usual priority, since it takes locks that others
// want.

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>

#include "manager/queue_thread.h"
#include "scheduler/learner.h"

namespace tutti::manager {

class LearningThread {
 public:
  explicit LearningThread(scheduler::Lessons lessons = {});
  ~LearningThread();

  // Any thread. `told` is called on this one with what came of it. What was asked for before ends untold.
  void teach(scheduler::Lesson lesson, std::function<void(scheduler::Taught)> told);
  // What is under way ends untold, and nothing more is taught.
  void stop();

 private:
  struct Asked {
    scheduler::Lesson lesson;
    std::function<void(scheduler::Taught)> told;
    uint64_t number = 0;
  };
  void take();

  const scheduler::Lessons lessons_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> newest_{0};
  std::mutex mutex_;
  std::optional<Asked> waiting_;
  QueueThread thread_;  // last: the first to stop
};

}  // namespace tutti::manager
