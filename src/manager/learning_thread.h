#pragma once
// LearningThread: teaches what a Planner asks to be taught (scheduler/learner.h), on a thread that runs only when
// nothing else wants the processor.
//
// Owner: Manager, or a scheduler process. One lesson at a time; its work and memory are bounded by learning.h (up to
// kMachinesMax machines and kWantedMax requests: minutes of one core, and tens of megabytes, freed when it has ended).
// stop() takes milliseconds.

#include <atomic>
#include <functional>

#include "manager/queue_thread.h"
#include "scheduler/learner.h"

namespace tutti::manager {

class LearningThread {
 public:
  explicit LearningThread(scheduler::Lessons lessons = {});
  ~LearningThread();

  // Any thread. `told` is called on this one with what came of it.
  void teach(scheduler::Lesson lesson, std::function<void(scheduler::Taught)> told);
  // What is under way ends untold, and nothing more is taught.
  void stop();

 private:
  const scheduler::Lessons lessons_;
  std::atomic<bool> stopping_{false};
  QueueThread thread_;  // last: the first to stop
};

}  // namespace tutti::manager
