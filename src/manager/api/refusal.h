#pragma once
// Refusals as answers: a problem document (RFC 9457) whose status is that of the answer. Pure.

#include <string>

#include "base/result.h"
#include "net/http.h"

namespace tutti::manager {

net::Response refusal(const Error& error, const std::string& request_id);
// 405: the path has other methods, which are `allowed` ("GET, HEAD").
net::Response wrong_method(const net::Request& request, const std::string& allowed, const std::string& request_id);

}  // namespace tutti::manager
