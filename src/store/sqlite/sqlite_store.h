#pragma once
// The embedded store: one SQLite file in WAL mode with synchronous=FULL.
//
// Two tables by rowid: log(revision, blob) and page(key, tbl, number, blob); meta holds epoch and checkpoint. The lead
// is an flock on `<path>.lock`, which also holds the pid. append() has a connection of its own; a checkpoint on another
// thread writes in pieces and lets it go first.

#include <memory>
#include <string>

#include "store/store.h"

namespace tutti::store {

// Nothing is opened before Store::open().
std::unique_ptr<Store> make_sqlite_store(std::string path);

}  // namespace tutti::store
