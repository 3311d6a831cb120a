// S08: a rebalance begins, and its moves go on.
//
// A move is a successor that stands beside its instance, pinned to the node it is to go to; reconcile lets the old one
// go once the new one is healthy, as in an update. Batch work stops, and starts again elsewhere.
#include "base/limits.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

// As the plan found it.
bool as_planned(const Snapshot& state, const Instance& i, const Move& move) {
  const Job* job = state.jobs.find(i.job.value);
  return job != nullptr && !job->stopped && job->active_version == i.job_version && i.node == move.from && i.admitted &&
         !i.finished && !i.beside && i.presence != Presence::given_up && i.desired == Desired::running &&
         i.override_ == Override::none;
}

void stop_here(ApplyContext& c, Instance row, const Move& move) {
  InstanceDetail detail = *row.detail;
  detail.avoid = move.from;  // that its successor goes elsewhere if it can
  row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
  const InstanceId id = row.id;
  c.draft.put(std::move(row));
  change_instance(c, {.instance = id, .desired = Desired::removed, .reason = "moved"});
}

void begin(ApplyContext& c, Move& move) {
  const Instance* found = c.state().instances.find(move.instance.value);
  const Node* to = c.state().nodes.find(move.to.value);
  move.state = MoveState::dropped;
  if (found == nullptr || to == nullptr || !as_planned(c.state(), *found, move)) {
    move.reason = "it has changed since it was planned";
    return;
  }
  const Instance present = *found;
  if (c.state().jobs.find(present.job.value)->type == JobType::batch) {
    stop_here(c, present, move);
  } else {
    move.successor = make_instance(c, {.job = present.job,
                                       .job_version = present.job_version,
                                       .group = present.group,
                                       .slot = present.slot,
                                       .pinned = move.to,
                                       .avoid = move.from,
                                       .beside = true});
    if (!move.successor) {
      move.reason = "its slot takes no successor now";
      return;
    }
  }
  move.state = MoveState::moving;
  emit_instance(c, present, "instance.moving", "info", "to " + to->name + ": " + move.why);
}

}  // namespace

Result<Outcome> apply_one(ApplyContext& c, const StartRebalance& command) {
  const Rebalance& wanted = command.rebalance;
  if (wanted.moves.size() > static_cast<size_t>(limits::kRebalanceMovesMax)) {
    return fail(ErrorCode::too_large, fmt::format("{} moves in one rebalance (limit kRebalanceMovesMax is {})",
                                                  wanted.moves.size(), limits::kRebalanceMovesMax));
  }
  OperationId running;
  c.state().operations.for_each([&](uint64_t, const Operation& operation) {
    if (operation.rebalance && operation.state == OperationState::running) running = operation.id;
    return !running;
  });
  if (running) {
    return fail(ErrorCode::conflict, "a rebalance is under way: 'tutti operation wait " + to_text(running) +
                                         "' waits for it, 'tutti operation cancel " + to_text(running) + "' ends it");
  }
  const OperationId id = start_operation(c, std::string(kRebalanceKind), TableId::pool, 0, {}, 0, {},
                                         static_cast<int64_t>(wanted.moves.size()));
  Operation operation = *c.state().operations.find(id.value);
  operation.rebalance = wanted;
  for (Move& move : operation.rebalance->moves) move.state = MoveState::waiting, move.successor = {}, move.reason = {};
  c.draft.put(std::move(operation));
  emit(c, "pool.rebalance", "info", TableId::pool, 0, c.state().pool.name, {},
       fmt::format("{} moves, by {}", wanted.moves.size(), c.meta.identity));
  return Outcome{.table = TableId::operation, .id = id.value, .operation = id};
}

// The same step may come twice, from two looks at one state: what has gone on stays.
void move_on(ApplyContext& c, Operation& operation, const std::vector<MoveStep>& steps) {
  if (!operation.rebalance) return;
  for (const MoveStep& step : steps) {
    if (step.index >= operation.rebalance->moves.size()) continue;
    Move& move = operation.rebalance->moves[step.index];
    if (move.state >= step.state || move.state == MoveState::moved) continue;
    if (step.state == MoveState::moving)
      begin(c, move);
    else
      move.state = step.state, move.reason = step.reason;
  }
}

}  // namespace tutti::state
