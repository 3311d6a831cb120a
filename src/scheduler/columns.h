#pragma once
// Columns: the nodes of a snapshot as arrays that the scan (scan.h) reads, kept up to date by what changes. Pure.
//
// Index i is the i-th node by id, so the lower index is the lower id. Sizes are rounded so that the scan never leaves a
// node out that has room (free rounded up, asked rounded down); the exact check is the caller's, on the one that won.
//
// The score (scan.h) is A·a + B·b: A = 10^(free cpu / all cpu) and B = 10^(free memory / all memory) of the node, a and
// b = 10^(-asked / the largest node's) of the request: Google's BestFit v3 as in Nomad's binpack, made separable by
// measuring the request against the pool's largest node. Owner: one Scheduler, on its thread. Memory: 20 bytes a node,
// and an eighth of a byte per node and mask.

#include <memory>
#include <vector>

#include "model/snapshot.h"
#include "scheduler/feasible.h"
#include "scheduler/scan.h"

namespace tutti::scheduler {

// A bit per node, in words of 64.
using Mask = std::vector<uint64_t>;

class Columns {
 public:
  void rebuild(const Snapshot& snapshot);
  // False if nodes came or went: then rebuild().
  bool follow(const ChangeSet& changes);

  size_t size() const { return ids_.size(); }
  size_t words() const { return (ids_.size() + 63) / 64; }
  NodeId id(uint32_t index) const { return ids_[index]; }
  // size() if it is not there.
  uint32_t index_of(NodeId node) const;
  const Resources& free(uint32_t index) const { return free_[index]; }

  // Charged for the length of a round; undo() gives everything back.
  void take(uint32_t index, const Resources& resources);
  void undo();

  // Which nodes may hold this at all, whatever is free there: drivers, constraints, health, wishes of the node's user.
  // Computed once per kind of request, then kept; at most kMasksMax kinds.
  const Mask& mask_of(const Snapshot& snapshot, const Request& request, const std::string& key);

  ScanRequest scan_request(const Resources& asked, bool spread) const;
  ScanColumns view(const Mask& mask) const;

 private:
  static constexpr size_t kMasksMax = 256;
  struct Kind {
    Request request;
    Mask mask;
  };
  void set(uint32_t index, const Node& node, const Resources& used);
  void refresh(uint32_t index);
  void measure_largest();

  std::vector<NodeId> ids_;
  std::vector<Resources> all_;
  std::vector<Resources> free_;
  std::vector<uint32_t> ab_;
  std::vector<int32_t> cpu_, memory_, disk_;
  Resources largest_;
  std::map<std::string, Kind> kinds_;
  std::vector<std::pair<uint32_t, Resources>> taken_;
};

}  // namespace tutti::scheduler
