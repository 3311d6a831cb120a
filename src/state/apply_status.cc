// What workers report. Statuses are sent again until acknowledged, so hearing something twice changes nothing.
#include <algorithm>

#include "base/limits.h"
#include "model/transitions.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

constexpr size_t kAddressBytesMax = 64;

// Never in the middle of a letter: rows are JSON, which holds whole ones only.
std::string shortened(std::string text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  text.resize(most);
  return text;
}

// Keeps what is further on. True if the task's row changed.
bool merge_task(TaskStatus& have, TaskStatus told, uint32_t generation) {
  told.reason = shortened(std::move(told.reason), limits::kReasonBytesMax);  // a worker may say anything
  if (told.task != have.task || told.position.generation != generation) return false;
  if (told == have) return false;
  if (told.position == have.position) {
    if (have.final && !told.final) return false;
    // The same place: what may still change there are conditions and what is known of the end.
    have = told;
    return true;
  }
  // Final is final: what was freed on its account is not taken back without a new generation.
  if (have.final || !moves_forward(have.position, told.position)) return false;
  have = told;
  return true;
}

// Of a check that alternates many times a second people read one line now and then: else a single task would push
// everybody's events out. What it says stands in its row all the same.
void announce_health(ApplyContext& c, const Instance& row, InstanceDetail& detail, const std::string& task,
                     HealthState before, const TaskStatus& after) {
  if (after.health == before || (after.health != HealthState::unhealthy && after.health != HealthState::healthy))
    return;
  Time& told = after.health == HealthState::healthy ? detail.healthy_told : detail.unhealthy_told;
  if (told && c.now >= told && c.now - told < seconds(limits::kHealthEventSeconds)) return;
  told = c.now;
  if (after.health == HealthState::unhealthy)
    emit_instance(c, row, "instance.unhealthy", "warning", task + after.reason);
  else
    emit_instance(c, row, "instance.healthy", "info", task + "its checks pass");
}

void announce(ApplyContext& c, const Instance& row, InstanceDetail& detail, const TaskStatus& before,
              const TaskStatus& after) {
  const std::string task = detail.tasks.size() > 1 ? "task " + after.task + ": " : "";
  if (before.position == after.position) return announce_health(c, row, detail, task, before.health, after);
  switch (after.position.state) {
    case TaskState::running:
      emit_instance(c, row, "instance.running", "info",
                    task + (after.restarts > 0 ? fmt::format("restarted ({} so far)", after.restarts) : "running"));
      announce_health(c, row, detail, task, HealthState::none, after);
      break;
    case TaskState::completed: emit_instance(c, row, "instance.completed", "info", task + after.reason); break;
    case TaskState::failed: emit_instance(c, row, "instance.failed", "error", task + after.reason); break;
    case TaskState::rejected: emit_instance(c, row, "instance.rejected", "error", task + after.reason); break;
    case TaskState::stopped: emit_instance(c, row, "instance.stopped", "info", task + "stopped"); break;
    case TaskState::suspended: emit_instance(c, row, "instance.suspended", "info", task + "suspended"); break;
    case TaskState::placed:
    case TaskState::accepted:
    case TaskState::preparing:
    case TaskState::starting: break;
  }
}

void merge(ApplyContext& c, NodeId node, const InstanceReport& report) {
  const Instance* present = c.state().instances.find(report.instance.value);
  if (present == nullptr || present->node != node) return;
  Instance row = *present;
  bool changed = false;
  if (report.gone) {
    // Only what was to go, or is over, is believed to be cleared away for good.
    const bool expected = row.desired == Desired::removed || row.presence == Presence::given_up;
    // What waits to start over still has its disk there: an old clearing does not concern the new generation.
    if (row.cleared || (!row.admitted && !expected)) return;
    row.cleared = true;
    row.finished = true;
    if (!is_terminal(row.state)) row.state = expected ? TaskState::stopped : TaskState::failed;
    c.draft.put(std::move(row));
    return;
  }
  if (row.presence == Presence::given_up) return;
  InstanceDetail detail = *row.detail;
  bool restarted = false;
  for (TaskStatus& task : detail.tasks) {
    for (const TaskStatus& told : report.tasks) {
      const TaskStatus before = task;
      if (!merge_task(task, told, row.generation)) continue;
      changed = true;
      restarted = restarted || task.position.attempt != before.position.attempt;
      announce(c, row, detail, before, task);
    }
  }
  if (report.address.size() <= kAddressBytesMax && detail.address != report.address)
    detail.address = report.address, changed = true;
  if (!changed) return;
  const TaskState state = summary_of(detail.tasks);
  // By this clock, since the worker's may be off: an update waits for it (health_of).
  if (state != TaskState::running || !checks_pass(detail.tasks))
    detail.running_since = {};
  else if (restarted || !detail.running_since)
    detail.running_since = c.now;
  row.state = state;
  row.finished = row.finished || (!detail.tasks.empty() && std::all_of(detail.tasks.begin(), detail.tasks.end(),
                                                                       [](const TaskStatus& t) { return t.final; }));
  row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
  c.draft.put(std::move(row));
}

}  // namespace

Result<Outcome> apply_one(ApplyContext& c, const ReportStatus& command) {
  const Node* node = c.state().nodes.find(command.node.value);
  if (node == nullptr) return fail(ErrorCode::not_found, "this node was removed from the pool");
  if (node->session != command.session) return fail(ErrorCode::stale, "a newer session of this node has begun");
  if (command.images && (!node->images || *node->images != *command.images)) {
    Node row = *node;
    row.images = std::make_shared<const NodeImages>(*command.images);
    c.draft.put(std::move(row));
  }
  for (const InstanceReport& report : command.reports) merge(c, command.node, report);
  return Outcome{.table = TableId::node, .id = command.node.value};
}

}  // namespace tutti::state
