#pragma once
// The durable store's contract: an ordered log of batches and checkpoints of table pages.
//
// Owner: the state loop; used by one thread at a time, except that checkpoint() and trim_log() may run on a
// second thread while append() goes on. Adapters: memory/ (tests, simulation, fault injection), sqlite/.
// store/conformance.h is the suite that each must pass.
//
// A batch is the after-images of the rows one revision changed, never commands, so that replay survives
// upgrades. Pages are slices of tables: (table, page number) → the rows in it.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tutti::store {

// What became of an append. `unknown` (the disk or the network gave no answer): the caller may not serve on;
// it opens the store again and takes what it finds.
enum class AppendOutcome { committed, refused, unknown };

struct AppendResult {
  AppendOutcome outcome = AppendOutcome::committed;
  Error error;  // why, unless committed
};

struct Opened {
  uint64_t epoch = 0;       // 0: a new store; raised by restore
  uint64_t head = 0;        // revision of the last batch; 0: none
  uint64_t checkpoint = 0;  // revision the pages are of; ≤ head
  uint64_t log_first = 0;   // oldest batch still there; 0: none
};

struct Page {
  uint32_t table = 0;
  uint64_t number = 0;
  std::string blob;  // empty: the page has no rows any more
};

class Store {
 public:
  virtual ~Store() = default;

  // Takes the lead and says what is there. Errors: unavailable (another process holds it, with its pid), io
  // (damaged or unreadable: says which file and what to do). May be called again after an unknown outcome.
  virtual Result<Opened> open() = 0;

  // Durable when it returns committed. Guarded: revision must be head + 1, else refused. blob ≤ 1 MiB.
  virtual AppendResult append(uint64_t revision, std::string_view blob) = 0;

  // Batches after `revision` in order, until `each` returns false. Errors: not_found if the log begins later.
  virtual Status read_log(uint64_t after,
                          const std::function<bool(uint64_t revision, std::string_view blob)>& each) = 0;

  // Replaces the given pages and moves the checkpoint to `revision`. Durable when it returns; after a crash in between
  // pages may be newer than the checkpoint, never older: the log, which is still there, holds what came after it.
  virtual Status checkpoint(uint64_t revision, const std::vector<Page>& pages) = 0;
  virtual Status read_pages(const std::function<Status(const Page&)>& each) = 0;

  // Forgets batches up to and including `revision`, never beyond the checkpoint.
  virtual Status trim_log(uint64_t revision) = 0;

  // The epoch is part of every cursor; set once in a new store and by restore.
  virtual Status set_epoch(uint64_t epoch) = 0;
};

}  // namespace tutti::store
