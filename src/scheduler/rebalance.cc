#include "scheduler/rebalance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <utility>

#include "scheduler/columns.h"
#include "scheduler/feasible.h"
#include "scheduler/policy.h"
#include "scheduler/shape.h"

namespace tutti::scheduler {
namespace {

// Beyond these the least used, or busiest, ones come another time.
constexpr size_t kNodesTriedMax = 256;
// An even load is not worth a move for less: in thousandths of a node; of instances, one.
constexpr int64_t kLoadGainMin = 20;
// From so many instances on more of them change no valuation (machines.h).
constexpr int64_t kCountedMax = 50'000;

bool packs(PlacementPolicy policy) {
  switch (policy) {
    case PlacementPolicy::default_:
    case PlacementPolicy::binpack:
    case PlacementPolicy::fragmentation:
    case PlacementPolicy::greedy: return true;
    case PlacementPolicy::spread:
    case PlacementPolicy::roundrobin:
    case PlacementPolicy::epvm: return false;
  }
  return true;
}

int64_t thousandths_of(int64_t part, int64_t all) {
  return all <= 0 ? 0 : static_cast<int64_t>(static_cast<double>(part) * 1'000 / static_cast<double>(all));
}
// Of cpu or memory, whichever is more.
int64_t load_of(const Resources& part, const Resources& all) {
  return std::max(thousandths_of(part.cpu.value, all.cpu.value), thousandths_of(part.memory.value, all.memory.value));
}

// It makes its node one that is in use: not gone, and not there because the node is.
bool counts(const Snapshot& s, const Instance& i) {
  const Job* job = s.jobs.find(i.job.value);
  if (job == nullptr || job->type == JobType::system || i.presence == Presence::given_up) return false;
  if (!i.finished) return true;
  return i.desired == Desired::stopped || i.desired == Desired::suspended;
}

class Rebalancer {
 public:
  Rebalancer(const Snapshot& snapshot, const RebalanceWish& wish)
      : s_(snapshot), wish_(wish), policy_(policy_of(JobSpec{}, snapshot.pool)) {
    plan_.packing = packs(policy_);
    columns_.rebuild(s_);
    if (policy_ == PlacementPolicy::fragmentation) count_seen();
    read_nodes();
    columns_.measure_by(mix_of(demand_, columns_.total()));
  }

  RebalancePlan run() {
    measure(plan_.nodes_used, plan_.imbalance);
    if (plan_.packing)
      pack();
    else
      balance();
    measure(plan_.nodes_used_after, plan_.imbalance_after);
    for (const auto& [reason, instances] : left_out_) plan_.left_out.push_back({reason, instances});
    std::sort(plan_.left_out.begin(), plan_.left_out.end(), [](const LeftOut& a, const LeftOut& b) {
      return std::pair(-a.instances, std::string_view(a.reason)) < std::pair(-b.instances, std::string_view(b.reason));
    });
    return std::move(plan_);
  }

 private:
  struct Row {
    const Node* node = nullptr;
    bool takes_part = false;  // asked about, and takes work
    bool used = false;
    bool gives = false;
    bool takes = false;
    int64_t load = 0;
    Resources given_out;
  };
  // One that is to be moved, with what is asked for it.
  struct Candidate {
    const Instance* instance = nullptr;
    const Ask* ask = nullptr;
    int64_t size = 0;
  };
  // A node that gives: what it may give still, and how many stay.
  struct Source {
    std::vector<Candidate> left;
    int64_t stay = 0;
  };
  struct Mark {
    size_t taken, moves;
    std::map<uint32_t, Given> given;
    std::map<JobId, Counts> counts;
    std::vector<Row> rows;
  };

  // ---- what there is
  void count_seen() {
    int64_t counted = 0;
    s_.instances.for_each([&](uint64_t, const Instance& i) {
      if (const Ask* ask = i.finished ? nullptr : ask_for(i)) columns_.machines().count(ask->request), ++counted;
      return counted < kCountedMax;
    });
  }
  void read_nodes() {
    s_.nodes.for_each([&](uint64_t, const Node& node) {
      Row row{.node = &node};
      row.takes_part = node.health == NodeHealth::ready && node.spec.eligibility == Eligibility::eligible &&
                       node.inventory && (wish_.node_pool.empty() || node.spec.node_pool == wish_.node_pool);
      const NodeUsage& usage = s_.usage_of(node.id);
      demand_.add(usage.used, 1);
      const bool by_number = policy_ == PlacementPolicy::roundrobin;
      row.load = by_number ? static_cast<int64_t>(usage.instances) : load_of(usage.used, allocatable(node));
      row.given_out = usage.used;
      if (row.takes_part) row.used = in_use(node.id);
      rows_.push_back(row);
    });
  }
  bool in_use(NodeId node) const {
    const IdSet* held = s_.instances_by_node.find(node.value);
    bool found = false;
    if (held == nullptr) return false;
    held->for_each([&](uint64_t id, const Unit&) {
      const Instance* i = s_.instances.find(id);
      found = found || (i != nullptr && counts(s_, *i));
      return !found;
    });
    return found;
  }
  void measure(int64_t& used, int64_t& imbalance) const {
    used = 0;
    for (const Row& row : rows_) used += row.used ? 1 : 0;
    const auto n = static_cast<double>(std::max<int64_t>(sums().n, 1));
    const double unit = policy_ == PlacementPolicy::roundrobin ? 1'000 : 1;
    imbalance = std::llround(unit * std::sqrt(static_cast<double>(std::max<int64_t>(sums().spread(), 0))) / n);
  }
  // Of the loads that are to be even.
  struct Sums {
    int64_t n = 0, sum = 0, squares = 0;
    int64_t spread() const { return n * squares - sum * sum; }  // n² times the variance
  };
  Sums sums() const {
    Sums out;
    for (const Row& row : rows_)
      if (row.takes_part) ++out.n, out.sum += row.load, out.squares += row.load * row.load;
    return out;
  }

  const Ask* ask_for(const Instance& i) {
    const JobVersion* version = s_.version_of(i);
    if (version == nullptr) return nullptr;
    auto& ask = asks_[{version->id, i.group}];
    if (!ask) ask = std::make_unique<const Ask>(ask_of(s_, *version, i.group));
    return ask.get();
  }
  // Those of a node that may go, the largest first. `stay`: how many may not.
  std::vector<Candidate> candidates(const Row& row, int64_t& stay) {
    std::vector<Candidate> out;
    const IdSet* held = s_.instances_by_node.find(row.node->id.value);
    if (held == nullptr) return out;
    held->for_each([&](uint64_t id, const Unit&) {
      const Instance* i = s_.instances.find(id);
      if (i == nullptr || !counts(s_, *i)) return;
      std::optional<std::string> why = why_not_movable(s_, *i, wish_.include_batch);
      const Ask* ask = why ? nullptr : ask_for(*i);
      if (!why && packs(ask->policy) != plan_.packing)
        why = plan_.packing ? "its job is to be spread" : "its job is to be packed";
      if (why) return static_cast<void>((++stay, ++left_out_[*why]));
      out.push_back({i, ask, load_of(ask->request.resources, allocatable(*row.node))});
    });
    std::sort(out.begin(), out.end(), [](const Candidate& a, const Candidate& b) {
      return std::pair(-a.size, a.instance->id) < std::pair(-b.size, b.instance->id);
    });
    return out;
  }

  // ---- where it would go
  // Where the instances of its job are, but for itself.
  Counts others_of(const Candidate& c, uint32_t from) {
    if (!c.ask->job) return {};
    const auto [at, fresh] = counts_.try_emplace(c.ask->job);
    if (fresh) {
      if (const IdSet* ids = s_.instances_by_job.find(c.ask->job.value)) {
        ids->for_each([&](uint64_t id, const Unit&) {
          const Instance* i = s_.instances.find(id);
          const bool there =
              i != nullptr && i->node && i->admitted && !i->finished && i->presence != Presence::given_up;
          const uint32_t index = there ? columns_.index_of(i->node) : static_cast<uint32_t>(columns_.size());
          if (index < columns_.size()) ++at->second[index];
        });
      }
    }
    Counts out = at->second;
    if (const auto own = out.find(from); own != out.end() && --own->second == 0) out.erase(own);
    return out;
  }
  Shape& shape_for(const Candidate& c, uint32_t from) {
    if (c.ask->job) {  // its own instances count, and they move
      own_shape_ = std::make_unique<Shape>(s_, columns_, *c.ask, others_of(c, from), 0);
      return *own_shape_;
    }
    auto& shape = shapes_[c.ask->shape];
    if (!shape) shape = std::make_unique<Shape>(s_, columns_, *c.ask, Counts{}, 0);
    return *shape;
  }
  // Of cpu and memory the one that counts may be another then: loads do not add up.
  int64_t load_with(const Candidate& c, uint32_t index) const {
    if (policy_ == PlacementPolicy::roundrobin) return rows_[index].load + 1;
    return load_of(rows_[index].given_out + c.ask->request.resources, allocatable(*rows_[index].node));
  }
  int64_t load_without(const Candidate& c, uint32_t index) const {
    if (policy_ == PlacementPolicy::roundrobin) return rows_[index].load - 1;
    return load_of(rows_[index].given_out - c.ask->request.resources, allocatable(*rows_[index].node));
  }
  // The best of those that `may`, with room for it beside the one that is there.
  template <class May>
  std::optional<uint32_t> best_for(const Candidate& c, uint32_t from, May&& may) {
    Shape& shape = shape_for(c, from);
    const Mask& mask = columns_.mask_of(s_, c.ask->request, c.ask->kind);
    const int64_t here = shape.wishes_on(from);
    std::optional<std::pair<int64_t, uint32_t>> best;
    for (uint32_t i = 0; i < rows_.size(); ++i) {
      const Row& row = rows_[i];
      if (i == from || !row.takes_part || row.gives || !has(mask, i) || !may(i)) continue;
      const auto cost = shape.cost_on(i);
      if (!cost || (best && *cost >= best->first) || shape.wishes_on(i) > here) continue;
      const auto given = given_.find(i);
      if (check_free(s_, c.ask->request, *row.node, columns_.free(i), given == given_.end() ? Given{} : given->second))
        continue;
      best = {*cost, i};
    }
    if (!best) return std::nullopt;
    return best->second;
  }
  // False: a port or a device is missing after all.
  bool move(const Candidate& c, uint32_t from, uint32_t to, std::string why) {
    Placement placement;
    std::optional<size_t> gpu;
    if (!c.ask->request.devices.empty()) gpu = shape_for(c, from).gpu(to);
    if (!give(s_, c.ask->request, *rows_[to].node, given_[to], c.instance->id.value, placement, gpu)) return false;
    columns_.take(to, c.ask->request.resources, placement.devices);
    if (c.ask->job) {
      Counts left = others_of(c, from);
      ++left[to];
      counts_[c.ask->job] = std::move(left);
    }
    rows_[from].load = load_without(c, from), rows_[to].load = load_with(c, to);
    rows_[from].given_out -= c.ask->request.resources, rows_[to].given_out += c.ask->request.resources;
    rows_[to].takes = true;
    Move out{.instance = c.instance->id, .name = s_.name_of(*c.instance), .from = rows_[from].node->id};
    out.to = rows_[to].node->id;
    out.why = std::move(why);
    plan_.moves.push_back(std::move(out));
    return true;
  }
  Mark mark() const { return {columns_.taken(), plan_.moves.size(), given_, counts_, rows_}; }
  void back_to(Mark mark) {
    columns_.undo(mark.taken);
    plan_.moves.resize(mark.moves);
    given_ = std::move(mark.given);
    counts_ = std::move(mark.counts);
    rows_ = std::move(mark.rows);
  }

  // ---- packing
  void pack() {
    std::vector<std::pair<int64_t, uint32_t>> order;
    for (uint32_t i = 0; i < rows_.size(); ++i)
      if (rows_[i].used) order.emplace_back(rows_[i].load, i);
    std::sort(order.begin(), order.end());
    if (order.size() > kNodesTriedMax) order.resize(kNodesTriedMax);
    for (const auto& [load, index] : order) empty(index);
  }
  void empty(uint32_t from) {
    if (rows_[from].takes) return;
    int64_t stay = 0;
    const std::vector<Candidate> all = candidates(rows_[from], stay);
    if (stay > 0 || all.empty()) return;
    const auto number = static_cast<int64_t>(all.size());
    if (plan_.moves.size() + all.size() > wish_.max_moves) {
      left_out_["emptying its node takes more moves than are allowed"] += number;
      return;
    }
    const Mark before = mark();
    const std::string why = "empties " + rows_[from].node->name;
    for (const Candidate& c : all) {
      const auto to = best_for(c, from, [&](uint32_t i) { return rows_[i].used; });
      if (to && move(c, from, *to, why)) continue;
      left_out_["not all of its node's work fits elsewhere"] += number;
      return back_to(before);
    }
    for (size_t i = before.moves; i < plan_.moves.size(); ++i) plan_.moves[i].gain = 1'000 / number;
    rows_[from].gives = true;
    rows_[from].used = false;
  }

  // ---- balancing
  void balance() {
    std::vector<bool> done(rows_.size(), false);
    for (size_t tried = 0; tried < kNodesTriedMax && plan_.moves.size() < wish_.max_moves;) {
      std::optional<uint32_t> busiest;
      for (uint32_t i = 0; i < rows_.size(); ++i) {
        const bool may = rows_[i].takes_part && rows_[i].used && !rows_[i].takes && !done[i];
        if (may && (!busiest || rows_[i].load > rows_[*busiest].load)) busiest = i;
      }
      if (!busiest || !below(rows_[*busiest].load)) return;
      if (relieve(*busiest)) continue;
      done[*busiest] = true;
      ++tried;
    }
  }
  int64_t least_gain() const { return policy_ == PlacementPolicy::roundrobin ? 1 : kLoadGainMin; }
  // Some node is enough below that load to take anything of it.
  bool below(int64_t load) const {
    return std::any_of(rows_.begin(), rows_.end(),
                       [&](const Row& row) { return row.takes_part && !row.gives && row.load + least_gain() <= load; });
  }
  // One instance goes, where that makes the load more even.
  bool relieve(uint32_t from) {
    const auto [known, fresh] = sources_.try_emplace(from);
    if (fresh) known->second.left = candidates(rows_[from], known->second.stay);
    std::vector<Candidate>& all = known->second.left;
    const Sums now = sums();
    std::set<const Ask*> stuck;  // where one did not help, none like it does
    for (size_t n = 0; n < all.size(); ++n) {
      const Candidate c = all[n];
      if (stuck.contains(c.ask)) continue;
      const int64_t there = rows_[from].load;
      const int64_t then = load_without(c, from);
      const auto after = [&](uint32_t to) {
        const int64_t is = rows_[to].load, will_be = load_with(c, to);
        Sums next = now;
        next.sum += then - there + will_be - is;
        next.squares += then * then - there * there + will_be * will_be - is * is;
        return next.spread();
      };
      const auto to = best_for(
          c, from, [&](uint32_t i) { return load_with(c, i) + least_gain() <= there && after(i) < now.spread(); });
      if (!to) {
        stuck.insert(c.ask);
        continue;
      }
      int64_t used = 0, before = 0, later = 0;
      measure(used, before);
      const std::string why =
          "evens out: " + told(from, there, then) + ", " + told(*to, rows_[*to].load, load_with(c, *to));
      if (!move(c, from, *to, why)) continue;
      measure(used, later);
      plan_.moves.back().gain = before - later;
      rows_[from].gives = rows_[*to].used = true;
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(n));
      rows_[from].used = !all.empty() || known->second.stay > 0;
      return true;
    }
    return false;
  }
  std::string told(uint32_t index, int64_t before, int64_t after) const {
    const bool by_number = policy_ == PlacementPolicy::roundrobin;
    const auto text = [&](int64_t load) { return by_number ? std::to_string(load) : std::to_string(load / 10) + "%"; };
    return rows_[index].node->name + " " + text(before) + " -> " + text(after);
  }

  const Snapshot& s_;
  const RebalanceWish& wish_;
  const PlacementPolicy policy_;
  Columns columns_;
  Demand demand_;          // what waits is not counted: it would take all of the instances to find it
  std::vector<Row> rows_;  // by index of columns_
  std::map<std::pair<JobVersionId, uint16_t>, std::unique_ptr<const Ask>> asks_;
  std::map<std::string, std::unique_ptr<Shape>> shapes_;
  std::unique_ptr<Shape> own_shape_;
  std::map<uint32_t, Given> given_;
  std::map<JobId, Counts> counts_;
  std::map<uint32_t, Source> sources_;  // balancing
  std::map<std::string, int64_t> left_out_;
  RebalancePlan plan_;
};

}  // namespace

RebalancePlan propose_rebalance(const Snapshot& snapshot, const RebalanceWish& wish) {
  return Rebalancer(snapshot, wish).run();
}

std::optional<std::string> why_not_movable(const Snapshot& s, const Instance& i, bool include_batch) {
  const Job* job = s.jobs.find(i.job.value);
  const JobVersion* version = s.version_of(i);
  if (job == nullptr || version == nullptr) return "its job is gone";
  if (job->type == JobType::system) return "a system job runs on every node";
  if (job->type == JobType::batch && !include_batch) return "batch work would lose its run";
  if (job->stopped || job->deleted) return "its job is stopped";
  if (i.desired == Desired::removed || i.beside) return "it is being replaced";
  if (i.desired != Desired::running || i.override_ != Override::none) return "its user holds it";
  if (s.presence_of(i) != Presence::here) return "its node is not heard";
  if (!i.admitted || i.finished || i.state != TaskState::running) return "it does not run";
  if (under_way(job->deployment) || job->active_version != i.job_version)
    return "its job is coming up or being updated";
  if (job->deployment.state == DeploymentState::failed || job->deployment.state == DeploymentState::cancelled)
    return "the update of its job came to nothing";
  if (i.pinned) return "it is pinned to its node";
  const JobSpec& spec = *version->spec;
  if (spec.placement.same_node || spec.placement.all_or_nothing) return "its job is placed as a whole";
  for (const size_t task : s.group_of(i).tasks)
    for (const VolumeMount& volume : spec.tasks[task].volumes)
      if (volume.kind == VolumeKind::local) return "it has a volume on its node";
  return std::nullopt;
}

std::optional<std::string> why_not_to(const Snapshot& s, const Instance& i, NodeId to) {
  const JobVersion* version = s.version_of(i);
  const Node* node = s.nodes.find(to.value);
  if (version == nullptr) return "its job is gone";
  if (node == nullptr) return "the node is gone";
  const Request request = request_of(*version->spec, s.group_of(i));
  return check(s, request, *node, allocatable(*node) - s.usage_of(to).used, {});
}

}  // namespace tutti::scheduler
