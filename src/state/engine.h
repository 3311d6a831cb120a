#pragma once
// Engine: the single writer of the state, without a thread of its own.
//
// step() takes a batch of queued commands, applies each, makes one durable commit, publishes one snapshot with its
// ChangeSet, and answers everyone. A failed commit discards the draft: memory is never ahead of disk. An unknown
// outcome stops the engine (step() returns an error): the owner opens the store again. StateLoop (loop.h) gives it
// a thread and a bounded queue; simulation calls step() itself.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "model/snapshot.h"
#include "state/command.h"
#include "store/store.h"

namespace tutti::state {

using Done = std::function<void(Result<Outcome>)>;  // called once, after the commit; never under a lock
using Follower =
    std::function<void(const std::shared_ptr<const ChangeSet>&)>;  // on the engine's thread: hand over, do not work

// What follows from a batch and is to be part of its commit. On the engine's thread, with the batch as it would be
// published; must be quick and pure. What is refused is dropped: whoever decides will decide again after the commit.
using Decide = std::function<std::vector<Command>(const ChangeSet& draft, Time now)>;

// One event of a watch: a row after a commit (or gone). `json` is the stored row.
struct WatchEvent {
  Cursor cursor;
  TableId table = TableId::pool;
  uint64_t id = 0;
  enum class Kind : uint8_t { created, updated, deleted } kind = Kind::updated;
  std::string row;  // JSON as stored; deleted: the last row, so that filters by project and name still work
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Loads checkpoint and log, rebuilds the indexes. A new store gets epoch 1 and stays without a pool row until
  // InitializePool.
  virtual Status open(Time now) = 0;
  // Not thread-safe; StateLoop guards it. Queue full: done(too_many) at once.
  virtual void submit(Command command, CommandMeta meta, Done done) = 0;
  virtual bool has_work() const = 0;
  // One batch. Error: the engine is stopped and every queued command was answered `unavailable`.
  virtual Status step(Time now) = 0;
  // The newest published one. Any thread.
  virtual std::shared_ptr<const Snapshot> snapshot() const = 0;
  virtual void follow(Follower follower) = 0;
  // Asked once per batch, of at most kDecideRowsMax rows.
  virtual void decide_with(Decide decide) = 0;
  static constexpr size_t kDecideRowsMax = 64;

  // Dirty pages and log trimming, when due (by log length); runs on the caller's thread, which may be another one.
  virtual bool checkpoint_due() const = 0;
  virtual Status checkpoint(Time now) = 0;

  // Events after `from`, oldest first, at most `most`; `to` is the cursor to go on from. Any thread. Errors: invalid
  // (another epoch or a revision to come), not_found (older than what is kept: list again), as problem texts for a
  // client.
  struct WatchBatch {
    std::vector<WatchEvent> events;
    Cursor to;
  };
  virtual Result<WatchBatch> events_after(Cursor from, size_t most) const = 0;
};

std::unique_ptr<Engine> make_engine(store::Store& store);

}  // namespace tutti::state
