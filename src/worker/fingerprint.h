#pragma once
// W03: what this machine is. Reads /proc, /sys and the drivers; blocking, a few milliseconds; at start and every
// minute.

#include "base/result.h"
#include "driver/driver.h"
#include "model/node.h"

namespace tutti::worker {

struct FingerprintOptions {
  std::string data_dir;
  std::string version;
  std::vector<std::string> addresses;  // advertised first; empty: those of the interfaces
  Resources reserved;                  // kept for the system
  Resources capacity;                  // overrides what was found where set
  int32_t port_first = 20000;
  int32_t port_last = 31999;
  std::map<std::string, std::string> attributes;
  std::map<std::string, int64_t> limits;       // countable things: name → how many
  std::optional<std::vector<Device>> devices;  // instead of those that were found
};

Inventory fingerprint(const FingerprintOptions& options, driver::Registry& drivers);

// Where the node's network cannot be had, drivers whose tasks need it do not work here either: the manager places
// nothing of theirs on this node. `why`: empty: it can.
Inventory with_network(Inventory inventory, driver::Registry& drivers, const std::string& why);

}  // namespace tutti::worker
