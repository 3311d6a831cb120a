// What must hold: after every event, and once calm has lasted.
#include <algorithm>
#include <tuple>

#include "scheduler/scheduler.h"
#include "sim_world.h"
#include "state/apply.h"
#include "state/draft.h"

namespace tutti::sim {
namespace {

bool holds_slot(const Instance& i) {
  return !i.finished && i.presence != Presence::given_up;
}

}  // namespace

void SimWorld::committed(const ChangeSet& changes) {
  ++statistics.commits;
  const Snapshot& state = *changes.after;
  if (Status audited = state::audit(state); !audited) sim.broken("audit: " + audited.error().to_string());
  check_launches(changes);
  for (const RowChange& row : changes.rows) {
    if (row.table == TableId::node) {
      const Node* was = changes.before->nodes.find(row.id);
      const Node* is = state.nodes.find(row.id);
      if (was == nullptr || is == nullptr || is->health != NodeHealth::lost || was->health == NodeHealth::lost)
        continue;
      ++statistics.lost;
      sim.trace("node " + is->name + " is lost");
      for (const auto& host : hosts) {
        if (host->node == is->id && host->lease() > sim.boot()) {
          sim.broken(host->name + " is lost, " + std::to_string((host->lease() - sim.boot()).ms()) +
                     " ms before its lease ends");
        }
      }
    }
    if (row.table != TableId::instance) continue;
    const Instance* was = changes.before->instances.find(row.id);
    const Instance* is = state.instances.find(row.id);
    if (was == nullptr || is == nullptr) continue;
    if (is->detail->reason != was->detail->reason && is->detail->reason.starts_with("pushed aside"))
      check_pushed_aside(state, *is);
    if (is->generation < was->generation) sim.broken("generation of " + to_text(is->id) + " went back");
    if (is->generation != was->generation) continue;
    for (const TaskStatus& before : was->detail->tasks) {
      for (const TaskStatus& after : is->detail->tasks) {
        // A start on another node of the same generation begins at nothing; nothing else may.
        if (was->admitted == is->admitted && after.task == before.task && after.position < before.position)
          sim.broken("position of " + to_text(is->id) + " went back");
      }
    }
  }
  std::map<std::pair<NodeId, uint32_t>, InstanceId> ports;
  std::map<std::tuple<JobId, std::string, uint32_t, bool>, InstanceId> slots;
  state.instances.for_each([&](uint64_t, const Instance& i) {
    if (!holds_slot(i)) return;
    for (const PortBinding& port : i.detail->ports) {
      if (!i.admitted || port.host == 0) continue;
      auto [at, fresh] = ports.try_emplace({i.node, port_key(port)}, i.id);
      if (!fresh)
        sim.broken("port " + std::to_string(port.host) + " given to " + to_text(i.id) + " and " + to_text(at->second));
    }
    auto [at, fresh] = slots.try_emplace({i.job, state.group_of(i).name, i.slot, i.beside}, i.id);
    if (!fresh) sim.broken("slot held twice: " + to_text(i.id) + " and " + to_text(at->second));
  });
}

// J07: never by work of the same priority or a lower one.
void SimWorld::check_pushed_aside(const Snapshot& state, const Instance& victim) {
  ++statistics.pushed_aside;
  const std::string& reason = victim.detail->reason;
  const size_t at = reason.rfind("(priority ");
  if (at == std::string::npos || std::atoi(reason.c_str() + at + 10) <= state.version_of(victim)->spec->priority)
    sim.broken(state.name_of(victim) + " was " + reason);
}

void SimWorld::check() {
  check_hosts();
  const Snapshot& state = manager->state();
  if (state.revision.value == audited_) return;
  audited_ = state.revision.value;
  for (const auto& [name, known] : known_) {
    if (!known.job || known.may_be_deleted) continue;
    const Job* job = state.jobs.find(known.job.value);
    if (job == nullptr)
      sim.broken("acknowledged job " + name + " is gone");
    else if (job->version < known.version)
      sim.broken("acknowledged version of job " + name + " is gone");
  }
}

// Work that ends with its lease runs once in its place, whatever the network does: the slot's own, and the one beside.
void SimWorld::check_hosts() {
  std::map<std::tuple<JobId, std::string, bool>, const SimHost*> running;
  for (const auto& host : hosts) {
    for (const auto& [key, run] : host->runs()) {
      if (run.state != Run::State::running || !run.stop_with_lease) continue;
      if (host->lease() <= sim.boot()) continue;  // its monitor is about to end it
      const Instance* row = manager->state().instances.find(key.instance.value);
      const bool beside = row != nullptr && row->beside;
      auto [at, fresh] = running.try_emplace({run.job, run.group_slot, beside}, host.get());
      if (!fresh && at->second != host.get()) {
        sim.broken("slot " + run.group_slot + " of job " + to_text(run.job) + " runs on " + host->name + " and on " +
                   at->second->name);
      }
    }
  }
}

std::string SimWorld::unfinished() const {
  if (!manager->up()) return "no manager";
  const Snapshot& state = manager->state();
  std::string out;
  state.nodes.for_each([&](uint64_t, const Node& node) {
    if (node.health != NodeHealth::ready) out += "node " + node.name + " is not ready; ";
  });
  state.jobs.for_each([&](uint64_t, const Job& job) { out += unfinished_job(state, job); });
  if (!out.empty()) return out;
  if (short_of_room_) return leftovers();  // an operation waits as long as its job does
  state.operations.for_each([&](uint64_t, const Operation& operation) {
    if (operation.state != OperationState::running) return;
    const auto due = manager::measure(state, operation, sim.wall());
    if (!due || due->state == OperationState::running) return;  // waits for its user: one that they hold does not run
    out += "operation " + operation.kind + " of " + id_text(operation.target) + " runs on: " + operation.message + "; ";
  });
  return leftovers() + undecided() + out;
}

// What fits nowhere may stay pending; it is for explain() to say so.
bool SimWorld::waits_for_room(const Snapshot& state, const Job& job) const {
  const IdSet* ids = state.instances_by_job.find(job.id.value);
  bool waits = false;
  if (!short_of_room_ || ids == nullptr) return false;
  ids->for_each([&](uint64_t id, const Unit&) {
    if (!waits && state.pending.contains(id))
      waits = scheduler::explain(state, InstanceId{id}, sim.wall()).nodes_feasible == 0;
  });
  return waits;
}

// What holds a slot, for a message.
static std::string tell_row(const std::vector<const Instance*>& row) {
  std::string out;
  for (const Instance* i : row) {
    out += to_text(i->id) + " v" + std::to_string(i->job_version) + (i->beside ? " beside" : "") + " desired " +
           std::to_string(static_cast<int>(i->desired)) + " override " +
           std::to_string(static_cast<int>(i->override_)) + " state " + std::to_string(static_cast<int>(i->state)) +
           (i->finished ? " finished" : "") + (i->node ? "" : " nowhere") + " \"" + i->detail->reason + "\" ";
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
  // Until a user promotes it, and after it has failed, the version before serves on.
  // (Nothing is replaced then, whatever version between the two it is of.)
  const bool halted = d.state == DeploymentState::failed || d.state == DeploymentState::cancelled;
  const bool before_serves = !d.promoted || halted;
  auto satisfied = [&](const std::vector<const Instance*>& row) {
    return std::any_of(row.begin(), row.end(), [&](const Instance* i) {
      if (i->presence == Presence::given_up || i->desired == Desired::removed) return false;
      if (i->desired == Desired::stopped) return i->finished;
      if (i->desired == Desired::paused) return true;  // its user holds it, whatever the version
      if (i->beside) return false;
      if (i->job_version != job.active_version && !halted && !(before_serves && i->job_version == d.from)) return false;
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
        if (!satisfied(slots[group.name][static_cast<uint32_t>(id)]))
          out += what + " does not run on " + node.name + "; ";
      });
      continue;
    }
    auto scaled = job.counts.find(group.name);
    const int64_t count = scaled != job.counts.end() ? scaled->second : group.count;
    for (int64_t slot = 0; slot < count; ++slot) {
      const auto& row = slots[group.name][static_cast<uint32_t>(slot)];
      const bool spent = job.type == JobType::batch && !row.empty() &&
                         std::all_of(row.begin(), row.end(), [](const Instance* i) { return i->finished; });
      if (!satisfied(row) && !spent)
        out += what + " slot " + group.name + "/" + std::to_string(slot) + " is not as asked: " + tell_row(row) + "; ";
    }
  }
  return out;
}

// Hosts hold nothing that the state does not know of, and run what it says.
std::string SimWorld::leftovers() const {
  const Snapshot& state = manager->state();
  std::string out;
  for (const auto& host : hosts) {
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
