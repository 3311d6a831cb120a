#include "model/problem.h"

#include <boost/describe.hpp>
#include <string>
#include <vector>

#include "model/codec_impl.h"

namespace tutti {

struct ProblemError {
  std::string path;
  std::string message;
  std::string hint;
};
BOOST_DESCRIBE_STRUCT(ProblemError, (), (path, message, hint))

struct Problem {
  std::string detail;
  std::vector<ProblemError> errors;
};
BOOST_DESCRIBE_STRUCT(Problem, (), (detail, errors))

ErrorCode code_of_status(int status) {
  switch (status) {
    case 400: return ErrorCode::invalid;
    case 401: return ErrorCode::unauthenticated;
    case 403: return ErrorCode::forbidden;
    case 404: return ErrorCode::not_found;
    case 409: return ErrorCode::conflict;
    case 412: return ErrorCode::stale;
    case 413: return ErrorCode::too_large;
    case 429: return ErrorCode::too_many;
    case 501: return ErrorCode::unsupported;
    case 503: return ErrorCode::unavailable;
    case 504: return ErrorCode::timeout;
    default: return status == 500 ? ErrorCode::internal : ErrorCode::unprocessable;
  }
}

Error problem_of(int status, std::string_view body) {
  Error out;
  out.code = code_of_status(status);
  auto problem = from_json<Problem>(body, {.allow_unknown = true, .what = "problem"});
  if (!problem || problem->detail.empty()) {
    out.message = "the pool answered " + std::to_string(status);
    return out;
  }
  out.message = std::move(problem->detail);
  for (ProblemError& each : problem->errors)
    out.details.push_back({std::move(each.path), std::move(each.message), std::move(each.hint)});
  return out;
}

}  // namespace tutti

TUTTI_INSTANTIATE_CODEC(tutti::ProblemError);
TUTTI_INSTANTIATE_CODEC(tutti::Problem);
