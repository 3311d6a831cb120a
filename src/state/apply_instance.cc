// Instances: what reconcile decided, what users ask of one. What the scheduler planned: apply_plan.cc.
#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "base/limits.h"
#include "model/drivers.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

bool holds_slot(const Instance& i) {
  return !i.finished && i.presence != Presence::given_up;
}
// A stopped or suspended one keeps its slot: its user may start it again.
bool waits_for_user(const Instance& i) {
  return i.finished && i.presence != Presence::given_up &&
         (i.desired == Desired::stopped || i.desired == Desired::suspended);
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
  int64_t count = count_of(job, group);
  const JobVersion* active = state.version_of(job.id, job.active_version);
  if (!job.counts.contains(group.name) && active != nullptr) {
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
  // Told by the one that fills it: those that find it full come again and again.
  if (c.state().instances.size() == limits::kInstancesMax) {
    emit(c, "pool.full", "error", TableId::pool, 0, "", {},
         fmt::format("the pool holds {} instances (limit kInstancesMax): no more are made until others are removed",
                     limits::kInstancesMax));
  }
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
  if (on_node(row))
    row.pinned = row.node;
  else
    row.node = {};  // nothing of it is left there
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

}  // namespace

Status within_rows(size_t items, std::string_view what) {
  if (items <= limits::kCommandRowsMax) return {};
  return fail(ErrorCode::too_large,
              fmt::format("{} {} in one command (limit kCommandRowsMax is {}): send them in parts", items, what,
                          limits::kCommandRowsMax));
}

InstanceId make_instance(ApplyContext& c, const CreateInstance& wanted) {
  TakenSlots taken;
  return create(c, taken, wanted);
}
void change_instance(ApplyContext& c, const ChangeInstance& wanted) {
  change(c, wanted);
}

Result<Outcome> apply_one(ApplyContext& c, const ApplyActions& command) {
  const Actions& actions = command.actions;
  const size_t items = actions.create.size() + actions.change.size() + actions.forget.size() +
                       actions.forget_jobs.size() + actions.expired_jobs.size() + actions.deployments.size() +
                       actions.launches.size() + actions.jobs.size();
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
    if (job == nullptr || !job->deleted || c.state().instances_by_job.contains(id.value) ||
        c.state().children.contains(id.value))
      continue;
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

namespace {

// The driver of a task of it that cannot suspend; empty: all can.
std::string cannot_suspend(const Snapshot& state, const Instance& row) {
  const JobVersion* version = state.version_of(row);
  if (version == nullptr) return {};
  for (size_t index : state.group_of(row).tasks) {
    const std::string& driver = version->spec->tasks[index].driver;
    if (!driver_can_suspend(driver)) return driver;
  }
  return {};
}

}  // namespace

Result<Outcome> apply_one(ApplyContext& c, const OperateInstance& command) {
  const Instance* present = c.state().instances.find(command.instance.value);
  if (present == nullptr) return fail(ErrorCode::not_found, "no instance " + to_text(command.instance));
  Instance row = *present;
  const std::string name = c.state().name_of(row);
  if (row.presence == Presence::given_up || row.desired == Desired::removed) {
    return fail(ErrorCode::conflict, "instance " + name + " is gone; its job has a new one in its slot");
  }
  if (row.finished && row.desired == Desired::running && row.override_ == Override::none &&
      command.verb != InstanceVerb::delete_) {
    return fail(ErrorCode::conflict,
                "instance " + name +
                    " has ended by itself: its job decides what comes next; submit the job again to run it once more");
  }
  using enum InstanceVerb;
  if (command.verb == start || command.verb == restart || command.verb == resume) {
    TUTTI_CHECK(still_allowed(c.state(), *c.state().jobs.find(row.job.value), c.state().version_of(row)));
  }
  std::string kind = "instance.start";
  const std::string lacking = cannot_suspend(c.state(), row);
  // Its worker has no way to do what was asked before: it never comes to rest that way, and runs on as it is.
  if (row.desired == Desired::suspended && !row.finished && !lacking.empty()) row.desired = Desired::running;
  const bool resting = row.desired == Desired::stopped || row.desired == Desired::suspended;
  switch (command.verb) {
    case InstanceVerb::start:
    case InstanceVerb::resume:
    case InstanceVerb::unpause:
      row.override_ = Override::none;
      kind = command.verb == InstanceVerb::start    ? "instance.start"
             : command.verb == InstanceVerb::resume ? "instance.resume"
                                                    : "instance.unpause";
      break;
    case InstanceVerb::stop: row.override_ = Override::stop, kind = "instance.stop"; break;
    case InstanceVerb::pause:
      if (row.finished) return fail(ErrorCode::conflict, "instance " + name + " does not run: start it first");
      row.override_ = Override::pause, kind = "instance.pause";
      break;
    case InstanceVerb::suspend:
      if (row.finished) return fail(ErrorCode::conflict, "instance " + name + " does not run: start it first");
      if (!lacking.empty()) {
        return fail(ErrorCode::conflict,
                    "driver " + lacking + " cannot suspend: instance " + name +
                        " runs on; 'tutti instance pause' holds it, 'tutti instance stop' ends it");
      }
      if (!row.admitted) {
        return fail(ErrorCode::conflict, "instance " + name +
                                             " waits for a node: there is nothing of it to suspend; 'tutti instance "
                                             "stop' keeps it from starting");
      }
      row.override_ = Override::suspend, kind = "instance.suspend";
      break;
    case InstanceVerb::delete_: row.override_ = Override::delete_, kind = "instance.delete"; break;
    case InstanceVerb::restart:
      row.override_ = Override::none;
      kind = "instance.restart";
      if (row.finished || !row.admitted || resting) break;  // reconcile starts it over, once it has come to rest
      row.generation += 1;
      row.state = TaskState::placed;
      row.detail = fresh_detail(c.state(), row, row.detail->ports, row.detail->devices);
      break;
  }
  const bool to_come = row.override_ == Override::none && (row.finished || resting);
  Outcome outcome{.table = TableId::instance, .id = row.id.value};
  outcome.unchanged =
      command.verb != InstanceVerb::restart && row.override_ == present->override_ && row.desired == present->desired;
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
