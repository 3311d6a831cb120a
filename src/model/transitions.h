#pragma once
// A position, (generation, attempt, state), only moves forward. Pure.

#include "model/instance.h"

namespace tutti {

// Whether an observation `to` replaces `from`. Equal positions do not move, and a terminal state of an attempt
// is not replaced by another of the same attempt: the first end that was seen is the end.
bool moves_forward(Position from, Position to);

// The summary of Instance.state: the least of those not yet terminal, else the worst terminal; placed without tasks.
TaskState summary_of(const std::vector<TaskStatus>& tasks);

}  // namespace tutti
