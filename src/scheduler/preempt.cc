#include "scheduler/preempt.h"

#include <algorithm>
#include <bit>

namespace tutti::scheduler {
namespace {

Resources least(const Resources& a, const Resources& b) {
  return {std::min(a.cpu, b.cpu), std::min(a.memory, b.memory), std::min(a.disk, b.disk)};
}

std::vector<uint32_t> ports_of(const Instance& i) {
  std::vector<uint32_t> out;
  for (const PortBinding& port : i.detail->ports) out.push_back(port_key(port));
  return out;
}

}  // namespace

void Preemption::let_go(View& view, const std::vector<uint32_t>& ports, const std::map<std::string, int64_t>& limits,
                        const std::vector<DeviceBinding>& devices) {
  for (const uint32_t port : ports) view.ports.erase(port);
  for (const auto& [name, count] : limits) view.limits[name] -= count;
  for (const DeviceBinding& device : devices) view.devices[device.device] -= device.share;
}

// Sorted into those who leave, those who may be made to, and the rest.
void Preemption::read(const Instance& i, View& view) const {
  const Standing standing = standing_of(snapshot_, i, leeway_.as_if());
  if (standing == Standing::stays) return;
  const GroupView& group = snapshot_.group_of(i);
  if (standing == Standing::leaves) {
    view.coming += i.finished ? Resources{{}, {}, group.resources.disk} : group.resources;
    if (i.finished) return;
    return let_go(view, ports_of(i), group.node_limits, i.detail->devices);
  }
  Held held{i.id,
            snapshot_.version_of(i)->spec->priority,
            i.detail->placed,
            group.resources,
            ports_of(i),
            group.node_limits,
            i.detail->devices};
  view.held.push_back(std::move(held));
}

Preemption::View& Preemption::view_of(uint32_t index) {
  auto [at, fresh] = views_.try_emplace(index);
  View& view = at->second;
  if (!fresh) return view;
  const NodeId node = columns_.id(index);
  const NodeUsage& usage = snapshot_.usage_of(node);
  view.ports.insert(usage.ports.begin(), usage.ports.end());
  view.limits.insert(usage.limits.begin(), usage.limits.end());
  view.devices.insert(usage.devices.begin(), usage.devices.end());
  if (const IdSet* ids = snapshot_.instances_by_node.find(node.value))
    ids->for_each([&](uint64_t id, const Unit&) { read(*snapshot_.instances.find(id), view); });
  std::sort(view.held.begin(), view.held.end(), [](const Held& a, const Held& b) {
    return std::tuple(a.priority, -a.placed.ns, a.id) < std::tuple(b.priority, -b.placed.ns, b.id);
  });
  return view;
}

std::vector<int64_t> Preemption::free_devices_of(const Node& node, const View& view, const Given& given,
                                                 const Gone& gone) {
  std::vector<int64_t> out;
  for (const Device& device : node.inventory->devices) {
    int64_t free = kWholeDevice - count_of(view.devices, device.id) - count_of(given.devices, device.id);
    for (const Held* held : gone)
      for (const DeviceBinding& binding : held->devices) free += binding.device == device.id ? binding.share : 0;
    out.push_back(free);
  }
  return out;
}

bool Preemption::fits_ports(const Requests& requests, const Node& node, const View& view, const Given& given,
                            const Gone& gone) {
  if (std::ranges::all_of(requests, [](const Request* each) { return each->ports.empty(); })) return true;
  std::set<uint32_t> used = view.ports;
  for (const Held* held : gone)
    for (const uint32_t port : held->ports) used.erase(port);
  used.insert(given.ports.begin(), given.ports.end());
  std::map<Protocol, int64_t> chosen;  // any of the node's range
  for (const Request* each : requests) {
    for (const PortBinding& port : each->ports) {
      if (port.host == 0)
        ++chosen[port.protocol];
      else if (!used.insert(port_key(port)).second)
        return false;
    }
  }
  for (const auto& [protocol, count] : chosen) {
    const auto first = used.lower_bound(port_key(protocol, node.inventory->port_first));
    const auto last = used.upper_bound(port_key(protocol, node.inventory->port_last));
    if (node.inventory->port_last - node.inventory->port_first + 1 - std::distance(first, last) < count) return false;
  }
  return true;
}

bool Preemption::fits_devices(const Requests& requests, const Node& node, const View& view, const Given& given,
                              const Gone& gone) {
  if (std::ranges::all_of(requests, [](const Request* each) { return each->devices.empty(); })) return true;
  std::vector<int64_t> free = free_devices_of(node, view, given, gone);
  return std::ranges::all_of(requests, [&](const Request* each) {
    return choose_devices(each->devices, node.inventory->devices, free).has_value();
  });
}

bool Preemption::fits_limits(const Requests& requests, const Node& node, const View& view, const Given& given,
                             const Gone& gone) {
  std::map<std::string, int64_t> asked;
  for (const Request* each : requests)
    for (const auto& [name, count] : each->node_limits) asked[name] += count;
  return std::ranges::all_of(asked, [&](const auto& entry) {
    const auto& [name, count] = entry;
    int64_t left = count_of(node.inventory->limits, name) - count;
    left -= count_of(view.limits, name) + count_of(given.limits, name);
    for (const Held* held : gone) left += count_of(held->limits, name);
    return left >= 0;
  });
}

bool Preemption::fits(const Requests& requests, uint32_t index, const Gone& gone) {
  const View& view = view_of(index);
  Resources room = columns_.free(index);
  room += view.coming;
  for (const Held* held : gone) room += held->resources;
  for (const Request* each : requests) {
    if (!each->resources.fits(room)) return false;
    room -= each->resources;
  }
  const Node& node = *snapshot_.nodes.find(columns_.id(index).value);
  const auto at = given_.find(index);
  const Given& given = at == given_.end() ? nothing_ : at->second;
  return fits_ports(requests, node, view, given, gone) && fits_devices(requests, node, view, given, gone) &&
         fits_limits(requests, node, view, given, gone);
}

Preemption::Gone Preemption::needed(const Requests& requests, uint32_t index, Gone gone) {
  for (size_t i = gone.size(); i-- > 0;) {
    Gone without = gone;
    without.erase(without.begin() + static_cast<ptrdiff_t>(i));
    if (fits(requests, index, without)) gone = std::move(without);
  }
  return gone;
}

Preemption::Gone Preemption::cheapest(const Requests& requests, uint32_t index, int32_t priority) {
  Gone out;
  for (const Held& held : view_of(index).held) {
    if (held.priority >= priority) break;
    out.push_back(&held);
    if (fits(requests, index, out)) return needed(requests, index, std::move(out));
  }
  return {};
}

Preemption::Cost Preemption::cost_of(const Requests& requests, uint32_t index, const Gone& victims) const {
  int32_t priority = 0;
  Resources freed = columns_.free(index);
  for (const Held* held : victims) {
    priority = std::max(priority, held->priority);
    freed += held->resources;
  }
  for (const Request* each : requests) freed -= each->resources;
  return {priority, victims.size(), freed.cpu.value + (freed.memory.value >> 20)};
}

std::optional<Preemption::Choice> Preemption::choose_for(const Requests& requests, int32_t priority,
                                                         const Mask& nodes) {
  std::optional<std::pair<Cost, Choice>> best;
  Leeway::Amount asked;
  for (const Request* each : requests) asked += Leeway::asked_by(*each);
  for (size_t word = 0; word < nodes.size(); ++word) {
    for (uint64_t bits = nodes[word]; bits != 0; bits &= bits - 1) {
      const auto index = static_cast<uint32_t>(word * 64 + static_cast<size_t>(std::countr_zero(bits)));
      if (at_most(asked, index, priority, 1) == 0) continue;
      if (fits(requests, index, {})) return Choice{index, {}};
      const Gone victims = cheapest(requests, index, priority);
      if (victims.empty()) continue;
      const Cost cost = cost_of(requests, index, victims);
      if (best && best->first <= cost) continue;
      best = {cost, {index, {}}};
      for (const Held* held : victims) best->second.victims.push_back(held->id);
    }
  }
  if (!best) return std::nullopt;
  return std::move(best->second);
}

void Preemption::promise(const Request& request, const Choice& choice) {
  View& view = view_of(choice.index);
  Given& given = given_[choice.index];
  for (const InstanceId victim : choice.victims) {
    const auto at = std::find_if(view.held.begin(), view.held.end(), [&](const Held& h) { return h.id == victim; });
    view.coming += at->resources;
    let_go(view, at->ports, at->limits, at->devices);
    view.held.erase(at);
  }
  const Node& node = *snapshot_.nodes.find(columns_.id(choice.index).value);
  const NodeUsage& usage = snapshot_.usage_of(node.id);
  for (const PortBinding& port : request.ports) {
    PortBinding kept = port;
    const auto taken = [&] { return view.ports.contains(port_key(kept)) || given.ports.contains(port_key(kept)); };
    if (port.host == 0) {
      for (kept.host = node.inventory->port_first; taken();) ++kept.host;
    }
    given.ports.insert(port_key(kept));
  }
  for (const auto& [name, asked] : request.node_limits) {
    const int64_t now =
        count_of(node.inventory->limits, name) - count_of(usage.limits, name) - count_of(given.limits, name);
    const int64_t at_once = std::clamp<int64_t>(now, 0, asked);
    given.limits[name] += at_once;
    view.limits[name] += asked - at_once;
  }
  if (!request.devices.empty()) {
    const std::vector<int64_t> now = free_devices(snapshot_, node, given);
    std::vector<int64_t> then = free_devices_of(node, view, given, {});
    const auto chosen = choose_devices(request.devices, node.inventory->devices, then);
    for (size_t d = 0; chosen && d < node.inventory->devices.size(); ++d) {
      const std::string& id = node.inventory->devices[d].id;
      for (const DeviceBinding& binding : *chosen) {
        if (binding.device != id) continue;
        const int64_t at_once = std::min(binding.share, std::max<int64_t>(now[d], 0));
        given.devices[id] += at_once;
        view.devices[id] += binding.share - at_once;
      }
    }
  }
  const Resources now = least(columns_.free(choice.index), request.resources);
  columns_.take(choice.index, now, {});
  view.coming += now;
  view.coming -= request.resources;
}

}  // namespace tutti::scheduler
