#include "manager/learning_thread.h"

#include <pthread.h>
#include <sched.h>

#include <thread>

#include "base/log.h"

namespace tutti::manager {
namespace {

// Where the kernel refuses, it runs as everything else does.
void only_when_idle() {
  sched_param none{};
  if (const int failed = pthread_setschedparam(pthread_self(), SCHED_IDLE, &none); failed != 0)
    log_warning("learning runs at the usual priority", {{"errno", std::to_string(failed)}});
  pthread_setname_np(pthread_self(), "lesson");
}

}  // namespace

LearningThread::LearningThread(scheduler::Lessons lessons)
    : lessons_(lessons), thread_("learning", [] { return seconds(60); }) {}

LearningThread::~LearningThread() {
  stop();
}

void LearningThread::teach(scheduler::Lesson lesson, std::function<void(scheduler::Taught)> told) {
  {
    std::lock_guard lock(mutex_);
    waiting_ = Asked{std::move(lesson), std::move(told), ++newest_};
  }
  thread_.post([this] { take(); });
}

void LearningThread::take() {
  std::optional<Asked> asked;
  {
    std::lock_guard lock(mutex_);
    asked.swap(waiting_);
  }
  if (!asked) return;  // it went with the one before
  auto stop = [this, number = asked->number] { return stopping_ || newest_ != number; };
  scheduler::Taught taught;
  std::thread([&] {
    only_when_idle();
    taught = scheduler::teach(asked->lesson, lessons_, stop);
  }).join();
  if (taught.finished && !stop()) asked->told(std::move(taught));
}

void LearningThread::stop() {
  stopping_ = true;
  thread_.stop();
}

}  // namespace tutti::manager
