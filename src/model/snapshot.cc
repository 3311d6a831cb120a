#include "model/snapshot.h"

#include "base/hash.h"

namespace tutti {
namespace {

// The row among those of one hash that is really meant.
template <class Row, class Same>
const Row* pick(const HashIndex& index, uint64_t key, const Table<Row>& table, const Same& same) {
  const std::vector<uint64_t>* ids = index.find(key);
  if (ids == nullptr) return nullptr;
  for (uint64_t id : *ids) {
    const Row* row = table.find(id);
    if (row != nullptr && same(*row)) return row;
  }
  return nullptr;
}

}  // namespace

uint64_t name_key(TableId table, uint64_t scope, std::string_view name) {
  const char head[9] = {static_cast<char>(table),       static_cast<char>(scope),       static_cast<char>(scope >> 8),
                        static_cast<char>(scope >> 16), static_cast<char>(scope >> 24), static_cast<char>(scope >> 32),
                        static_cast<char>(scope >> 40), static_cast<char>(scope >> 48), static_cast<char>(scope >> 56)};
  // 30 bits keep the index's paths short (a tree of 6 levels, not 13); equal ones share an entry.
  const uint64_t hash = fnv1a(name, fnv1a({head, sizeof head}));
  return (hash ^ hash >> 32) & ((1u << 30) - 1);
}

const Job* Snapshot::job_by_name(ProjectId project, std::string_view name) const {
  return pick(names, name_key(TableId::job, project.value, name), jobs,
              [&](const Job& job) { return job.project == project && job.name == name; });
}

const Node* Snapshot::node_by_name(std::string_view name) const {
  return pick(names, name_key(TableId::node, 0, name), nodes, [&](const Node& node) { return node.name == name; });
}

const Project* Snapshot::project_by_name(std::string_view name) const {
  return pick(names, name_key(TableId::project, 0, name), projects, [&](const Project& p) { return p.name == name; });
}

const Image* Snapshot::image_by_tag(std::string_view repository, std::string_view tag) const {
  const std::string full = std::string(repository) + ":" + std::string(tag);
  return pick(keys, name_key(TableId::image, 0, full), images,
              [&](const Image& image) { return image.repository == repository && image.tag == tag; });
}

const IdempotencyRecord* Snapshot::idempotency_by_key(std::string_view key) const {
  return pick(keys, name_key(TableId::idempotency, 0, key), idempotency,
              [&](const IdempotencyRecord& record) { return record.key == key; });
}

const JobVersion* Snapshot::version_of(JobId job, uint32_t number) const {
  const uint64_t* id = version_index.find(job.value << 20 | number);
  return id == nullptr ? nullptr : versions.find(*id);
}

const JobVersion* Snapshot::version_of(const Instance& instance) const {
  const JobVersion* hinted = instance.version_row ? versions.find(instance.version_row.value) : nullptr;
  if (hinted != nullptr && hinted->job == instance.job && hinted->number == instance.job_version) return hinted;
  return version_of(instance.job, instance.job_version);
}

const GroupView& Snapshot::group_of(const Instance& instance) const {
  const JobVersion* version = version_of(instance);
  TUTTI_INVARIANT(version != nullptr, "an instance without its job version");
  const auto* list = groups.find(version->id.value);
  TUTTI_INVARIANT(list != nullptr && instance.group < (*list)->size(), "an instance of no group");
  return (**list)[instance.group];
}

const NodeUsage& Snapshot::usage_of(NodeId node) const {
  static const NodeUsage none{};
  const NodeUsage* row = usage.find(node.value);
  return row == nullptr ? none : *row;
}

std::string Snapshot::name_of(const Instance& instance) const {
  const Job* job = jobs.find(instance.job.value);
  if (job == nullptr || version_of(instance) == nullptr) return to_text(instance.id);
  const std::string name = instance_name(job->name, group_of(instance).name, instance.slot);
  return instance.beside ? name + "-next" : name;  // no other name ends in anything but digits
}

Presence Snapshot::presence_of(const Instance& instance) const {
  if (instance.presence == Presence::given_up || !instance.node) return instance.presence;
  const Node* node = nodes.find(instance.node.value);
  const bool silent = node == nullptr || node->health == NodeHealth::unknown || node->health == NodeHealth::lost;
  return silent ? Presence::unknown : Presence::here;
}

}  // namespace tutti
