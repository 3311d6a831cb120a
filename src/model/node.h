#pragma once
// Node: a machine of the pool. The user writes `spec`, the worker `inventory`, the manager the rest.

#include <boost/describe.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "model/device.h"
#include "model/ids.h"
#include "model/resources.h"

namespace tutti {

enum class NodeHealth : uint8_t { joining, ready, unknown, lost };
BOOST_DESCRIBE_ENUM(NodeHealth, joining, ready, unknown, lost)

// W06: four different things. lost is a health, these are wishes.
enum class Eligibility : uint8_t { eligible, cordoned, draining, disabled };
BOOST_DESCRIBE_ENUM(Eligibility, eligible, cordoned, draining, disabled)

struct DriverInfo {
  std::string name;
  std::string version;
  bool healthy = true;
  std::string reason;  // why it is not
  bool operator==(const DriverInfo&) const = default;
};
BOOST_DESCRIBE_STRUCT(DriverInfo, (), (name, version, healthy, reason))

struct DiskInfo {
  std::string path;
  Bytes total;
  Bytes free;
  bool operator==(const DiskInfo&) const = default;
};
BOOST_DESCRIBE_STRUCT(DiskInfo, (), (path, total, free))

// W03: what the machine is, as its worker found it.
struct Inventory {
  std::string hostname;
  std::string os;      // "Debian GNU/Linux 12"
  std::string kernel;  // "6.18.44"
  std::string arch;    // "x86_64"
  std::string cpu_model;
  int32_t cores = 0;
  Bytes memory;
  std::vector<DiskInfo> disks;
  std::vector<DriverInfo> drivers;
  std::vector<std::string> addresses;
  std::string cgroups;  // "v1" | "v2" | "hybrid"
  std::string boot_id;
  std::string version;  // tutti's
  uint32_t feature_level = 1;
  Resources capacity;          // what may be given out, before `reserved`
  Resources reserved;          // kept for the system
  int32_t port_first = 20000;  // host ports the scheduler may give out
  int32_t port_last = 31999;
  std::map<std::string, std::string> attributes;  // free facts for constraints
  std::map<std::string, int64_t> limits;  // countable things, from the worker's configuration: name → how many (W10)
  std::vector<Device> devices;            // GPUs and their like (S09)
  bool operator==(const Inventory&) const = default;
};
BOOST_DESCRIBE_STRUCT(Inventory, (),
                      (hostname, os, kernel, arch, cpu_model, cores, memory, disks, drivers, addresses, cgroups,
                       boot_id, version, feature_level, capacity, reserved, port_first, port_last, attributes, limits,
                       devices))

// An image that is unpacked on a node.
struct HeldImage {
  std::string digest;
  Bytes bytes;  // of its layers
  bool operator==(const HeldImage&) const = default;
};
BOOST_DESCRIBE_STRUCT(HeldImage, (), (digest, bytes))
// As its worker told last: the largest, at most limits::kImagesToldMax. Read by placement's scores only (S06).
struct NodeImages {
  std::vector<HeldImage> held;
  bool operator==(const NodeImages&) const = default;
};
BOOST_DESCRIBE_STRUCT(NodeImages, (), (held))

struct NodeSpec {
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::vector<std::string> tags;
  std::string node_pool = "default";
  std::string datacenter = "default";
  Eligibility eligibility = Eligibility::eligible;
  Time drain_deadline;
  bool operator==(const NodeSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(NodeSpec, (), (labels, annotations, tags, node_pool, datacenter, eligibility, drain_deadline))

struct Node {
  NodeId id;
  std::string name;
  uint64_t version = 1;  // of spec
  Revision revision;
  Time created;
  Time updated;
  NodeSpec spec;
  NodeHealth health = NodeHealth::joining;
  std::string health_reason;
  Time health_since;
  uint64_t session = 0;                        // fencing number of its newest session
  std::string key_fingerprint;                 // sha256 of the public key its certificate is bound to
  std::string subnet;                          // of its default bridge, leased by the manager: "10.86.3.0/24"
  std::shared_ptr<const Inventory> inventory;  // null until its first session
  std::shared_ptr<const NodeImages> images;    // null: none told
  bool removing = false;                       // `node remove` is under way: what it holds is given up batch by batch
};
BOOST_DESCRIBE_STRUCT(Node, (),
                      (id, name, version, revision, created, updated, spec, health, health_reason, health_since,
                       session, key_fingerprint, subnet, inventory, images, removing))

// What may be given out on a node: capacity − reserved; nothing without an inventory.
Resources allocatable(const Node& node);

}  // namespace tutti
