#pragma once
// Whether a node will do, and if not, why: one rule in one place, for placing and for explaining. Pure.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/constraint.h"
#include "model/plan.h"
#include "model/snapshot.h"

namespace tutti::scheduler {

// What a group asks of a node, compiled once.
struct Request {
  Resources resources;  // beyond what the instance holds on `home` already
  std::vector<Constraint> constraints;
  std::set<std::string> drivers;
  std::vector<PortBinding> ports;  // host 0: to be chosen
  std::map<std::string, int64_t> node_limits;
  std::vector<DeviceAsk> devices;
  NodeId pinned;
  NodeId home;  // it has a disk there: it may go nowhere else, and may go back to a cordoned node
  uint32_t feature_level = 1;
};
Request request_of(const JobSpec& spec, const GroupView& group);
Request request_of(const Snapshot& snapshot, const Instance& instance);

// What a round has given out of a node since the snapshot, beside room.
struct Given {
  std::set<uint32_t> ports;
  std::map<std::string, int64_t> limits;
  std::map<std::string, int64_t> devices;  // id → thousandths
};

// Of a countable thing, or a device, by name; 0 where it is not named.
int64_t count_of(const std::map<std::string, int64_t>& counts, const std::string& name);

// The first reason, in a fixed order, why not; none: it will do.
std::optional<std::string> check(const Snapshot& snapshot, const Request& request, const Node& node,
                                 const Resources& free, const Given& given);
// The part of it that does not depend on what is free: the same until the node's row changes.
std::optional<std::string> check_lasting(const Snapshot& snapshot, const Request& request, const Node& node);
// The rest.
std::optional<std::string> check_free(const Snapshot& snapshot, const Request& request, const Node& node,
                                      const Resources& free, const Given& given);
// What of each of the node's devices is free, by index, in thousandths.
std::vector<int64_t> free_devices(const Snapshot& snapshot, const Node& node, const Given& given);
// Host ports for every port asked for, devices, and the countable things; adds them to `given`, and to `out`. False if
// the node's range of ports is used up, or a device is missing. `gpu`: which of the node's GPUs a share goes to, if it
// has room.
bool give(const Snapshot& snapshot, const Request& request, const Node& node, Given& given, uint64_t seed,
          Placement& out, std::optional<size_t> gpu = std::nullopt);

}  // namespace tutti::scheduler
