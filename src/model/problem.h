#pragma once
// What an HTTP answer that is no success says: a problem document (RFC 9457) as the Error it was made from. Pure.

#include <string_view>

#include "base/result.h"

namespace tutti {

// The code that has this status; `unprocessable` for a status that no code has.
ErrorCode code_of_status(int status);

// A body that is no problem document gives "the pool answered 502".
Error problem_of(int status, std::string_view body);

}  // namespace tutti
