#include "app/up_hosts.h"

#include <algorithm>

#include "base/hash.h"
#include "base/id.h"
#include "sys/file.h"

namespace tutti::app {
namespace {

constexpr uint64_t kPrefixes = 12 * 256;  // 172.18.0.0/24 … 172.29.255.0/24

sys::Prefix candidate(uint64_t n) {
  const uint64_t k = n % kPrefixes;
  return {sys::Ipv4{static_cast<uint32_t>(172u << 24 | (18 + k / 256) << 16 | (k % 256) << 8)}, 24};
}

// The prefix that the bridge has from an earlier start, else the first from `seed` on that nothing else uses.
Result<sys::Prefix> choose_prefix(sys::Netlink& netlink, int bridge, uint64_t seed) {
  TUTTI_TRY(const auto addresses, netlink.addresses());
  for (const sys::LinkAddress& have : addresses)
    if (have.index == bridge) return have.prefix();
  TUTTI_TRY(const std::vector<sys::Prefix> taken, netlink.prefixes_in_use());
  for (uint64_t n = 0; n < kPrefixes; ++n) {
    const sys::Prefix prefix = candidate(seed + n);
    if (std::none_of(taken.begin(), taken.end(), [&](const sys::Prefix& other) { return other.overlaps(prefix); }))
      return prefix;
  }
  return fail(
      ErrorCode::conflict,
      "no prefix of 172.18.0.0 to 172.29.255.0 is free on this machine for the workers' addresses: use one worker");
}

}  // namespace

Result<UpHosts> UpHosts::make(const std::string& data_dir, const std::string& run_dir, int count) {
  UpHosts out;
  const uint64_t hash = fnv1a(data_dir);
  out.run_dir_ = run_dir;
  out.bridge_ = "ttup" + id_text(hash & ((uint64_t{1} << 60) - 1)).substr(0, 6);
  TUTTI_TRY(sys::Netlink netlink, sys::Netlink::open());
  for (const sys::Link& old : netlink.links(out.bridge_ + "v").value_or(std::vector<sys::Link>{}))
    (void)netlink.delete_link(old.index);
  if (!netlink.link(out.bridge_)) TUTTI_CHECK(netlink.create_bridge(out.bridge_));
  TUTTI_TRY(const sys::Link bridge, netlink.link(out.bridge_));
  TUTTI_TRY(out.prefix_, choose_prefix(netlink, bridge.index, hash));
  const sys::Ipv4 host{out.prefix_.network.value + 1};
  out.host_address_ = to_text(host);
  TUTTI_CHECK(netlink.add_address(bridge.index, host, 24));
  TUTTI_CHECK(netlink.set_up(bridge.index));
  TUTTI_CHECK(sys::make_dirs(run_dir + "/netns", 0755));
  for (int i = 0; i < count; ++i) TUTTI_CHECK(out.make_host(netlink, bridge.index, static_cast<size_t>(i)));
  return out;
}

Status UpHosts::make_host(sys::Netlink& netlink, int bridge, size_t worker) {
  const std::string pin = run_dir_ + "/netns/worker-" + std::to_string(worker + 1);
  (void)sys::NetNs::unpin(pin);
  TUTTI_TRY(sys::NetNs netns, sys::NetNs::create());
  TUTTI_CHECK(netns.pin(pin));
  const sys::Ipv4 address{prefix_.network.value + 10 + static_cast<uint32_t>(worker)};
  TUTTI_CHECK(netlink.create_veth({bridge_ + "v" + std::to_string(worker + 1), "eth0", netns.fd(), bridge}));
  TUTTI_CHECK(netns.run_in([&]() -> Status {
    TUTTI_TRY(sys::Netlink inside, sys::Netlink::open());
    TUTTI_TRY(const sys::Link eth0, inside.link("eth0"));
    TUTTI_TRY(const sys::Link lo, inside.link("lo"));
    TUTTI_CHECK(inside.set_up(lo.index));
    TUTTI_CHECK(inside.add_address(eth0.index, address, 24));
    TUTTI_CHECK(inside.set_up(eth0.index));
    return inside.add_default_route(sys::Ipv4{prefix_.network.value + 1});
  }));
  namespaces_.push_back(std::move(netns));
  addresses_.push_back(to_text(address));
  return {};
}

void UpHosts::remove() {
  for (size_t i = 0; i < namespaces_.size(); ++i)
    (void)sys::NetNs::unpin(run_dir_ + "/netns/worker-" + std::to_string(i + 1));
  namespaces_.clear();
  auto netlink = sys::Netlink::open();
  if (!netlink) return;
  for (const sys::Link& link : netlink->links(bridge_).value_or(std::vector<sys::Link>{}))
    (void)netlink->delete_link(link.index);
}

}  // namespace tutti::app
