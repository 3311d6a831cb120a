#pragma once
// The bodies of calls that are not the model's own structs.

#include <boost/describe.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/time.h"

namespace tutti::cli {

// What exec and attach ask for.
struct StreamQuery {
  std::vector<std::string> command;
  std::string task;
  std::map<std::string, std::string> env;
  std::string user;
  std::string workdir;
  bool tty = false;
  bool stdin_open = false;
  bool replay = false;  // attach: what was written before comes first
};
BOOST_DESCRIBE_STRUCT(StreamQuery, (), (command, task, env, user, workdir, tty, stdin_open, replay))

struct SignalBody {
  std::string signal;
  std::string task;
};
BOOST_DESCRIBE_STRUCT(SignalBody, (), (signal, task))

}  // namespace tutti::cli
