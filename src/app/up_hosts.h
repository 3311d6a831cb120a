#pragma once
// UpHosts: so many hosts on one machine: a bridge in this namespace and, per worker of `tutti up`, a network namespace
// with an address on it.
//
// Owner: up. One thread. The bridge's name comes from the data folder; its prefix is a /24 of 172.18.0.0 to
// 172.29.255.0 that no link and no route of this machine has. What is there from an earlier start is used again:
// containers may still run in it.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/netlink.h"
#include "sys/netns.h"

namespace tutti::app {

class UpHosts {
 public:
  static Result<UpHosts> make(const std::string& data_dir, const std::string& run_dir, int count);

  const std::string& host_address() const { return host_address_; }
  int netns(size_t worker) const { return namespaces_.at(worker).fd(); }
  const std::string& address(size_t worker) const { return addresses_.at(worker); }
  void remove();

 private:
  Status make_host(sys::Netlink& netlink, int bridge, size_t worker);

  std::string run_dir_;
  std::string bridge_;
  std::string host_address_;
  sys::Prefix prefix_;
  std::vector<sys::NetNs> namespaces_;
  std::vector<std::string> addresses_;
};

}  // namespace tutti::app
