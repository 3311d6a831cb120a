#pragma once
// The system calls that a container may make (C03): a list of what is allowed. What is known and refused gets EPERM,
// what this list has never heard of ENOSYS, so that C libraries fall back to what they used before. Pure.

#include <set>
#include <string>

namespace tutti::driver {

// The value of "linux.seccomp" in an OCI configuration for a task with these capabilities ("CAP_SYS_ADMIN"): some calls
// come with the capability that the kernel asks for anyway.
std::string seccomp_json(const std::set<std::string>& capabilities);

}  // namespace tutti::driver
