// What the scheduler planned: every node that it touches is looked at again.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>

#include "base/limits.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

// Each port of the spec has its binding, and nothing else has one: the host port it names, on the node's own network
// the same as in the task, else one of the node's range. What else listens on the node is not a plan's to take.
bool ports_as_asked(const Snapshot& state, const Instance& row, const Node& node,
                    const std::vector<PortBinding>& bound) {
  constexpr int32_t kPortMax = 65'535;
  const JobSpec& spec = *state.version_of(row)->spec;
  size_t asked = 0;
  for (size_t index : state.group_of(row).tasks) {
    const TaskSpec& task = spec.tasks[index];
    for (const PortSpec& port : task.ports) {
      const int32_t fixed = port.host != 0 ? port.host : task.network == NetworkMode::host ? port.container : 0;
      const int32_t first = fixed != 0 ? fixed : node.inventory->port_first;
      const int32_t last = fixed != 0 ? fixed : node.inventory->port_last;
      const bool there = std::any_of(bound.begin(), bound.end(), [&](const PortBinding& b) {
        return b.task == task.name && b.name == port.name && b.container == port.container &&
               b.protocol == port.protocol && b.host >= std::max(first, 1) && b.host <= std::min(last, kPortMax);
      });
      if (!there) return false;
      ++asked;
    }
  }
  return asked == bound.size();
}

// W10: what the group asks of the countable things is still there.
bool limits_left(const Snapshot& state, const Instance& row, const Node& node) {
  const NodeUsage& usage = state.usage_of(node.id);
  for (const auto& [name, asked] : state.group_of(row).node_limits) {
    const auto all = node.inventory->limits.find(name);
    const auto used = usage.limits.find(name);
    if (all == node.inventory->limits.end()) return false;
    if ((used == usage.limits.end() ? 0 : used->second) + asked > all->second) return false;
  }
  return true;
}

// S09: the devices are what the group asks for, and free to that part.
bool devices_left(const Snapshot& state, const Instance& row, const Node& node,
                  const std::vector<DeviceBinding>& bound) {
  const std::vector<DeviceAsk>& asks = state.group_of(row).devices;
  if (asks.empty() && bound.empty()) return true;
  if (!as_asked(bound, asks, node.inventory->devices)) return false;
  std::map<std::string, int64_t> taken = state.usage_of(node.id).devices;
  return std::ranges::all_of(bound,
                             [&](const DeviceBinding& b) { return (taken[b.device] += b.share) <= kWholeDevice; });
}

// J04: a job that stays together is nowhere else. What a version before it, which did not ask for that, still has
// elsewhere does not count: an update would wait for it to go, and it for the update.
bool stays_together(const Snapshot& state, const Instance& row) {
  if (!state.version_of(row)->spec->placement.same_node) return true;
  bool together = true;
  if (const IdSet* ids = state.instances_by_job.find(row.job.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance& other = *state.instances.find(id);
      if (on_node(other) && other.admitted && !other.finished && other.presence != Presence::given_up)
        together = together && (other.node == row.node || !state.version_of(other)->spec->placement.same_node);
    });
  }
  return together;
}

bool place(ApplyContext& c, const Placement& placement) {
  const Instance* present = c.state().instances.find(placement.instance.value);
  const Node* node = c.state().nodes.find(placement.node.value);
  if (present == nullptr || node == nullptr || !is_pending(*present) || present->generation != placement.generation)
    return false;
  if (present->not_before > c.now || (present->pinned && present->pinned != placement.node)) return false;
  if (on_node(*present) && present->node != placement.node) return false;
  const bool returning = on_node(*present);
  if (node->health != NodeHealth::ready || !node->inventory) return false;
  if (node->spec.eligibility != Eligibility::eligible &&
      !(returning && node->spec.eligibility != Eligibility::draining))
    return false;
  Instance row = *present;
  row.node = placement.node;
  row.admitted = true;
  row.cleared = false;
  row.pending_since = {};
  InstanceDetail detail = *fresh_detail(c.state(), row, placement.ports, placement.devices);
  detail.placed = c.now;
  row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
  const NodeUsage& usage = c.state().usage_of(node->id);
  const Resources before = held_resources(c.state(), *present);
  if (!(usage.used - before + held_resources(c.state(), row)).fits(allocatable(*node))) return false;
  if (!ports_as_asked(c.state(), row, *node, placement.ports)) return false;
  std::vector<uint32_t> ports;
  for (const PortBinding& port : placement.ports) ports.push_back(port_key(port));
  std::sort(ports.begin(), ports.end());
  if (std::adjacent_find(ports.begin(), ports.end()) != ports.end()) return false;
  for (uint32_t port : ports) {
    if (std::binary_search(usage.ports.begin(), usage.ports.end(), port)) return false;
  }
  if (!devices_left(c.state(), row, *node, placement.devices)) return false;
  if (!limits_left(c.state(), row, *node) || !stays_together(c.state(), row)) return false;
  c.draft.put(std::move(row));
  return true;
}

void tell_placed(ApplyContext& c, InstanceId id) {
  const Instance& row = *c.state().instances.find(id.value);
  emit_instance(c, row, "instance.placed", "info", "on " + c.state().nodes.find(row.node.value)->name);
}

// Any of them does not fit any more: none of them, and nothing has happened.
bool place_every(ApplyContext& c, std::span<const Placement> placements) {
  if (placements.size() == 1) return place(c, placements.front());
  Draft::Saved before = c.draft.save();
  if (std::ranges::all_of(placements, [&](const Placement& each) { return place(c, each); })) return true;
  c.draft.restore(std::move(before));
  return false;
}

// S07: those of one job that stand together in the plan, all of them or none. Returns how many were placed.
size_t place_together(ApplyContext& c, std::span<const Placement> placements) {
  if (!place_every(c, placements)) return 0;
  for (const Placement& placement : placements) tell_placed(c, placement.instance);
  return placements.size();
}

// Whose project lets its work push aside, and be pushed aside.
bool may_preempt(const Snapshot& state, const Instance& row) {
  const Job* job = state.jobs.find(row.job.value);
  const Project* project = job == nullptr ? nullptr : state.projects.find(job->project.value);
  return project != nullptr && project->preemption;
}

// J07: everything is looked at again, but not whether it will fit.
bool may_push(ApplyContext& c, const PushAside& wanted) {
  const Instance* to_come = c.state().instances.find(wanted.instance.value);
  if (to_come == nullptr || !is_pending(*to_come) || to_come->generation != wanted.generation) return false;
  if (!may_preempt(c.state(), *to_come)) return false;
  const int32_t priority = c.state().version_of(*to_come)->spec->priority;
  return std::ranges::all_of(wanted.victims, [&](InstanceId id) {
    const Instance* victim = c.state().instances.find(id.value);
    if (victim == nullptr || victim->node != wanted.node || !victim->admitted || victim->finished) return false;
    if (victim->presence == Presence::given_up || victim->desired == Desired::removed) return false;
    return may_preempt(c.state(), *victim) && c.state().version_of(*victim)->spec->priority < priority;
  });
}

// Reconcile makes each a successor, which waits.
void push(ApplyContext& c, const PushAside& wanted) {
  const Instance* to_come = c.state().instances.find(wanted.instance.value);
  const auto project_of = [&](const Instance& row) { return c.state().jobs.find(row.job.value)->project; };
  const ProjectId project = project_of(*to_come);
  const std::string told = fmt::format("pushed aside by {} (priority {})", c.state().name_of(*to_come),
                                       c.state().version_of(*to_come)->spec->priority);
  for (const InstanceId id : wanted.victims) {
    // What runs in another project is not for this one's people to know.
    const bool known = project_of(*c.state().instances.find(id.value)) == project;
    const std::string reason = known ? told : "pushed aside by work of higher priority";
    change_instance(c, {.instance = id, .desired = Desired::removed, .reason = reason});
    Instance row = *c.state().instances.find(id.value);
    InstanceDetail detail = *row.detail;
    detail.pushed_by = wanted.instance;
    row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
    emit_instance(c, row, "instance.preempted", "warning", reason);
    c.draft.put(std::move(row));
  }
}

// Every one of its job that is placed as one now: that nobody was added to them since, and nobody given a node.
bool is_whole(ApplyContext& c, std::span<const PushAside> all) {
  const Instance& first = *c.state().instances.find(all.front().instance.value);
  size_t waiting = 0;
  bool alike = true;
  c.state().instances_by_job.find(first.job.value)->for_each([&](uint64_t id, const Unit&) {
    const Instance& i = *c.state().instances.find(id);
    waiting += is_pending(i) && i.job_version == first.job_version && !i.pinned && !on_node(i) && i.not_before <= c.now;
  });
  for (const PushAside& each : all) {
    const Instance& i = *c.state().instances.find(each.instance.value);
    alike = alike && i.job_version == first.job_version && !i.pinned && !on_node(i);
  }
  return alike && waiting == all.size();
}

// What the instance would be given on the node as it is now: the ports it names or the first free ones, and devices.
std::optional<Placement> placement_on(const Snapshot& state, const PushAside& wanted) {
  const Instance& i = *state.instances.find(wanted.instance.value);
  const Node* node = state.nodes.find(wanted.node.value);
  if (node == nullptr || !node->inventory) return std::nullopt;
  const Inventory& inventory = *node->inventory;
  const NodeUsage& usage = state.usage_of(node->id);
  Placement out{wanted.instance, wanted.generation, wanted.node, {}, {}, true};
  std::set<uint32_t> ports(usage.ports.begin(), usage.ports.end());
  for (const size_t index : state.group_of(i).tasks) {
    const TaskSpec& task = state.version_of(i)->spec->tasks[index];
    for (const PortSpec& port : task.ports) {
      int32_t host = port.host != 0 ? port.host : task.network == NetworkMode::host ? port.container : 0;
      if (host == 0) {
        for (host = inventory.port_first; ports.contains(port_key(port.protocol, host));) ++host;
      }
      ports.insert(port_key(port.protocol, host));
      out.ports.push_back({task.name, port.name, port.container, host, port.protocol});
    }
  }
  std::vector<int64_t> free;
  for (const Device& device : inventory.devices) {
    const auto used = usage.devices.find(device.id);
    free.push_back(kWholeDevice - (used == usage.devices.end() ? 0 : used->second));
  }
  auto devices = choose_devices(state.group_of(i).devices, inventory.devices, free);
  if (!devices) return std::nullopt;
  out.devices = std::move(*devices);
  return out;
}

// Tried out and taken back: who leaves these nodes is gone, the victims with them; then all fit, each where it is meant
// to.
bool would_fit(ApplyContext& c, std::span<const PushAside> all) {
  Draft::Saved before = c.draft.save();
  std::set<InstanceId> gone;
  for (const PushAside& each : all) {
    gone.insert(each.victims.begin(), each.victims.end());
    const IdSet* held = c.state().instances_by_node.find(each.node.value);
    if (held == nullptr) continue;
    held->for_each([&](uint64_t id, const Unit&) {
      const Instance& i = *c.state().instances.find(id);
      const bool leaves = i.admitted && i.desired == Desired::removed && i.presence != Presence::given_up;
      if (leaves) gone.insert(i.id);
    });
  }
  for (const InstanceId id : gone) {
    Instance row = *c.state().instances.find(id.value);
    row.finished = row.cleared = true;
    row.state = TaskState::stopped;
    c.draft.put(std::move(row));
  }
  const bool fit = std::ranges::all_of(all, [&](const PushAside& each) {
    const std::optional<Placement> there = placement_on(c.state(), each);
    return there && place(c, *there);
  });
  c.draft.restore(std::move(before));
  return fit;
}

// J07 with S07: all of them go for all of them, or nobody goes. Returns how many hold.
size_t push_aside(ApplyContext& c, std::span<const PushAside> all) {
  if (!std::ranges::all_of(all, [&](const PushAside& each) { return may_push(c, each); })) return 0;
  if (all.front().together && !(is_whole(c, all) && would_fit(c, all))) return 0;
  for (const PushAside& each : all) push(c, each);
  return all.size();
}

JobId job_of(const Snapshot& state, InstanceId id) {
  const Instance* row = state.instances.find(id.value);
  return row != nullptr ? row->job : JobId{};
}

// Takes a plan's rows in parts: those of one job that say so stand together, each other one stands alone.
template <class Row, class F>
void each_part(ApplyContext& c, std::span<const Row> rows, F&& what) {
  for (size_t i = 0; i < rows.size();) {
    size_t end = i + 1;
    const JobId job = job_of(c.state(), rows[i].instance);
    while (rows[i].together && end < rows.size() && rows[end].together && job_of(c.state(), rows[end].instance) == job)
      ++end;
    what(rows.subspan(i, end - i));
    i = end;
  }
}

}  // namespace

Result<Outcome> apply_one(ApplyContext& c, const ApplyPlan& command) {
  TUTTI_CHECK(within_rows(command.plan.placements.size(), "placements"));
  size_t victims = 0;
  for (const PushAside& each : command.plan.push_aside) victims += each.victims.size();
  TUTTI_CHECK(within_rows(victims, "victims"));
  TUTTI_CHECK(within_rows(command.plan.push_aside.size(), "of those that others are pushed aside for"));
  Outcome outcome{.table = TableId::instance};
  // First what is placed: nobody is told to go for room that is given away.
  each_part(c, std::span<const Placement>(command.plan.placements),
            [&](std::span<const Placement> part) { outcome.number += place_together(c, part); });
  each_part(c, std::span<const PushAside>(command.plan.push_aside),
            [&](std::span<const PushAside> part) { outcome.number += push_aside(c, part); });
  return outcome;
}

}  // namespace tutti::state
