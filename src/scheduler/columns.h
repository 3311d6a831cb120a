#pragma once
// Columns: the nodes of a snapshot as arrays that the scan (scan.h) reads, kept up to date by what changes. Pure.
//
// Index i is the i-th node by id, so the lower index is the lower id. Sizes are rounded so that the scan never leaves a
// node out that has room (free rounded up, asked rounded down); the exact check is the caller's, on the one that won.
// The factors of a policy (policy.h) are columns once somebody places by it.
//
// Owner: one Scheduler, on its thread. Memory: about 100 bytes a node, and an eighth of a byte per node and mask.

#include <array>
#include <map>
#include <string>
#include <vector>

#include "model/snapshot.h"
#include "scheduler/feasible.h"
#include "scheduler/machines.h"
#include "scheduler/policy.h"
#include "scheduler/scan.h"

namespace tutti::scheduler {

// A bit per node, in words of 64.
using Mask = std::vector<uint64_t>;

class Columns;

inline bool has(const Mask& mask, uint32_t index) {
  return (mask[index / 64] >> (index % 64) & 1) != 0;
}
void set_bit(Mask& mask, uint32_t index, bool on);
// Of these nodes this one alone; none where it is not among them, or not there at all.
void keep_only(Mask& mask, const Columns& columns, NodeId node);
int32_t weight_of_images(const Node& node, const std::vector<std::string>& digests);

// An attribute of every node, as numbers.
struct AttributeColumn {
  std::vector<uint32_t> value_of;   // node → index in `values`
  std::vector<std::string> values;  // in order of appearance; "" stands for a node without
  std::map<std::string, uint32_t, std::less<>> index;
};

class Columns {
 public:
  void rebuild(const Snapshot& snapshot);
  // False if nodes came or went: then rebuild(). `touched`: the nodes that something happened to, each once.
  bool follow(const ChangeSet& changes, std::vector<uint32_t>& touched);

  size_t size() const { return ids_.size(); }
  size_t words() const { return (ids_.size() + 63) / 64; }
  NodeId id(uint32_t index) const { return ids_[index]; }
  // size() if it is not there.
  uint32_t index_of(NodeId node) const;
  const Resources& free(uint32_t index) const { return free_[index]; }
  const Resources& total() const { return total_; }
  // What the factors are measured by from now on (policy.h).
  void measure_by(int32_t mix);

  // Charged for the length of a round; undo() gives back what was taken since there were `left` of them.
  void take(uint32_t index, const Resources& resources, const std::vector<DeviceBinding>& devices);
  size_t taken() const { return taken_.size(); }
  void undo(size_t left);

  // Which nodes may hold this at all, whatever is free there: drivers, constraints, health, wishes of the node's user.
  // Computed once per kind of request, then kept; at most kMasksMax kinds. The references hold until the next call.
  const Mask& mask_of(const Snapshot& snapshot, const Request& request, const std::string& key);
  // The nodes that meet a constraint, and the values of an attribute; kept likewise.
  const Mask& matching(const Snapshot& snapshot, const std::string& constraint);
  const AttributeColumn& attribute(const Snapshot& snapshot, const std::string& key);
  // By node, what the images with these digests that it holds are worth (policy.h); kept likewise.
  const std::vector<uint8_t>& images(const Snapshot& snapshot, const std::vector<std::string>& digests);

  ScanRequest scan_request(const Resources& asked, PlacementPolicy policy) const;
  // For the policy fragmentation.
  // From now on the machines are followed; what the round has taken so far is taken from them too.
  void need_machines(const Snapshot& snapshot);
  Machines& machines() { return machines_; }
  const Machines& machines() const { return machines_; }
  // The policy's factors are there from now on.
  void need(Family family);
  ScanColumns view(Family family) const;

 private:
  static constexpr size_t kMasksMax = 256;
  struct Kind {
    Request request;
    Mask mask;
  };
  struct FamilyColumns {
    bool needed = false;
    std::vector<uint32_t> ab, cd;
  };
  void set(uint32_t index, const Node& node, const NodeUsage& usage);
  void refresh(uint32_t index);
  void measure_pool();
  void update_node(const Snapshot& snapshot, uint32_t index, const Node& node);

  std::vector<NodeId> ids_;
  std::vector<Resources> all_;
  std::vector<Resources> free_;
  std::vector<uint32_t> instances_;
  std::vector<int32_t> cpu_, memory_, disk_;
  std::array<FamilyColumns, kFamilies> families_;
  Resources total_;
  Scale scale_;
  std::map<std::string, Kind> kinds_;
  std::map<std::string, Mask> matching_;
  std::map<std::string, AttributeColumn> attributes_;
  std::map<std::vector<std::string>, std::vector<uint8_t>> images_;
  std::vector<std::pair<uint32_t, Resources>> taken_;
  std::vector<std::pair<size_t, std::vector<DeviceBinding>>> taken_devices_;  // by the number in taken_; most have none
  Machines machines_;
};

}  // namespace tutti::scheduler
