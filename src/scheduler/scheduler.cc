#include "scheduler/scheduler.h"

#include "base/hash.h"
#include "scheduler/columns.h"
#include "scheduler/leeway.h"
#include "scheduler/queue.h"
#include "scheduler/round.h"

namespace tutti::scheduler {
namespace {

// What an instance counts for in what is asked for; nothing once it is over.
Resources asked_by(const Snapshot& snapshot, const Instance* i) {
  if (i == nullptr || i->finished || i->presence == Presence::given_up || snapshot.version_of(*i) == nullptr) return {};
  return snapshot.group_of(*i).resources;
}

// And in its project's share.
Resources held_of_pool(const Instance* i, const Resources& asked) {
  return i != nullptr && i->admitted ? asked : Resources{};
}

ProjectId project_of(const Snapshot& snapshot, const Instance& i) {
  const Job* job = snapshot.jobs.find(i.job.value);
  return job == nullptr ? ProjectId{} : job->project;
}

// In what the queue goes by.
bool waits_alike(const Instance& a, const Instance& b) {
  return a.job_version == b.job_version && a.generation == b.generation && a.node == b.node && a.cleared == b.cleared &&
         a.pinned == b.pinned && a.beside == b.beside && a.pending_since == b.pending_since &&
         a.not_before == b.not_before && a.detail->avoid == b.detail->avoid;
}

class SchedulerImpl final : public Scheduler {
 public:
  void rebuild(std::shared_ptr<const Snapshot> snapshot) override {
    snapshot_ = std::move(snapshot);
    columns_.rebuild(*snapshot_);
    leeway_.clear();
    count_all();
    refill();
  }

  void follow(const ChangeSet& changes) override {
    snapshot_ = changes.after;
    std::vector<uint32_t> touched;
    const bool same_nodes = columns_.follow(changes, touched);
    if (!same_nodes) columns_.rebuild(*snapshot_);
    bool pool = false, project = false;
    for (const RowChange& row : changes.rows) {
      pool = pool || row.table == TableId::pool;
      project = project || row.table == TableId::project;
      if (row.table == TableId::instance) follow_instance(changes, row.id);
    }
    if (project || !same_nodes) leeway_.clear();
    if (pool && counts_otherwise(changes)) count_all();
    if (pool || project) return refill();  // what these rows say stands in every lane
    if (same_nodes)
      queue_.touched(*snapshot_, columns_, touched);
    else
      queue_.unblock_all();
  }

  Plan schedule(std::span<const InstanceId> pending, uint64_t seed, Time now, size_t most) override {
    Queue only;
    for (const InstanceId id : pending) {
      const Instance* i = snapshot_->instances.find(id.value);
      if (i != nullptr && snapshot_->pending.contains(id.value)) only.add(*snapshot_, *i);
    }
    only.wake(*snapshot_, not_before_state(now));
    columns_.measure_by(mix_of(demand_, columns_.total()));
    return Round(*snapshot_, columns_, only, leeway_, used_, seed, most).run();
  }

  Plan schedule_all_pending(uint64_t seed, Time now, size_t most) override {
    queue_.wake(*snapshot_, not_before_state(now));
    columns_.measure_by(mix_of(demand_, columns_.total()));
    return Round(*snapshot_, columns_, queue_, leeway_, used_, seed, most).run();
  }

  void use(std::shared_ptr<const Learned> learned) override { columns_.machines().use(std::move(learned)); }
  Workload seen() const override { return columns_.machines().seen(); }
  const Fleet& fleet() const override { return columns_.machines().fleet(); }
  void take_share(Share share) override {
    if (share == share_) return;
    share_ = share;
    if (snapshot_ != nullptr) refill();
  }

  Time next_wake(Time now) const override { return queue_.next_wake(not_before_state(now)); }

 private:
  // A clock may have been set back, and apply goes by no earlier time than the state's: who waits no more for it is one
  // of all that a job placed as one has to propose.
  Time not_before_state(Time now) const { return std::max(now, snapshot_->now); }
  void refill() {
    queue_.clear();
    used_.clear();
    demand_ = {};
    snapshot_->instances.for_each([&](uint64_t id, const Instance& i) {
      const Resources asked = asked_by(*snapshot_, &i);
      demand_.add(asked, 1);
      const Resources held = held_of_pool(&i, asked);
      if (!(held == Resources{})) used_[project_of(*snapshot_, i)] += held;
      if (snapshot_->pending.contains(id) && falls_to(i.job, share_)) queue_.add(*snapshot_, i);
    });
  }

  void follow_instance(const ChangeSet& changes, uint64_t id) {
    const Instance* before = changes.before->instances.find(id);
    const Instance* after = changes.after->instances.find(id);
    if (before == nullptr && after != nullptr) count(*changes.after, *after);
    for (const Instance* i : {before, after})
      if (i != nullptr && i->node) leeway_.forget(columns_.index_of(i->node));
    const bool waited = before != nullptr && changes.before->pending.contains(id);
    const bool waits = after != nullptr && changes.after->pending.contains(id);
    if (waited && !(waits && waits_alike(*before, *after))) queue_.remove(*changes.before, *before);
    if (waits && falls_to(after->job, share_) && !(waited && waits_alike(*before, *after)))
      queue_.add(*changes.after, *after);
    const Resources asked_before = asked_by(*changes.before, before);
    const Resources asked_after = asked_by(*changes.after, after);
    demand_.add(asked_before, -1);
    demand_.add(asked_after, 1);
    const Resources less = held_of_pool(before, asked_before);
    const Resources more = held_of_pool(after, asked_after);
    if (less == more) return;
    Resources& used =
        used_[after != nullptr ? project_of(*changes.after, *after) : project_of(*changes.before, *before)];
    used += more;
    used -= less;
  }

  // For the policy fragmentation: whether the jobs that go by the pool's policy come to be placed by it, or cease to.
  static bool counts_otherwise(const ChangeSet& changes) {
    const auto by_it = [](const Snapshot& s) { return policy_of(s.pool) == PlacementPolicy::fragmentation; };
    return by_it(*changes.before) != by_it(*changes.after);
  }
  // What the snapshot holds, so that it does not start blind.
  void count_all() {
    columns_.machines().forget_seen();
    snapshot_->instances.for_each([&](uint64_t, const Instance& i) { count(*snapshot_, i); });
  }
  void count(const Snapshot& snapshot, const Instance& i) {
    const JobVersion* version = snapshot.version_of(i);
    if (version == nullptr || policy_of(*version->spec, snapshot.pool) != PlacementPolicy::fragmentation) return;
    columns_.machines().count(queue_.ask(snapshot, *version, i.group)->request);
  }

  std::shared_ptr<const Snapshot> snapshot_;
  Columns columns_;
  Queue queue_;
  Leeway leeway_;
  ProjectUse used_;
  Demand demand_;  // of the whole pool, whatever falls to this scheduler
  Share share_;
};

}  // namespace

bool falls_to(JobId job, Share share) {
  return share.of <= 1 || fnv1a(std::to_string(job.value)) % share.of == share.index;
}

bool may_place(const ChangeSet& changes) {
  for (const RowChange& row : changes.rows) {
    // A node, or what a project allows.
    if (row.table == TableId::node || row.table == TableId::project || row.table == TableId::pool) return true;
    if (row.table != TableId::instance) continue;
    if (changes.after->pending.contains(row.id)) return true;
    const Instance* before = changes.before->instances.find(row.id);
    const Instance* after = changes.after->instances.find(row.id);
    if (before == nullptr) continue;
    // Room was kept for it, perhaps.
    if (changes.before->pending.contains(row.id) && (after == nullptr || !after->node)) return true;
    if (before->node && (after == nullptr || after->finished != before->finished || after->cleared != before->cleared))
      return true;
  }
  return false;
}

std::unique_ptr<Scheduler> make_scheduler() {
  return std::make_unique<SchedulerImpl>();
}

}  // namespace tutti::scheduler
