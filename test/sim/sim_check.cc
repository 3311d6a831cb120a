// What must hold at every commit. What a commit touched is checked at once; everything, now and then and at the end.
#include <algorithm>
#include <tuple>

#include "base/limits.h"
#include "sim_world.h"
#include "state/apply.h"
#include "state/draft.h"

namespace tutti::sim {
namespace {

bool holds_slot(const Instance& i) {
  return !i.finished && i.presence != Presence::given_up;
}

// How many may stand beside the ones that hold the slots of a group, by what its user allows.
int64_t besides_allowed(const JobSpec& spec, int64_t count) {
  int64_t update = 0;
  switch (spec.update.strategy) {
    case UpdateStrategy::rolling: update = spec.update.start_first ? spec.update.max_parallel : 0; break;
    case UpdateStrategy::canary:
      update = std::max<int64_t>(spec.update.canary, spec.update.start_first ? spec.update.max_parallel : 0);
      break;
    case UpdateStrategy::blue_green: update = count; break;
    case UpdateStrategy::recreate: break;
  }
  return update + spec.disruption.max_unavailable;
}

std::string tell(const Snapshot& state, const Instance& i) {
  return to_text(i.id) + " (" + state.name_of(i) + " v" + std::to_string(i.job_version) + (i.beside ? " beside" : "") +
         " desired " + std::to_string(static_cast<int>(i.desired)) + " state " +
         std::to_string(static_cast<int>(i.state)) + (i.finished ? " finished" : "") +
         (i.node ? " on " + to_text(i.node) : " nowhere") + " \"" + i.detail->reason + "\")";
}

}  // namespace

void SimWorld::committed(const ChangeSet& changes) {
  sim.count("commits");
  const Snapshot& state = *changes.after;
  std::set<NodeId> nodes;
  std::set<JobId> jobs;
  for (const RowChange& row : changes.rows) {
    if (row.table == TableId::node) {
      check_node_row(changes, row.id);
      nodes.insert(NodeId{row.id});
    } else if (row.table == TableId::job) {
      check_job_row(state, row.id);
      jobs.insert(JobId{row.id});
    } else if (row.table == TableId::instance) {
      check_instance_row(changes, row.id);
      for (const Snapshot* s : {changes.before.get(), changes.after.get()}) {
        const Instance* i = s->instances.find(row.id);
        if (i == nullptr) continue;
        jobs.insert(i->job);
        if (i->node) nodes.insert(i->node);
      }
    }
  }
  for (const NodeId node : nodes) check_usage(state, node);
  for (const JobId job : jobs) check_slots(state, job);
  check_launches(changes);
  if (++checked_ago_ > 16 + static_cast<int>(state.instances.size() / 4)) check_everything(state);
}

void SimWorld::check_node_row(const ChangeSet& changes, uint64_t id) {
  const Node* was = changes.before->nodes.find(id);
  const Node* is = changes.after->nodes.find(id);
  if (was == nullptr || is == nullptr || is->health != NodeHealth::lost || was->health == NodeHealth::lost) return;
  sim.count("nodes lost");
  sim.trace("node ", is->name, " is lost");
  for (const auto& host : hosts) {
    if (host->node == is->id && host->lease() > sim.boot() && !host->leaving) {
      sim.broken(host->name + " is lost, " + std::to_string((host->lease() - sim.boot()).ms()) +
                 " ms before its lease ends");
    }
  }
}

void SimWorld::check_instance_row(const ChangeSet& changes, uint64_t id) {
  const Instance* was = changes.before->instances.find(id);
  const Instance* is = changes.after->instances.find(id);
  if (is == nullptr) return;
  if (was == nullptr) {
    sim.count(is->beside ? "instances made beside others" : "instances made");
    return check_policy(changes, *is);
  }
  if (is->detail->reason != was->detail->reason && is->detail->reason.starts_with("pushed aside"))
    check_pushed_aside(*changes.after, *is);
  for (const auto& host : hosts) {
    const bool given_up = is->presence == Presence::given_up && was->presence != Presence::given_up;
    if (host->node != was->node) continue;
    if (given_up && host->lease() > sim.boot() && !host->leaving)
      sim.broken(to_text(is->id) + " is given up before the lease of " + host->name + " ends");
    if (was->beside == is->beside) continue;
    for (const auto& [key, run] : host->runs())
      if (key.instance == is->id) check_once(*host, key);
  }
  if (is->generation < was->generation) sim.broken("generation of " + to_text(is->id) + " went back");
  if (is->generation != was->generation) return;
  for (const TaskStatus& before : was->detail->tasks) {
    for (const TaskStatus& after : is->detail->tasks) {
      // A start on another node of the same generation begins at nothing; nothing else may.
      if (was->admitted == is->admitted && after.task == before.task && after.position < before.position)
        sim.broken("position of " + to_text(is->id) + " went back");
    }
  }
}

// Acknowledged to a user: there, and no older.
void SimWorld::check_job_row(const Snapshot& state, uint64_t id) {
  const Job* job = state.jobs.find(id);
  for (const auto& [name, known] : known_) {
    if (known.job.value != id || known.may_be_deleted) continue;
    if (job == nullptr)
      sim.broken("acknowledged job " + name + " is gone");
    else if (job->version < known.version)
      sim.broken("acknowledged version of job " + name + " is gone");
  }
  if (job == nullptr) return;
  const Job* by_name = state.job_by_name(job->project, job->name);
  if (by_name == nullptr || by_name->id != job->id) sim.broken("the name " + job->name + " is given twice");
}

// What is reserved on a node is what is placed there, and no more than it has; no port and no device is given twice.
void SimWorld::check_usage(const Snapshot& state, NodeId id) {
  NodeUsage sum;
  if (const IdSet* ids = state.instances_by_node.find(id.value)) {
    ids->for_each([&](uint64_t instance, const Unit&) {
      const Instance& i = *state.instances.find(instance);
      ++sum.instances;
      sum.used += state::held_resources(state, i);
      if (!state::holds_ports(i)) return;
      for (const PortBinding& port : i.detail->ports) sum.ports.push_back(port_key(port));
      for (const DeviceBinding& device : i.detail->devices) sum.devices[device.device] += device.share;
      for (const auto& [name, count] : state.group_of(i).node_limits) sum.limits[name] += count;
    });
  }
  std::sort(sum.ports.begin(), sum.ports.end());
  const NodeUsage& usage = state.usage_of(id);
  const std::string where = "on node " + id_text(id.value);
  if (!(usage.used == sum.used) || usage.instances != sum.instances || usage.ports != sum.ports ||
      usage.devices != sum.devices || usage.limits != sum.limits)
    sim.broken("what is reserved " + where + " is not what is placed there");
  if (std::adjacent_find(sum.ports.begin(), sum.ports.end()) != sum.ports.end())
    sim.broken("a port is given twice " + where);
  for (const auto& [device, taken] : sum.devices)
    if (taken > kWholeDevice) sim.broken("device " + device + " is given twice " + where);
  const Node* node = state.nodes.find(id.value);
  if (node == nullptr || !node->inventory) return;
  if (!sum.used.fits(allocatable(*node))) sim.broken("more is placed than there is room for " + where);
  for (const auto& [name, taken] : sum.limits) {
    auto at = node->inventory->limits.find(name);
    if (at == node->inventory->limits.end() || at->second < taken)
      sim.broken("more of " + name + " is given than there is " + where);
  }
}

// A slot, and so the name of its instance, is held once.
void SimWorld::check_slots(const Snapshot& state, JobId id) {
  const IdSet* ids = state.instances_by_job.find(id.value);
  if (ids == nullptr) return;
  std::map<std::tuple<std::string_view, uint32_t, bool>, InstanceId> slots;
  ids->for_each([&](uint64_t instance, const Unit&) {
    const Instance& i = *state.instances.find(instance);
    if (!holds_slot(i)) return;
    auto [at, fresh] = slots.try_emplace({state.group_of(i).name, i.slot, i.beside}, i.id);
    if (!fresh) sim.broken("slot held twice: " + to_text(i.id) + " and " + to_text(at->second));
  });
}

// Never more at a time than the job's user allows; never one of another version beside it where all are to be replaced
// at once.
void SimWorld::check_policy(const ChangeSet& changes, const Instance& made) {
  const Snapshot& state = *changes.after;
  const Job* job = state.jobs.find(made.job.value);
  const JobVersion* version = state.version_of(made);
  if (job == nullptr || version == nullptr || job->type == JobType::batch) return;
  const GroupView& group = state.group_of(made);
  const Job* was = changes.before->jobs.find(made.job.value);  // scaled in this very commit, perhaps
  int64_t count = std::max(count_of(*job, group), was == nullptr ? 0 : count_of(*was, group));
  if (const JobVersion* active = state.version_of(job->id, job->active_version)) {
    for (const GroupView& other : **state.groups.find(active->id.value))
      if (other.name == group.name) count = std::max(count, count_of(*job, other));
  }
  // Scaled up and down within one commit: what was decided in between held then.
  const bool scaled_now = std::ranges::any_of(
      changes.rows, [&](const RowChange& row) { return row.table == TableId::job && row.id == made.job.value; });
  if (job->type == JobType::service && made.slot >= count && !scaled_now)
    sim.broken(state.name_of(made) + " is made, though there are to be " + std::to_string(count));
  int64_t besides = 0;
  std::string who;
  const Instance* other_version = nullptr;
  state.instances_by_job.find(made.job.value)->for_each([&](uint64_t id, const Unit&) {
    const Instance& i = *state.instances.find(id);
    if (!holds_slot(i) || i.id == made.id) return;
    const bool same_group = state.group_of(i).name == group.name && i.job_version == made.job_version;
    if (i.beside && same_group && i.desired == Desired::running) ++besides, who += "; " + tell(state, i);
    const bool held_by_user = i.override_ != Override::none;
    if (i.job_version != made.job_version && !held_by_user && i.admitted) other_version = &i;
  });
  if (made.beside) ++besides;
  if (besides > besides_allowed(*version->spec, count))
    sim.broken(std::to_string(besides) + " stand beside others of " + job->name +
               ", more than its update policy allows" + who + "; " + tell(state, made));
  const bool brought_in = job->deployment.version == made.job_version && under_way(job->deployment);
  if (version->spec->update.strategy == UpdateStrategy::recreate && brought_in && other_version != nullptr &&
      !made.beside)
    sim.broken(state.name_of(made) + " of version " + std::to_string(made.job_version) + " is made while " +
               tell(state, *other_version) + " is there");
}

// J07: never by work of the same priority or a lower one.
void SimWorld::check_pushed_aside(const Snapshot& state, const Instance& victim) {
  sim.count("pushed aside");
  const std::string& reason = victim.detail->reason;
  const size_t at = reason.rfind("(priority ");
  if (at == std::string::npos || std::atoi(reason.c_str() + at + 10) <= state.version_of(victim)->spec->priority)
    sim.broken(state.name_of(victim) + " was " + reason);
}

// Work that ends with its lease runs once in its place, whatever the network does: the slot's own, and the one beside.
void SimWorld::check_once(const SimHost& host, const RunKey& key) {
  const Run& run = host.runs().at(key);
  if (!host.holds(run)) return;
  auto beside = [&](InstanceId id) {
    const Instance* row = manager->state().instances.find(id.value);
    return row != nullptr && row->beside;
  };
  for (const auto& other : hosts) {
    if (other.get() == &host) continue;
    for (const auto& [its, that] : other->runs()) {
      if (that.job != run.job || that.group_slot != run.group_slot || !other->holds(that)) continue;
      if (beside(its.instance) == beside(key.instance))
        sim.broken("slot " + run.group_slot + " of job " + to_text(run.job) + " runs on " + host.name + " and on " +
                   other->name);
    }
  }
}

void SimWorld::check_everything(const Snapshot& state) {
  checked_ago_ = 0;
  sim.count("checks of everything");
  if (Status audited = state::audit(state); !audited) sim.broken("audit: " + audited.error().to_string());
  std::set<std::pair<ProjectId, std::string_view>> names;
  state.jobs.for_each([&](uint64_t id, const Job& job) {
    check_job_row(state, id);
    if (!names.emplace(job.project, job.name).second) sim.broken("the name " + job.name + " is given twice");
  });
  for (const auto& [name, known] : known_) {
    if (known.job && !known.may_be_deleted && !state.jobs.contains(known.job.value))
      sim.broken("acknowledged job " + name + " is gone");
  }
  std::set<std::string_view> nodes;
  std::set<std::string_view> subnets;
  state.nodes.for_each([&](uint64_t, const Node& node) {
    if (!nodes.insert(node.name).second) sim.broken("the name of node " + node.name + " is given twice");
    if (!node.subnet.empty() && !subnets.insert(node.subnet).second)
      sim.broken("subnet " + node.subnet + " is given twice");
  });
  check_bounds(state);
}

// Nothing that waits, and no history, grows without bound.
void SimWorld::check_bounds(const Snapshot& state) {
  auto within = [&](const char* what, size_t have, size_t most) {
    if (have > most)
      sim.broken(std::string(what) + ": " + std::to_string(have) + ", more than " + std::to_string(most));
  };
  within("events kept", state.events.size(), limits::kEventsKept + limits::kCommandRowsMax);
  within("operations kept", state.operations.size(), limits::kOperationsKept + limits::kCommandRowsMax);
  within("versions", state.versions.size(), state.jobs.size() * (limits::kJobVersionsKept + 3));
  within("instances pending", state.pending.size(), state.instances.size());
  within("things to come", sim.events_to_come(), 20'000 + 200 * hosts.size());
}

}  // namespace tutti::sim
