#pragma once
// The bodies of calls that are not the model's own structs.

#include <boost/describe.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/time.h"

namespace tutti::cli {

struct SignalBody {
  std::string signal;
  std::string task;
};
BOOST_DESCRIBE_STRUCT(SignalBody, (), (signal, task))

}  // namespace tutti::cli
