#pragma once
// Private to net: a request target as sent → path and query of a Request. Pure; a fuzz target.

#include <string_view>

#include "base/result.h"
#include "net/http.h"

namespace tutti::net {

// Fills path and query. `invalid` for what is not a target: bad percent encoding, control characters, "..".
Status parse_target(std::string_view target, Request& out);

}  // namespace tutti::net
