#include "state/draft.h"

#include <algorithm>

namespace tutti::state {

bool on_node(const Instance& i) {
  return static_cast<bool>(i.node) && !i.cleared;
}

bool is_pending(const Instance& i) {
  return !i.admitted && !i.finished && i.desired == Desired::running && i.presence != Presence::given_up;
}

namespace {

// Given up, it may run on until its worker has cleared it away: whatever it has of the node is in use when that comes
// back.
bool may_run(const Instance& i) {
  if (i.presence != Presence::given_up) return !i.finished;
  const auto& tasks = i.detail->tasks;
  return tasks.empty() || !std::all_of(tasks.begin(), tasks.end(), [](const TaskStatus& t) { return t.final; });
}

template <class Row>
void put_row(TableEdit edit, Table<Row>& table, Row row) {
  const uint64_t id = row.id.value;  // arguments are made in any order: the row may have gone before it is asked
  table.put(edit, id, std::move(row));
}

}  // namespace

Resources held_resources(const Snapshot& snapshot, const Instance& i) {
  if (!on_node(i)) return {};
  const Resources request = snapshot.group_of(i).resources;
  // Until it is over it may run again without asking: a stop that is not final frees nothing.
  if (i.admitted && may_run(i)) return request;
  if (!i.admitted || i.presence == Presence::given_up) return {{0}, {0}, request.disk};
  return charge(i, request);
}

bool holds_ports(const Instance& i) {
  return i.admitted && on_node(i) && may_run(i);
}

namespace {

static_assert(kTableCount <= 16);
uint64_t key_of(TableId table, uint64_t id) {
  return id << 4 | static_cast<uint64_t>(table);
}

// What an instance adds to its job's tally.
struct Standing {
  uint32_t version = 0;  // where it ended
  int live = 0, pending = 0, running = 0, completed = 0, failed = 0;
  bool operator==(const Standing&) const = default;
};

Standing standing_of(const Instance* i) {
  if (i == nullptr || i->presence == Presence::given_up) return {};
  if (!i->finished)
    return {.live = 1, .pending = i->admitted ? 0 : 1, .running = i->state == TaskState::running ? 1 : 0};
  if (i->state == TaskState::completed) return {.version = i->job_version, .completed = 1};
  const bool failed = i->state == TaskState::failed || i->state == TaskState::rejected;
  return failed ? Standing{.version = i->job_version, .failed = 1} : Standing{};
}

}  // namespace

Draft::Draft(const Snapshot& base, Time now) : state_(base) {
  state_.revision.value += 1;
  state_.now = now;
}

Draft::Saved Draft::save() {
  edit_ = TableEdit();  // what the copy shares is not edited in place any more
  return {state_, touched_.size(), told_};
}

void Draft::restore(Saved saved) {
  state_ = std::move(saved.state);
  told_ = saved.told;
  while (touched_.size() > saved.touched) {
    touched_set_.erase(key_of(touched_.back().table, touched_.back().id));
    touched_.pop_back();
  }
  edit_ = TableEdit();
}

void Draft::begin_command() {
  before_command_ = save();
}
void Draft::roll_back() {
  restore(before_command_);
}

void Draft::touch(TableId table, uint64_t id) {
  if (touched_set_.insert(key_of(table, id)).second) touched_.push_back({table, id});
}

std::vector<RowChange> Draft::rows() const {
  std::vector<RowChange> out = touched_;
  std::sort(out.begin(), out.end(),
            [](const RowChange& a, const RowChange& b) { return std::pair(a.table, a.id) < std::pair(b.table, b.id); });
  return out;
}

void Draft::index_name(HashIndex& index, uint64_t key, uint64_t id, bool add) {
  std::vector<uint64_t> ids;
  if (const auto* present = index.find(key)) ids = *present;
  std::erase(ids, id);
  if (add) ids.push_back(id);
  if (ids.empty())
    index.erase(edit_, key);
  else
    index.put(edit_, key, std::move(ids));
}

void Draft::set_member(Table<IdSet>& table, uint64_t key, uint64_t id, bool member) {
  if (!table.contains(key)) {
    if (!member) return;
    table.put(edit_, key, IdSet{});
  }
  IdSet* set = table.edit(edit_, key);
  if (member)
    set->put(edit_, id, Unit{});
  else
    set->erase(edit_, id);
  if (set->empty()) table.erase(edit_, key);
}

void Draft::put(Pool pool) {
  state_.pool = std::move(pool);
  state_.epoch = state_.pool.epoch;
  touch(TableId::pool, 1);
}

void Draft::put(Project row) {
  row.revision = state_.revision;
  touch(TableId::project, row.id.value);
  index_name(state_.names, name_key(TableId::project, 0, row.name), row.id.value, true);
  put_row(edit_, state_.projects, std::move(row));
}

void Draft::put(Node row) {
  row.revision = state_.revision;
  row.updated = now();
  touch(TableId::node, row.id.value);
  index_name(state_.names, name_key(TableId::node, 0, row.name), row.id.value, true);
  put_row(edit_, state_.nodes, std::move(row));
}

void Draft::index_job(const Job& row, bool add) {
  index_name(state_.names, name_key(TableId::job, row.project.value, row.name), row.id.value, add);
  if (row.parent) set_member(state_.children, row.parent.value, row.id.value, add);
  for (JobId other : row.waits_for) set_member(state_.waiters, other.value, row.id.value, add);
}

void Draft::put(Job row) {
  row.revision = state_.revision;
  row.updated = now();
  if (const Job* before = state_.jobs.find(row.id.value)) {
    const Job old = *before;
    index_job(old, false);
  }
  index_job(row, true);
  touch(TableId::job, row.id.value);
  put_row(edit_, state_.jobs, std::move(row));
}

void Draft::put(JobVersion row) {
  touch(TableId::version, row.id.value);
  state_.version_index.put(edit_, row.job.value << 20 | row.number, row.id.value);
  set_member(state_.versions_by_job, row.job.value, row.id.value, true);
  if (!state_.groups.contains(row.id.value)) {
    state_.groups.put(edit_, row.id.value, std::make_shared<const std::vector<GroupView>>(groups_of(*row.spec)));
  }
  put_row(edit_, state_.versions, std::move(row));
}

void Draft::charge_node(NodeId node, const Resources& more, const Resources& less, int instances,
                        const std::vector<PortBinding>* take, const std::vector<PortBinding>* give) {
  if (more == less && instances == 0 && take == nullptr && give == nullptr) return;
  NodeUsage& usage = row_of(state_.usage, node.value);
  usage.used += more;
  usage.used -= less;
  usage.instances = static_cast<uint32_t>(static_cast<int>(usage.instances) + instances);
  if (give != nullptr) {
    for (const PortBinding& port : *give) {
      auto at = std::lower_bound(usage.ports.begin(), usage.ports.end(), port_key(port));
      if (at != usage.ports.end() && *at == port_key(port)) usage.ports.erase(at);
    }
  }
  if (take != nullptr) {
    for (const PortBinding& port : *take) {
      usage.ports.insert(std::lower_bound(usage.ports.begin(), usage.ports.end(), port_key(port)), port_key(port));
    }
  }
  if (usage.instances == 0 && usage.ports.empty() && usage.used == Resources{}) state_.usage.erase(edit_, node.value);
}

// Countable things are held as ports are.
void Draft::charge_limits(const Instance& i, int64_t sign) {
  const auto& limits = state_.group_of(i).node_limits;
  if (limits.empty()) return;
  NodeUsage& usage = row_of(state_.usage, i.node.value);
  for (const auto& [name, count] : limits) {
    if ((usage.limits[name] += sign * count) == 0) usage.limits.erase(name);
  }
}

void Draft::charge_devices(const Instance& i, int64_t sign) {
  if (i.detail->devices.empty()) return;
  NodeUsage& usage = row_of(state_.usage, i.node.value);
  for (const DeviceBinding& b : i.detail->devices) {
    if ((usage.devices[b.device] += sign * b.share) == 0) usage.devices.erase(b.device);
  }
}

// Usage changes only here, by charge(new) − charge(old).
void Draft::index_instance(const Instance* before, const Instance* after) {
  const bool was_on = before != nullptr && on_node(*before);
  const bool is_on = after != nullptr && on_node(*after);
  const bool had_ports = was_on && holds_ports(*before) && !before->detail->ports.empty();
  const bool has_ports = is_on && holds_ports(*after) && !after->detail->ports.empty();
  const Resources less = was_on ? held_resources(state_, *before) : Resources{};
  const Resources more = is_on ? held_resources(state_, *after) : Resources{};
  const uint64_t id = after != nullptr ? after->id.value : before->id.value;
  const bool was_holding = was_on && holds_ports(*before);
  const bool is_holding = is_on && holds_ports(*after);
  if (was_holding != is_holding || (is_holding && before->node != after->node)) {
    if (is_holding) charge_limits(*after, 1);
    if (was_holding) charge_limits(*before, -1);
  }
  if (was_holding != is_holding ||
      (is_holding && (before->node != after->node || before->detail->devices != after->detail->devices))) {
    if (is_holding) charge_devices(*after, 1);
    if (was_holding) charge_devices(*before, -1);
  }
  if (was_on && is_on && before->node == after->node) {
    const bool same_ports = had_ports == has_ports && (!has_ports || before->detail->ports == after->detail->ports);
    charge_node(after->node, more, less, 0, has_ports && !same_ports ? &after->detail->ports : nullptr,
                had_ports && !same_ports ? &before->detail->ports : nullptr);
  } else {
    if (was_on) {
      charge_node(before->node, {}, less, -1, nullptr, had_ports ? &before->detail->ports : nullptr);
      set_member(state_.instances_by_node, before->node.value, id, false);
    }
    if (is_on) {
      charge_node(after->node, more, {}, 1, has_ports ? &after->detail->ports : nullptr, nullptr);
      set_member(state_.instances_by_node, after->node.value, id, true);
    }
  }
  count_instance(before, after);
  const bool was_pending = before != nullptr && is_pending(*before);
  const bool pending = after != nullptr && is_pending(*after);
  if (pending && !was_pending) state_.pending.put(edit_, id, Unit{});
  if (!pending && was_pending) state_.pending.erase(edit_, id);
}

void Draft::count_instance(const Instance* before, const Instance* after) {
  const Standing was = standing_of(before);
  const Standing is = standing_of(after);
  if (was == is) return;
  state_.live += static_cast<uint64_t>(is.live - was.live);
  state_.running += static_cast<uint64_t>(is.running - was.running);
  const uint64_t job = (after != nullptr ? after : before)->job.value;
  JobTally& tally = row_of(state_.tallies, job);
  tally.live += is.live - was.live;
  tally.pending += is.pending - was.pending;
  tally.running += is.running - was.running;
  for (const auto& [standing, sign] : {std::pair(was, -1), std::pair(is, 1)}) {
    if (standing.completed + standing.failed == 0) continue;
    const auto at = std::ranges::lower_bound(tally.ended, standing.version, {}, &JobTally::Ended::version);
    const bool there = at != tally.ended.end() && at->version == standing.version;
    JobTally::Ended& ended = there ? *at : *tally.ended.insert(at, {.version = standing.version});
    ended.completed += sign * standing.completed;
    ended.failed += sign * standing.failed;
  }
  std::erase_if(tally.ended, [](const JobTally::Ended& e) { return e.completed == 0 && e.failed == 0; });
  if (tally == JobTally{}) state_.tallies.erase(edit_, job);
}

void Draft::put(Instance row) {
  row.revision = state_.revision;
  if (const JobVersion* version = state_.version_of(row)) row.version_row = version->id;
  touch(TableId::instance, row.id.value);
  const Instance* before = state_.instances.find(row.id.value);
  if (before == nullptr) set_member(state_.instances_by_job, row.job.value, row.id.value, true);
  const Instance old = before != nullptr ? *before : Instance{};
  index_instance(before != nullptr ? &old : nullptr, &row);
  put_row(edit_, state_.instances, std::move(row));
}

void Draft::put(Volume row) {
  row.revision = state_.revision;
  touch(TableId::volume, row.id.value);
  put_row(edit_, state_.volumes, std::move(row));
}

void Draft::put(Image row) {
  row.revision = state_.revision;
  row.updated = now();
  touch(TableId::image, row.id.value);
  index_name(state_.keys, name_key(TableId::image, 0, row.repository + ":" + row.tag), row.id.value, true);
  put_row(edit_, state_.images, std::move(row));
}

void Draft::put(Token row) {
  row.revision = state_.revision;
  touch(TableId::token, row.id.value);
  put_row(edit_, state_.tokens, std::move(row));
}

void Draft::put(Operation row) {
  row.revision = state_.revision;
  touch(TableId::operation, row.id.value);
  put_row(edit_, state_.operations, std::move(row));
}

void Draft::put(Event row) {
  row.revision = state_.revision;
  touch(TableId::event, row.id.value);
  put_row(edit_, state_.events, std::move(row));
}

void Draft::put(IdempotencyRecord row) {
  touch(TableId::idempotency, row.id);
  index_name(state_.keys, name_key(TableId::idempotency, 0, row.key), row.id, true);
  const uint64_t id = row.id;
  state_.idempotency.put(edit_, id, std::move(row));
}

void Draft::erase(TableId table, uint64_t id) {
  touch(table, id);
  switch (table) {
    case TableId::pool: return;
    case TableId::project:
      if (const Project* row = state_.projects.find(id))
        index_name(state_.names, name_key(table, 0, row->name), id, false);
      state_.projects.erase(edit_, id);
      return;
    case TableId::node:
      if (const Node* row = state_.nodes.find(id)) index_name(state_.names, name_key(table, 0, row->name), id, false);
      state_.nodes.erase(edit_, id);
      return;
    case TableId::job:
      if (const Job* row = state_.jobs.find(id)) {
        const Job old = *row;
        index_job(old, false);
      }
      state_.jobs.erase(edit_, id);
      return;
    case TableId::version:
      if (const JobVersion* row = state_.versions.find(id)) {
        state_.version_index.erase(edit_, row->job.value << 20 | row->number);
        set_member(state_.versions_by_job, row->job.value, id, false);
      }
      state_.groups.erase(edit_, id);
      state_.versions.erase(edit_, id);
      return;
    case TableId::instance:
      if (const Instance* row = state_.instances.find(id)) {
        const Instance old = *row;
        index_instance(&old, nullptr);
        set_member(state_.instances_by_job, old.job.value, id, false);
      }
      state_.instances.erase(edit_, id);
      return;
    case TableId::volume: state_.volumes.erase(edit_, id); return;
    case TableId::image:
      if (const Image* row = state_.images.find(id))
        index_name(state_.keys, name_key(table, 0, row->repository + ":" + row->tag), id, false);
      state_.images.erase(edit_, id);
      return;
    case TableId::token: state_.tokens.erase(edit_, id); return;
    case TableId::operation: state_.operations.erase(edit_, id); return;
    case TableId::event: state_.events.erase(edit_, id); return;
    case TableId::idempotency:
      if (const IdempotencyRecord* row = state_.idempotency.find(id))
        index_name(state_.keys, name_key(table, 0, row->key), id, false);
      state_.idempotency.erase(edit_, id);
      return;
  }
}

void Draft::rebuild_indexes() {
  Snapshot& s = state_;
  s.instances_by_job = {};
  s.instances_by_node = {};
  s.versions_by_job = {};
  s.version_index = {};
  s.groups = {};
  s.usage = {};
  s.children = {};
  s.waiters = {};
  s.live = s.running = 0;
  s.tallies = {};
  s.pending = {};
  s.names = {};
  s.keys = {};
  edit_ = TableEdit();
  s.projects.for_each(
      [&](uint64_t id, const Project& row) { index_name(s.names, name_key(TableId::project, 0, row.name), id, true); });
  s.nodes.for_each(
      [&](uint64_t id, const Node& row) { index_name(s.names, name_key(TableId::node, 0, row.name), id, true); });
  s.jobs.for_each([&](uint64_t, const Job& row) { index_job(row, true); });
  s.images.for_each([&](uint64_t id, const Image& row) {
    index_name(s.keys, name_key(TableId::image, 0, row.repository + ":" + row.tag), id, true);
  });
  s.idempotency.for_each([&](uint64_t id, const IdempotencyRecord& row) {
    index_name(s.keys, name_key(TableId::idempotency, 0, row.key), id, true);
  });
  s.versions.for_each([&](uint64_t id, const JobVersion& row) {
    s.version_index.put(edit_, row.job.value << 20 | row.number, id);
    set_member(s.versions_by_job, row.job.value, id, true);
    s.groups.put(edit_, id, std::make_shared<const std::vector<GroupView>>(groups_of(*row.spec)));
  });
  s.instances.for_each([&](uint64_t id, const Instance& row) {
    set_member(s.instances_by_job, row.job.value, id, true);
    index_instance(nullptr, &row);
  });
}

}  // namespace tutti::state
