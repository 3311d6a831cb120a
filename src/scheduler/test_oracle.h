#pragma once
// Oracle: places one instance at a time, looks at every node for it and computes everything anew: what scheduler.h
// promises, and nothing clever. Only for tests.

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/random.h"
#include "model/plan.h"
#include "model/snapshot.h"
#include "scheduler/feasible.h"
#include "scheduler/policy.h"
#include "scheduler/scan.h"
#include "scheduler/shape.h"

namespace tutti::scheduler {

class Oracle {
 public:
  Oracle(const Snapshot& s, uint64_t seed) : s_(s), seed_(seed) {
    s.nodes.for_each([&](uint64_t id, const Node& node) {
      const NodeUsage& usage = s.usage_of(node.id);
      Row row{&node, allocatable(node), allocatable(node) - usage.used, usage.instances, {}, {}};
      scale_.largest.cpu = std::max(scale_.largest.cpu, row.all.cpu);
      scale_.largest.memory = std::max(scale_.largest.memory, row.all.memory);
      total_ += row.all;
      rows_[id] = row;
    });
    Demand demand;
    s.instances.for_each([&](uint64_t, const Instance& i) {
      if (!i.finished && i.presence != Presence::given_up) demand.add(s.group_of(i).resources, 1);
      if (!i.admitted || i.finished) return;
      used_[project(i)] += s.group_of(i).resources;
      if (rows_.contains(i.node.value)) ++rows_[i.node.value].jobs[i.job];
    });
    scale_.mix = mix_of(demand, total_);
  }

  std::vector<Placement> plan(Time now) {
    s_.pending.for_each([&](uint64_t id, const Unit&) {
      if (s_.instances.find(id)->not_before <= now) waiting_.push_back(s_.instances.find(id));
    });
    while (!waiting_.empty()) {
      const Instance* i =
          *std::min_element(waiting_.begin(), waiting_.end(),
                            [&](const Instance* a, const Instance* b) { return order(*a) < order(*b); });
      const PlacementSpec& wishes = spec(*i).placement;
      if ((wishes.same_node || wishes.all_or_nothing) && !i->pinned && !i->node) {
        place_together(*i);
        continue;
      }
      std::erase(waiting_, i);
      if (!apart(*i)) place(*i);
    }
    return out_;
  }

 private:
  struct Row {
    const Node* node = nullptr;
    Resources all;
    Resources free;
    uint32_t instances = 0;
    Given given;
    std::map<JobId, int64_t> jobs;
  };
  const JobSpec& spec(const Instance& i) const { return *s_.version_of(i)->spec; }
  ProjectId project(const Instance& i) const { return s_.jobs.find(i.job.value)->project; }
  std::tuple<int32_t, int64_t, Time, InstanceId> order(const Instance& i) {
    const Resources used = used_[project(i)];
    const int64_t cpu = total_.cpu.value <= 0 ? 0 : used.cpu.value * 1'000'000 / total_.cpu.value;
    const int64_t all = total_.memory.value >> 20;
    const int64_t memory = all <= 0 ? 0 : (used.memory.value >> 20) * 1'000'000 / all;
    return {-spec(i).priority, std::max(cpu, memory), i.pending_since, i.id};
  }

  // It may go to one node only, and the rest of its job, which stays together, runs on another.
  bool apart(const Instance& i) {
    bool out = false;
    const NodeId own = i.node && !i.cleared ? i.node : i.pinned;
    if (!own || !spec(i).placement.same_node) return false;
    s_.instances.for_each([&](uint64_t, const Instance& other) {
      out = out || (other.job == i.job && other.admitted && !other.finished && !other.cleared && other.node != own);
    });
    return out;
  }

  bool place(const Instance& i, NodeId only = {}) {
    const Request request = request_of(s_, i);
    std::set<uint64_t> excluded;
    while (true) {
      std::optional<std::tuple<bool, int64_t, uint64_t>> best;
      for (auto& [id, row] : rows_) {
        if (excluded.contains(id) || (only && only.value != id)) continue;
        if (check(s_, request, *row.node, row.free, row.given)) continue;
        const std::tuple key{NodeId{id} == i.detail->avoid, cost(i, request, row), id};
        if (!best || key < *best) best = key;
      }
      if (!best) return false;
      Row& row = rows_[std::get<2>(*best)];
      Placement out{i.id, i.generation, row.node->id, {}, {}, spec(i).placement.all_or_nothing && !i.pinned && !i.node};
      if (!give(s_, request, *row.node, row.given, SeededRandom(seed_ ^ i.id.value).next(), out)) {
        excluded.insert(std::get<2>(*best));
        continue;
      }
      row.free -= request.resources;
      ++row.instances;
      ++row.jobs[i.job];
      used_[project(i)] += request.resources;
      out_.push_back(out);
      return true;
    }
  }

  int64_t cost(const Instance& i, const Request& request, const Row& row) {
    const PolicyScore score = score_on(i, request, row);
    int64_t out = score.value;
    const PlacementSpec& wishes = spec(i).placement;
    for (const Affinity& affinity : wishes.affinities) {
      const auto parsed = Constraint::parse(affinity.constraint);
      if (parsed->matches([&](std::string_view key) { return node_attribute(*row.node, key); }))
        out += affinity_cost(affinity.weight);
    }
    out += images(i, score.policy, row);
    for (const SpreadOver& over : wishes.spread) out += spread(i, request, over, row);
    if (score.policy == PlacementPolicy::spread) out += spread_cost(100, count_of(row, i.job), 1, 1);
    return out;
  }
  struct PolicyScore {
    PlacementPolicy policy;
    int32_t value;
  };
  PolicyScore score_on(const Instance& i, const Request& request, const Row& row) const {
    const PlacementPolicy policy = policy_of(spec(i), s_.pool);
    const Factors node = node_factors(family_of(policy), row.free, row.all, scale_, row.instances);
    const Factors asked = request_factors(policy, request.resources, scale_);
    const ScanRequest scan{.ab = asked.ab, .cd = asked.cd, .flip = flip_of(policy)};
    return {policy, score_of(node.ab, node.cd, scan)};
  }
  // Wants the whole group's images; each of them once.
  int64_t images(const Instance& i, PlacementPolicy policy, const Row& row) const {
    if (!likes_images(policy) || row.node->images == nullptr) return 0;
    std::set<std::string> wanted;
    for (const size_t task : s_.group_of(i).tasks)
      if (!spec(i).tasks[task].image.empty()) wanted.insert("sha256:" + spec(i).tasks[task].image);
    int32_t weight = 0;
    for (const HeldImage& held : row.node->images->held)
      if (wanted.contains(held.digest)) weight += image_weight(held.bytes.value);
    return affinity_cost(std::min(weight, kImageWeightMax));
  }
  static int64_t count_of(const Row& row, JobId job) {
    const auto at = row.jobs.find(job);
    return at == row.jobs.end() ? 0 : at->second;
  }
  int64_t spread(const Instance& i, const Request& request, const SpreadOver& over, const Row& at) {
    std::vector<std::string> values;
    std::vector<bool> present;
    std::vector<int64_t> counts;
    size_t mine = 0;
    for (const auto& [id, row] : rows_) {
      const std::string value = row.node->inventory ? node_attribute(*row.node, over.attribute).value_or("") : "";
      const auto found = std::find(values.begin(), values.end(), value);
      const auto index = static_cast<size_t>(found - values.begin());
      if (found == values.end()) values.push_back(value), present.push_back(false), counts.push_back(0);
      Request lasting = request;
      if (!check_lasting(s_, lasting, *row.node)) present[index] = true;
      counts[index] += count_of(row, i.job);
      if (&row == &at) mine = index;
    }
    const std::vector<int64_t> shares = shares_of(over, values, present);
    const int64_t largest = std::max<int64_t>(1, *std::max_element(shares.begin(), shares.end()));
    if (shares[mine] <= 0) return spread_cost(over.weight, 0, 0, 1);
    return spread_cost(over.weight, counts[mine], 1'000, std::min<int64_t>(largest * 1'000 / shares[mine], 100'000));
  }

  // All that wait of the job version: every one, or none.
  void place_together(const Instance& first) {
    std::vector<const Instance*> all;
    for (const Instance* i : waiting_)
      if (i->job == first.job && i->job_version == first.job_version && !i->pinned && !i->node) all.push_back(i);
    std::sort(all.begin(), all.end(), [](const Instance* a, const Instance* b) {
      return std::pair(a->pending_since, a->id) < std::pair(b->pending_since, b->id);
    });
    std::erase_if(waiting_, [&](const Instance* i) { return std::find(all.begin(), all.end(), i) != all.end(); });
    if (!spec(first).placement.same_node) {
      try_all(all, {});
      return;
    }
    NodeId anchor;
    s_.instances.for_each([&](uint64_t, const Instance& i) {
      if (i.job == first.job && i.node && !i.cleared && !i.finished) anchor = i.node;
    });
    if (anchor) {
      if (rows_.contains(anchor.value)) try_all(all, anchor);
      return;
    }
    std::vector<std::pair<int64_t, NodeId>> nodes;
    Request sum = request_of(s_, first);
    sum.resources = {};
    for (const Instance* i : all) sum.resources += request_of(s_, *i).resources;
    for (const auto& [id, row] : rows_) {
      if (!sum.resources.fits(row.free)) continue;
      Instance plain = first;
      int64_t out = score_on(plain, sum, row).value;
      for (const Affinity& affinity : spec(first).placement.affinities) {
        const auto parsed = Constraint::parse(affinity.constraint);
        if (parsed->matches([&](std::string_view key) { return node_attribute(*row.node, key); }))
          out += affinity_cost(affinity.weight);
      }
      nodes.emplace_back(out, row.node->id);
      nodes.back().first += images(first, policy_of(spec(first), s_.pool), row);
      if (policy_of(spec(first), s_.pool) == PlacementPolicy::spread) nodes.back().first += spread_cost(100, 0, 1, 1);
    }
    std::sort(nodes.begin(), nodes.end());
    for (const auto& [cost, node] : nodes)
      if (try_all(all, node)) return;
  }
  bool try_all(const std::vector<const Instance*>& all, NodeId node) {
    const auto rows = rows_;
    const auto out = out_;
    const auto used = used_;
    for (const Instance* i : all) {
      if (place(*i, node)) continue;
      rows_ = rows, out_ = out, used_ = used;
      return false;
    }
    return true;
  }

  const Snapshot& s_;
  const uint64_t seed_;
  Resources total_;
  Scale scale_;
  std::map<uint64_t, Row> rows_;
  std::map<ProjectId, Resources> used_;
  std::vector<const Instance*> waiting_;
  std::vector<Placement> out_;
};

}  // namespace tutti::scheduler
