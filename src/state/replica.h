#pragma once
// Replica: a snapshot kept true from outside the process that owns the state, by the rows it is sent (T04).
//
//   pages of a snapshot ──load()──► complete() ──► changes ──follow()──► ChangeSets, as if it were the engine
//
// Holds only what placing needs: pool, projects, nodes, jobs, versions, instances. Owner: a scheduler process, on one
// thread. The text forms are those of the store (row_codec.h).

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "model/snapshot.h"
#include "state/engine.h"

namespace tutti::state {

// Whether rows of this table go to replicas.
bool is_replicated(TableId table);

// ---- the sender's side
// The pages of a snapshot, one after the other, each at most about 512 KiB.
class PageReader {
 public:
  explicit PageReader(std::shared_ptr<const Snapshot> snapshot) : snapshot_(std::move(snapshot)) {}
  // Empty: that was all.
  std::string next();
  const Snapshot& snapshot() const { return *snapshot_; }

 private:
  std::shared_ptr<const Snapshot> snapshot_;
  int table_ = 0;
  uint64_t page_ = 0;
  std::string rest_;
};
// What the replica needs of these events, to bring it to `revision`.
std::string changes_for_replica(const std::vector<WatchEvent>& events, Revision revision, Time now);

// ---- the receiver's side
class Replica {
 public:
  // Either form. The changes, once all pages of the snapshot are there; none while it is still loading.
  Result<std::shared_ptr<const ChangeSet>> receive(std::string_view text);
  // Null until the first changes came behind the pages.
  std::shared_ptr<const Snapshot> snapshot() const { return snapshot_; }

 private:
  Snapshot loading_;
  std::shared_ptr<const Snapshot> snapshot_;
};

}  // namespace tutti::state
