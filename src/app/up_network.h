#pragma once
// Where the instances of a pool on one machine get their addresses from: a /16 of 10.64.0.0 to 10.191.255.0 that no
// link and no route of this machine has. Looked at once, before the pool's first start.

#include <cstdint>
#include <string>

#include "base/result.h"

namespace tutti::app {

// The first from `seed` on. Error: conflict, none is free.
Result<std::string> choose_network(uint64_t seed);

}  // namespace tutti::app
