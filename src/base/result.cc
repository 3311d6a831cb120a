#include "base/result.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tutti {

std::string Error::to_string() const {
  std::string out = message;
  for (const ErrorDetail& detail : details) {
    out += out.empty() ? "" : "; ";
    if (!detail.path.empty()) out += detail.path + ": ";
    out += detail.message;
    if (!detail.hint.empty()) out += " (" + detail.hint + ")";
  }
  return out;
}

Error Error::in(std::string_view context) && {
  message = std::string(context) + ": " + message;
  return std::move(*this);
}

tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::make_unexpected(Error{code, std::move(message), {}, 0});
}

tl::unexpected<Error> fail(ErrorCode code, std::string message, std::vector<ErrorDetail> details) {
  return tl::make_unexpected(Error{code, std::move(message), std::move(details), 0});
}

tl::unexpected<Error> fail_errno(std::string_view what, int error_number) {
  ErrorCode code = ErrorCode::io;
  if (error_number == ENOENT) code = ErrorCode::not_found;
  if (error_number == EEXIST) code = ErrorCode::conflict;
  return fail(code, std::string(what) + ": " + std::strerror(error_number));
}

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid: return "invalid";
    case ErrorCode::unauthenticated: return "unauthenticated";
    case ErrorCode::forbidden: return "forbidden";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::conflict: return "conflict";
    case ErrorCode::stale: return "stale";
    case ErrorCode::too_large: return "too_large";
    case ErrorCode::unprocessable: return "unprocessable";
    case ErrorCode::too_many: return "too_many";
    case ErrorCode::unavailable: return "unavailable";
    case ErrorCode::timeout: return "timeout";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::io: return "io";
    case ErrorCode::internal: return "internal";
  }
  return "internal";
}

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid: return 400;
    case ErrorCode::unauthenticated: return 401;
    case ErrorCode::forbidden: return 403;
    case ErrorCode::not_found: return 404;
    case ErrorCode::conflict: return 409;
    case ErrorCode::stale: return 412;
    case ErrorCode::too_large: return 413;
    case ErrorCode::unprocessable: return 422;
    case ErrorCode::too_many: return 429;
    case ErrorCode::unavailable: return 503;
    case ErrorCode::timeout: return 504;
    case ErrorCode::cancelled: return 499;
    case ErrorCode::unsupported: return 501;
    case ErrorCode::io: return 500;
    case ErrorCode::internal: return 500;
  }
  return 500;
}

void invariant_broken(const char* file, int line, const char* expression, const char* why) {
  std::fprintf(stderr, "invariant broken at %s:%d: %s (%s)\n", file, line, why, expression);
  std::abort();
}

}  // namespace tutti
