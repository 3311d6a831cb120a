#pragma once
// NetNs: a handle on a network namespace. Owns one fd; the namespace lives as long as a handle, a pin or a process in
// it.
//
// No method changes the caller's own namespace: what has to happen inside happens on a helper thread that ends with it.
// Thread-safe where const.

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace tutti::sys {

class NetNs {
 public:
  // A new, empty namespace (its `lo` is down). Needs CAP_SYS_ADMIN: `io` that says so.
  static Result<NetNs> create();
  // From a pin, or "/proc/PID/ns/net". `invalid` for a file that is not a network namespace.
  static Result<NetNs> open(const std::string& path);
  // The caller's thread's own.
  static Result<NetNs> current();

  int fd() const { return fd_.get(); }
  // The kernel's number of it; equal numbers at one time mean the same namespace.
  Result<uint64_t> inode() const;

  // Bind-mounts it on `path` (made if missing), so that it outlives processes and can be named.
  Status pin(const std::string& path) const;
  // Takes the pin and its file away. Fine if there is none.
  static Status unpin(const std::string& path);
  // Whether `path` is a pin that holds a namespace (and not just the file left of one).
  static bool is_pinned(const std::string& path);

  // Runs `f` on a new thread inside the namespace and returns what it returned.
  Status run_in(const std::function<Status()>& f) const;

 private:
  explicit NetNs(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Writes /proc/sys/net/<name> ("ipv4/ip_forward") of the calling thread's namespace, unless it has that value already.
Status set_net_sysctl(const std::string& name, const std::string& value);

}  // namespace tutti::sys
