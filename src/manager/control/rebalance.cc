#include "manager/control/rebalance.h"

#include <map>
#include <optional>

#include "scheduler/rebalance.h"

namespace tutti::manager {
namespace {

bool is_over(const Instance* i) {
  return i == nullptr || i->finished || i->presence == Presence::given_up;
}

std::string why_ended(const Instance& successor, const std::string& node) {
  std::string why = successor.detail->reason;
  for (const TaskStatus& task : successor.detail->tasks)
    if (why.empty() && task.position.state == TaskState::failed)
      why = task.reason.empty() ? "exit code " + std::to_string(task.exit_code) : task.reason;
  return "its successor on " + node + " ended" + (why.empty() ? "" : ": " + why);
}

class Progress {
 public:
  Progress(const Snapshot& snapshot, const Operation& operation, state::UpdateOperation& update)
      : s_(snapshot), operation_(operation), update_(update), moves_(operation.rebalance->moves) {}

  void run() {
    for (size_t i = 0; i < moves_.size(); ++i)
      if (moves_[i].state == MoveState::moving) follow(i);
    for (size_t i = 0; i < moves_.size(); ++i)
      if (moves_[i].state == MoveState::waiting) try_begin(i);
    tell();
  }

 private:
  void go(size_t index, MoveState state, std::string reason = {}) {
    moves_[index].state = state;
    moves_[index].reason = reason;
    update_.moves.push_back({static_cast<uint32_t>(index), state, std::move(reason)});
  }

  // What has become of one that is under way.
  void follow(size_t index) {
    const Move& move = moves_[index];
    const Instance* old = s_.instances.find(move.instance.value);
    const Instance* successor = s_.instances.find(move.successor.value);
    if (!move.successor) {  // batch: it has stopped, and starts again by itself
      if (is_over(old)) return go(index, MoveState::moved);
    } else if (successor != nullptr && !successor->beside) {
      return go(index, MoveState::moved);
    } else if (is_over(successor) || successor->desired == Desired::removed) {
      if (old == nullptr) return go(index, MoveState::dropped, "it has ended by itself");
      const Node* node = s_.nodes.find(move.to.value);
      const std::string name = node == nullptr ? to_text(move.to) : node->name;
      return go(index, MoveState::dropped, successor == nullptr ? "it is gone" : why_ended(*successor, name));
    }
    ++under_way_;
    if (old != nullptr) ++of_job_[old->job];
  }

  void try_begin(size_t index) {
    const Move& move = moves_[index];
    if (operation_.cancel_requested) return go(index, MoveState::dropped, "cancelled");
    const Instance* i = s_.instances.find(move.instance.value);
    if (i == nullptr) return go(index, MoveState::dropped, "it is gone");
    if (under_way_ >= operation_.rebalance->max_parallel) return;
    if (i->node != move.from) return go(index, MoveState::dropped, "it is elsewhere already");
    if (auto why = scheduler::why_not_movable(s_, *i, operation_.rebalance->include_batch))
      return go(index, MoveState::dropped, *why);
    if (auto why = scheduler::why_not_to(s_, *i, move.to)) {
      // One that is under way may make room.
      if (under_way_ > 0) return;
      return go(index, MoveState::dropped, node_name(move.to) + ": " + *why);
    }
    const int64_t most = s_.version_of(*i)->spec->disruption.max_unavailable;
    const int64_t down = down_of(i->job);
    if (of_job_[i->job] + down >= most) {
      if (of_job_[i->job] > 0) return;  // another time
      return go(index, MoveState::dropped,
                "its job allows " + std::to_string(most) + " at a time to be without service, and " +
                    std::to_string(down) + " are");
    }
    go(index, MoveState::moving);
    ++under_way_;
    ++of_job_[i->job];
  }

  // How many of the job's instances do not serve that should.
  int64_t down_of(JobId job) {
    const auto [at, fresh] = down_.try_emplace(job, 0);
    const IdSet* ids = s_.instances_by_job.find(job.value);
    if (!fresh || ids == nullptr) return at->second;
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* i = s_.instances.find(id);
      const bool wanted = !is_over(i) && !i->beside && i->desired == Desired::running;
      if (wanted && (!works(*i) || s_.presence_of(*i) != Presence::here)) ++at->second;
    });
    return at->second;
  }

  void tell() {
    int64_t moved = 0, dropped = 0;
    std::string first_reason;
    for (const Move& move : moves_) {
      moved += move.state == MoveState::moved ? 1 : 0;
      dropped += move.state == MoveState::dropped ? 1 : 0;
      if (move.state == MoveState::dropped && first_reason.empty()) first_reason = move.name + ": " + move.reason;
    }
    const auto total = static_cast<int64_t>(moves_.size());
    const bool over = moved + dropped == total;
    update_.total = total;
    update_.done = moved;
    update_.progress = total == 0 ? 100 : static_cast<int32_t>((moved + dropped) * 100 / total);
    update_.message =
        total == 0 ? "nothing to move" : std::to_string(moved) + " of " + std::to_string(total) + " moved";
    if (under_way_ > 0) update_.message += ", " + std::to_string(under_way_) + " under way";
    if (dropped > 0) update_.message += ", " + std::to_string(dropped) + " left where they are (" + first_reason + ")";
    update_.state = !over                         ? OperationState::running
                    : operation_.cancel_requested ? OperationState::cancelled
                    : moved == 0 && total > 0     ? OperationState::failed
                                                  : OperationState::succeeded;
    update_.steps.push_back({"move", update_.state, std::to_string(moved) + " of " + std::to_string(total)});
  }

  std::string node_name(NodeId id) const {
    const Node* node = s_.nodes.find(id.value);
    return node == nullptr ? to_text(id) : node->name;
  }

  const Snapshot& s_;
  const Operation& operation_;
  state::UpdateOperation& update_;
  std::vector<Move> moves_;
  int64_t under_way_ = 0;
  std::map<JobId, int64_t> of_job_;
  std::map<JobId, int64_t> down_;
};

}  // namespace

void measure_rebalance(const Snapshot& snapshot, const Operation& operation, state::UpdateOperation& update) {
  if (operation.rebalance) Progress(snapshot, operation, update).run();
}

}  // namespace tutti::manager
