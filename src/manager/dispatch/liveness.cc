#include "manager/dispatch/liveness.h"

#include <algorithm>

#include "base/limits.h"

namespace tutti::manager {

void Liveness::rebuild(const Snapshot& snapshot, BootTime now) {
  nodes_.clear();
  snapshot.nodes.for_each([&](uint64_t, const Node& node) {
    nodes_[node.id] = Entry{now + milliseconds(limits::kLeaseMs), node.health, node.health, node.session};
  });
}

void Liveness::follow(const ChangeSet& changes, BootTime now) {
  for (const RowChange& row : changes.rows) {
    if (row.table != TableId::node) continue;
    const Node* node = changes.after->nodes.find(row.id);
    if (node == nullptr) {
      nodes_.erase(NodeId{row.id});
      continue;
    }
    auto [at, fresh] = nodes_.try_emplace(node->id, Entry{now, node->health, node->health, node->session});
    Entry& entry = at->second;
    if (!fresh && entry.session != node->session) entry.heard = now;  // a session has just begun
    entry.session = node->session;
    entry.health = entry.asked = node->health;
  }
}

bool Liveness::heard(NodeId node, BootTime now) {
  auto at = nodes_.find(node);
  if (at == nodes_.end()) return true;  // its first session is being committed
  Entry& entry = at->second;
  entry.heard = std::max(entry.heard, now);
  return entry.health != NodeHealth::lost && entry.lost_under_way == 0;
}

void Liveness::excuse(Duration stall) {
  for (auto& [id, entry] : nodes_) entry.heard = entry.heard + stall;
}

void Liveness::answered(NodeId node, NodeHealth health, bool committed) {
  auto at = nodes_.find(node);
  if (at == nodes_.end()) return;
  Entry& entry = at->second;
  if (!committed) entry.asked = entry.health;
  if (health == NodeHealth::lost) entry.lost_under_way = std::max(0, entry.lost_under_way - 1);
}

std::vector<state::SetNodeHealth> Liveness::tick(BootTime now) {
  std::vector<state::SetNodeHealth> out;
  for (auto& [id, entry] : nodes_) {
    if (entry.health == NodeHealth::joining) continue;
    const int64_t silent_ms = (now - entry.heard).ms();
    NodeHealth health = NodeHealth::ready;
    if (silent_ms > limits::kUnknownAfterMs) health = NodeHealth::unknown;
    if (silent_ms > limits::kLostAfterMs) health = NodeHealth::lost;
    if (health == entry.asked || (health == NodeHealth::unknown && entry.asked == NodeHealth::lost)) continue;
    entry.asked = health;
    entry.lost_under_way += health == NodeHealth::lost ? 1 : 0;
    std::string reason =
        health == NodeHealth::ready ? "heard again" : "silent for " + format_duration(milliseconds(silent_ms));
    out.push_back({id, entry.session, health, std::move(reason)});
  }
  return out;
}

}  // namespace tutti::manager
