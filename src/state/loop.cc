#include "state/loop.h"

#include <chrono>
#include <future>

#include "base/limits.h"
#include "base/log.h"

namespace tutti::state {

StateLoop::StateLoop(store::Store& store, const Clock& clock) : clock_(clock), engine_(make_engine(store)) {}

Result<std::unique_ptr<StateLoop>> StateLoop::open(store::Store& store, const Clock& clock) {
  std::unique_ptr<StateLoop> loop(new StateLoop(store, clock));
  TUTTI_CHECK(loop->engine_->open(clock.now()));
  return loop;
}

StateLoop::~StateLoop() {
  stop();
}

void StateLoop::start() {
  started_ = true;
  thread_ = std::thread([this] { run(); });
  checkpoints_ = std::thread([this] { run_checkpoints(); });
}

void StateLoop::submit(Command command, CommandMeta meta, Done done) {
  std::unique_lock lock(mutex_);
  if (stopping_ || failed_) {
    lock.unlock();
    return done(fail(ErrorCode::unavailable, "the manager is stopping: try again"));
  }
  if (waiting_.size() >= limits::kCommandQueueMax) {
    lock.unlock();
    return done(tl::make_unexpected(
        Error{ErrorCode::too_many, "too many commands are waiting (limit kCommandQueueMax): try again", {}, 1000}));
  }
  waiting_.push_back({std::move(command), std::move(meta), std::move(done)});
  lock.unlock();
  wake_.notify_one();
}

Result<Outcome> StateLoop::submit_and_wait(Command command, CommandMeta meta) {
  std::promise<Result<Outcome>> promise;
  auto future = promise.get_future();
  submit(std::move(command), std::move(meta), [&](Result<Outcome> outcome) { promise.set_value(std::move(outcome)); });
  return future.get();
}

bool StateLoop::failed() const {
  std::lock_guard lock(mutex_);
  return failed_;
}

void StateLoop::run() {
  std::vector<Waiting> batch;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (!engine_->has_work()) wake_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      // What the engine has taken is finished; what still waits here is answered by stop().
      if (stopping_ && !engine_->has_work()) return;
      if (!stopping_) batch.swap(waiting_);
    }
    for (Waiting& each : batch) engine_->submit(std::move(each.command), std::move(each.meta), std::move(each.done));
    batch.clear();
    if (Status stepped = engine_->step(clock_.now()); !stepped) {
      {
        std::lock_guard lock(mutex_);
        failed_ = true;
        stopping_ = true;
        batch.swap(waiting_);
      }
      checkpoint_wake_.notify_all();
      for (Waiting& each : batch) each.done(fail(ErrorCode::unavailable, "the manager steps down: try again"));
      return;
    }
    if (engine_->checkpoint_due()) checkpoint_wake_.notify_one();
  }
}

void StateLoop::run_checkpoints() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    checkpoint_wake_.wait_for(lock, std::chrono::seconds(10));
    if (stopping_) return;
    lock.unlock();
    if (engine_->checkpoint_due()) {
      if (Status written = engine_->checkpoint(clock_.now()); !written) {
        log_warning("checkpoint failed; the log keeps everything", {{"error", written.error().to_string()}});
      }
    }
    lock.lock();
  }
}

void StateLoop::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  checkpoint_wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (checkpoints_.joinable()) checkpoints_.join();
  std::vector<Waiting> left;
  {
    std::lock_guard lock(mutex_);
    left.swap(waiting_);
  }
  for (Waiting& each : left) each.done(fail(ErrorCode::unavailable, "the manager is stopping: try again"));
}

}  // namespace tutti::state
