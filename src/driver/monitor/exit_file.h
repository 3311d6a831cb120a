#pragma once
// handle.json and exit.json, as the monitor's program writes them (program/main.cc).

#include <boost/describe.hpp>
#include <cstdint>
#include <string>

namespace tutti::driver {

struct HandleFile {
  int32_t v = 1;
  int32_t monitor = 0;
  int32_t pid = 0;
  int64_t started_ns = 0;
};
BOOST_DESCRIBE_STRUCT(HandleFile, (), (v, monitor, pid, started_ns))

struct ExitFile {
  int32_t exit_code = 0;
  bool oom_killed = false;
  bool lease_expired = false;
  int64_t finished_ns = 0;
  std::string reason;
};
BOOST_DESCRIBE_STRUCT(ExitFile, (), (exit_code, oom_killed, lease_expired, finished_ns, reason))

}  // namespace tutti::driver
