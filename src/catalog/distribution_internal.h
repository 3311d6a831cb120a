#pragma once
// Answers that the parts of Distribution share. Not for others.

#include <string>

#include "catalog/distribution.h"

namespace tutti::catalog {

net::Response registry_error(const Error& error, std::string_view code);
// An answer without a body.
net::Response empty_response(int status, std::vector<std::pair<std::string, std::string>> headers = {});
std::string json_text(std::string_view text);

}  // namespace tutti::catalog
