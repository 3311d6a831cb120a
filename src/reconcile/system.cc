#include "reconcile/system.h"

#include <algorithm>

#include "model/constraint.h"

namespace tutti::reconcile {
namespace {

// System work serves the rest (logs, metrics): on a draining node it stays until that has left or the deadline has
// come.
bool drained_of_others(const Snapshot& snapshot, const Node& node, Time now) {
  if (node.spec.drain_deadline && now >= node.spec.drain_deadline) return true;
  bool others = false;
  if (const IdSet* ids = snapshot.instances_by_node.find(node.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* i = snapshot.instances.find(id);
      const Job* job = i == nullptr || i->finished ? nullptr : snapshot.jobs.find(i->job.value);
      others = job != nullptr && job->type != JobType::system && !is_given_up(*i);
      return !others;
    });
  }
  return !others;
}

NodeFit fit_of(const Snapshot& snapshot, const Node& node, const JobSpec& spec, const GroupView& group, Time now) {
  if (!node.inventory || node.health == NodeHealth::lost) return NodeFit::none;
  if (node.inventory->feature_level < group.feature_level) return NodeFit::none;
  if (node.spec.eligibility == Eligibility::draining && drained_of_others(snapshot, node, now)) return NodeFit::none;
  bool start = node.health == NodeHealth::ready && node.spec.eligibility == Eligibility::eligible;
  for (size_t index : group.tasks) {
    const TaskSpec& task = spec.tasks[index];
    auto driver = std::find_if(node.inventory->drivers.begin(), node.inventory->drivers.end(),
                               [&](const DriverInfo& d) { return d.name == task.driver; });
    if (driver == node.inventory->drivers.end()) return NodeFit::none;
    start = start && driver->healthy;
    for (const std::string& text : task.constraints) {
      auto constraint = Constraint::parse(text);
      if (constraint && !constraint->matches([&](std::string_view key) { return node_attribute(node, key); }))
        return NodeFit::none;
    }
  }
  return start ? NodeFit::start : NodeFit::keep;
}

}  // namespace

void add_nodes(const Snapshot& snapshot, const JobVersion& active, Time now, SlotTable& table) {
  for (Group& group : table.groups) {
    if (group.view == nullptr) continue;
    for (Slot& slot : group.slots) slot.surplus = true;  // until its node says otherwise
    snapshot.nodes.for_each([&](uint64_t id, const Node& node) {
      const NodeFit fit = fit_of(snapshot, node, *active.spec, *group.view, now);
      if (fit == NodeFit::none) return;
      Slot& slot = group.at(static_cast<uint32_t>(id));
      slot.surplus = false;
      slot.pinned = node.id;
      slot.may_start = fit == NodeFit::start;
    });
  }
}

}  // namespace tutti::reconcile
