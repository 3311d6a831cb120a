#include "state/apply.h"

#include "base/limits.h"
#include "model/codec.h"
#include "state/apply_internal.h"

namespace tutti::state {

std::string_view kind_word(TableId table) {
  switch (table) {
    case TableId::pool: return "pool";
    case TableId::project: return "project";
    case TableId::node: return "node";
    case TableId::job: return "job";
    case TableId::version: return "version";
    case TableId::instance: return "instance";
    case TableId::volume: return "volume";
    case TableId::image: return "image";
    case TableId::token: return "token";
    case TableId::operation: return "operation";
    case TableId::event: return "event";
    case TableId::idempotency: return "idempotency";
  }
  return "";
}

void trim_to(Draft& draft, TableId table, size_t rows_max) {
  auto first_beyond = [&](const auto& rows) { return rows.size() > rows_max ? rows.first_key() : 0; };
  const Snapshot& s = draft.state();
  while (true) {
    uint64_t id = 0;
    if (table == TableId::event) id = first_beyond(s.events);
    if (table == TableId::operation) id = first_beyond(s.operations);
    if (table == TableId::idempotency) id = first_beyond(s.idempotency);
    if (id == 0) return;
    draft.erase(table, id);
  }
}

void emit(ApplyContext& c, std::string type, std::string severity, TableId table, uint64_t id, std::string name,
          ProjectId project, std::string message) {
  Event event;
  event.id = EventId{c.draft.new_id()};
  event.time = c.now;
  event.type = std::move(type);
  event.severity = std::move(severity);
  event.project = project;
  event.object_kind = std::string(kind_word(table));
  event.object = id;
  event.object_name = std::move(name);
  event.message = std::move(message);
  c.draft.put(std::move(event));
  trim_to(c.draft, TableId::event, limits::kEventsKept);
}

void emit_instance(ApplyContext& c, const Instance& instance, std::string type, std::string severity,
                   std::string message) {
  if (c.draft.tell_instance() > kInstanceEventsMax && severity == "info") return c.draft.leave_untold();
  const Job* job = c.state().jobs.find(instance.job.value);
  emit(c, std::move(type), std::move(severity), TableId::instance, instance.id.value, c.state().name_of(instance),
       job != nullptr ? job->project : ProjectId{}, std::move(message));
}

OperationId start_operation(ApplyContext& c, std::string kind, TableId table, uint64_t target, ProjectId project,
                            uint32_t target_version, std::string argument, int64_t total) {
  Operation operation;
  operation.id = OperationId{c.draft.new_id()};
  operation.project = project;
  operation.kind = std::move(kind);
  operation.target_kind = std::string(kind_word(table));
  operation.target = target;
  operation.target_version = target_version;
  operation.argument = std::move(argument);
  operation.total = total;
  operation.creator = c.meta.identity;
  operation.created = c.now;
  const OperationId id = operation.id;
  c.draft.put(std::move(operation));
  trim_to(c.draft, TableId::operation, limits::kOperationsKept);
  return id;
}

OperationId present_operation(const Snapshot& state, std::string_view kind, uint64_t target, uint32_t target_version) {
  const Operation* newest = nullptr;
  state.operations.for_each([&](uint64_t, const Operation& o) {
    if (o.target == target && o.kind == kind && (target_version == 0 || o.target_version == target_version))
      newest = &o;
  });
  const bool serves = newest != nullptr && !newest->cancel_requested &&
                      (newest->state == OperationState::running || newest->state == OperationState::succeeded);
  return serves ? newest->id : OperationId{};
}

std::shared_ptr<const InstanceDetail> fresh_detail(const Snapshot& state, const Instance& instance,
                                                   std::vector<PortBinding> ports, std::vector<DeviceBinding> devices) {
  InstanceDetail detail;
  const JobVersion* version = state.version_of(instance);
  for (size_t index : state.group_of(instance).tasks) {
    TaskStatus status;
    status.task = version->spec->tasks[index].name;
    status.position = {instance.generation, 0, TaskState::placed};
    detail.tasks.push_back(std::move(status));
  }
  detail.ports = std::move(ports);
  detail.devices = std::move(devices);
  if (instance.detail) {
    detail.reschedules = instance.detail->reschedules;
    detail.avoid = instance.detail->avoid;
    detail.counted_since = instance.detail->counted_since;
  }
  return std::make_shared<const InstanceDetail>(std::move(detail));
}

namespace {

Result<Outcome> replay(const IdempotencyRecord& record, const CommandMeta& meta) {
  if (record.request_hash != meta.request_hash) {
    return fail(ErrorCode::conflict,
                "this idempotency key was used for another request: take a new key for a new request");
  }
  Outcome outcome;
  for (int table = 0; table < kTableCount; ++table) {
    if (kind_word(static_cast<TableId>(table)) == record.object_kind) outcome.table = static_cast<TableId>(table);
  }
  outcome.id = record.object;
  outcome.version = record.version;
  outcome.operation = record.operation;
  outcome.replayed = true;
  return outcome;
}

}  // namespace

Result<Outcome> apply(Draft& draft, const Command& command, const CommandMeta& meta, Time now) {
  if (!meta.idempotency_key.empty()) {
    const IdempotencyRecord* record = draft.state().idempotency_by_key(meta.identity + "\n" + meta.idempotency_key);
    if (record != nullptr && now - record->created < seconds(limits::kIdempotencySeconds)) return replay(*record, meta);
  }
  draft.begin_command();
  ApplyContext context{draft, meta, now};
  Result<Outcome> outcome = std::visit([&](const auto& one) { return apply_one(context, one); }, command);
  if (!outcome) {
    draft.roll_back();
    return outcome;
  }
  if (!meta.idempotency_key.empty()) {
    IdempotencyRecord record;
    record.id = draft.new_id();
    record.key = meta.identity + "\n" + meta.idempotency_key;
    record.request_hash = meta.request_hash;
    record.object_kind = std::string(kind_word(outcome->table));
    record.object = outcome->id;
    record.version = outcome->version;
    record.operation = outcome->operation;
    record.created = now;
    draft.put(std::move(record));
    trim_to(draft, TableId::idempotency, limits::kIdempotencyKept);
  }
  return outcome;
}

void conclude(Draft& draft) {
  if (draft.untold_instances() == 0) return;
  ApplyContext context{draft, {}, draft.now()};
  emit(context, "instance.many", "info", TableId::pool, 0, "", {},
       fmt::format("{} more instances changed in this commit", draft.untold_instances()));
}

namespace {

std::string difference(const Snapshot& have, const Snapshot& want) {
  std::string what;
  auto compare_sets = [&](const char* name, const Table<IdSet>& a, const Table<IdSet>& b) {
    auto flat = [](const Table<IdSet>& table) {
      std::vector<std::pair<uint64_t, uint64_t>> out;
      table.for_each([&](uint64_t key, const IdSet& set) {
        set.for_each([&](uint64_t id, const Unit&) { out.emplace_back(key, id); });
      });
      return out;
    };
    if (flat(a) != flat(b)) what = name;
  };
  compare_sets("instances_by_job", have.instances_by_job, want.instances_by_job);
  compare_sets("instances_by_node", have.instances_by_node, want.instances_by_node);
  compare_sets("versions_by_job", have.versions_by_job, want.versions_by_job);
  compare_sets("children", have.children, want.children);
  compare_sets("waiters", have.waiters, want.waiters);
  auto ids = [](const IdSet& set) {
    std::vector<uint64_t> out;
    set.for_each([&](uint64_t id, const Unit&) { out.push_back(id); });
    return out;
  };
  if (have.live != want.live || have.running != want.running) what = "live or running";
  if (have.tallies.size() != want.tallies.size()) what = "tallies";
  want.tallies.for_each([&](uint64_t job, const JobTally& tally) {
    const JobTally* other = have.tallies.find(job);
    if (other == nullptr || !(*other == tally)) what = "tally of job " + id_text(job);
  });
  if (ids(have.pending) != ids(want.pending)) what = "pending";
  if (have.usage.size() != want.usage.size()) what = "usage";
  want.usage.for_each([&](uint64_t node, const NodeUsage& usage) {
    const NodeUsage& other = have.usage_of(NodeId{node});
    if (!(other.used == usage.used) || other.instances != usage.instances || other.ports != usage.ports ||
        other.limits != usage.limits || other.devices != usage.devices)
      what = "usage of node " + id_text(node);
  });
  if (have.names.size() != want.names.size() || have.keys.size() != want.keys.size()) what = "names";
  return what;
}

}  // namespace

Status audit(const Snapshot& snapshot) {
  Draft draft(snapshot, snapshot.now);
  draft.rebuild_indexes();
  const std::string what = difference(snapshot, draft.state());
  if (!what.empty()) return fail(ErrorCode::internal, "index '" + what + "' is not what its tables say");
  Status status;
  snapshot.usage.for_each([&](uint64_t id, const NodeUsage& usage) {
    const Node* node = snapshot.nodes.find(id);
    if (node == nullptr || !node->inventory) return;
    if (!usage.used.fits(allocatable(*node)))
      status = fail(ErrorCode::internal, "node " + node->name + " is over-committed");
    for (const auto& [device, taken] : usage.devices) {
      if (taken > kWholeDevice)
        status = fail(ErrorCode::internal, "device " + device + " of node " + node->name + " is given out twice");
    }
    for (size_t i = 1; i < usage.ports.size(); ++i) {
      if (usage.ports[i] == usage.ports[i - 1])
        status = fail(ErrorCode::internal, "a port of node " + node->name + " is given twice");
    }
  });
  return status;
}

}  // namespace tutti::state
