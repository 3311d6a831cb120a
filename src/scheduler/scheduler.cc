#include "scheduler/scheduler.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/random.h"
#include "scheduler/feasible.h"

namespace tutti::scheduler {
namespace {

// One node as placements of this round see it.
struct Row {
  const Node* node = nullptr;
  Resources free;
  Resources capacity;
  std::set<uint32_t> taken;   // ports given out in this round
  std::map<JobId, int> jobs;  // spread: instances of a job here, this round's included
};

constexpr double kScale = 1 << 20;

// Nomad's score, quantised: lower is fuller. 10^freeCpu + 10^freeMemory after the placement.
int64_t score_after(const Row& row, const Resources& request) {
  auto fraction = [](int64_t free, int64_t all) { return all <= 0 ? 0.0 : static_cast<double>(free) / static_cast<double>(all); };
  const Resources left = row.free - request;
  return static_cast<int64_t>(kScale * (std::pow(10.0, fraction(left.cpu.value, row.capacity.cpu.value)) +
                                        std::pow(10.0, fraction(left.memory.value, row.capacity.memory.value))));
}

class SchedulerImpl final : public Scheduler {
 public:
  void rebuild(std::shared_ptr<const Snapshot> snapshot) override { snapshot_ = std::move(snapshot); }
  void follow(const ChangeSet& changes) override { snapshot_ = changes.after; }

  Plan schedule(std::span<const InstanceId> pending, uint64_t seed, Time now, size_t most) override {
    Plan plan;
    plan.based_on = snapshot_->revision;
    std::vector<const Instance*> queue;
    for (InstanceId id : pending) {
      const Instance* i = snapshot_->instances.find(id.value);
      if (i != nullptr && snapshot_->pending.contains(id.value) && i->not_before <= now) queue.push_back(i);
    }
    std::sort(queue.begin(), queue.end(), [&](const Instance* a, const Instance* b) {
      const int pa = priority_of(*a), pb = priority_of(*b);
      if (pa != pb) return pa > pb;
      return std::pair(a->pending_since, a->id) < std::pair(b->pending_since, b->id);
    });
    std::map<NodeId, Row> rows = rows_of();
    SeededRandom random(seed);
    for (const Instance* i : queue) {
      if (plan.placements.size() >= most) break;
      if (auto placement = place(*i, rows, random)) plan.placements.push_back(std::move(*placement));
      else plan.refused.push_back(i->id);
    }
    return plan;
  }

  Plan schedule_all_pending(uint64_t seed, Time now, size_t most) override {
    std::vector<InstanceId> ids;
    snapshot_->pending.for_each([&](uint64_t id, const Unit&) { ids.push_back(InstanceId{id}); });
    return schedule(ids, seed, now, most);
  }

  Time next_wake(Time now) const override {
    Time wake;
    snapshot_->pending.for_each([&](uint64_t id, const Unit&) {
      const Instance* i = snapshot_->instances.find(id);
      if (i != nullptr && i->not_before > now && (!wake || i->not_before < wake)) wake = i->not_before;
    });
    return wake;
  }

 private:
  int priority_of(const Instance& i) const {
    const JobVersion* version = snapshot_->version_of(i);
    return version != nullptr ? version->spec->priority : 0;
  }

  std::map<NodeId, Row> rows_of() const {
    std::map<NodeId, Row> rows;
    snapshot_->nodes.for_each([&](uint64_t, const Node& node) {
      if (!node.inventory || node.health != NodeHealth::ready) return;
      Row row;
      row.node = &node;
      row.capacity = allocatable(node);
      row.free = row.capacity - snapshot_->usage_of(node.id).used;
      rows[node.id] = std::move(row);
    });
    return rows;
  }

  int instances_of(JobId job, NodeId node) const {
    int count = 0;
    if (const IdSet* ids = snapshot_->instances_by_job.find(job.value)) {
      ids->for_each([&](uint64_t id, const Unit&) {
        const Instance* i = snapshot_->instances.find(id);
        if (i != nullptr && i->node == node && i->admitted && !i->finished) ++count;
      });
    }
    return count;
  }

  std::optional<Placement> place(const Instance& i, std::map<NodeId, Row>& rows, Random& random) {
    const JobVersion* version = snapshot_->version_of(i);
    if (version == nullptr) return std::nullopt;
    const Request request = request_of(*snapshot_, i);
    const bool spread = version->spec->policy == PlacementPolicy::spread ||
                        (version->spec->policy == PlacementPolicy::default_ && snapshot_->pool.policy == "spread");
    Row* best = nullptr;
    std::tuple<bool, int, int64_t> best_score;
    for (auto& [id, row] : rows) {
      if (check(*snapshot_, request, *row.node, row.free, row.taken)) continue;
      const int same = spread ? row.jobs.try_emplace(i.job, instances_of(i.job, id)).first->second : 0;
      const int64_t score = score_after(row, request.resources);
      const std::tuple<bool, int, int64_t> key{id == i.detail->avoid, same, spread ? -score : score};
      if (best == nullptr || key < best_score) best = &row, best_score = key;
    }
    if (best == nullptr) return std::nullopt;
    Placement out{i.id, i.generation, best->node->id, {}};
    if (!choose_ports(*snapshot_, request, *best->node, best->taken, random.next(), out.ports)) return std::nullopt;
    best->free -= request.resources;
    if (spread) ++best->jobs[i.job];
    return out;
  }

  std::shared_ptr<const Snapshot> snapshot_;
};

}  // namespace

std::unique_ptr<Scheduler> make_scheduler() { return std::make_unique<SchedulerImpl>(); }

}  // namespace tutti::scheduler
