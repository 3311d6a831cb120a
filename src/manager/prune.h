#pragma once
// What the catalog no longer needs goes: rows of manifests without a tag that nothing leads to, then content that no
// row, no job version and no instance refers to (row I10).
//
// Blocking: call from the pool. Nothing younger than `grace` goes, so an upload under way (its layers come before its
// manifest) and a version whose images were just resolved keep theirs. Safe to end at any point: rows go before
// content, and what is left unreferenced is found again the next time.

#include <functional>
#include <memory>

#include "base/time.h"
#include "catalog/content_store.h"
#include "model/snapshot.h"
#include "state/command.h"

namespace tutti::manager {

struct PruneReport {
  size_t rows = 0;  // manifests without a tag
  catalog::CollectReport content;
};

struct PruneWorld {
  catalog::ContentStore& content;
  std::function<std::shared_ptr<const Snapshot>()> snapshot;
  std::function<Result<state::Outcome>(state::Command)> commit;  // waits
};

Result<PruneReport> prune_catalog(const PruneWorld& world, Duration grace, Time now);

// "3 blobs, 12.5 MiB removed; 2 kept for now": for operations and logs.
std::string describe(const PruneReport& report);

}  // namespace tutti::manager
