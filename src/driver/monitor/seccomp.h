#pragma once
// The system calls that a task may make, container or process (C03): a list of what is allowed. What is known and
// refused gets EPERM, what this list has never heard of ENOSYS, so that C libraries fall back to what they used before.
// Pure.

#include <map>
#include <mutex>
#include <set>
#include <string>

#include "base/result.h"

namespace tutti::driver {

// The value of "linux.seccomp" in an OCI configuration for a task with these capabilities ("CAP_SYS_ADMIN"): some calls
// come with the capability that the kernel asks for anyway.
std::string seccomp_json(const std::set<std::string>& capabilities);
// The same as the kernel's program. To build it takes 10 ms, which crun would spend at every start.
Result<std::string> seccomp_program(const std::set<std::string>& capabilities);

// Programs in base64, each built once. Thread-safe.
class SeccompCache {
 public:
  Result<std::string> base64_program(const std::set<std::string>& capabilities);

 private:
  std::mutex mutex_;
  std::map<std::set<std::string>, std::string> programs_;
};

}  // namespace tutti::driver
