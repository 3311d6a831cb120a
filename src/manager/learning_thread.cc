#include "manager/learning_thread.h"

#include <pthread.h>
#include <sched.h>

#include "base/log.h"

namespace tutti::manager {
namespace {

// Where the kernel refuses, it runs as everything else does.
void only_when_idle() {
  sched_param none{};
  if (const int failed = pthread_setschedparam(pthread_self(), SCHED_IDLE, &none); failed != 0)
    log_warning("learning runs at the usual priority", {{"errno", std::to_string(failed)}});
}

}  // namespace

LearningThread::LearningThread(scheduler::Lessons lessons)
    : lessons_(lessons), thread_("learning", [] { return seconds(60); }) {
  thread_.post(only_when_idle);
}

LearningThread::~LearningThread() {
  stop();
}

void LearningThread::teach(scheduler::Lesson lesson, std::function<void(scheduler::Taught)> told) {
  thread_.post([this, lesson = std::move(lesson), told = std::move(told)] {
    scheduler::Taught taught = scheduler::teach(lesson, lessons_, [this] { return stopping_.load(); });
    if (taught.finished) told(std::move(taught));
  });
}

void LearningThread::stop() {
  stopping_ = true;
  thread_.stop();
}

}  // namespace tutti::manager
