#include "manager/control/housekeeping.h"

#include "base/limits.h"

namespace tutti::manager {

void Housekeeping::rebuild(const Snapshot& snapshot) {
  removals_.clear();
  snapshot.nodes.for_each([&](uint64_t, const Node& node) {
    if (node.removing) removals_[node.id];
  });
}

void Housekeeping::follow(const ChangeSet& changes) {
  for (const RowChange& row : changes.rows) {
    if (row.table != TableId::node) continue;
    const Node* node = changes.after->nodes.find(row.id);
    if (node == nullptr)
      removals_.erase(NodeId{row.id});
    else if (node->removing)
      removals_[node->id];
  }
}

std::vector<state::Command> Housekeeping::step(BootTime now) {
  std::vector<state::Command> out;
  if (!trim_.under_way && trim_.due <= now) {
    trim_.under_way = true;
    out.emplace_back(state::TrimHistory{});
  }
  for (auto& [node, round] : removals_) {
    if (round.under_way || round.due > now) continue;
    round.under_way = true;
    out.emplace_back(state::RemoveNode{node, true});
  }
  return out;
}

void Housekeeping::answered(const state::Command& command, const Result<state::Outcome>& result, BootTime now) {
  if (std::holds_alternative<state::TrimHistory>(command)) {
    const bool more = result && result->number >= limits::kTrimRowsMax;
    trim_ = {false, more ? now : now + kTrimEvery};
  } else if (const auto* removal = std::get_if<state::RemoveNode>(&command)) {
    auto at = removals_.find(removal->node);
    if (at != removals_.end()) at->second = {false, result ? now : now + kRetryAfter};
  }
}

bool Housekeeping::prune_due(BootTime now) {
  if (prune_at_.ns != 0 && prune_at_ > now) return false;
  const bool first = prune_at_.ns == 0;
  prune_at_ = now + kPruneEvery;
  return !first;
}

}  // namespace tutti::manager
