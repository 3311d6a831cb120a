#include "scheduler/scheduler.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "base/random.h"
#include "scheduler/columns.h"
#include "scheduler/feasible.h"
#include "scheduler/shape.h"

namespace tutti::scheduler {
namespace {

// What one group of one job version asks for, read once: versions never change.
struct Compiled {
  Request request;
  std::string kind;  // the same for all that may run on the same nodes
  int32_t priority = 0;
  PlacementPolicy policy = PlacementPolicy::default_;
};

std::string kind_of(const Request& request) {
  std::string out = std::to_string(request.feature_level);
  for (const std::string& driver : request.drivers) out += "\n" + driver;
  for (const Constraint& constraint : request.constraints) out += "\n" + constraint.to_string();
  return out;
}

class SchedulerImpl final : public Scheduler {
 public:
  void rebuild(std::shared_ptr<const Snapshot> snapshot) override {
    snapshot_ = std::move(snapshot);
    compiled_.clear();
    columns_.rebuild(*snapshot_);
    queue_.clear(), waiting_.clear(), queued_.clear();
    snapshot_->pending.for_each([&](uint64_t id, const Unit&) { enqueue(InstanceId{id}); });
  }
  void follow(const ChangeSet& changes) override {
    snapshot_ = changes.after;
    if (!columns_.follow(changes)) columns_.rebuild(*snapshot_);
    for (const RowChange& row : changes.rows) {
      if (row.table != TableId::instance) continue;
      dequeue(InstanceId{row.id});
      if (snapshot_->pending.contains(row.id)) enqueue(InstanceId{row.id});
    }
  }

  Plan schedule(std::span<const InstanceId> pending, uint64_t seed, Time now, size_t most) override {
    std::set<Turn> some;
    for (InstanceId id : pending) {
      const auto at = queued_.find(id);
      if (at != queued_.end() && at->second.not_before <= now) some.insert(at->second.turn);
    }
    return plan(some, seed, most);
  }

  Plan schedule_all_pending(uint64_t seed, Time now, size_t most) override {
    while (!waiting_.empty() && waiting_.begin()->first <= now) {
      queue_.insert(queued_.at(waiting_.begin()->second).turn);
      waiting_.erase(waiting_.begin());
    }
    return plan(queue_, seed, most);
  }

  Time next_wake(Time now) const override {
    const auto at = waiting_.upper_bound({now, InstanceId{UINT64_MAX}});
    return at == waiting_.end() ? Time{} : at->first;
  }

 private:
  static constexpr size_t kCompiledMax = 100'000;

  // What one call of schedule() has given out so far.
  struct Round {
    explicit Round(uint64_t its_seed) : seed(its_seed) {}
    uint64_t seed;
    std::map<std::string, Shape> shapes;
    std::vector<Taken> placed;
    std::map<uint32_t, std::set<uint32_t>> ports;
    // Of the instance before: those of one group come one after the other.
    const Compiled* last = nullptr;
    Shape* last_shape = nullptr;
  };

  // By priority, then who waits longest, then id.
  struct Turn {
    int32_t behind = 0;  // minus the priority
    Time since;
    InstanceId id;
    auto operator<=>(const Turn&) const = default;
  };
  struct Queued {
    Turn turn;
    Time not_before;
  };

  // Only what changed is touched: with 2,000,000 pending a commit costs what it does with 100.
  void enqueue(InstanceId id) {
    const Instance* i = snapshot_->instances.find(id.value);
    const Compiled* compiled = i != nullptr ? compiled_of(*i) : nullptr;
    if (compiled == nullptr) return;
    const Queued queued{{-compiled->priority, i->pending_since, id}, i->not_before};
    queued_[id] = queued;
    if (queued.not_before)
      waiting_.insert({queued.not_before, id});
    else
      queue_.insert(queued.turn);
  }
  void dequeue(InstanceId id) {
    const auto at = queued_.find(id);
    if (at == queued_.end()) return;
    waiting_.erase({at->second.not_before, id});
    queue_.erase(at->second.turn);
    queued_.erase(at);
  }

  Plan plan(const std::set<Turn>& turns, uint64_t seed, size_t most) {
    Plan plan;
    plan.based_on = snapshot_->revision;
    if (compiled_.size() >= kCompiledMax) compiled_.clear();  // between rounds only: a round keeps pointers into it
    Round round(seed);
    for (const Turn& turn : turns) {
      if (plan.placements.size() >= most) break;
      if (auto placement = place(*snapshot_->instances.find(turn.id.value), round))
        plan.placements.push_back(std::move(*placement));
      else
        plan.refused.push_back(turn.id);
    }
    columns_.undo();
    return plan;
  }

  const Compiled* compiled_of(const Instance& i) {
    const JobVersion* version = snapshot_->version_of(i);
    if (version == nullptr) return nullptr;
    const std::pair key{version->id, i.group};
    if (const auto at = compiled_.find(key); at != compiled_.end()) return &at->second;
    Compiled out;
    out.request = request_of(*version->spec, snapshot_->group_of(i));
    out.kind = kind_of(out.request);
    out.priority = version->spec->priority;
    out.policy = version->spec->policy;
    return &compiled_.emplace(key, std::move(out)).first->second;
  }

  bool spreads(const Compiled& compiled) const {
    return compiled.policy == PlacementPolicy::spread ||
           (compiled.policy == PlacementPolicy::default_ && snapshot_->pool.policy == "spread");
  }

  std::optional<Placement> place(const Instance& i, Round& round) {
    const Compiled* compiled = compiled_of(i);
    if (compiled == nullptr) return std::nullopt;
    const bool returns = i.node && !i.cleared && !i.admitted;
    if (i.pinned || returns) return place_on_its_node(i, round);
    Shape& shape = shape_of(i, *compiled, round);
    shape.catch_up(round.placed);
    // The mask has said what lasts; what is left is room, to the byte, and ports.
    Request rest;
    rest.resources = compiled->request.resources;
    rest.ports = compiled->request.ports;
    rest.feature_level = 0;
    const uint32_t avoid = columns_.index_of(i.detail->avoid);
    while (const auto index = shape.best(avoid)) {
      if (auto placement = try_node(i, rest, *index, round)) return placement;
      shape.exclude(*index);
    }
    return std::nullopt;
  }

  std::optional<Placement> place_on_its_node(const Instance& i, Round& round) {
    const Request request = request_of(*snapshot_, i);
    const uint32_t index = columns_.index_of(request.home ? request.home : request.pinned);
    return index < columns_.size() ? try_node(i, request, index, round) : std::nullopt;
  }

  std::optional<Placement> try_node(const Instance& i, const Request& request, uint32_t index, Round& round) {
    const Node& node = *snapshot_->nodes.find(columns_.id(index).value);
    std::set<uint32_t> none;
    const auto at = round.ports.find(index);
    std::set<uint32_t>& taken = at != round.ports.end() ? at->second
                                : request.ports.empty() ? none
                                                        : round.ports[index];
    if (check(*snapshot_, request, node, columns_.free(index), taken)) return std::nullopt;
    Placement out{i.id, i.generation, node.id, {}};
    if (!request.ports.empty() &&
        !choose_ports(*snapshot_, request, node, taken, SeededRandom(round.seed ^ i.id.value).next(), out.ports))
      return std::nullopt;
    columns_.take(index, request.resources);
    round.placed.push_back({index, i.job});
    return out;
  }

  // Instances that ask for the same of the same nodes share one; those with ports or spread only within their group or
  // job.
  Shape& shape_of(const Instance& i, const Compiled& compiled, Round& round) {
    if (round.last == &compiled) return *round.last_shape;
    round.last = &compiled;
    const bool spread = spreads(compiled);
    const Resources& r = compiled.request.resources;
    std::string key = std::to_string(r.cpu.value) + " " + std::to_string(r.memory.value) + " " +
                      std::to_string(r.disk.value) + compiled.kind;
    if (spread) key += "\nspread " + std::to_string(i.job.value);
    if (!compiled.request.ports.empty())
      key += "\nports " + std::to_string(i.job.value) + " " + std::to_string(i.job_version) + " " +
             std::to_string(i.group);
    if (const auto at = round.shapes.find(key); at != round.shapes.end()) return *(round.last_shape = &at->second);
    const Mask& mask = columns_.mask_of(*snapshot_, compiled.request, compiled.kind);
    auto counts = spread ? counts_of(i.job, round) : std::map<uint32_t, uint32_t>();
    round.last_shape = &round.shapes
                            .try_emplace(key, columns_, compiled.request, mask, spread ? i.job : JobId{},
                                         std::move(counts), round.placed.size())
                            .first->second;
    return *round.last_shape;
  }

  // How many of a job each node holds now.
  std::map<uint32_t, uint32_t> counts_of(JobId job, const Round& round) const {
    std::map<uint32_t, uint32_t> out;
    if (const IdSet* ids = snapshot_->instances_by_job.find(job.value)) {
      ids->for_each([&](uint64_t id, const Unit&) {
        const Instance* i = snapshot_->instances.find(id);
        if (i != nullptr && i->node && i->admitted && !i->finished) ++out[columns_.index_of(i->node)];
      });
    }
    out.erase(static_cast<uint32_t>(columns_.size()));
    for (const Taken& taken : round.placed)
      if (taken.job == job) ++out[taken.index];
    return out;
  }

  std::shared_ptr<const Snapshot> snapshot_;
  Columns columns_;
  std::map<std::pair<JobVersionId, uint16_t>, Compiled> compiled_;
  std::set<Turn> queue_;                           // may be placed now
  std::set<std::pair<Time, InstanceId>> waiting_;  // not before then
  std::unordered_map<InstanceId, Queued> queued_;  // both, by id
};

}  // namespace

std::unique_ptr<Scheduler> make_scheduler() {
  return std::make_unique<SchedulerImpl>();
}

}  // namespace tutti::scheduler
