// Moves. Draining nodes: their work moves away, no more of a job at a time than it allows, until the deadline. A
// rebalance: its successors stand beside who they replace, each pinned to its node, and do not wait there for ever.
#include "base/limits.h"
#include "reconcile/decider.h"

namespace tutti::reconcile {

void Decider::move_from_draining() {
  std::vector<std::pair<Group*, Slot*>> candidates;
  for (Group& group : table_.groups) {
    for (Slot& slot : group.slots) {
      if (slot.leaving != nullptr && draining(slot.leaving->node)) ++moving_;
      if (slot.surplus || slot.live == nullptr) continue;
      const Instance& live = *slot.live;
      const bool arriving = !works(live) && draining(live.detail->avoid) && !waits_for_user(live);
      const bool beside = slot.beside != nullptr && draining(live.node);
      const bool down = live.admitted && follows_job(live) && !serves(slot);
      if (arriving || beside || down) ++moving_;
      if (draining(live.node) && follows_job(live) && reachable(live)) candidates.emplace_back(&group, &slot);
    }
  }
  for (const auto& [group, slot] : candidates)
    move_from_draining(*group, *slot, *snapshot_.nodes.find(slot->live->node.value));
}

void Decider::move_from_draining(const Group& group, Slot& slot, const Node& node) {
  const Time deadline = node.spec.drain_deadline;
  const bool forced = deadline && now_ >= deadline;
  if (deadline && !forced) wake(deadline);
  if (job_.type == JobType::system) return;  // their slots are surplus once the other work has left
  if (!forced) {
    // Batch work may finish; nobody waits for it to answer.
    if (job_.type == JobType::batch && (slot.live->state == TaskState::running || slot.live->admitted)) return;
    const bool runs = works(*slot.live);  // what nobody is served by may go at once
    if (runs && (moving_ >= active_->spec->disruption.max_unavailable || slot.beside != nullptr)) return;
    const bool ours = group.view != nullptr && slot.live->job_version == active_->number;
    if (runs && ours && policy_->start_first && !tracked_ && !halted_) {
      if (slot.beside_leaving == nullptr) stand_beside(group, slot, node.id);
      ++moving_;
      return;
    }
  }
  if (!let_go(*slot.live, "node " + node.name + " is draining")) return;
  leave(slot);
  ++moving_;
}

std::string Decider::why_not_to(const Instance& beside) {
  const Node* node = snapshot_.nodes.find(beside.pinned.value);
  const bool takes_work =
      node != nullptr && node->health == NodeHealth::ready && node->spec.eligibility == Eligibility::eligible;
  const Duration healthy =
      policy_->healthy_deadline.ns > 0 ? policy_->healthy_deadline : seconds(limits::kMoveHealthySeconds);
  if (!beside.admitted) {
    if (!takes_work) return "node " + node_name(beside.pinned) + " takes no work now";
    const Time due = beside.pending_since + seconds(limits::kMoveRoomSeconds);
    if (now_ >= due) return "no room on " + node->name;
    wake(due);
  } else if (!Decider::healthy(beside)) {
    const Time due = beside.detail->placed + healthy;
    if (now_ >= due)
      return "it did not become healthy on " + node_name(beside.pinned) + " within " + format_duration(healthy);
    wake(due);
  }
  return "";
}

}  // namespace tutti::reconcile
