#include "reconcile/system.h"

#include <algorithm>

#include "model/constraint.h"

namespace tutti::reconcile {
namespace {

NodeFit fit_of(const Node& node, const JobSpec& spec, const GroupView& group) {
  if (!node.inventory || node.spec.eligibility == Eligibility::draining || node.health == NodeHealth::lost)
    return NodeFit::none;
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

void add_nodes(const Snapshot& snapshot, const JobVersion& active, SlotTable& table) {
  for (Group& group : table.groups) {
    if (group.view == nullptr) continue;
    for (Slot& slot : group.slots) slot.surplus = true;  // until its node says otherwise
    snapshot.nodes.for_each([&](uint64_t id, const Node& node) {
      const NodeFit fit = fit_of(node, *active.spec, *group.view);
      if (fit == NodeFit::none) return;
      Slot& slot = group.at(static_cast<uint32_t>(id));
      slot.surplus = false;
      slot.pinned = node.id;
      slot.may_start = fit == NodeFit::start;
    });
  }
}

}  // namespace tutti::reconcile
