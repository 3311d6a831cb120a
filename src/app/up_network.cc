#include "app/up_network.h"

#include <algorithm>
#include <vector>

#include "sys/netlink.h"

namespace tutti::app {
namespace {

constexpr uint64_t kCandidates = 128;
constexpr int kLength = 16;

sys::Prefix candidate(uint64_t n) {
  return {sys::Ipv4{static_cast<uint32_t>(10u << 24 | (64 + n % kCandidates) << 16)}, kLength};
}

}  // namespace

Result<std::string> choose_network(uint64_t seed) {
  TUTTI_TRY(sys::Netlink netlink, sys::Netlink::open());
  TUTTI_TRY(const std::vector<sys::Prefix> taken, netlink.prefixes_in_use());
  // Inside a wide network of the site there may be room (worker/network.cc): better than none.
  for (const int wide : {0, kLength}) {
    for (uint64_t n = 0; n < kCandidates; ++n) {
      const sys::Prefix prefix = candidate(seed + n);
      if (std::none_of(taken.begin(), taken.end(),
                       [&](const sys::Prefix& other) { return other.length >= wide && other.overlaps(prefix); }))
        return to_text(prefix);
    }
  }
  return fail(ErrorCode::conflict,
              "no prefix of 10.64.0.0 to 10.191.255.0 is free on this machine for the instances' addresses: say one "
              "with --network");
}

}  // namespace tutti::app
