#pragma once
// InstanceNetwork: the network of every instance of one worker: a bridge, a namespace and a veth pair each, published
// ports.
//
// Owner: the worker; lives from its first welcome to its end. Thread-safe and blocking: called from the pool, never
// twice at once for one instance. Must be made and called in the network namespace that the node's ports belong to.
// What it made is found again under run_dir/net after a crash at any line: a record is written before anything is made
// and goes last. The destructor leaves all as it is, because instances outlive the worker; remove_everything() does
// not.
//
//   setup     record → ports reserved → namespace, veth, address, route → pin → rules          3–5 ms
//   teardown  rules → veth (deleted by a thread of its own: 30 ms) → pin → record
//
// A published TCP port is also held by a listening socket of the worker that never gets a connection (the rules take
// them first): so nobody else on the machine, no second worker either, can take the port meanwhile.

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "driver/driver.h"
#include "sys/fd.h"
#include "sys/nft.h"
#include "worker/network_record.h"

namespace tutti::worker {

struct NetworkOptions {
  std::string pool_id;
  std::string node_name;
  std::string subnet;  // "10.86.3.0/24": of this node alone
  std::string run_dir;
};

struct Attachment {
  std::string netns;    // path for RunContext::netns; empty: the host's
  std::string address;  // empty without a bridge
};

// Of a node whose network could not be made: its work waits for so long, then it is given away.
constexpr Duration kNetworkAwaited = seconds(60);
// What an instance is told that asks for a network meanwhile. `missing_for`: since the first try that failed for `why`;
// an empty `why`: it was not tried yet.
driver::Failure network_missing(const std::string& why, Duration missing_for);

class InstanceNetwork {
 public:
  // Makes or repairs the bridge and the rules, with the records that are there. Errors: invalid (subnet), conflict
  // (subnet is in use on this machine, with the link), unsupported (no nftables, no privileges).
  static Result<std::unique_ptr<InstanceNetwork>> open(const NetworkOptions& options);
  ~InstanceNetwork();

  // After a restart: which instances live. Finds namespaces whose pin was lost by the processes in them, and holds the
  // ports again. Returns those whose namespace is gone for good: setup() makes them a new one.
  std::vector<InstanceId> adopt(const std::vector<LiveInstance>& live);
  // Idempotent; called again with other ports it publishes those. `rejected` when a port is taken or no address is
  // free.
  driver::DriverResult<Attachment> setup(InstanceId instance, NetworkMode mode, const std::vector<PortBinding>& ports);
  // Fine if there is nothing of it.
  Status teardown(InstanceId instance);
  // Takes away what belongs to no instance of `live` (sorted or not).
  Status sweep(const std::vector<InstanceId>& live);
  // Everything of this (pool, node): instances, rules, bridge. For a node that leaves its pool.
  Status remove_everything();
  // Returns when no deletion is waiting any more.
  void wait_idle();

  const NetworkNames& names() const { return names_; }
  std::string gateway() const { return to_text(sys::Ipv4{subnet_.network.value + 1}); }
  std::string subnet() const { return to_text(subnet_); }

 private:
  struct Entry {
    NetworkRecord record;
    std::vector<sys::UniqueFd> held_ports;
  };
  InstanceNetwork(const NetworkOptions& options, sys::Prefix subnet);
  Status load_records();
  Status make_bridge();
  Status check_subnet(sys::Netlink& netlink, int bridge_index) const;
  Status replace_addresses(sys::Netlink& netlink, int bridge_index) const;

  // Finds or makes the entry and its record; picks the address.
  driver::DriverResult<NetworkRecord> claim(InstanceId instance, NetworkMode mode,
                                            const std::vector<PortBinding>& ports);
  driver::DriverStatus hold_ports(InstanceId instance, const std::vector<PortBinding>& ports);
  Status make_namespace(const NetworkRecord& record);
  bool is_whole(const NetworkRecord& record) const;
  Status publish(InstanceId instance, std::vector<sys::PublishedPort> ports);
  Status rebuild_rules();
  Status store(const NetworkRecord& record) const;
  void forget(InstanceId instance);
  bool find_lost_namespace(const NetworkRecord& record) const;
  void delete_link_later(int index);
  void reap();
  std::string record_path(InstanceId instance) const;
  std::string pin_path(InstanceId instance) const;

  const NetworkNames names_;
  const sys::Prefix subnet_;
  const std::string dir_;
  int bridge_index_ = 0;
  // The kernel filters bridged packets too: then what an instance sends to its own published port stays on the bridge
  // and has to leave by the port it came in.
  bool bridge_filter_ = false;
  std::unique_ptr<sys::NftTable> rules_;

  std::mutex mutex_;  // entries_, last_address_
  std::map<InstanceId, Entry> entries_;
  sys::Ipv4 last_address_;

  std::mutex rules_mutex_;  // taken for a change of published_ and the kernel's rules together; never inside mutex_
  std::map<InstanceId, std::vector<sys::PublishedPort>> published_;

  std::mutex reaper_mutex_;
  std::condition_variable reaper_wake_;
  std::condition_variable reaper_idle_;
  std::deque<int> doomed_;
  bool reaper_busy_ = false;
  bool stopping_ = false;
  std::unique_ptr<sys::Netlink> reaper_netlink_;
  std::thread reaper_;
};

}  // namespace tutti::worker
