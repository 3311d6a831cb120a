#pragma once
// Whether a node will do, and if not, why: one rule in one place, for placing and for explaining. Pure.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/constraint.h"
#include "model/snapshot.h"

namespace tutti::scheduler {

// What a group asks of a node, compiled once.
struct Request {
  Resources resources;  // beyond what the instance holds on `home` already
  std::vector<Constraint> constraints;
  std::set<std::string> drivers;
  std::vector<PortBinding> ports;  // host 0: to be chosen
  NodeId pinned;
  NodeId home;  // it has a disk there: it may go nowhere else, and may go back to a cordoned node
  uint32_t feature_level = 1;
};
Request request_of(const JobSpec& spec, const GroupView& group);
Request request_of(const Snapshot& snapshot, const Instance& instance);

// The first reason, in a fixed order, why not; none: it will do. `taken`: ports given out since the snapshot.
std::optional<std::string> check(const Snapshot& snapshot, const Request& request, const Node& node,
                                 const Resources& free, const std::set<uint32_t>& taken);
// Host ports for every port asked for; adds them to `taken`. False if the node's range is used up.
bool choose_ports(const Snapshot& snapshot, const Request& request, const Node& node, std::set<uint32_t>& taken,
                  uint64_t seed, std::vector<PortBinding>& out);

}  // namespace tutti::scheduler
