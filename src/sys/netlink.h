#pragma once
// Netlink: one rtnetlink socket, which belongs to the network namespace it was opened in, whoever uses it later.
//
// Owner: one component; not thread-safe (each thread opens its own). Calls block for the kernel's answer, a few
// microseconds, but for delete_link: taking a veth away waits tens of milliseconds for readers of the network stack,
// so that goes to a thread that nobody waits for. Addresses are IPv4, in host byte order.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/netns.h"

struct mnl_socket;

namespace tutti::sys {

struct Ipv4 {
  uint32_t value = 0;  // host byte order; 0: none
  constexpr auto operator<=>(const Ipv4&) const = default;
};
std::string to_text(Ipv4 address);
Result<Ipv4> parse_ipv4(std::string_view text);

// "10.86.3.0/24". The address is the network's own (no host bits set).
struct Prefix {
  Ipv4 network;
  int length = 0;
  constexpr uint32_t mask() const { return length == 0 ? 0 : ~uint32_t{0} << (32 - length); }
  constexpr bool contains(Ipv4 a) const { return (a.value & mask()) == network.value; }
  constexpr bool overlaps(const Prefix& o) const {
    uint32_t both = mask() & o.mask();
    return (network.value & both) == (o.network.value & both);
  }
  constexpr auto operator<=>(const Prefix&) const = default;
};
std::string to_text(const Prefix& prefix);
Result<Prefix> parse_prefix(std::string_view text);

struct Link {
  int index = 0;
  std::string name;
  std::string kind;  // "bridge", "veth"; empty for hardware and lo
  int master = 0;    // index of its bridge
  bool up = false;
};

struct LinkAddress {
  int index = 0;  // of the link
  Ipv4 address;
  int length = 0;
  constexpr Prefix prefix() const {
    const Prefix whole{address, length};
    return {Ipv4{address.value & whole.mask()}, length};
  }
};

struct Route {
  int index = 0;  // of the link; 0: none (blackhole, multipath)
  Prefix destination;
  Ipv4 gateway;  // 0: directly reachable
};

struct VethRequest {
  std::string name;  // this side; ≤ 15 bytes
  std::string peer_name;
  int peer_netns_fd = -1;  // the other side is made there
  int master = 0;          // bridge of this side
};

class Netlink {
 public:
  // In the calling thread's namespace, or in another one.
  static Result<Netlink> open();
  static Result<Netlink> open_in(const NetNs& netns);

  Result<Link> link(const std::string& name);  // not_found
  // All links whose name begins with `prefix`.
  Result<std::vector<Link>> links(std::string_view prefix = {});
  // `conflict` when the name is taken. Its hardware address is derived from the name: it must not change with its
  // ports.
  Status create_bridge(const std::string& name);
  // This side up and on its bridge, in one message; the kernel cannot set the peer up before both sides exist.
  Status create_veth(const VethRequest& request);
  Status delete_link(int index);  // fine if it is not there
  Status set_up(int index);
  Status set_hairpin(int index);  // of a bridge's port: packets may leave by the port they came in
  Status rename(int index, const std::string& name);

  Status add_address(int index, Ipv4 address, int prefix_length);  // fine if it has it
  Status delete_address(int index, Ipv4 address, int prefix_length);
  Result<std::vector<LinkAddress>> addresses();
  Status add_default_route(Ipv4 gateway);  // fine if it is there
  // The main table.
  Result<std::vector<Route>> routes();
  // What addresses and routes take of the addresses that there are; the default route takes nothing.
  Result<std::vector<Prefix>> prefixes_in_use();

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  explicit Netlink(mnl_socket* socket) : socket_(socket) {}
  template <class Each>
  Status exchange(void* message, const std::string& what, Each each);
  Status exchange(void* message, const std::string& what);
  Status change_link(int index, unsigned flags, unsigned change, const std::string& name, const std::string& what);
  Status change_address(int index, Ipv4 address, int prefix_length, bool add);

  std::unique_ptr<mnl_socket, Close> socket_;
  uint32_t sequence_ = 0;
};

}  // namespace tutti::sys
