#pragma once
// Private to net: a probe on a loop.

#include <functional>
#include <memory>

#include "net/loop.h"
#include "net/probe.h"

namespace tutti::net {

using ProbeDone = std::function<void(Result<ProbeAnswer>)>;
// On the loop's thread. `done` comes there too, once, unless the loop stops before.
void start_probe(std::shared_ptr<Loop> loop, Probe probe, ProbeDone done);

}  // namespace tutti::net
