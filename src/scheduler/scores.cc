#include "scheduler/scores.h"

#include <algorithm>

namespace tutti::scheduler {
namespace {

bool has_place(const Instance& i) {
  return i.admitted && i.node && !i.finished && i.presence != Presence::given_up;
}

std::string value_of(const std::string& attribute, const Node& node) {
  return node.inventory ? node_attribute(node, attribute).value_or("") : "";
}

size_t index_in(std::vector<std::string>& values, const std::string& value) {
  const auto at = std::find(values.begin(), values.end(), value);
  if (at != values.end()) return static_cast<size_t>(at - values.begin());
  values.push_back(value);
  return values.size() - 1;
}

// Comes after everything else.
constexpr int64_t kAvoided = 10'000'000 * kCountCost;

}  // namespace

Vacancy vacancy_for(const Snapshot& s, const Instance& i, const Request& request, const Node& node) {
  Vacancy out{allocatable(node) - s.usage_of(node.id).used, {}, request};
  if (!has_place(i) || i.node != node.id) return out;
  out.free += charge(i, s.group_of(i).resources);
  for (const auto& [name, count] : s.group_of(i).node_limits) out.given.limits[name] -= count;
  for (const DeviceBinding& b : i.detail->devices) out.given.devices[b.device] -= b.share;
  std::erase_if(out.request.ports, [&](const PortBinding& asked) {
    return std::any_of(i.detail->ports.begin(), i.detail->ports.end(),
                       [&](const PortBinding& held) { return port_key(held) == port_key(asked); });
  });
  return out;
}

Scores::Scores(const Snapshot& s, const Instance& i)
    : snapshot_(s), instance_(i), ask_(ask_of(s, *s.version_of(i), i.group)), request_(request_of(s, i)) {
  Resources total;
  s.nodes.for_each([&](uint64_t, const Node& node) {
    const Resources all = allocatable(node);
    total += all;
    scale_.largest.cpu = std::max(scale_.largest.cpu, all.cpu);
    scale_.largest.memory = std::max(scale_.largest.memory, all.memory);
  });
  Demand demand;
  s.instances.for_each([&](uint64_t, const Instance& each) {
    if (!each.finished && each.presence != Presence::given_up && s.version_of(each) != nullptr)
      demand.add(s.group_of(each).resources, 1);
    if (each.job == i.job && each.id != i.id && has_place(each)) ++of_job_[each.node];
  });
  scale_.mix = mix_of(demand, total);
  asked_ = request_factors(ask_.policy, request_.resources, scale_);
  for (const SpreadOver& over : ask_.wishes.spread) add_spread(over);
  if (ask_.policy == PlacementPolicy::fragmentation) count_for_machines();
}

int64_t Scores::instances_of_job_on(NodeId node) const {
  const auto at = of_job_.find(node);
  return at == of_job_.end() ? 0 : at->second;
}

bool Scores::is_there(NodeId node) const {
  return has_place(instance_) && instance_.node == node;
}

void Scores::add_spread(const SpreadOver& spread) {
  Over out;
  out.spread = spread;
  std::vector<bool> present;
  snapshot_.nodes.for_each([&](uint64_t, const Node& node) {
    const size_t value = index_in(out.values, value_of(spread.attribute, node));
    present.resize(out.values.size());
    out.counts.resize(out.values.size());
    if (!check_lasting(snapshot_, ask_.request, node)) present[value] = true;
    out.counts[value] += instances_of_job_on(node.id);
  });
  out.shares = shares_of(spread, out.values, present);
  for (const int64_t share : out.shares) out.largest_share = std::max(out.largest_share, share);
  spread_.push_back(std::move(out));
}

void Scores::count_for_machines() {
  snapshot_.nodes.for_each([&](uint64_t, const Node& node) {
    const auto index = static_cast<uint32_t>(index_.size());
    index_.emplace(node.id, index);
  });
  snapshot_.instances.for_each([&](uint64_t, const Instance& each) {
    const JobVersion* version = snapshot_.version_of(each);
    if (version != nullptr && policy_of(*version->spec, snapshot_.pool) == PlacementPolicy::fragmentation)
      machines_.count(request_of(*version->spec, snapshot_.group_of(each)));
  });
  machines_.begin(snapshot_);
  if (has_place(instance_) && index_.contains(instance_.node))
    machines_.take(index_[instance_.node], snapshot_.group_of(instance_).resources, instance_.detail->devices, -1);
  machines_.begin_round();
}

int64_t Scores::machine_cost(const Node& node) {
  return score_of_valuation(machines_.cost(machines_.costs_of(ask_.shape, ask_.request), index_[node.id]).cost);
}

std::vector<Scores::Term> Scores::of(const Node& node) {
  std::vector<Term> out;
  const Vacancy vacancy = vacancy_for(snapshot_, instance_, request_, node);
  const uint32_t instances = snapshot_.usage_of(node.id).instances - (is_there(node.id) ? 1 : 0);
  const Factors factors = node_factors(family_of(ask_.policy), vacancy.free, allocatable(node), scale_, instances);
  for (const ScorePart& part : parts_of(ask_.policy, factors, asked_)) out.push_back({part.name, part.cost});
  if (ask_.policy == PlacementPolicy::fragmentation) out.push_back({"idle GPU made useless", machine_cost(node)});
  for (const Affinity& affinity : ask_.wishes.affinities) {
    const auto parsed = Constraint::parse(affinity.constraint);
    if (parsed && node.inventory && parsed->matches([&](std::string_view key) { return node_attribute(node, key); }))
      out.push_back({"affinity " + affinity.constraint, affinity_cost(affinity.weight)});
  }
  if (const int32_t weight = weight_of_images(node, ask_.images))
    out.push_back({"image there already", affinity_cost(weight)});
  for (Over& over : spread_) {
    const size_t value = index_in(over.values, value_of(over.spread.attribute, node));
    out.push_back(
        {"spread over " + over.spread.attribute,
         spread_cost_by_share(over.spread.weight, over.counts[value], over.shares[value], over.largest_share)});
  }
  if (ask_.policy == PlacementPolicy::spread)
    out.push_back({"others of the job there", spread_cost(100, instances_of_job_on(node.id), 1, 1)});
  if (instance_.detail->avoid == node.id) out.push_back({"lost or failed there before", kAvoided});
  return out;
}

}  // namespace tutti::scheduler
