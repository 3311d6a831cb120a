#include "manager/api/refusal.h"

#include "manager/api/call.h"

namespace tutti::manager {
namespace {

std::string problem(int status, const std::string& code, const Error& error, const std::string& request_id) {
  std::string out = "{\"type\":\"urn:tutti:error:" + code + "\",\"title\":\"" + code +
                    "\",\"status\":" + std::to_string(status) + ",\"detail\":";
  append_json_string(out, error.message);
  if (!error.details.empty()) {
    out += ",\"errors\":[";
    for (size_t i = 0; i < error.details.size(); ++i) {
      if (i > 0) out += ',';
      out += "{\"path\":";
      append_json_string(out, error.details[i].path);
      out += ",\"message\":";
      append_json_string(out, error.details[i].message);
      out += ",\"hint\":";
      append_json_string(out, error.details[i].hint);
      out += '}';
    }
    out += ']';
  }
  out += ",\"request_id\":";
  append_json_string(out, request_id);
  return out + "}";
}

// The one place where a problem becomes an answer.
net::Response answer(int status, const std::string& code, const Error& error, const std::string& request_id) {
  net::Response response;
  response.status = status;
  response.content_type = "application/problem+json";
  response.body = problem(status, code, error, request_id);
  response.headers.emplace_back("X-Request-Id", request_id);
  return response;
}

}  // namespace

std::string problem_json(const Error& error, const std::string& request_id) {
  return problem(http_status(error.code), std::string(error_code_name(error.code)), error, request_id);
}

net::Response refusal(const Error& error, const std::string& request_id) {
  net::Response response = answer(http_status(error.code), std::string(error_code_name(error.code)), error, request_id);
  // 429 and 503 always say when to come back.
  const bool later = error.code == ErrorCode::too_many || error.code == ErrorCode::unavailable;
  if (later && error.retry_after_ms == 0) response.headers.emplace_back("Retry-After", "1");
  if (error.retry_after_ms > 0)
    response.headers.emplace_back("Retry-After", std::to_string((error.retry_after_ms + 999) / 1000));
  if (error.code == ErrorCode::unauthenticated)
    response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"tutti\"");
  return response;
}

net::Response wrong_method(const net::Request& request, const std::string& allowed, const std::string& request_id) {
  net::Response response = answer(
      405, "method_not_allowed",
      Error{ErrorCode::invalid, request.method + " is not for " + request.path + ", which takes " + allowed, {}, 0},
      request_id);
  response.headers.emplace_back("Allow", allowed);
  return response;
}

}  // namespace tutti::manager
