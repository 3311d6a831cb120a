#pragma once
// StateLoop: the engine with a thread of its own, a bounded queue, and another thread for checkpoints.
//
// Owner: Manager. submit(), snapshot() and events_after() from any thread; `done` and followers run on the state thread
// and must hand over, not work.

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "state/engine.h"

namespace tutti::state {

class StateLoop {
 public:
  // Opened: what is in the store is there. `clock` and `store` outlive it.
  static Result<std::unique_ptr<StateLoop>> open(store::Store& store, const Clock& clock);
  ~StateLoop();
  StateLoop(const StateLoop&) = delete;
  StateLoop& operator=(const StateLoop&) = delete;

  // Before start(): who hears of every commit.
  void follow(Follower follower) { engine_->follow(std::move(follower)); }
  // Before start(): what is decided within a commit.
  void decide_with(Decide decide) { engine_->decide_with(std::move(decide)); }
  void start();

  void submit(Command command, CommandMeta meta, Done done);
  // Blocks until it is committed or refused; not from the state thread.
  Result<Outcome> submit_and_wait(Command command, CommandMeta meta = {});
  std::shared_ptr<const Snapshot> snapshot() const { return engine_->snapshot(); }
  Result<Engine::WatchBatch> events_after(Cursor from, size_t most) const { return engine_->events_after(from, most); }

  // An unknown commit: the process must end and start again.
  bool failed() const;
  // Finishes the batch under way; queued commands are answered `unavailable`.
  void stop();

 private:
  StateLoop(store::Store& store, const Clock& clock);
  void run();
  void run_checkpoints();

  const Clock& clock_;
  std::unique_ptr<Engine> engine_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  struct Waiting {
    Command command;
    CommandMeta meta;
    Done done;
  };
  std::vector<Waiting> waiting_;
  bool started_ = false;
  bool stopping_ = false;
  bool failed_ = false;
  std::thread thread_;
  std::thread checkpoints_;
  std::condition_variable checkpoint_wake_;
};

}  // namespace tutti::state
