#pragma once
// Result<T>: how every operation that can fail reports it. No exception crosses a folder.
//
// An Error is written for the person who has to act on it: `message` says what is wrong and where,
// each detail names a field path with a hint. The code alone decides the HTTP status, the exit code
// of the command line and whether a retry can help.

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace tutti {

enum class ErrorCode : uint8_t {
  invalid,          // what was sent is wrong                     400, exit 2
  unauthenticated,  // no (valid) identity                        401
  forbidden,        // this identity may not                      403
  not_found,        // not there, or not visible                  404, exit 3
  conflict,         // against the present state, or name taken   409
  stale,            // If-Match on an old version                 412
  too_large,        // above a published limit                    413
  unprocessable,    // valid, but cannot be done, with reasons    422
  too_many,         // rate or queue limit                        429
  unavailable,      // no leader, queue full, not connected       503, exit 5
  timeout,          // a deadline passed                          504, exit 4
  cancelled,        // the caller asked to stop
  unsupported,      // this adapter or machine cannot             501
  io,               // the operating system refused               500
  internal,         // a defect of ours                           500
};

struct ErrorDetail {
  std::string path;     // "tasks[0].resources.cpu"; empty when it concerns the whole
  std::string message;  // "expected a size"
  std::string hint;     // "write 500m or 2c"
  bool operator==(const ErrorDetail&) const = default;
};

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::vector<ErrorDetail> details;
  int64_t retry_after_ms = 0;  // > 0 only when waiting helps

  bool operator==(const Error&) const = default;
  // The whole error on one line, details behind the message.
  std::string to_string() const;
  // The same error with `context: ` put in front of the message.
  Error in(std::string_view context) &&;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

[[nodiscard]] tl::unexpected<Error> fail(ErrorCode code, std::string message);
[[nodiscard]] tl::unexpected<Error> fail(ErrorCode code, std::string message, std::vector<ErrorDetail> details);
// From errno: "open /x/y: No such file or directory". ENOENT → not_found, EEXIST → conflict, else io.
[[nodiscard]] tl::unexpected<Error> fail_errno(std::string_view what, int error_number);

std::string_view error_code_name(ErrorCode code);
// The HTTP status of a code: the one place that maps it.
int http_status(ErrorCode code);

// A broken invariant: says where and why on standard error and aborts. Never for what input can cause.
[[noreturn]] void invariant_broken(const char* file, int line, const char* expression, const char* why);

}  // namespace tutti

#define TUTTI_INVARIANT(expr, why) ((expr) ? (void)0 : ::tutti::invariant_broken(__FILE__, __LINE__, #expr, why))

#define TUTTI_CONCAT_(a, b) a##b
#define TUTTI_CONCAT(a, b) TUTTI_CONCAT_(a, b)

// TUTTI_TRY(auto x, call()): x is the value, or this function returns the error.
#define TUTTI_TRY(decl, expr) TUTTI_TRY_(TUTTI_CONCAT(tutti_try_, __LINE__), decl, expr)
#define TUTTI_TRY_(tmp, decl, expr)                     \
  auto tmp = (expr);                                    \
  if (!tmp) [[unlikely]]                                \
    return tl::make_unexpected(std::move(tmp).error()); \
  decl = std::move(*tmp)

// TUTTI_CHECK(call()): this function returns the error of a Status, if it has one.
#define TUTTI_CHECK(expr) TUTTI_CHECK_(TUTTI_CONCAT(tutti_try_, __LINE__), expr)
#define TUTTI_CHECK_(tmp, expr)             \
  if (auto tmp = (expr); !tmp) [[unlikely]] \
  return tl::make_unexpected(std::move(tmp).error())
