// What must have come true once all trouble is over and calm has lasted.
#include <algorithm>

#include "base/limits.h"
#include "model/codec.h"
#include "reconcile/reconcile.h"
#include "scheduler/scheduler.h"
#include "sim_world.h"

namespace tutti::sim {

std::string SimWorld::unfinished() const {
  if (!manager->up()) return "no manager";
  const Snapshot& state = manager->state();
  std::string out;
  state.nodes.for_each([&](uint64_t, const Node& node) {
    // A late copy of a join may bring back one that was removed: its machine is off for good.
    const bool off =
        std::ranges::any_of(hosts, [&](const auto& host) { return host->left && host->name == node.name; });
    if (node.health != NodeHealth::ready && !off) out += "node " + node.name + " is not ready; ";
  });
  state.jobs.for_each([&](uint64_t, const Job& job) { out += unfinished_job(state, job); });
  out += unplaced();
  if (!out.empty()) return out;
  if (short_of_room_) return leftovers();  // an operation waits as long as its job does
  state.operations.for_each([&](uint64_t, const Operation& operation) {
    if (operation.state != OperationState::running) return;
    const auto due = manager::measure(state, operation, manager->time());
    if (!due || due->state == OperationState::running) return;  // waits for its user: one that they hold does not run
    out += "operation " + operation.kind + " of " + id_text(operation.target) + " runs on: " + operation.message + "; ";
  });
  return leftovers() + undecided() + too_much_history(state) + out;
}

// Nothing is decided that was not acted upon: a wake-up that was missed would show here.
std::string SimWorld::undecided() const {
  std::string out;
  const Snapshot& state = manager->state();
  state.jobs.for_each([&](uint64_t, const Job& job) {
    const Actions actions = reconcile::reconcile(state, job.id, manager->time());
    if (!actions.empty())
      out += "job " + job.name + " could go on and does not: " + to_json(actions, {.omit_defaults = true}) + "; ";
  });
  return out;
}

// A scheduler that knows nothing of before would place nothing either: nothing was forgotten, no room is thought taken.
std::string SimWorld::unplaced() const {
  std::string out;
  auto fresh = scheduler::make_scheduler();
  fresh->rebuild(manager->snapshot());
  const Plan plan = fresh->schedule_all_pending(1, manager->time(), 64);
  for (const Placement& placement : plan.placements)
    out += to_text(placement.instance) + " could be placed and is not; ";
  return out;
}

// Of what is over no more stays than is kept on purpose.
std::string SimWorld::too_much_history(const Snapshot& state) const {
  std::string out;
  std::map<std::tuple<JobId, std::string_view, uint32_t>, size_t> finished;
  state.instances.for_each([&](uint64_t, const Instance& i) {
    if (i.finished && i.cleared) ++finished[{i.job, state.group_of(i).name, i.slot}];
  });
  for (const auto& [slot, kept] : finished) {
    if (kept > limits::kFinishedInstancesKeptPerSlot + 2)
      out += std::to_string(kept) + " that are over are kept of slot " + std::to_string(std::get<2>(slot)) +
             " of job " + to_text(std::get<0>(slot)) + "; ";
  }
  return out;
}

// What fits nowhere may stay pending where there is little; it is for explain() to say so. Together, they wait though
// each of them would find room.
bool SimWorld::waits_for_room(const Snapshot& state, const Job& job) const {
  const IdSet* ids = state.instances_by_job.find(job.id.value);
  bool waits = false;
  if (ids == nullptr) return false;
  ids->for_each([&](uint64_t id, const Unit&) {
    if (waits || !state.pending.contains(id)) return;
    const JobSpec& spec = *state.version_of(*state.instances.find(id))->spec;
    // What is for one node alone may find it full of others' work, however much room there is elsewhere.
    const bool scarce = job.type == JobType::system || std::ranges::any_of(spec.tasks, [](const TaskSpec& task) {
                          return task.gpu || !task.node_limits.empty();
                        });
    if (!short_of_room_ && !scarce && state.nodes.size() > 1) return;
    waits = spec.placement.all_or_nothing || spec.placement.same_node ||
            scheduler::explain(state, InstanceId{id}, manager->time()).nodes_feasible == 0;
  });
  return waits;
}

// What holds a slot, for a message.
static std::string tell_row(const Snapshot& state, Time now, const std::vector<const Instance*>& row) {
  std::string out;
  for (const Instance* i : row) {
    out += to_text(i->id) + " v" + std::to_string(i->job_version) + (i->beside ? " beside" : "") + " desired " +
           std::to_string(static_cast<int>(i->desired)) + " override " +
           std::to_string(static_cast<int>(i->override_)) + " state " + std::to_string(static_cast<int>(i->state)) +
           (i->finished ? " finished" : "") + (i->node ? "" : " nowhere") + " \"" + i->detail->reason + "\" ";
    if (!state.pending.contains(i->id.value)) continue;
    const Explanation why = scheduler::explain(state, i->id, now);
    out += "(" + why.state + ", " + std::to_string(why.nodes_feasible) + " nodes feasible";
    for (const Reason& each : why.reasons) out += ", " + each.reason;
    out += ") ";
  }
  return out.empty() ? "nothing there" : out;
}

std::string SimWorld::unfinished_job(const Snapshot& state, const Job& job) const {
  const std::string what = "job " + job.name + " (" + to_text(job.id) + ")";
  if (job.deleted) return what + " is deleted and still there; ";
  std::map<std::string, std::map<uint32_t, std::vector<const Instance*>>> slots;
  std::string out;
  if (const IdSet* ids = state.instances_by_job.find(job.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance& i = *state.instances.find(id);
      slots[state.group_of(i).name][i.slot].push_back(&i);
    });
  }
  const Deployment& d = job.deployment;
  const JobVersion* active = state.version_of(job.id, job.active_version);
  const bool has_deadline = active != nullptr && active->spec->update.progress_deadline.ns > 0;
  if (d.state == DeploymentState::running && has_deadline && !job.stopped)
    out += what + " is still bringing in version " + std::to_string(d.version) + "; ";
  // Until a user promotes it, and after it has failed, what was there before serves on, whatever version it is of: one
  // that was overtaken at once replaced nothing.
  const bool halted = d.state == DeploymentState::failed || d.state == DeploymentState::cancelled;
  const bool before_serves = !d.promoted || halted;
  auto satisfied = [&](const std::vector<const Instance*>& row) {
    return std::any_of(row.begin(), row.end(), [&](const Instance* i) {
      if (i->presence == Presence::given_up || i->desired == Desired::removed) return false;
      if (i->desired == Desired::stopped) return i->finished;
      if (i->desired == Desired::paused) return true;  // its user holds it, whatever the version
      if (i->beside) return false;
      if (i->job_version != job.active_version && !halted && !(before_serves && i->job_version < job.active_version))
        return false;
      return job.type == JobType::batch ? i->finished : i->state == TaskState::running;
    });
  };
  for (const auto& [group, by_slot] : slots) {
    for (const auto& [slot, row] : by_slot) {
      for (const Instance* i : row) {
        const std::string instance = to_text(i->id) + " (" + state.name_of(*i) + ", state " +
                                     std::to_string(static_cast<int>(i->state)) + ", generation " +
                                     std::to_string(i->generation) + ")";
        if (job.stopped && !i->finished) out += what + " is stopped but has " + instance + "; ";
        if (i->desired == Desired::removed && !i->finished) out += instance + " is still to go; ";
        if (i->presence == Presence::given_up && !i->cleared) out += instance + " was given up and is not cleared; ";
      }
    }
  }
  if (job.stopped || active == nullptr || is_parent(*active->spec) || waits_for_room(state, job)) return out;
  if (job.type == JobType::batch && (job.result != JobResult::none || !job.reason.empty())) return out;
  for (const GroupView& group : groups_of(*active->spec)) {
    if (job.type == JobType::system) {
      state.nodes.for_each([&](uint64_t id, const Node& node) {
        const auto& row = slots[group.name][static_cast<uint32_t>(id)];
        if (!satisfied(row))
          out += what + " does not run on " + node.name + ": " + tell_row(state, manager->time(), row) + "; ";
      });
      continue;
    }
    const int64_t count = count_of(job, group);
    for (int64_t slot = 0; slot < count; ++slot) {
      const auto& row = slots[group.name][static_cast<uint32_t>(slot)];
      const bool spent = job.type == JobType::batch && !row.empty() &&
                         std::all_of(row.begin(), row.end(), [](const Instance* i) { return i->finished; });
      if (!satisfied(row) && !spent)
        out += what + " slot " + group.name + "/" + std::to_string(slot) +
               " is not as asked: " + tell_row(state, manager->time(), row) + "; ";
    }
  }
  return out;
}

// Hosts hold nothing that the state does not know of, and run what it says.
std::string SimWorld::leftovers() const {
  const Snapshot& state = manager->state();
  std::string out;
  for (const auto& host : hosts) {
    if (host->left) continue;
    auto known = [&](InstanceId id) -> const Instance* {
      const Instance* i = state.instances.find(id.value);
      const IdSet* held = state.instances_by_node.find(host->node.value);
      return i != nullptr && i->node == host->node && held != nullptr && held->contains(id.value) ? i : nullptr;
    };
    for (const auto& [key, run] : host->runs()) {
      const Instance* i = known(key.instance);
      if (i == nullptr)
        out += host->name + " has a run of " + to_text(key.instance) + ", which is not its; ";
      else if (run.state == Run::State::running && i->generation != key.generation)
        out += host->name + " runs an old generation of " + to_text(key.instance) + "; ";
      else if (run.state == Run::State::running && i->finished)
        out += host->name + " runs " + to_text(key.instance) + ", which is over; ";
    }
    for (const auto& [id, task] : host->disks()) {
      if (known(id) == nullptr) out += host->name + " has a disk of " + to_text(id) + ", which is not its; ";
    }
    for (const auto& [id, text] : host->records()) {
      if (known(id) == nullptr) out += host->name + " has a record of " + to_text(id) + ", which is not its; ";
    }
    if (host->core() != nullptr) {
      for (const auto& [key, spec] : host->core()->specs()) {
        const bool runs = std::ranges::any_of(host->core()->runners(), [&](const worker::Runner* runner) {
          return runner->assignment().job == key.job && runner->assignment().job_version == key.version;
        });
        if (!runs)
          out += host->name + " remembers version " + std::to_string(key.version) + " of job " + to_text(key.job) +
                 ", which it has nothing of; ";
      }
    }
    const IdSet* held = state.instances_by_node.find(host->node.value);
    if (held == nullptr) continue;
    held->for_each([&](uint64_t id, const Unit&) {
      const Instance& i = *state.instances.find(id);
      if (i.state != TaskState::running || i.finished) return;
      const bool runs = std::any_of(host->runs().begin(), host->runs().end(), [&](const auto& entry) {
        return entry.first.instance == i.id && entry.first.generation == i.generation &&
               entry.second.state == Run::State::running;
      });
      if (!runs) out += host->name + " does not run " + to_text(i.id) + " though the state says so; ";
    });
  }
  return out;
}

}  // namespace tutti::sim
