#include "scheduler/feasible.h"

#include <algorithm>

#include "model/validate.h"

namespace tutti::scheduler {
namespace {

bool in_use(const NodeUsage& usage, const Given& given, uint32_t key) {
  return given.ports.contains(key) || std::binary_search(usage.ports.begin(), usage.ports.end(), key);
}

std::optional<std::string> check_wishes(const Request& request, const Node& node) {
  if (request.home && request.home != node.id) return "its disk is on another node";
  if (request.pinned && request.pinned != node.id) return "pinned to another node";
  if (node.health != NodeHealth::ready) {
    return std::string("not ready (") +
           (node.health == NodeHealth::lost      ? "lost"
            : node.health == NodeHealth::joining ? "joining"
                                                 : "unknown") +
           ")";
  }
  if (node.spec.eligibility == Eligibility::draining) return "draining";
  if (request.home != node.id) {
    if (node.spec.eligibility == Eligibility::cordoned) return "cordoned";
    if (node.spec.eligibility == Eligibility::disabled) return "disabled";
  }
  if (!node.inventory) return "not ready (joining)";
  if (node.inventory->feature_level < request.feature_level)
    return "too old (feature level " + std::to_string(node.inventory->feature_level) + ")";
  return std::nullopt;
}

}  // namespace

int64_t count_of(const std::map<std::string, int64_t>& counts, const std::string& name) {
  const auto at = counts.find(name);
  return at == counts.end() ? 0 : at->second;
}

Request request_of(const JobSpec& spec, const GroupView& group) {
  Request out;
  out.resources = group.resources;
  out.node_limits = group.node_limits;
  out.devices = group.devices;
  out.feature_level = group.feature_level;
  if (!spec.placement.node_pool.empty()) {
    if (auto pool = Constraint::parse("node.pool == " + spec.placement.node_pool))
      out.constraints.push_back(std::move(*pool));
  }
  for (size_t index : group.tasks) {
    const TaskSpec& task = spec.tasks[index];
    out.drivers.insert(task.driver);
    for (const std::string& text : task.constraints) {
      if (auto parsed = Constraint::parse(text)) out.constraints.push_back(std::move(*parsed));
    }
    for (const PortSpec& port : task.ports) {
      const int32_t host = port.host != 0 ? port.host : task.network == NetworkMode::host ? port.container : 0;
      out.ports.push_back({task.name, port.name, port.container, host, port.protocol});
    }
  }
  return out;
}

Request request_of(const Snapshot& snapshot, const Instance& instance) {
  const JobVersion* version = snapshot.version_of(instance);
  const GroupView& group = snapshot.group_of(instance);
  Request out = request_of(*version->spec, group);
  out.pinned = instance.pinned;
  if (instance.node && !instance.cleared && !instance.admitted) {
    out.home = instance.node;
    out.resources.disk = {};  // held there all along
  }
  return out;
}

std::optional<std::string> check(const Snapshot& snapshot, const Request& request, const Node& node,
                                 const Resources& free, const Given& given) {
  if (auto why = check_lasting(snapshot, request, node)) return why;
  return check_free(snapshot, request, node, free, given);
}

std::optional<std::string> check_lasting(const Snapshot&, const Request& request, const Node& node) {
  if (auto why = check_wishes(request, node)) return why;
  for (const std::string& name : request.drivers) {
    auto found = std::find_if(node.inventory->drivers.begin(), node.inventory->drivers.end(),
                              [&](const DriverInfo& d) { return d.name == name; });
    if (found == node.inventory->drivers.end()) return "no driver " + name;
    if (!found->healthy) return "driver " + name + " unhealthy: " + found->reason;
  }
  for (const Constraint& constraint : request.constraints) {
    if (!constraint.matches([&](std::string_view key) { return node_attribute(node, key); }))
      return "constraint " + constraint.to_string();
  }
  for (const auto& [name, asked] : request.node_limits) {
    if (count_of(node.inventory->limits, name) < asked) return "has no " + std::to_string(asked) + " " + name;
  }
  if (request.devices.empty()) return std::nullopt;
  std::vector<int64_t> idle(node.inventory->devices.size(), kWholeDevice);
  for (const DeviceAsk& ask : request.devices) {
    std::vector<int64_t> alone = idle;
    if (!choose_devices({ask}, node.inventory->devices, alone)) return "has no " + to_text(ask.spec);
  }
  if (!choose_devices(request.devices, node.inventory->devices, idle)) return "has too few devices";
  return std::nullopt;
}

std::optional<std::string> check_free(const Snapshot& snapshot, const Request& request, const Node& node,
                                      const Resources& free, const Given& given) {
  if (request.resources.cpu > free.cpu) return "not enough cpu";
  if (request.resources.memory > free.memory) return "not enough memory";
  if (request.resources.disk > free.disk) return "not enough disk";
  if (request.ports.empty() && request.node_limits.empty() && request.devices.empty()) return std::nullopt;
  const NodeUsage& usage = snapshot.usage_of(node.id);
  for (const auto& [name, asked] : request.node_limits) {
    if (count_of(usage.limits, name) + count_of(given.limits, name) + asked > count_of(node.inventory->limits, name))
      return "not enough " + name;
  }
  if (!request.devices.empty()) {
    std::vector<int64_t> free_of = free_devices(snapshot, node, given);
    if (!choose_devices(request.devices, node.inventory->devices, free_of))
      return "not enough free " + request.devices.front().spec.kind;
  }
  for (const PortBinding& port : request.ports) {
    if (port.host != 0 && in_use(usage, given, port_key(port))) {
      return "port " + std::to_string(port.host) + (port.protocol == Protocol::tcp ? "/tcp" : "/udp") + " in use";
    }
  }
  return std::nullopt;
}

std::vector<int64_t> free_devices(const Snapshot& snapshot, const Node& node, const Given& given) {
  const NodeUsage& usage = snapshot.usage_of(node.id);
  std::vector<int64_t> out;
  out.reserve(node.inventory->devices.size());
  for (const Device& device : node.inventory->devices)
    out.push_back(kWholeDevice - count_of(usage.devices, device.id) - count_of(given.devices, device.id));
  return out;
}

namespace {

// By number among the GPUs → among the devices.
std::optional<size_t> nth_gpu(const Node& node, std::optional<size_t> gpu) {
  if (!gpu) return std::nullopt;
  size_t left = *gpu;
  const std::vector<Device>& devices = node.inventory->devices;
  for (size_t i = 0; i < devices.size(); ++i)
    if (devices[i].kind == "gpu" && left-- == 0) return i;
  return std::nullopt;
}

}  // namespace

bool give(const Snapshot& snapshot, const Request& request, const Node& node, Given& given, uint64_t seed,
          Placement& out, std::optional<size_t> gpu) {
  const NodeUsage& usage = snapshot.usage_of(node.id);
  const int64_t first = node.inventory->port_first;
  const int64_t range = node.inventory->port_last - first + 1;
  const std::set<uint32_t> before = given.ports;
  for (const PortBinding& wanted : request.ports) {
    PortBinding port = wanted;
    if (port.host == 0 && range > 0) {
      const int64_t start = static_cast<int64_t>(seed % static_cast<uint64_t>(range));
      for (int64_t i = 0; i < range && port.host == 0; ++i) {
        const auto candidate = static_cast<int32_t>(first + (start + i) % range);
        if (!in_use(usage, given, port_key(port.protocol, candidate))) port.host = candidate;
      }
    }
    if (port.host == 0) {
      given.ports = before;
      return false;
    }
    given.ports.insert(port_key(port));
    out.ports.push_back(std::move(port));
  }
  if (!request.devices.empty()) {
    std::vector<int64_t> free = free_devices(snapshot, node, given);
    auto chosen = choose_devices(request.devices, node.inventory->devices, free, nth_gpu(node, gpu));
    if (!chosen) {
      given.ports = before;
      return false;
    }
    for (const DeviceBinding& binding : *chosen) given.devices[binding.device] += binding.share;
    out.devices = std::move(*chosen);
  }
  for (const auto& [name, asked] : request.node_limits) given.limits[name] += asked;
  return true;
}

}  // namespace tutti::scheduler
