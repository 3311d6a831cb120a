#pragma once
// What InstanceNetwork stores of one instance under /run before it acts, and how names are made. Plain values.

#include <boost/describe.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "model/instance.h"
#include "sys/netlink.h"

namespace tutti::worker {

struct NetworkRecord {
  InstanceId instance;
  NetworkMode mode = NetworkMode::bridge;
  std::string address;  // bridge only
  uint64_t netns = 0;   // the kernel's number of its namespace; 0: not made yet
  std::vector<PortBinding> ports;
  bool operator==(const NetworkRecord&) const = default;
};
BOOST_DESCRIBE_STRUCT(NetworkRecord, (), (instance, mode, address, netns, ports))

Result<NetworkRecord> parse_network_record(std::string_view json);
std::string format_network_record(const NetworkRecord& record);

// Links are named after (pool, node), so that several workers of a machine do not meet; at most 15 bytes.
struct NetworkNames {
  std::string bridge;
  std::string veth_prefix;
  std::string table;
  std::string veth(InstanceId instance) const;
};
NetworkNames network_names(std::string_view pool_id, std::string_view node_name);

// The next free address after `last`, round the subnet: an address just given up is not given again at once, since
// others still have it in their tables. 0 when all are taken. `taken` is sorted.
sys::Ipv4 next_address(const sys::Prefix& subnet, sys::Ipv4 last, const std::vector<sys::Ipv4>& taken);

// What the worker knows of an instance that an earlier process set up.
struct LiveInstance {
  InstanceId instance;
  std::string address;
  std::vector<PortBinding> ports;
};

}  // namespace tutti::worker
