#pragma once
// apply: one command on one state. Pure: no clock, I/O, thread or randomness.
//
// A Draft is the state being edited in the current batch: a copy of the last snapshot (O(1)) whose tables are
// edited in place. Every row goes in and out through its put_/erase_ methods, which keep the derived indexes, the
// usage per node (by charge(new) − charge(old)) and the list of touched rows. A refused command leaves no trace.

#include <memory>
#include <vector>

#include "base/time.h"
#include "model/snapshot.h"
#include "state/command.h"

namespace tutti::state {

class Draft;

// Applies or refuses. `now` is the commit's time.
Result<Outcome> apply(Draft& draft, const Command& command, const CommandMeta& meta, Time now);

// Behind the last command of a batch: what was not told one by one is told as a number.
void conclude(Draft& draft);

// Rebuilds every derived index and compares it with what the snapshot carries; the first difference, for simulation.
Status audit(const Snapshot& snapshot);

}  // namespace tutti::state
