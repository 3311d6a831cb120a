#pragma once
// TestPool: a pool made by hand, for tests of the pure folders that may not know `state` (scheduler, reconcile).
//
// Rows go in through put(), which keeps the derived indexes by the same rules as apply; commit() publishes a snapshot
// with its ChangeSet. Only for tests; one thread.

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/snapshot.h"
#include "model/validate.h"

namespace tutti {

class TestPool {
 public:
  Snapshot s;

  TestPool() {
    s.revision.value = 1;
    s.now = Time{1'000'000'000'000};
    published_ = std::make_shared<const Snapshot>(s);
  }

  uint64_t new_id() { return s.next_id++; }

  NodeId add_node(Resources capacity, NodeHealth health = NodeHealth::ready, std::string arch = "x86_64") {
    Node node;
    node.id = NodeId{new_id()};
    node.name = "node-" + std::to_string(node.id.value);
    node.health = health;
    Inventory inventory;
    inventory.arch = std::move(arch);
    inventory.feature_level = kFeatureLevel;
    inventory.capacity = capacity;
    inventory.drivers = {{"container", "1", true, ""}, {"process", "1", true, ""}, {"fake", "1", true, ""}};
    node.inventory = std::make_shared<const Inventory>(std::move(inventory));
    const NodeId id = node.id;
    put(std::move(node));
    return id;
  }
  template <class F>
  void edit_node(NodeId id, F&& change) {
    Node node = *s.nodes.find(id.value);
    change(node);
    put(std::move(node));
  }
  template <class F>
  void edit_inventory(NodeId id, F&& change) {
    edit_node(id, [&](Node& node) {
      Inventory inventory = *node.inventory;
      change(inventory);
      node.inventory = std::make_shared<const Inventory>(std::move(inventory));
    });
  }
  void put(Node node) {
    const uint64_t id = node.id.value;
    touch(TableId::node, id);
    s.nodes.put(edit_, id, std::move(node));
  }
  // As apply does it: what was there is given up, and gone.
  void remove_node(NodeId id) {
    std::vector<uint64_t> held;
    if (const IdSet* ids = s.instances_by_node.find(id.value)) {
      ids->for_each([&](uint64_t instance, const Unit&) { held.push_back(instance); });
    }
    for (uint64_t instance : held) {
      Instance row = *s.instances.find(instance);
      row.presence = Presence::given_up;
      row.cleared = row.finished = true;
      put(std::move(row));
    }
    touch(TableId::node, id.value);
    s.nodes.erase(edit_, id.value);
  }

  static JobSpec service(const std::string& name, int64_t count, Resources resources = {{100}, {64 << 20}, {}}) {
    JobSpec spec;
    spec.job = name;
    spec.update.min_healthy_time = {};
    TaskSpec task;
    task.name = name;
    task.driver = "fake";
    task.count = count;
    task.resources = resources;
    spec.tasks.push_back(std::move(task));
    return spec;
  }
  // A new job, or a new version of `again`; active at once.
  JobId submit(JobSpec spec, JobId again = {}) {
    apply_defaults(spec);
    Job job;
    if (again) {
      job = *s.jobs.find(again.value);
    } else {
      job.id = JobId{new_id()};
      job.project = ProjectId{1};
      job.name = spec.job;
      job.type = spec.type;
    }
    JobVersion version;
    version.id = JobVersionId{new_id()};
    version.job = job.id;
    version.number = static_cast<uint32_t>(++job.version);
    version.state = VersionState::active;
    for (const After& after : spec.after) {
      JobId other;
      s.jobs.for_each([&](uint64_t, const Job& row) { other = row.name == after.name ? row.id : other; });
      version.waits_for.push_back(other);
    }
    for (const TaskSpec& task : spec.tasks)
      if (!task.image.empty()) version.images[task.image] = "repository@sha256:" + task.image;
    version.spec = std::make_shared<const JobSpec>(std::move(spec));
    job.active_version = version.number;
    job.waits_for = version.waits_for;
    job.begun = s.now;
    job.result = JobResult::none;
    job.ended = {};
    job.reason.clear();
    const JobId id = job.id;
    put(std::move(job));
    touch(TableId::version, version.id.value);
    s.version_index.put(edit_, id.value << 20 | version.number, version.id.value);
    set_member(s.versions_by_job, id.value, version.id.value, true);
    s.groups.put(edit_, version.id.value, std::make_shared<const std::vector<GroupView>>(groups_of(*version.spec)));
    const uint64_t version_id = version.id.value;
    s.versions.put(edit_, version_id, std::move(version));
    return id;
  }
  void put(Pool pool) {
    touch(TableId::pool, 1);
    s.pool = std::move(pool);
  }
  void put(Project project) {
    const uint64_t id = project.id.value;
    touch(TableId::project, id);
    s.projects.put(edit_, id, std::move(project));
  }
  void put_project(uint64_t id, const std::string& name, bool preemption) {
    Project project;
    project.id = ProjectId{id};
    project.name = name;
    project.preemption = preemption;
    put(std::move(project));
  }
  void put(Job job) {
    const uint64_t id = job.id.value;
    touch(TableId::job, id);
    index_job(s.jobs.find(id), false);
    index_job(&job, true);
    s.jobs.put(edit_, id, std::move(job));
  }
  template <class F>
  void edit_job(JobId id, F&& change) {
    Job job = *s.jobs.find(id.value);
    change(job);
    put(std::move(job));
  }
  void erase_job(JobId id) {
    touch(TableId::job, id.value);
    index_job(s.jobs.find(id.value), false);
    s.jobs.erase(edit_, id.value);
  }

  // Nothing may be on it.
  void erase_node(NodeId id) {
    touch(TableId::node, id.value);
    s.nodes.erase(edit_, id.value);
  }

  // A pending copy of the job's active version.
  InstanceId add_pending(JobId job, uint32_t slot = 0, uint16_t group = 0) {
    Instance row;
    row.id = InstanceId{new_id()};
    row.job = job;
    row.job_version = s.jobs.find(job.value)->active_version;
    row.slot = slot;
    row.group = group;
    row.created = row.pending_since = s.now;
    row.detail = no_detail_;
    const InstanceId id = row.id;
    put(std::move(row));
    return id;
  }
  void place(InstanceId id, NodeId node, TaskState state = TaskState::running, std::vector<PortBinding> ports = {},
             std::vector<DeviceBinding> devices = {}) {
    edit_instance(id, [&](Instance& row) {
      row.node = node;
      row.admitted = true;
      row.cleared = false;
      row.state = state;
      row.pending_since = {};
      InstanceDetail detail = *row.detail;
      detail.placed = s.now;
      detail.ports = std::move(ports);
      detail.devices = std::move(devices);
      row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
    });
  }
  template <class F>
  void edit_instance(InstanceId id, F&& change) {
    Instance row = *s.instances.find(id.value);
    change(row);
    put(std::move(row));
  }
  template <class F>
  void edit_detail(InstanceId id, F&& change) {
    edit_instance(id, [&](Instance& row) {
      InstanceDetail detail = *row.detail;
      change(detail);
      row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
    });
  }
  void put(Instance row) {
    const uint64_t id = row.id.value;
    const bool runs = row.state == TaskState::running && checks_pass(row.detail->tasks);
    if (runs != static_cast<bool>(row.detail->running_since)) {
      InstanceDetail detail = *row.detail;
      detail.running_since = runs ? s.now : Time{};
      row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
    }
    index(s.instances.find(id), false);
    touch(TableId::instance, id);
    set_member(s.instances_by_job, row.job.value, id, true);
    s.instances.put(edit_, id, std::move(row));
    index(s.instances.find(id), true);
  }
  void erase(InstanceId id) {
    const Instance* row = s.instances.find(id.value);
    index(row, false);
    touch(TableId::instance, id.value);
    set_member(s.instances_by_job, row->job.value, id.value, false);
    s.instances.erase(edit_, id.value);
  }

  const Instance& at(InstanceId id) const { return *s.instances.find(id.value); }
  std::shared_ptr<const Snapshot> published() const { return published_; }
  // Publishes what was put since the last time.
  ChangeSet commit() {
    s.revision.value += 1;
    ChangeSet changes{published_, std::make_shared<const Snapshot>(s), {}};
    for (const auto& [table, id] : touched_) changes.rows.push_back({table, id});
    touched_.clear();
    edit_ = TableEdit();
    published_ = changes.after;
    return changes;
  }

  static bool is_pending(const Instance& i) {
    return !i.admitted && !i.finished && i.desired == Desired::running && i.presence != Presence::given_up;
  }

 private:
  void index_job(const Job* row, bool add) {
    if (row == nullptr) return;
    const Job job = *row;
    if (job.parent) set_member(s.children, job.parent.value, job.id.value, add);
    for (JobId other : job.waits_for) set_member(s.waiters, other.value, job.id.value, add);
  }
  void touch(TableId table, uint64_t id) { touched_.insert({table, id}); }
  void set_member(Table<IdSet>& table, uint64_t key, uint64_t id, bool member) {
    if (!table.contains(key)) table.put(edit_, key, IdSet{});
    IdSet* set = table.edit(edit_, key);
    if (member)
      set->put(edit_, id, Unit{});
    else
      set->erase(edit_, id);
    if (set->empty()) table.erase(edit_, key);
  }
  void index(const Instance* row, bool add) {
    if (row == nullptr) return;
    if (is_pending(*row)) {
      if (add)
        s.pending.put(edit_, row->id.value, Unit{});
      else
        s.pending.erase(edit_, row->id.value);
    }
    if (!row->node || row->cleared) return;
    set_member(s.instances_by_node, row->node.value, row->id.value, add);
    if (!s.usage.contains(row->node.value)) s.usage.put(edit_, row->node.value, NodeUsage{});
    NodeUsage& usage = *s.usage.edit(edit_, row->node.value);
    const Resources held = charge(*row, s.group_of(*row).resources);
    if (add)
      usage.used += held, ++usage.instances;
    else
      usage.used -= held, --usage.instances;
    if (!row->admitted || row->finished || row->presence == Presence::given_up) return;
    for (const auto& [name, count] : s.group_of(*row).node_limits)
      if ((usage.limits[name] += add ? count : -count) == 0) usage.limits.erase(name);
    for (const DeviceBinding& b : row->detail->devices)
      if ((usage.devices[b.device] += add ? b.share : -b.share) == 0) usage.devices.erase(b.device);
    for (const PortBinding& port : row->detail->ports) {
      const uint32_t key = static_cast<uint32_t>(port.protocol) << 16 | static_cast<uint32_t>(port.host);
      const auto at = std::lower_bound(usage.ports.begin(), usage.ports.end(), key);
      if (add)
        usage.ports.insert(at, key);
      else
        usage.ports.erase(at);
    }
  }

  TableEdit edit_;
  std::shared_ptr<const InstanceDetail> no_detail_ = std::make_shared<const InstanceDetail>();
  std::shared_ptr<const Snapshot> published_;
  std::set<std::pair<TableId, uint64_t>> touched_;
};

}  // namespace tutti
