#pragma once
// Snapshot: the whole state as of one revision, immutable and shared. ChangeSet: what one commit changed.
//
// Owner: the state loop publishes them; everybody reads without locks and may keep one as long as they like
// (memory is shared between snapshots, so keep it short all the same). Tables are persistent radix trees by id;
// the indexes below them are derived by apply, rebuilt at load and audited in simulation.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/table.h"
#include "model/instance.h"
#include "model/job.h"
#include "model/node.h"
#include "model/objects.h"

namespace tutti {

// Numbers are part of the stored format: never reuse one.
enum class TableId : uint8_t {
  pool = 0,
  project = 1,
  node = 2,
  job = 3,
  version = 4,
  instance = 5,
  volume = 6,
  image = 7,
  token = 8,
  operation = 9,
  event = 10,
  idempotency = 11,
};
inline constexpr int kTableCount = 12;

// What is in use on a node: the sum of charge() over its instances, and their host ports.
struct NodeUsage {
  Resources used;
  uint32_t instances = 0;
  std::vector<uint32_t> ports;             // sorted; (protocol << 16) | port
  std::map<std::string, int64_t> limits;   // what is taken of Inventory::limits; never zero
  std::map<std::string, int64_t> devices;  // id → thousandths that are taken of it; never zero
};

// How a job's instances stand, those that were given up aside.
struct JobTally {
  struct Ended {
    uint32_t version = 0;
    int64_t completed = 0;
    int64_t failed = 0;  // or rejected
    bool operator==(const Ended&) const = default;
  };
  int64_t live = 0;     // not over
  int64_t pending = 0;  // of them
  int64_t running = 0;
  std::vector<Ended> ended;  // by version; none without any
  bool operator==(const JobTally&) const = default;
};

// A row keyed by a 64-bit hash of what it is looked up by; more than one only when hashes collide.
using HashIndex = Table<std::vector<uint64_t>>;

struct Snapshot {
  uint64_t epoch = 1;
  Revision revision;
  uint64_t next_id = 1;
  Time now;  // of the commit

  Pool pool;
  Table<Project> projects;
  Table<Node> nodes;
  Table<Job> jobs;
  Table<JobVersion> versions;
  Table<Instance> instances;
  Table<Volume> volumes;
  Table<Image> images;
  Table<Token> tokens;
  Table<Operation> operations;
  Table<Event> events;
  Table<IdempotencyRecord> idempotency;

  // Derived.
  Table<IdSet> instances_by_job;   // job → instances, finished ones too
  Table<JobTally> tallies;         // job → how they stand; none where it has none
  Table<IdSet> instances_by_node;  // node → instances that hold anything there or are to be cleared away
  Table<IdSet> versions_by_job;
  Table<uint64_t> version_index;                                // (job << 20 | number) → version id
  Table<std::shared_ptr<const std::vector<GroupView>>> groups;  // version id → groups_of(spec), computed once
  Table<NodeUsage> usage;                                       // node → usage
  Table<IdSet> children;                                        // job → jobs that it launched
  Table<IdSet> waiters;                                         // job → jobs whose active version waits for it (J06)
  uint64_t live = 0;                                            // instances that are not over
  uint64_t running = 0;                                         // of them
  IdSet pending;                                                // instances that want a node and have none
  HashIndex names;                                              // name_key(kind, project, name) → id
  HashIndex keys;  // hash of an idempotency key → record; of (repository:tag) → image; of a token's name …

  // Null or zero where there is none. Pointers live as long as this snapshot.
  const Job* job_by_name(ProjectId project, std::string_view name) const;
  const Node* node_by_name(std::string_view name) const;
  const Project* project_by_name(std::string_view name) const;
  const Image* image_by_tag(std::string_view repository, std::string_view tag) const;
  const IdempotencyRecord* idempotency_by_key(std::string_view key) const;
  const JobVersion* version_of(JobId job, uint32_t number) const;
  const JobVersion* version_of(const Instance& instance) const;
  // The group an instance is a copy of; a broken invariant if its version is not there.
  const GroupView& group_of(const Instance& instance) const;
  const NodeUsage& usage_of(NodeId node) const;
  std::string name_of(const Instance& instance) const;
  // Stored presence, or unknown while its node is unknown or lost.
  Presence presence_of(const Instance& instance) const;
};

uint64_t name_key(TableId table, uint64_t scope, std::string_view name);

struct RowChange {
  TableId table;
  uint64_t id = 0;
};

// One commit. A row's old value is in `before`, its new one in `after`; absent there: created or deleted.
struct ChangeSet {
  std::shared_ptr<const Snapshot> before;
  std::shared_ptr<const Snapshot> after;
  std::vector<RowChange> rows;  // each row once, by table, then id
};

}  // namespace tutti
