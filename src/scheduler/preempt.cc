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

int64_t count_of(const std::map<std::string, int64_t>& counts, const std::string& name) {
  const auto at = counts.find(name);
  return at == counts.end() ? 0 : at->second;
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
  if (i.presence == Presence::given_up || i.cleared || !i.admitted) return;
  const GroupView& group = snapshot_.group_of(i);
  if (i.desired == Desired::removed) {
    view.coming += i.finished ? Resources{{}, {}, group.resources.disk} : group.resources;
    if (i.finished) return;
    return let_go(view, ports_of(i), group.node_limits, i.detail->devices);
  }
  const Job* job = snapshot_.jobs.find(i.job.value);
  const Project* project = job == nullptr ? nullptr : snapshot_.projects.find(job->project.value);
  const bool may_go = project != nullptr && project->preemption && !i.finished &&
                      (i.desired == Desired::running || i.desired == Desired::paused);
  if (!may_go) return;
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
                                                 const std::vector<const Held*>& gone) {
  std::vector<int64_t> out;
  for (const Device& device : node.inventory->devices) {
    int64_t free = kWholeDevice - count_of(view.devices, device.id) - count_of(given.devices, device.id);
    for (const Held* held : gone)
      for (const DeviceBinding& binding : held->devices) free += binding.device == device.id ? binding.share : 0;
    out.push_back(free);
  }
  return out;
}

bool Preemption::fits(const Request& request, const Node& node, uint32_t index, const View& view,
                      const std::vector<const Held*>& gone) const {
  const Given& given = given_[index];
  Resources room = columns_.free(index);
  room += view.coming;
  for (const Held* held : gone) room += held->resources;
  if (!request.resources.fits(room)) return false;
  for (const PortBinding& port : request.ports) {
    if (port.host != 0 && given.ports.contains(port_key(port))) return false;
    if (port.host == 0 || !view.ports.contains(port_key(port))) continue;
    const bool freed = std::any_of(gone.begin(), gone.end(), [&](const Held* held) {
      return std::find(held->ports.begin(), held->ports.end(), port_key(port)) != held->ports.end();
    });
    if (!freed) return false;
  }
  if (!request.devices.empty()) {
    std::vector<int64_t> free = free_devices_of(node, view, given, gone);
    if (!choose_devices(request.devices, node.inventory->devices, free)) return false;
  }
  for (const auto& [name, asked] : request.node_limits) {
    int64_t left = count_of(node.inventory->limits, name) - asked;
    left -= count_of(view.limits, name) + count_of(given.limits, name);
    for (const Held* held : gone)
      if (const auto at = held->limits.find(name); at != held->limits.end()) left += at->second;
    if (left < 0) return false;
  }
  return true;
}

// Empty: not even without all of them.
std::vector<const Preemption::Held*> Preemption::cheapest(const Request& request, const Node& node, uint32_t index,
                                                          const View& view, int32_t priority) const {
  std::vector<const Held*> out;
  bool enough = false;
  for (const Held& held : view.held) {
    if (held.priority >= priority) break;
    out.push_back(&held);
    enough = fits(request, node, index, view, out);
    if (enough) break;
  }
  if (!enough) return {};
  for (size_t i = out.size(); i-- > 0;) {
    std::vector<const Held*> without = out;
    without.erase(without.begin() + static_cast<ptrdiff_t>(i));
    if (!without.empty() && fits(request, node, index, view, without)) out = std::move(without);
  }
  return out;
}

Preemption::Cost Preemption::cost_of(const Request& request, uint32_t index,
                                     const std::vector<const Held*>& victims) const {
  int32_t priority = 0;
  Resources freed = columns_.free(index);
  for (const Held* held : victims) {
    priority = std::max(priority, held->priority);
    freed += held->resources;
  }
  freed -= request.resources;
  return {priority, victims.size(), freed.cpu.value + (freed.memory.value >> 20)};
}

std::optional<Preemption::Choice> Preemption::choose(const Request& request, int32_t priority, const Mask& nodes) {
  std::optional<std::pair<Cost, Choice>> best;
  for (size_t word = 0; word < nodes.size(); ++word) {
    for (uint64_t bits = nodes[word]; bits != 0; bits &= bits - 1) {
      const auto index = static_cast<uint32_t>(word * 64 + static_cast<size_t>(std::countr_zero(bits)));
      const Node* node = snapshot_.nodes.find(columns_.id(index).value);
      if (node == nullptr || !node->inventory) continue;
      const View& view = view_of(index);
      if (fits(request, *node, index, view, {})) return Choice{index, {}};
      const std::vector<const Held*> victims = cheapest(request, *node, index, view, priority);
      if (victims.empty()) continue;
      const Cost cost = cost_of(request, index, victims);
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
  for (const PortBinding& port : request.ports)
    if (port.host != 0) given.ports.insert(port_key(port));
  for (const auto& [name, asked] : request.node_limits) view.limits[name] += asked;
  if (!request.devices.empty()) {
    const Node& node = *snapshot_.nodes.find(columns_.id(choice.index).value);
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
