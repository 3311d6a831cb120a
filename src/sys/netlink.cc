#include "sys/netlink.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>

#include "base/hash.h"

namespace tutti::sys {
namespace {

// One message to the kernel. 8 KiB is what libmnl recommends for both ways.
struct Message {
  alignas(NLMSG_ALIGNTO) std::array<char, 8192> bytes{};
  nlmsghdr* head = nullptr;

  Message(uint16_t type, unsigned flags) {
    head = mnl_nlmsg_put_header(bytes.data());
    head->nlmsg_type = type;
    head->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  }
  template <class T>
  T* extra() {
    return static_cast<T*>(mnl_nlmsg_put_extra_header(head, sizeof(T)));
  }
};

// libmnl's own loops are macros that only C accepts.
template <class Each>
void each_attribute(const void* first, const void* end, Each each) {
  const auto* attr = static_cast<const nlattr*>(first);
  while (mnl_attr_ok(attr, static_cast<int>(static_cast<const char*>(end) - reinterpret_cast<const char*>(attr)))) {
    each(attr);
    attr = mnl_attr_next(attr);
  }
}
template <class Each>
void each_attribute(const nlmsghdr* head, size_t header_size, Each each) {
  each_attribute(mnl_nlmsg_get_payload_offset(head, header_size), mnl_nlmsg_get_payload_tail(head), each);
}

void put_name(nlmsghdr* head, uint16_t type, const std::string& text) {
  mnl_attr_put_strz(head, type, text.c_str());
}

Status check_name(const std::string& name) {
  if (!name.empty() && name.size() < IFNAMSIZ) return {};
  return fail(ErrorCode::invalid, "link name '" + name + "' must have 1 to 15 bytes");
}

Link read_link(const nlmsghdr* head) {
  const auto* info = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(head));
  Link link;
  link.index = info->ifi_index;
  link.up = (info->ifi_flags & IFF_UP) != 0;
  each_attribute(head, sizeof(*info), [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case IFLA_IFNAME: link.name = mnl_attr_get_str(attr); break;
      case IFLA_MASTER: link.master = static_cast<int>(mnl_attr_get_u32(attr)); break;
      case IFLA_LINKINFO: {
        const auto* first = static_cast<const char*>(mnl_attr_get_payload(attr));
        each_attribute(first, first + mnl_attr_get_payload_len(attr), [&](const nlattr* inner) {
          if (mnl_attr_get_type(inner) == IFLA_INFO_KIND) link.kind = mnl_attr_get_str(inner);
        });
        break;
      }
      default: break;
    }
  });
  return link;
}

}  // namespace

std::string to_text(Ipv4 address) {
  uint32_t v = address.value;
  return std::to_string(v >> 24) + "." + std::to_string(v >> 16 & 255) + "." + std::to_string(v >> 8 & 255) + "." +
         std::to_string(v & 255);
}

Result<Ipv4> parse_ipv4(std::string_view text) {
  in_addr parsed{};
  if (::inet_pton(AF_INET, std::string(text).c_str(), &parsed) != 1) {
    return fail(ErrorCode::invalid, "'" + std::string(text) + "' is not an IPv4 address");
  }
  return Ipv4{ntohl(parsed.s_addr)};
}

std::string to_text(const Prefix& prefix) {
  return to_text(prefix.network) + "/" + std::to_string(prefix.length);
}

Result<Prefix> parse_prefix(std::string_view text) {
  auto wrong = [&](const char* why) {
    return fail(ErrorCode::invalid, "'" + std::string(text) + "' is not an IPv4 prefix such as 10.86.3.0/24: " + why);
  };
  size_t slash = text.find('/');
  if (slash == std::string_view::npos) return wrong("it has no '/'");
  auto address = parse_ipv4(text.substr(0, slash));
  if (!address) return wrong("its address is wrong");
  Prefix prefix{*address, 0};
  std::string_view digits = text.substr(slash + 1);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix.length);
  if (error != std::errc() || end != digits.data() + digits.size() || prefix.length < 0 || prefix.length > 32) {
    return wrong("its length must be 0 to 32");
  }
  if ((address->value & ~prefix.mask()) != 0) return wrong("it has host bits set");
  return prefix;
}

void Netlink::Close::operator()(mnl_socket* socket) const {
  mnl_socket_close(socket);
}

Result<Netlink> Netlink::open() {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (!socket) return fail_errno("open a netlink socket", errno);
  Netlink netlink(socket);
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) return fail_errno("bind a netlink socket", errno);
  int one = 1;
  // The kernel's own words in errors; an old kernel has none, and that is fine.
  (void)mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &one, sizeof one);
  return netlink;
}

Result<Netlink> Netlink::open_in(const NetNs& netns) {
  Result<Netlink> result = fail(ErrorCode::internal, "not opened");
  TUTTI_CHECK(netns.run_in([&]() -> Status {
    result = open();
    return {};
  }));
  return result;
}

template <class Each>
Status Netlink::exchange(void* message, const std::string& what, Each each) {
  auto* head = static_cast<nlmsghdr*>(message);
  head->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_.get(), head, head->nlmsg_len) < 0) return fail_errno(what, errno);
  alignas(NLMSG_ALIGNTO) std::array<char, 32768> buffer;
  for (;;) {
    ssize_t n = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(what, errno);
    int left = static_cast<int>(n);
    for (auto* reply = reinterpret_cast<nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(reply, left);
         reply = mnl_nlmsg_next(reply, &left)) {
      if (reply->nlmsg_seq != sequence_) continue;  // of an exchange that failed half way
      if (reply->nlmsg_type == NLMSG_DONE) return {};
      if (reply->nlmsg_type != NLMSG_ERROR) {
        each(reply);
        continue;
      }
      const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(reply));
      if (error->error == 0) return {};
      std::string why = what;
      if ((reply->nlmsg_flags & NLM_F_ACK_TLVS) != 0) {
        size_t skip = sizeof(*error);
        if ((reply->nlmsg_flags & NLM_F_CAPPED) == 0) skip += mnl_nlmsg_get_payload_len(&error->msg);
        each_attribute(reply, skip, [&](const nlattr* attr) {
          if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG) why += std::string(" (") + mnl_attr_get_str(attr) + ")";
        });
      }
      if (error->error == -EPERM) why += " (networking needs root or CAP_NET_ADMIN)";
      if (error->error == -ENODEV) return fail(ErrorCode::not_found, why + ": no such link");
      return fail_errno(why, -error->error);
    }
  }
}

Status Netlink::exchange(void* message, const std::string& what) {
  return exchange(message, what, [](const nlmsghdr*) {});
}

Result<Link> Netlink::link(const std::string& name) {
  TUTTI_CHECK(check_name(name));
  Message m(RTM_GETLINK, NLM_F_ACK);
  m.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
  put_name(m.head, IFLA_IFNAME, name);
  Link found;
  TUTTI_CHECK(exchange(m.head, "link " + name, [&](const nlmsghdr* reply) { found = read_link(reply); }));
  return found;
}

Result<std::vector<Link>> Netlink::links(std::string_view prefix) {
  Message m(RTM_GETLINK, NLM_F_DUMP);
  m.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
  std::vector<Link> all;
  TUTTI_CHECK(exchange(m.head, "list links", [&](const nlmsghdr* reply) {
    Link link = read_link(reply);
    if (link.name.starts_with(prefix)) all.push_back(std::move(link));
  }));
  return all;
}

Status Netlink::create_bridge(const std::string& name) {
  TUTTI_CHECK(check_name(name));
  Message m(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  m.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
  put_name(m.head, IFLA_IFNAME, name);
  uint64_t h = fnv1a(name);
  std::array<uint8_t, 6> mac{0x02};  // locally administered
  for (size_t i = 1; i < mac.size(); ++i) mac[i] = static_cast<uint8_t>(h >> (8 * i));
  mnl_attr_put(m.head, IFLA_ADDRESS, mac.size(), mac.data());
  nlattr* info = mnl_attr_nest_start(m.head, IFLA_LINKINFO);
  put_name(m.head, IFLA_INFO_KIND, "bridge");
  mnl_attr_nest_end(m.head, info);
  return exchange(m.head, "make bridge " + name);
}

Status Netlink::create_veth(const VethRequest& request) {
  TUTTI_CHECK(check_name(request.name));
  TUTTI_CHECK(check_name(request.peer_name));
  Message m(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  auto* head = m.extra<ifinfomsg>();
  head->ifi_family = AF_UNSPEC;
  head->ifi_flags = head->ifi_change = IFF_UP;
  put_name(m.head, IFLA_IFNAME, request.name);
  if (request.master != 0) mnl_attr_put_u32(m.head, IFLA_MASTER, static_cast<uint32_t>(request.master));
  nlattr* info = mnl_attr_nest_start(m.head, IFLA_LINKINFO);
  put_name(m.head, IFLA_INFO_KIND, "veth");
  nlattr* data = mnl_attr_nest_start(m.head, IFLA_INFO_DATA);
  nlattr* peer = mnl_attr_nest_start(m.head, VETH_INFO_PEER);
  auto* peer_head = m.extra<ifinfomsg>();
  peer_head->ifi_family = AF_UNSPEC;
  put_name(m.head, IFLA_IFNAME, request.peer_name);
  if (request.peer_netns_fd >= 0) {
    mnl_attr_put_u32(m.head, IFLA_NET_NS_FD, static_cast<uint32_t>(request.peer_netns_fd));
  }
  mnl_attr_nest_end(m.head, peer);
  mnl_attr_nest_end(m.head, data);
  mnl_attr_nest_end(m.head, info);
  return exchange(m.head, "make veth " + request.name);
}

Status Netlink::delete_link(int index) {
  Message m(RTM_DELLINK, NLM_F_ACK);
  auto* head = m.extra<ifinfomsg>();
  head->ifi_family = AF_UNSPEC;
  head->ifi_index = index;
  Status status = exchange(m.head, "delete link " + std::to_string(index));
  if (!status && status.error().code == ErrorCode::not_found) return {};
  return status;
}

Status Netlink::change_link(int index, unsigned flags, unsigned change, const std::string& name,
                            const std::string& what) {
  Message m(RTM_NEWLINK, NLM_F_ACK);
  auto* head = m.extra<ifinfomsg>();
  head->ifi_family = AF_UNSPEC;
  head->ifi_index = index;
  head->ifi_flags = flags;
  head->ifi_change = change;
  if (!name.empty()) put_name(m.head, IFLA_IFNAME, name);
  return exchange(m.head, what + " of link " + std::to_string(index));
}

Status Netlink::set_up(int index) {
  return change_link(index, IFF_UP, IFF_UP, {}, "set up");
}
Status Netlink::set_hairpin(int index) {
  Message m(RTM_SETLINK, NLM_F_ACK);
  auto* head = m.extra<ifinfomsg>();
  head->ifi_family = AF_BRIDGE;
  head->ifi_index = index;
  nlattr* port = mnl_attr_nest_start(m.head, IFLA_PROTINFO | NLA_F_NESTED);
  mnl_attr_put_u8(m.head, IFLA_BRPORT_MODE, 1);
  mnl_attr_nest_end(m.head, port);
  return exchange(m.head, "set hairpin of link " + std::to_string(index));
}
Status Netlink::rename(int index, const std::string& name) {
  TUTTI_CHECK(check_name(name));
  return change_link(index, 0, 0, name, "set name " + name);
}

Status Netlink::change_address(int index, Ipv4 address, int prefix_length, bool add) {
  Message m(add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL : NLM_F_ACK);
  auto* head = m.extra<ifaddrmsg>();
  head->ifa_family = AF_INET;
  head->ifa_prefixlen = static_cast<uint8_t>(prefix_length);
  head->ifa_scope = (address.value >> 24) == 127 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
  head->ifa_index = static_cast<uint32_t>(index);
  mnl_attr_put_u32(m.head, IFA_LOCAL, htonl(address.value));
  mnl_attr_put_u32(m.head, IFA_ADDRESS, htonl(address.value));
  if (add && prefix_length < 31) {
    uint32_t broadcast = address.value | ~Prefix{{}, prefix_length}.mask();
    mnl_attr_put_u32(m.head, IFA_BROADCAST, htonl(broadcast));
  }
  return exchange(m.head, (add ? "add address " : "delete address ") + to_text(address));
}

Status Netlink::add_address(int index, Ipv4 address, int prefix_length) {
  Status status = change_address(index, address, prefix_length, true);
  if (!status && status.error().code == ErrorCode::conflict) return {};
  return status;
}

Status Netlink::delete_address(int index, Ipv4 address, int prefix_length) {
  return change_address(index, address, prefix_length, false);
}

Result<std::vector<LinkAddress>> Netlink::addresses() {
  Message m(RTM_GETADDR, NLM_F_DUMP);
  m.extra<ifaddrmsg>()->ifa_family = AF_INET;
  std::vector<LinkAddress> all;
  TUTTI_CHECK(exchange(m.head, "list addresses", [&](const nlmsghdr* reply) {
    const auto* info = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(reply));
    LinkAddress one;
    one.index = static_cast<int>(info->ifa_index);
    one.length = info->ifa_prefixlen;
    each_attribute(reply, sizeof(*info), [&](const nlattr* attr) {
      if (mnl_attr_get_type(attr) == IFA_LOCAL) one.address.value = ntohl(mnl_attr_get_u32(attr));
    });
    all.push_back(one);
  }));
  return all;
}

Status Netlink::add_default_route(Ipv4 gateway) {
  Message m(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  auto* head = m.extra<rtmsg>();
  head->rtm_family = AF_INET;
  head->rtm_table = RT_TABLE_MAIN;
  head->rtm_protocol = RTPROT_STATIC;
  head->rtm_scope = RT_SCOPE_UNIVERSE;
  head->rtm_type = RTN_UNICAST;
  mnl_attr_put_u32(m.head, RTA_GATEWAY, htonl(gateway.value));
  Status status = exchange(m.head, "add default route by " + to_text(gateway));
  if (!status && status.error().code == ErrorCode::conflict) return {};
  return status;
}

Result<std::vector<Route>> Netlink::routes() {
  Message m(RTM_GETROUTE, NLM_F_DUMP);
  m.extra<rtmsg>()->rtm_family = AF_INET;
  std::vector<Route> all;
  TUTTI_CHECK(exchange(m.head, "list routes", [&](const nlmsghdr* reply) {
    const auto* info = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(reply));
    Route route;
    route.destination.length = info->rtm_dst_len;
    uint32_t table = info->rtm_table;
    each_attribute(reply, sizeof(*info), [&](const nlattr* attr) {
      switch (mnl_attr_get_type(attr)) {
        case RTA_DST: route.destination.network.value = ntohl(mnl_attr_get_u32(attr)); break;
        case RTA_GATEWAY: route.gateway.value = ntohl(mnl_attr_get_u32(attr)); break;
        case RTA_OIF: route.index = static_cast<int>(mnl_attr_get_u32(attr)); break;
        case RTA_TABLE: table = mnl_attr_get_u32(attr); break;
        default: break;
      }
    });
    if (table == RT_TABLE_MAIN) all.push_back(route);
  }));
  return all;
}

Result<std::vector<Prefix>> Netlink::prefixes_in_use() {
  TUTTI_TRY(const auto addresses, this->addresses());
  TUTTI_TRY(const auto routes, this->routes());
  std::vector<Prefix> out;
  for (const LinkAddress& have : addresses) out.push_back(have.prefix());
  for (const Route& route : routes)
    if (route.destination.length > 0) out.push_back(route.destination);
  return out;
}

}  // namespace tutti::sys
