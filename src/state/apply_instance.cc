// Instances: what reconcile decided, what the scheduler planned, what users ask of one.
#include <algorithm>

#include "base/limits.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

bool holds_slot(const Instance& i) { return !i.finished && i.presence != Presence::given_up; }
// A stopped or suspended one keeps its slot: its user may start it again.
bool waits_for_user(const Instance& i) {
  return i.finished && i.presence != Presence::given_up && (i.desired == Desired::stopped || i.desired == Desired::suspended);
}

bool slot_is_free(const Snapshot& state, const CreateInstance& wanted) {
  bool free = true;
  const JobVersion* version = state.version_of(wanted.job, wanted.job_version);
  const auto* groups = state.groups.find(version->id.value);
  const std::string& name = (**groups)[wanted.group].name;
  if (const IdSet* ids = state.instances_by_job.find(wanted.job.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance& other = *state.instances.find(id);
      if (other.slot != wanted.slot || !(holds_slot(other) || waits_for_user(other))) return true;
      if (state.group_of(other).name == name) free = false;
      return free;
    });
  }
  return free;
}

void create(ApplyContext& c, const CreateInstance& wanted) {
  const Job* job = c.state().jobs.find(wanted.job.value);
  const JobVersion* version = c.state().version_of(wanted.job, wanted.job_version);
  if (job == nullptr || version == nullptr || job->stopped || version->state != VersionState::active) return;
  if (c.state().instances.size() >= limits::kInstancesMax) return;
  const auto* groups = c.state().groups.find(version->id.value);
  if (wanted.group >= (*groups)->size() || !slot_is_free(c.state(), wanted)) return;
  Instance row;
  row.id = InstanceId{c.draft.new_id()};
  row.job = wanted.job;
  row.job_version = wanted.job_version;
  row.slot = wanted.slot;
  row.group = wanted.group;
  row.pinned = wanted.pinned;
  row.created = row.pending_since = c.now;
  row.not_before = wanted.not_before;
  InstanceDetail detail;
  detail.reschedules = wanted.reschedules;
  detail.avoid = wanted.avoid;
  row.detail = std::make_shared<const InstanceDetail>(detail);
  row.detail = fresh_detail(c.state(), row, {});
  c.draft.put(std::move(row));
}

void set_reason(Instance& row, const std::string& reason) {
  InstanceDetail detail = *row.detail;
  detail.reason = reason;
  row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
}

// Generation + 1, admitted again; pinned to its node while it has a disk there.
void start_over(ApplyContext& c, Instance& row) {
  row.generation += 1;
  row.finished = false;
  row.state = TaskState::placed;
  row.admitted = false;
  row.pending_since = c.now;
  row.not_before = {};
  if (on_node(row)) row.pinned = row.node;
  row.detail = fresh_detail(c.state(), row, row.detail->ports);
}

void change(ApplyContext& c, const ChangeInstance& wanted) {
  const Instance* present = c.state().instances.find(wanted.instance.value);
  if (present == nullptr || present->presence == Presence::given_up) return;
  Instance row = *present;
  if (wanted.give_up) {
    row.presence = Presence::given_up;
    row.finished = true;
    row.cleared = row.cleared || !row.node || c.state().nodes.find(row.node.value) == nullptr;
    emit_instance(c, row, "instance.given_up", "warning", wanted.reason);
  }
  if (wanted.desired && row.desired != *wanted.desired) {
    row.desired = *wanted.desired;
    if (row.desired == Desired::removed && !on_node(row)) {
      row.finished = row.cleared = true;
      if (!is_terminal(row.state)) row.state = TaskState::stopped;
    }
    if ((row.desired == Desired::stopped || row.desired == Desired::suspended) && !row.admitted && !row.finished) {
      row.finished = true;  // it never ran in this generation
      row.state = TaskState::stopped;
    }
  }
  if (wanted.start_over) start_over(c, row);
  if (!wanted.reason.empty()) set_reason(row, wanted.reason);
  c.draft.put(std::move(row));
}

void place(ApplyContext& c, const Placement& placement, uint64_t& applied) {
  const Instance* present = c.state().instances.find(placement.instance.value);
  const Node* node = c.state().nodes.find(placement.node.value);
  if (present == nullptr || node == nullptr || !is_pending(*present) || present->generation != placement.generation) return;
  if (present->not_before > c.now || (present->pinned && present->pinned != placement.node)) return;
  if (on_node(*present) && present->node != placement.node) return;
  const bool returning = on_node(*present);
  if (node->health != NodeHealth::ready) return;
  if (node->spec.eligibility != Eligibility::eligible && !(returning && node->spec.eligibility != Eligibility::draining)) return;
  Instance row = *present;
  row.node = placement.node;
  row.admitted = true;
  row.cleared = false;
  row.pending_since = {};
  row.detail = fresh_detail(c.state(), row, placement.ports);
  const NodeUsage& usage = c.state().usage_of(node->id);
  const Resources before = held_resources(c.state(), *present);
  if (!(usage.used - before + held_resources(c.state(), row)).fits(allocatable(*node))) return;
  std::vector<uint32_t> ports;
  for (const PortBinding& port : placement.ports) ports.push_back(port_key(port));
  std::sort(ports.begin(), ports.end());
  if (std::adjacent_find(ports.begin(), ports.end()) != ports.end()) return;
  for (uint32_t port : ports) {
    if (std::binary_search(usage.ports.begin(), usage.ports.end(), port)) return;
  }
  emit_instance(c, row, "instance.placed", "info", "on " + node->name);
  c.draft.put(std::move(row));
  ++applied;
}

}  // namespace

Result<Outcome> apply_one(ApplyContext& c, const ApplyActions& command) {
  const Actions& actions = command.actions;
  for (const ChangeInstance& wanted : actions.change) change(c, wanted);
  for (const CreateInstance& wanted : actions.create) create(c, wanted);
  for (InstanceId id : actions.forget) {
    const Instance* row = c.state().instances.find(id.value);
    if (row == nullptr || !row->finished || on_node(*row)) continue;
    c.draft.erase(TableId::instance, id.value);
  }
  for (JobId id : actions.forget_jobs) {
    const Job* job = c.state().jobs.find(id.value);
    if (job == nullptr || !job->deleted || c.state().instances_by_job.contains(id.value)) continue;
    std::vector<uint64_t> versions;
    if (const IdSet* ids = c.state().versions_by_job.find(id.value)) {
      ids->for_each([&](uint64_t version, const Unit&) { versions.push_back(version); });
    }
    for (uint64_t version : versions) c.draft.erase(TableId::version, version);
    c.draft.erase(TableId::job, id.value);
  }
  return Outcome{.table = TableId::instance};
}

Result<Outcome> apply_one(ApplyContext& c, const ApplyPlan& command) {
  Outcome outcome{.table = TableId::instance};
  for (const Placement& placement : command.plan.placements) place(c, placement, outcome.number);
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const OperateInstance& command) {
  const Instance* present = c.state().instances.find(command.instance.value);
  if (present == nullptr) return fail(ErrorCode::not_found, "no instance " + to_text(command.instance));
  Instance row = *present;
  const std::string name = c.state().name_of(row);
  if (row.presence == Presence::given_up || row.desired == Desired::removed) {
    return fail(ErrorCode::conflict, "instance " + name + " is gone; its job has a new one in its slot");
  }
  std::string kind = "instance.start";
  switch (command.verb) {
    case InstanceVerb::start:
    case InstanceVerb::resume:
    case InstanceVerb::unpause:
      row.override_ = Override::none;
      kind = command.verb == InstanceVerb::start ? "instance.start" : command.verb == InstanceVerb::resume ? "instance.resume" : "instance.unpause";
      break;
    case InstanceVerb::stop: row.override_ = Override::stop, kind = "instance.stop"; break;
    case InstanceVerb::pause:
      if (row.finished) return fail(ErrorCode::conflict, "instance " + name + " does not run: start it first");
      row.override_ = Override::pause, kind = "instance.pause";
      break;
    case InstanceVerb::suspend:
      if (row.finished) return fail(ErrorCode::conflict, "instance " + name + " does not run: start it first");
      row.override_ = Override::suspend, kind = "instance.suspend";
      break;
    case InstanceVerb::delete_: row.override_ = Override::delete_, kind = "instance.delete"; break;
    case InstanceVerb::restart:
      row.override_ = Override::none;
      kind = "instance.restart";
      if (row.finished || !row.admitted) break;  // reconcile starts it over
      row.generation += 1;
      row.state = TaskState::placed;
      row.detail = fresh_detail(c.state(), row, row.detail->ports);
      break;
  }
  const bool to_come = row.override_ == Override::none && row.finished;
  Outcome outcome{.table = TableId::instance, .id = row.id.value};
  const Job* job = c.state().jobs.find(row.job.value);
  outcome.operation = start_operation(c, kind, TableId::instance, row.id.value, job->project, 0,
                                      std::to_string(row.generation + (to_come ? 1 : 0)));
  emit_instance(c, row, kind, "info", "by " + c.meta.identity);
  c.draft.put(std::move(row));
  return outcome;
}

}  // namespace tutti::state
