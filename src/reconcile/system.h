#pragma once
// System jobs: which nodes get an instance. Slot number: the low 32 bits of the node's id, so it never moves.
//
//   keep   the node is there, is not draining or still has other work to drain, has the drivers by name and meets the
//   constraints start  keep, and it is ready, eligible and the drivers are healthy

#include "reconcile/slots.h"

namespace tutti::reconcile {

enum class NodeFit : uint8_t { none, keep, start };

// Marks the slots of the active groups: surplus where the node should have none, pinned and may_start where it should.
void add_nodes(const Snapshot& snapshot, const JobVersion& active, Time now, SlotTable& table);

}  // namespace tutti::reconcile
