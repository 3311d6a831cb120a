// Instances: what reconcile decided, what the scheduler planned, what users ask of one.
#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "base/limits.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

bool holds_slot(const Instance& i) { return !i.finished && i.presence != Presence::given_up; }
// A stopped or suspended one keeps its slot: its user may start it again.
bool waits_for_user(const Instance& i) {
  return i.finished && i.presence != Presence::given_up && (i.desired == Desired::stopped || i.desired == Desired::suspended);
}

// Which slots of a job are taken, by group name (versions may order groups differently). Read once per command and
// job: a scan per created instance would make a job of n instances cost n².
class TakenSlots {
 public:
  // True if the slot was free; it is taken from now on.
  bool take(const Snapshot& state, const CreateInstance& wanted, const std::string& group) {
    auto [at, fresh] = jobs_.try_emplace(wanted.job);
    if (fresh) read(state, wanted.job, at->second);
    return at->second[place_of(group, wanted.beside)].insert(wanted.slot).second;
  }

 private:
  using Slots = std::map<std::string, std::set<uint32_t>, std::less<>>;
  // A slot has two places: its own, and the one beside it. No group's name holds a blank.
  static std::string place_of(const std::string& group, bool beside) { return beside ? group + " beside" : group; }
  static void read(const Snapshot& state, JobId job, Slots& slots) {
    const IdSet* ids = state.instances_by_job.find(job.value);
    if (ids == nullptr) return;
    uint32_t version = 0;
    uint16_t group = 0;
    bool beside = false;
    std::set<uint32_t>* last = nullptr;
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance& other = *state.instances.find(id);
      if (!holds_slot(other) && !waits_for_user(other)) return;
      if (last == nullptr || other.job_version != version || other.group != group || other.beside != beside) {
        version = other.job_version, group = other.group, beside = other.beside;
        last = &slots[place_of(state.group_of(other).name, beside)];
      }
      last->insert(last->end(), other.slot);
    });
  }
  std::map<JobId, Slots> jobs_;
};

// The job was scaled down since this was decided: it would be one more than its user allows.
bool beyond_count(const Snapshot& state, const Job& job, const GroupView& group, uint32_t slot) {
  if (job.type == JobType::system) return false;  // its slots are nodes
  auto scaled = job.counts.find(group.name);
  int64_t count = scaled != job.counts.end() ? scaled->second : group.count;
  const JobVersion* active = state.version_of(job.id, job.active_version);
  if (scaled == job.counts.end() && active != nullptr) {
    for (const GroupView& view : **state.groups.find(active->id.value))
      if (view.name == group.name) count = std::max(count, view.count);
  }
  return slot >= count;
}

// None where it is not wanted any more.
InstanceId create(ApplyContext& c, TakenSlots& taken, const CreateInstance& wanted) {
  const Job* job = c.state().jobs.find(wanted.job.value);
  const JobVersion* version = c.state().version_of(wanted.job, wanted.job_version);
  if (job == nullptr || version == nullptr || job->stopped || version->state != VersionState::active) return {};
  if (c.state().instances.size() >= limits::kInstancesMax) return {};
  const auto* groups = c.state().groups.find(version->id.value);
  if (wanted.group >= (*groups)->size()) return {};
  const GroupView& group = (**groups)[wanted.group];
  if (beyond_count(c.state(), *job, group, wanted.slot) || !taken.take(c.state(), wanted, group.name)) return {};
  Instance row;
  row.id = InstanceId{c.draft.new_id()};
  row.job = wanted.job;
  row.job_version = wanted.job_version;
  row.slot = wanted.slot;
  row.group = wanted.group;
  row.pinned = wanted.pinned;
  row.created = row.pending_since = c.now;
  row.not_before = wanted.not_before;
  row.beside = wanted.beside;
  InstanceDetail detail;
  detail.reschedules = wanted.reschedules;
  detail.counted_since = wanted.counted_since;
  detail.avoid = wanted.avoid;
  row.detail = std::make_shared<const InstanceDetail>(detail);
  row.detail = fresh_detail(c.state(), row, {}, {});
  const InstanceId id = row.id;
  c.draft.put(std::move(row));
  return id;
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
  else row.node = {};  // nothing of it is left there
  row.detail = fresh_detail(c.state(), row, row.detail->ports, row.detail->devices);
}

// Another version asks for the same work: it goes on as that version's.
void adopt(ApplyContext& c, Instance& row, const ChangeInstance& wanted) {
  const JobVersion* version = c.state().version_of(row.job, wanted.version);
  if (version == nullptr || version->state != VersionState::active) return;
  if (wanted.group >= (*c.state().groups.find(version->id.value))->size()) return;
  row.job_version = wanted.version;
  row.group = wanted.group;
}

void change(ApplyContext& c, const ChangeInstance& wanted) {
  const Instance* present = c.state().instances.find(wanted.instance.value);
  if (present == nullptr || present->presence == Presence::given_up) return;
  Instance row = *present;
  if (wanted.give_up) {
    // Heard again since this was decided: what runs there runs on, under a lease that holds.
    const Node* node = c.state().nodes.find(row.node.value);
    if (node != nullptr && node->health != NodeHealth::lost) return;
    row.presence = Presence::given_up;
    row.finished = true;
    row.cleared = row.cleared || !row.node || c.state().nodes.find(row.node.value) == nullptr;
    emit_instance(c, row, "instance.given_up", "warning", wanted.reason);
  }
  if (wanted.desired && row.desired != *wanted.desired) {
    row.desired = *wanted.desired;
    if (row.desired == Desired::removed && on_node(row) && !row.admitted) {
      // It waited to start over: nothing runs, only its disk has to go. The worker hears of admitted ones.
      row.admitted = row.finished = true;
      if (!is_terminal(row.state)) row.state = TaskState::stopped;
    }
    if (row.desired == Desired::removed && !on_node(row)) {
      row.finished = row.cleared = true;
      if (!is_terminal(row.state)) row.state = TaskState::stopped;
    }
    if ((row.desired == Desired::stopped || row.desired == Desired::suspended) && !row.admitted && !row.finished) {
      row.finished = true;  // it never ran in this generation
      row.state = TaskState::stopped;
    }
  }
  if (wanted.take_place) {
    row.beside = false;
    // Where a move wanted it; from now on it may be anywhere, as the one before it.
    if (c.state().jobs.find(row.job.value)->type != JobType::system) row.pinned = {};
  }
  if (wanted.version != 0) adopt(c, row, wanted);
  if (wanted.start_over) start_over(c, row);
  if (!wanted.reason.empty()) set_reason(row, wanted.reason);
  c.draft.put(std::move(row));
}

// Each port of the spec has a binding: the host port it names, else one of the node's range.
bool ports_as_asked(const Snapshot& state, const Instance& row, const Node& node, const std::vector<PortBinding>& bound) {
  const JobSpec& spec = *state.version_of(row)->spec;
  for (size_t index : state.group_of(row).tasks) {
    const TaskSpec& task = spec.tasks[index];
    for (const PortSpec& port : task.ports) {
      const bool there = std::any_of(bound.begin(), bound.end(), [&](const PortBinding& b) {
        const bool fixed = port.host != 0;
        const bool host = fixed ? b.host == port.host : b.host >= node.inventory->port_first && b.host <= node.inventory->port_last;
        return b.task == task.name && b.container == port.container && b.protocol == port.protocol && host;
      });
      if (!there) return false;
    }
  }
  return true;
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
bool devices_left(const Snapshot& state, const Instance& row, const Node& node, const std::vector<DeviceBinding>& bound) {
  const std::vector<DeviceAsk>& asks = state.group_of(row).devices;
  if (asks.empty() && bound.empty()) return true;
  if (!as_asked(bound, asks, node.inventory->devices)) return false;
  std::map<std::string, int64_t> taken = state.usage_of(node.id).devices;
  return std::ranges::all_of(bound, [&](const DeviceBinding& b) { return (taken[b.device] += b.share) <= kWholeDevice; });
}

// J04: a job that stays together is nowhere else. What a version before it, which did not ask for that, still has elsewhere
// does not count: an update would wait for it to go, and it for the update.
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
  if (present == nullptr || node == nullptr || !is_pending(*present) || present->generation != placement.generation) return false;
  if (present->not_before > c.now || (present->pinned && present->pinned != placement.node)) return false;
  if (on_node(*present) && present->node != placement.node) return false;
  const bool returning = on_node(*present);
  if (node->health != NodeHealth::ready || !node->inventory) return false;
  if (node->spec.eligibility != Eligibility::eligible && !(returning && node->spec.eligibility != Eligibility::draining)) return false;
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

// S07: those of one job that stand together in the plan, all of them or none. Where one does not fit any more, those
// before it are as they were. Returns how many were placed.
size_t place_together(ApplyContext& c, std::span<const Placement> placements) {
  std::vector<Instance> before;
  for (const Placement& placement : placements) {
    const Instance* present = c.state().instances.find(placement.instance.value);
    const Instance old = present != nullptr ? *present : Instance{};
    if (!place(c, placement)) break;
    before.push_back(old);
  }
  if (before.size() == placements.size()) {
    for (const Placement& placement : placements) tell_placed(c, placement.instance);
    return placements.size();
  }
  for (Instance& row : before) c.draft.put(std::move(row));
  return 0;
}

// Whose project lets its work push aside, and be pushed aside.
bool may_preempt(const Snapshot& state, const Instance& row) {
  const Job* job = state.jobs.find(row.job.value);
  const Project* project = job == nullptr ? nullptr : state.projects.find(job->project.value);
  return project != nullptr && project->preemption;
}

// J07: everything is looked at again, then all of them go, or none. Reconcile makes each a successor, which waits.
bool push_aside(ApplyContext& c, const PushAside& wanted) {
  const Instance* to_come = c.state().instances.find(wanted.instance.value);
  if (to_come == nullptr || !is_pending(*to_come) || to_come->generation != wanted.generation) return false;
  if (!may_preempt(c.state(), *to_come)) return false;
  const InstanceId to_come_id = to_come->id;
  const int32_t priority = c.state().version_of(*to_come)->spec->priority;
  for (const InstanceId id : wanted.victims) {
    const Instance* victim = c.state().instances.find(id.value);
    if (victim == nullptr || victim->node != wanted.node || !victim->admitted || victim->finished) return false;
    if (victim->presence == Presence::given_up || victim->desired == Desired::removed) return false;
    if (!may_preempt(c.state(), *victim) || c.state().version_of(*victim)->spec->priority >= priority) return false;
  }
  const std::string reason =
      fmt::format("pushed aside by {} (priority {})", c.state().name_of(*to_come), priority);
  for (const InstanceId id : wanted.victims) {
    change(c, {.instance = id, .desired = Desired::removed, .reason = reason});
    Instance row = *c.state().instances.find(id.value);
    InstanceDetail detail = *row.detail;
    detail.pushed_by = to_come_id;
    row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
    emit_instance(c, row, "instance.preempted", "warning", reason);
    c.draft.put(std::move(row));
  }
  return true;
}

JobId job_of(const Snapshot& state, InstanceId id) {
  const Instance* row = state.instances.find(id.value);
  return row != nullptr ? row->job : JobId{};
}

Status within_rows(size_t items, std::string_view what) {
  if (items <= limits::kCommandRowsMax) return {};
  return fail(ErrorCode::too_large, fmt::format("{} {} in one command (limit kCommandRowsMax is {}): send them in parts", items, what, limits::kCommandRowsMax));
}

}  // namespace

InstanceId make_instance(ApplyContext& c, const CreateInstance& wanted) {
  TakenSlots taken;
  return create(c, taken, wanted);
}
void change_instance(ApplyContext& c, const ChangeInstance& wanted) { change(c, wanted); }

Result<Outcome> apply_one(ApplyContext& c, const ApplyActions& command) {
  const Actions& actions = command.actions;
  const size_t items = actions.create.size() + actions.change.size() + actions.forget.size() + actions.forget_jobs.size() + actions.expired_jobs.size() +
                       actions.deployments.size() + actions.launches.size() + actions.jobs.size();
  TUTTI_CHECK(within_rows(items, "actions"));
  for (const ChangeInstance& wanted : actions.change) change(c, wanted);
  TakenSlots taken;  // after the changes: what they gave up is free
  for (const CreateInstance& wanted : actions.create) create(c, taken, wanted);
  for (const ChangeDeployment& wanted : actions.deployments) change_deployment(c, wanted);
  for (const ChangeJob& wanted : actions.jobs) change_job(c, wanted);
  for (const LaunchChild& wanted : actions.launches) launch(c, wanted);
  for (InstanceId id : actions.forget) {
    const Instance* row = c.state().instances.find(id.value);
    if (row == nullptr || !row->finished || on_node(*row)) continue;
    c.draft.erase(TableId::instance, id.value);
  }
  for (JobId id : actions.forget_jobs) {
    const Job* job = c.state().jobs.find(id.value);
    if (job == nullptr || !job->deleted || c.state().instances_by_job.contains(id.value) || c.state().children.contains(id.value)) continue;
    std::vector<uint64_t> versions;
    if (const IdSet* ids = c.state().versions_by_job.find(id.value)) {
      ids->for_each([&](uint64_t version, const Unit&) { versions.push_back(version); });
    }
    for (uint64_t version : versions) c.draft.erase(TableId::version, version);
    c.draft.erase(TableId::job, id.value);
  }
  for (JobId id : actions.expired_jobs) {
    const Job* present = c.state().jobs.find(id.value);
    if (present == nullptr || present->deleted) continue;
    Job job = *present;
    job.stopped = job.deleted = true;
    emit(c, "job.expired", "info", TableId::job, id.value, job.name, job.project, "ended, and its ttl is over");
    c.draft.put(std::move(job));
  }
  return Outcome{.table = TableId::instance};
}

Result<Outcome> apply_one(ApplyContext& c, const ApplyPlan& command) {
  TUTTI_CHECK(within_rows(command.plan.placements.size(), "placements"));
  size_t victims = 0;
  for (const PushAside& each : command.plan.push_aside) victims += each.victims.size();
  TUTTI_CHECK(within_rows(victims, "victims"));
  Outcome outcome{.table = TableId::instance};
  for (const PushAside& each : command.plan.push_aside) outcome.number += push_aside(c, each) ? 1 : 0;
  const std::span<const Placement> all = command.plan.placements;
  for (size_t i = 0; i < all.size();) {
    size_t end = i + 1;
    if (all[i].together) {
      const JobId job = job_of(c.state(), all[i].instance);
      while (end < all.size() && all[end].together && job_of(c.state(), all[end].instance) == job) ++end;
    }
    outcome.number += place_together(c, all.subspan(i, end - i));
    i = end;
  }
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
  if (row.finished && row.desired == Desired::running && row.override_ == Override::none && command.verb != InstanceVerb::delete_) {
    return fail(ErrorCode::conflict, "instance " + name + " has ended by itself: its job decides what comes next; submit the job again to run it once more");
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
      row.detail = fresh_detail(c.state(), row, row.detail->ports, row.detail->devices);
      break;
  }
  const bool to_come = row.override_ == Override::none && row.finished;
  Outcome outcome{.table = TableId::instance, .id = row.id.value};
  outcome.unchanged = command.verb != InstanceVerb::restart && row.override_ == present->override_;
  if (outcome.unchanged) outcome.operation = present_operation(c.state(), kind, row.id.value);
  if (outcome.operation) return outcome;
  const Job* job = c.state().jobs.find(row.job.value);
  outcome.operation = start_operation(c, kind, TableId::instance, row.id.value, job->project, 0,
                                      std::to_string(row.generation + (to_come ? 1 : 0)));
  emit_instance(c, row, kind, "info", "by " + c.meta.identity);
  c.draft.put(std::move(row));
  return outcome;
}

}  // namespace tutti::state
