#include "worker/network_record.h"

#include <algorithm>

#include "base/hash.h"
#include "model/codec_impl.h"
#include "sys/nft.h"

TUTTI_INSTANTIATE_CODEC(tutti::worker::NetworkRecord);

namespace tutti::worker {
namespace {

// `count` letters of the low 5-bit groups of a number.
std::string letters(uint64_t value, int count) {
  static constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
  std::string text;
  for (int i = 0; i < count; ++i) text.insert(text.begin(), kAlphabet[value >> (5 * i) & 31]);
  return text;
}

uint64_t hash_of_names(std::string_view pool_id, std::string_view node_name) {
  uint64_t h = fnv1a(node_name, fnv1a("\n", fnv1a(pool_id)));
  return h ^ (h >> 32);
}

}  // namespace

Result<NetworkRecord> parse_network_record(std::string_view json) {
  DecodeOptions options;
  options.what = "network record";
  return from_json<NetworkRecord>(json, options);
}
std::string format_network_record(const NetworkRecord& record) {
  return to_json(record);
}

std::string NetworkNames::veth(InstanceId instance) const {
  return veth_prefix + letters(instance.value, 9);  // 45 bits: ids come from a counter
}

NetworkNames network_names(std::string_view pool_id, std::string_view node_name) {
  uint64_t h = hash_of_names(pool_id, node_name);
  NetworkNames names;
  std::string pool;
  for (char c : pool_id.substr(0, 6)) pool += std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  names.bridge = "tt" + pool + letters(h, 6);
  names.veth_prefix = "tv" + letters(h, 4);
  names.table = sys::nft_name("tutti_" + std::string(pool_id.substr(0, 20)) + "_" +
                              std::string(node_name.substr(0, 20)) + "_" + letters(h, 6));
  return names;
}

sys::Ipv4 next_address(const sys::Prefix& subnet, sys::Ipv4 last, const std::vector<sys::Ipv4>& taken) {
  uint32_t first = subnet.network.value + 2;             // .1 is the bridge
  uint32_t end = subnet.network.value + ~subnet.mask();  // the broadcast address
  if (subnet.length > 30 || first >= end) return {};
  uint32_t at = last.value + 1;
  for (uint32_t tried = 0; tried < end - first; ++tried, ++at) {
    if (at < first || at >= end) at = first;
    if (!std::binary_search(taken.begin(), taken.end(), sys::Ipv4{at})) return {at};
  }
  return {};
}

}  // namespace tutti::worker
