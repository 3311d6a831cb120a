#pragma once
// NftTable: the nftables table of one (pool, node): published ports, masquerading and forwarding of its bridge.
//
// In-process through libnftables; belongs to the network namespace it was opened in. Owner: InstanceNetwork.
// Thread-safe (one batch at a time). Every change is one transaction: all of it or nothing. The destructor leaves the
// table in the kernel: what runs outlives the worker, and so do its ports; remove() takes it away.
//
//   prerouting, output   address of this machine, port in the map → instance address and port
//   postrouting          bridge → elsewhere, loopback → bridge, bridge → own published port: masquerade
//   guard                drops what comes in from the bridge for 127.0.0.0/8 (route_localnet would let it pass)

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/netlink.h"

struct nft_ctx;

namespace tutti::sys {

struct PublishedPort {
  bool udp = false;
  uint16_t host = 0;
  Ipv4 address;
  uint16_t container = 0;
  bool operator==(const PublishedPort&) const = default;
};

class NftTable {
 public:
  struct Options {
    std::string table;  // letters, digits, '_'
    std::string bridge;
    Prefix subnet;
  };
  // `unsupported` where the kernel or the privileges do not allow nftables, with its words.
  static Result<std::unique_ptr<NftTable>> open(Options options);
  ~NftTable();

  // Makes the table anew with exactly these ports, in one transaction: no packet sees it half.
  Status rebuild(const std::vector<PublishedPort>& ports);
  Status add(const std::vector<PublishedPort>& ports);     // `conflict` when a host port is in the map already
  Status remove(const std::vector<PublishedPort>& ports);  // not_found when one of them is not in it
  Status remove_table();                                   // fine if it is not there
  // The ruleset of the table as nft prints it: for diagnosis and tests.
  Result<std::string> list();

 private:
  struct Free {
    void operator()(nft_ctx* context) const;
  };
  NftTable(Options options, nft_ctx* context) : options_(std::move(options)), context_(context) {}
  Result<std::string> run(const std::string& batch, std::string_view what);
  std::string elements(std::string_view verb, const std::vector<PublishedPort>& ports) const;

  const Options options_;
  std::mutex mutex_;
  std::unique_ptr<nft_ctx, Free> context_;
};

// A name that nft accepts, from any text: other bytes become '_', at most 63 bytes.
std::string nft_name(std::string_view text);

}  // namespace tutti::sys
