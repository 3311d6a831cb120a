#include "manager/api/views.h"

#include <algorithm>
#include <boost/describe/enum_to_string.hpp>

#include "base/version.h"
#include "manager/api/requests.h"
#include "model/codec.h"
#include "model/schedule.h"
#include "scheduler/policy.h"

namespace tutti::manager {
namespace {

struct Head {
  std::string_view kind;
  std::string id;
  std::string name;
  ProjectId project;
  uint64_t version = 0;
  Revision revision;
  Time created;
  Time updated;
};

void member(std::string& out, std::string_view name, std::string_view value) {
  out.append(",\"").append(name).append("\":");
  append_json_string(out, value);
}

std::string object(const Snapshot& s, const Head& head, const std::map<std::string, std::string>& labels,
                   const std::string& spec, const std::string& status) {
  std::string out;
  out.reserve(256 + spec.size() + status.size());
  out += "{\"kind\":";
  append_json_string(out, head.kind);
  member(out, "id", head.id);
  member(out, "name", head.name);
  if (head.project) {
    const Project* project = s.projects.find(head.project.value);
    member(out, "project", project != nullptr ? project->name : to_text(head.project));
  }
  out += ",\"version\":" + std::to_string(head.version) + ",\"revision\":" + std::to_string(head.revision.value);
  if (head.created) member(out, "created", format_time(head.created));
  if (head.updated) member(out, "updated", format_time(head.updated));
  out += ",\"labels\":{";
  bool first = true;
  for (const auto& [key, value] : labels) {
    if (!first) out += ',';
    first = false;
    append_json_string(out, key);
    out += ':';
    append_json_string(out, value);
  }
  out += '}';
  if (!spec.empty()) out += ",\"spec\":" + spec;
  if (!status.empty()) out += ",\"status\":" + status;
  return out + "}";
}

std::string address_of(const Node& node) {
  return node.inventory && !node.inventory->addresses.empty() ? node.inventory->addresses.front() : std::string();
}

}  // namespace

namespace {

// none < healthy < starting < unhealthy.
bool worse(HealthState a, HealthState b) {
  const auto rank = [](HealthState state) {
    return state == HealthState::starting    ? 2
           : state == HealthState::unhealthy ? 3
           : state == HealthState::healthy   ? 1
                                             : 0;
  };
  return rank(a) > rank(b);
}

std::string why_it_waits(const DeploymentStatus& d, int64_t unplaced, Duration min_healthy,
                         const std::string& unhealthy) {
  if (unplaced > 0) return std::to_string(unplaced) + " of the new ones wait for a node";
  if (d.healthy < d.updated)
    return std::to_string(d.updated - d.healthy) + " of the new ones are not healthy yet (running" +
           (unhealthy.empty() ? "" : ", with checks that pass,") + " for " + format_duration(min_healthy) + ")" +
           unhealthy;
  return {};
}

std::optional<DeploymentStatus> deployment_status(const Snapshot& s, const Job& job, int64_t wanted) {
  const Deployment& d = job.deployment;
  const JobVersion* version = s.version_of(job.id, d.version);
  if (d.state == DeploymentState::none || version == nullptr) return std::nullopt;
  DeploymentStatus out;
  out.version = d.version, out.from = d.from, out.state = d.state, out.promoted = d.promoted,
  out.reverting = d.reverting;
  out.reason = d.reason, out.started = d.started, out.finished = d.finished, out.wanted = wanted;
  int64_t unplaced = 0;
  std::string unhealthy;  // what one of them complains of
  if (const IdSet* ids = s.instances_by_job.find(job.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* i = s.instances.find(id);
      if (i == nullptr || i->finished || i->presence == Presence::given_up || i->desired == Desired::removed) return;
      if (i->job_version != d.version) {
        ++out.old;
        return;
      }
      ++out.updated;
      if (!i->admitted) ++unplaced;
      if (health_of(*i, version->spec->update.min_healthy_time, s.now).healthy) ++out.healthy;
      for (const TaskStatus& task : i->detail->tasks)
        if (task.health == HealthState::unhealthy && unhealthy.empty())
          unhealthy = ": " + s.name_of(*i) + ": " + task.reason;
    });
  }
  if (d.state == DeploymentState::running && out.reason.empty())
    out.reason = why_it_waits(out, unplaced, version->spec->update.min_healthy_time, unhealthy);
  return out;
}

void add_launches(const Snapshot& s, const Job& job, const JobVersion* active, JobStatus& out) {
  if (const Job* parent = s.jobs.find(job.parent.value)) out.parent = parent->name;
  out.launch = job.launch;
  out.launched_for = job.launched_for;
  out.last_launch = job.launches.last;
  if (const IdSet* ids = s.children.find(job.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Job* child = s.jobs.find(id);
      ++out.children;
      if (child != nullptr && child->result == JobResult::none) ++out.children_live;
    });
  }
  if (active == nullptr || !active->spec->periodic || job.stopped) return;
  if (const auto schedule = Schedule::of(*active->spec->periodic)) {
    if (const auto next = schedule->next_after(std::max(s.now, job.launches.seen))) out.next_launch = *next;
  }
}

// Of a job that has instances itself, once its images are there and it is not stopped.
std::string state_of(const Job& job, const JobStatus& out, int64_t live) {
  if (job.result == JobResult::skipped) return "skipped";
  if (job.type == JobType::batch && out.wanted > 0 && out.completed >= out.wanted) return "completed";
  if (job.result == JobResult::completed) return "completed";
  if (job.result == JobResult::failed ||
      (job.type == JobType::batch && live == 0 && out.failed > 0 && job.reason.empty()))
    return "failed";
  if (live == 0 && !job.reason.empty()) return "waiting";
  if (out.running >= out.wanted) return "running";
  return out.pending > 0 ? "pending" : "starting";
}

}  // namespace

JobStatus job_status(const Snapshot& s, const Job& job, bool summary) {
  JobStatus out;
  out.type = job.type == JobType::service ? "service" : job.type == JobType::batch ? "batch" : "system";
  out.active_version = job.active_version;
  out.stopped = job.stopped;
  out.counts = job.counts;
  out.creator = job.creator;
  const JobVersion* newest = s.version_of(job.id, static_cast<uint32_t>(job.version));
  const JobVersion* active = s.version_of(job.id, job.active_version);
  if (newest != nullptr) out.images = newest->images;
  if (newest != nullptr && newest->state == VersionState::failed) out.error = newest->error;
  if (active != nullptr && job.type != JobType::system) {
    for (const GroupView& group : **s.groups.find(active->id.value)) out.wanted += count_of(job, group);
  }
  const JobTally* tally = s.tallies.find(job.id.value);
  const int64_t live = tally != nullptr ? tally->live : 0;
  if (tally != nullptr) {
    out.pending = tally->pending;
    out.running = tally->running;
    for (const JobTally::Ended& ended : tally->ended)
      if (ended.version == job.active_version) out.completed = ended.completed, out.failed = ended.failed;
  }
  if (job.type == JobType::system) out.wanted += live;
  out.stable_version = job.stable_version;
  // Its counts look at every instance: a list says them while something is going on.
  const DeploymentState deploying = job.deployment.state;
  if (!summary || deploying == DeploymentState::running || deploying == DeploymentState::waiting)
    out.deployment = deployment_status(s, job, out.wanted);
  if (newest != nullptr && newest->state == VersionState::resolving)
    out.state = "resolving";
  else if (newest != nullptr && newest->state == VersionState::failed)
    out.state = "failed";
  else if (job.stopped)
    out.state = live > 0 ? "stopping" : "stopped";
  else if (active != nullptr && active->spec->periodic)
    out.state = "periodic";
  else if (active != nullptr && active->spec->parameterized)
    out.state = "parameterized";
  else
    out.state = state_of(job, out, live);
  if (active != nullptr && is_parent(*active->spec)) out.wanted = 0;
  out.result = job.result;
  out.ended = job.ended;
  out.reason = job.reason;
  add_launches(s, job, active, out);
  return out;
}

InstanceSummary instance_summary(const Snapshot& s, const Instance& i) {
  InstanceSummary out;
  const Node* node = s.nodes.find(i.node.value);
  out.desired = i.desired;
  out.presence = s.presence_of(i);
  out.state = boost::describe::enum_to_string(i.state, "");
  const bool paused =
      std::any_of(i.detail->tasks.begin(), i.detail->tasks.end(), [](const TaskStatus& t) { return t.paused; });
  if (i.presence == Presence::given_up)
    out.state = "lost";
  else if (!i.admitted && !i.finished)
    out.state = "pending";
  else if (!i.finished && out.presence == Presence::unknown)
    out.state = "unknown";
  else if (!i.finished && (i.desired == Desired::removed || i.desired == Desired::stopped))
    out.state = "stopping";
  else if (!i.finished && i.desired == Desired::suspended)
    out.state = "suspending";
  else if (!i.finished && is_terminal(i.state))
    out.state = "restarting";
  else if (!i.finished && paused)
    out.state = "paused";
  if (node != nullptr) out.node = node->name, out.node_address = address_of(*node);
  const Job* job = s.jobs.find(i.job.value);
  if (job != nullptr) out.job = job->name;
  out.job_version = i.job_version;
  out.slot = i.slot;
  out.generation = i.generation;
  if (const JobVersion* version = s.version_of(i)) {
    const GroupView& group = s.group_of(i);
    out.group = group.name;
    const TaskSpec& first = version->spec->tasks[group.tasks.front()];
    out.driver = first.driver;
    out.image = first.image;
  }
  out.address = i.detail->address;
  out.ports = i.detail->ports;
  out.reason = i.detail->reason;
  for (const TaskStatus& task : i.detail->tasks) {
    out.restarts += task.restarts;
    if (worse(task.health, out.health)) out.health = task.health, out.health_since = task.health_since;
    if (task.health == HealthState::unhealthy && out.reason.empty()) out.reason = task.reason;
  }
  for (const TaskStatus& task : i.detail->tasks) {
    if (out.reason.empty()) out.reason = task.reason;
  }
  out.pending_since = i.admitted ? Time{} : i.pending_since;
  out.finished = i.finished;
  return out;
}

InstanceStatus instance_status(const Snapshot& s, const Instance& i) {
  InstanceStatus out{instance_summary(s, i), i.detail->devices, i.detail->tasks, {}};
  if (s.version_of(i) != nullptr) out.reserved = charge(i, s.group_of(i).resources);
  return out;
}

NodeStatus node_status(const Snapshot& s, const Node& node) {
  NodeStatus out;
  out.health = node.health;
  out.reason = node.health_reason;
  out.since = node.health_since;
  out.address = address_of(node);
  out.subnet = node.subnet;
  const NodeUsage& usage = s.usage_of(node.id);
  out.used = usage.used;
  out.instances = usage.instances;
  if (node.inventory) {
    out.arch = node.inventory->arch;
    out.capacity = node.inventory->capacity;
    out.reserved = node.inventory->reserved;
    out.version = node.inventory->version;
    out.drivers = node.inventory->drivers;
    out.inventory = node.inventory;
  }
  out.images = node.images;
  out.available = allocatable(node) - out.used;
  return out;
}

PoolStatus pool_status(const Snapshot& s) {
  PoolStatus out;
  out.version = program_version();
  out.feature_level = s.pool.feature_level;
  out.network = s.pool.network;
  s.nodes.for_each([&](uint64_t, const Node& node) {
    ++out.nodes;
    if (node.health != NodeHealth::ready) return;
    ++out.nodes_ready;
    out.capacity += allocatable(node);
    out.used += s.usage_of(node.id).used;
  });
  out.available = out.capacity - out.used;
  out.jobs = static_cast<int64_t>(s.jobs.size());
  out.instances = static_cast<int64_t>(s.live);
  out.running = static_cast<int64_t>(s.running);
  out.pending = static_cast<int64_t>(s.pending.size());
  return out;
}

std::vector<ResourceRow> resource_rows(const Snapshot& s) {
  std::map<std::string, ResourceRow> by_arch;
  ResourceRow sum;
  sum.arch = "pool";
  s.nodes.for_each([&](uint64_t, const Node& node) {
    if (!node.inventory || node.health != NodeHealth::ready) return;
    ResourceRow& row = by_arch[node.inventory->arch];
    row.arch = node.inventory->arch;
    for (ResourceRow* each : {&row, &sum}) {
      each->nodes += 1;
      each->capacity += node.inventory->capacity;
      each->reserved += node.inventory->reserved;
      each->used += s.usage_of(node.id).used;
      each->available = each->capacity - each->reserved - each->used;
    }
  });
  std::vector<ResourceRow> out;
  for (auto& [arch, row] : by_arch) out.push_back(row);
  out.push_back(sum);
  return out;
}

std::string render(const Snapshot& s, const Job& row, bool summary) {
  const JobVersion* newest = s.version_of(row.id, static_cast<uint32_t>(row.version));
  const std::string spec = newest != nullptr && !summary ? to_json(*newest->spec) : std::string();
  return object(s, {"job", to_text(row.id), row.name, row.project, row.version, row.revision, row.created, row.updated},
                newest != nullptr ? newest->spec->labels : std::map<std::string, std::string>{}, spec,
                to_json(job_status(s, row, summary)));
}

std::string render(const Snapshot& s, const JobVersion& row) {
  const Job* job = s.jobs.find(row.job.value);
  const bool active = job != nullptr && job->active_version == row.number;
  VersionStatus status{row.state, row.error, row.images, active};
  if (!row.error.empty() && !active) status.state = VersionState::failed;  // the update to it, if not its images
  return object(s, {"version", to_text(row.id), std::to_string(row.number), {}, row.number, {}, row.created, {}}, {},
                to_json(*row.spec), to_json(status));
}

std::string render(const Snapshot& s, const Instance& row, bool summary) {
  const Job* job = s.jobs.find(row.job.value);
  return object(
      s,
      {"instance",
       to_text(row.id),
       s.name_of(row),
       job != nullptr ? job->project : ProjectId{},
       row.generation,
       row.revision,
       row.created,
       {}},
      {}, {}, summary ? to_json(instance_summary(s, row), {.omit_defaults = true}) : to_json(instance_status(s, row)));
}

std::string render(const Snapshot& s, const Node& row, bool summary) {
  NodeStatus status = node_status(s, row);
  if (summary) status.inventory.reset(), status.images.reset();
  return object(s, {"node", to_text(row.id), row.name, {}, row.version, row.revision, row.created, row.updated},
                row.spec.labels, to_json(row.spec), to_json(status));
}

std::string render(const Snapshot& s, const Image& row) {
  ImageStatus status{row.repository, row.tag,        row.digest,       row.media_type,
                     row.source,     row.size.value, row.architectures};
  return object(s,
                {"image", to_text(row.id), row.repository + ":" + row.tag, row.project, 1, row.revision, row.created,
                 row.updated},
                {}, {}, to_json(status));
}

namespace {

std::vector<MoveStatus> move_statuses(const Snapshot& s, const std::vector<Move>& moves) {
  const auto name_of = [&](NodeId id) {
    const Node* node = s.nodes.find(id.value);
    return node == nullptr ? to_text(id) : node->name;
  };
  std::vector<MoveStatus> out;
  for (const Move& move : moves)
    out.push_back({move.name, name_of(move.from), name_of(move.to), move.why, move.gain, move.state, move.reason});
  return out;
}

}  // namespace

RebalanceStatus rebalance_status(const Snapshot& s, const scheduler::RebalancePlan& plan) {
  return {.policy = s.pool.policy,
          .aim = plan.packing ? "fewer nodes in use" : "an even load",
          .moves = move_statuses(s, plan.moves),
          .nodes_used = plan.nodes_used,
          .nodes_used_after = plan.nodes_used_after,
          .imbalance = plan.imbalance,
          .imbalance_after = plan.imbalance_after,
          .left_out = plan.left_out};
}

std::string render(const Snapshot& s, const Operation& row, Time now, bool whole) {
  OperationStatus status;
  if (row.rebalance && whole) status.moves = move_statuses(s, row.rebalance->moves);
  status.operation = row.kind;
  status.target_kind = row.target_kind;
  status.target = row.target != 0 ? id_text(row.target) : "";
  status.state = row.state;
  status.progress = row.progress;
  status.done = row.done;
  status.total = row.total;
  if (whole) status.message = row.message;
  status.steps = row.steps;
  if (!whole) {
    for (OperationStep& step : status.steps) step.message.clear();
  }
  status.finished = row.finished;
  if (row.state == OperationState::running && row.progress > 0 && now > row.created) {
    status.eta_ms = (now - row.created).ms() * (100 - row.progress) / row.progress;
  }
  return object(s, {"operation", to_text(row.id), row.kind, row.project, 1, row.revision, row.created, row.finished},
                {}, {}, to_json(status));
}

std::string render(const Snapshot& s, const Token& row) {
  TokenStatus status{row.kind, row.role, row.expires, row.uses_left, row.node_name, row.revoked};
  return object(s, {"token", to_text(row.id), row.name, {}, 1, row.revision, row.created, {}}, {}, {}, to_json(status));
}

std::string render(const Snapshot& s, const Event& row) {
  EventStatus status{
      row.time,        row.type,   row.severity, row.object_kind, row.object != 0 ? id_text(row.object) : "",
      row.object_name, row.message};
  return object(s, {"event", to_text(row.id), row.type, row.project, 1, row.revision, row.time, {}}, {}, {},
                to_json(status));
}

std::string render(const Snapshot& s, const Project& row) {
  const ProjectSpec spec{row.allow_privileged, row.preemption, row.host_paths};
  return object(s, {"project", to_text(row.id), row.name, {}, 1, row.revision, row.created, {}}, {}, to_json(spec), {});
}

std::string render_pool(const Snapshot& s) {
  const PoolSpec spec{scheduler::policy_of(s.pool)};
  return object(s, {"pool", s.pool.pool_id, s.pool.name, {}, s.pool.version, s.revision, s.pool.created, {}}, {},
                to_json(spec), to_json(pool_status(s)));
}

std::string render_row(const Snapshot& s, TableId table, uint64_t id, Time now) {
  auto show = [&](const auto* row) { return row != nullptr ? render(s, *row) : std::string(); };
  switch (table) {
    case TableId::pool: return render_pool(s);
    case TableId::project: return show(s.projects.find(id));
    case TableId::node: return show(s.nodes.find(id));
    case TableId::job: return show(s.jobs.find(id));
    case TableId::instance: return show(s.instances.find(id));
    case TableId::image: return show(s.images.find(id));
    case TableId::token: return show(s.tokens.find(id));
    case TableId::event: return show(s.events.find(id));
    case TableId::operation: {
      const Operation* row = s.operations.find(id);
      return row != nullptr ? render(s, *row, now) : std::string();
    }
    case TableId::version:
    case TableId::volume:
    case TableId::idempotency: return {};
  }
  return {};
}

}  // namespace tutti::manager
