#include "scheduler/shape.h"

#include <algorithm>
#include <unordered_map>

namespace tutti::scheduler {
namespace {

// An attribute with more values than this, or that would make more groups than that, moves its nodes.
constexpr size_t kGroupedValuesMax = 64;
constexpr size_t kGroupsMax = 256;
constexpr int64_t kPercent = 10'000;  // a share of one percent

std::string kind_of(const Request& request) {
  std::string out = std::to_string(request.feature_level);
  for (const std::string& driver : request.drivers) out += "\n" + driver;
  for (const Constraint& constraint : request.constraints) out += "\n" + constraint.to_string();
  for (const auto& [name, count] : request.node_limits) out += "\n" + name + " " + std::to_string(count);
  for (const DeviceAsk& ask : request.devices)
    out += "\n" + ask.spec.kind + " " + std::to_string(ask.spec.count) + " " + std::to_string(ask.spec.share) + " " +
           std::to_string(ask.spec.memory.value) + " " + to_text(ask.spec);
  return out;
}

std::vector<std::string> images_of(const JobVersion& version, const GroupView& group, PlacementPolicy policy) {
  std::vector<std::string> out;
  if (!likes_images(policy)) return out;
  for (const size_t task : group.tasks) {
    const auto resolved = version.images.find(version.spec->tasks[task].image);
    if (resolved == version.images.end()) continue;
    out.push_back(resolved->second.substr(resolved->second.find('@') + 1));
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

bool better(const ScanBest& a, const ScanBest& b) {
  if (a.index == UINT32_MAX || b.index == UINT32_MAX) return a.index != UINT32_MAX;
  return a.score < b.score || (a.score == b.score && a.index <= b.index);
}

template <class F>
void for_each_bit(const Mask& mask, F&& visit) {
  for (size_t word = 0; word < mask.size(); ++word)
    for (uint64_t left = mask[word]; left != 0; left &= left - 1)
      visit(static_cast<uint32_t>(word * 64 + static_cast<size_t>(__builtin_ctzll(left))));
}

}  // namespace

namespace {

// Those of the job that are somewhere and want to stay together there.
template <class F>
void each_together(const Snapshot& snapshot, JobId job, F&& what) {
  const IdSet* ids = snapshot.instances_by_job.find(job.value);
  if (ids == nullptr) return;
  ids->for_each([&](uint64_t id, const Unit&) {
    const Instance* i = snapshot.instances.find(id);
    const bool there = i != nullptr && i->node && !i->cleared && !i->finished && i->presence != Presence::given_up;
    if (there && snapshot.version_of(*i)->spec->placement.same_node) what(*i);
  });
}

}  // namespace

NodeId node_of_job(const Snapshot& snapshot, JobId job) {
  NodeId running, waiting;  // the latter has its disk there
  each_together(snapshot, job, [&](const Instance& i) { (i.admitted ? running : waiting) = i.node; });
  return running ? running : waiting;
}

bool apart_from_job(const Snapshot& snapshot, const Instance& instance, NodeId node) {
  if (!snapshot.version_of(instance)->spec->placement.same_node) return false;
  bool apart = false;
  each_together(snapshot, instance.job,
                [&](const Instance& i) { apart = apart || (i.admitted && i.id != instance.id && i.node != node); });
  return apart;
}

Ask ask_of(const Snapshot& snapshot, const JobVersion& version, uint16_t group) {
  const JobSpec& spec = *version.spec;
  Ask out;
  out.request = request_of(spec, (**snapshot.groups.find(version.id.value))[group]);
  out.kind = kind_of(out.request);
  out.policy = policy_of(spec, snapshot.pool);
  out.wishes = spec.placement;
  const Resources& r = out.request.resources;
  out.shape = std::to_string(r.cpu.value) + " " + std::to_string(r.memory.value) + " " + std::to_string(r.disk.value) +
              " " + std::to_string(static_cast<int>(out.policy)) + " " + out.kind;
  for (const Affinity& affinity : out.wishes.affinities)
    out.shape += "\n" + std::to_string(affinity.weight) + " " + affinity.constraint;
  out.images = images_of(version, (**snapshot.groups.find(version.id.value))[group], out.policy);
  for (const std::string& digest : out.images) out.shape += "\n" + digest;
  if (out.policy == PlacementPolicy::spread || !out.wishes.spread.empty()) out.job = version.job;
  // Ports may leave a node out that suits others; a spread is about one job's own instances.
  if (out.job || !out.request.ports.empty())
    out.shape += "\nof " + std::to_string(version.id.value) + " " + std::to_string(group);
  return out;
}

std::vector<int64_t> shares_of(const SpreadOver& over, const std::vector<std::string>& values,
                               const std::vector<bool>& present) {
  std::vector<int64_t> out(values.size(), 0);
  int64_t left = 100;
  for (const auto& [value, percent] : over.targets) left -= percent;
  int64_t rest = 0;
  auto is_rest = [&](size_t i) { return present[i] && !values[i].empty() && !over.targets.contains(values[i]); };
  for (size_t i = 0; i < values.size(); ++i) rest += is_rest(i) ? 1 : 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const auto target = over.targets.find(values[i]);
    if (target != over.targets.end())
      out[i] = target->second * kPercent;
    else if (is_rest(i))
      out[i] = left * kPercent / rest;
  }
  return out;
}

Tournament::Tournament(size_t words) {
  while (leaves_ < words) leaves_ *= 2;
  tree_.resize(2 * leaves_);
}

void Tournament::fill(const std::vector<ScanBest>& best) {
  std::copy(best.begin(), best.end(), tree_.begin() + static_cast<std::ptrdiff_t>(leaves_));
  for (size_t i = leaves_ - 1; i > 0; --i)
    tree_[i] = better(tree_[2 * i], tree_[2 * i + 1]) ? tree_[2 * i] : tree_[2 * i + 1];
}

void Tournament::set(size_t word, ScanBest best) {
  size_t i = leaves_ + word;
  tree_[i] = best;
  for (i /= 2; i > 0; i /= 2) {
    const ScanBest& winner = better(tree_[2 * i], tree_[2 * i + 1]) ? tree_[2 * i] : tree_[2 * i + 1];
    if (winner == tree_[i]) return;
    tree_[i] = winner;
  }
}

Shape::Shape(const Snapshot& snapshot, Columns& columns, const Ask& ask, const Counts& counts, size_t seen)
    : columns_(columns),
      scan_(fastest_scan()),
      family_(family_of(ask.policy)),
      asked_(ask.request.resources),
      request_(columns.scan_request(ask.request.resources, ask.policy)),
      job_(ask.job),
      seen_(seen) {
  columns.need(family_);
  view_ = columns.view(family_);
  if (ask.policy == PlacementPolicy::fragmentation) {
    columns.need_machines(snapshot);
    costs_ = &columns.machines().costs_of(ask.shape, ask.request);
  }
  const Mask mask = columns.mask_of(snapshot, ask.request, ask.kind);
  add_dimensions(snapshot, ask, mask, counts);
  add_groups(snapshot, ask);
  add_classes(mask);
}

int64_t Shape::Dimension::cost(uint32_t value) const {
  if (shares.empty()) return spread_cost(weight, counts[value], 1, 1);
  return spread_cost_by_share(weight, counts[value], shares[value], largest_share);
}

void Shape::add_dimensions(const Snapshot& snapshot, const Ask& ask, const Mask& mask, const Counts& counts) {
  size_t groups = 1;
  for (const SpreadOver& over : ask.wishes.spread) {
    const AttributeColumn& column = columns_.attribute(snapshot, over.attribute);
    Dimension d;
    d.weight = over.weight;
    d.value_of = column.value_of;
    d.counts.assign(column.values.size(), 0);
    for (const auto& [index, count] : counts) d.counts[d.value_of[index]] += count;
    std::vector<bool> present(column.values.size(), false);
    for_each_bit(mask, [&](uint32_t i) { present[d.value_of[i]] = true; });
    d.shares = shares_of(over, column.values, present);
    for (const int64_t share : d.shares) d.largest_share = std::max(d.largest_share, share);
    d.moves = column.values.size() > kGroupedValuesMax || groups * column.values.size() > kGroupsMax;
    if (d.moves) {
      d.nodes.resize(column.values.size());
      for_each_bit(mask, [&](uint32_t i) { d.nodes[d.value_of[i]].push_back(i); });
    } else {
      groups *= column.values.size();
    }
    dimensions_.push_back(std::move(d));
  }
  if (ask.policy != PlacementPolicy::spread) return;
  Dimension d;
  d.moves = true;
  d.counts.assign(columns_.size(), 0);
  for (const auto& [index, count] : counts) d.counts[index] += count;
  dimensions_.push_back(std::move(d));
}

// Nodes that meet the same affinities, hold as much of the images, and share the values of what does not move.
void Shape::add_groups(const Snapshot& snapshot, const Ask& ask) {
  std::vector<Dimension*> still;
  for (Dimension& d : dimensions_)
    if (!d.moves) still.push_back(&d);
  std::vector<Mask> masks;
  for (const Affinity& affinity : ask.wishes.affinities)
    masks.push_back(columns_.matching(snapshot, affinity.constraint));
  // Most nodes hold none of them; where no node does there is nothing to tell apart.
  const std::vector<uint8_t>* images = ask.images.empty() ? nullptr : &columns_.images(snapshot, ask.images);
  if (images != nullptr && std::all_of(images->begin(), images->end(), [](uint8_t each) { return each == 0; }))
    images = nullptr;
  if (still.empty() && masks.empty() && images == nullptr) {
    affinity_of_.assign(1, 0), values_.resize(1), by_group_.resize(1);
    return;
  }
  for (Dimension* d : still) d->groups.resize(d->counts.size());
  std::unordered_map<uint64_t, uint32_t> known;  // looked up, never iterated
  group_of_.resize(columns_.size());
  for (uint32_t i = 0; i < columns_.size(); ++i) {
    uint64_t key = 0;
    for (const Mask& mask : masks) key = key << 1 | (has(mask, i) ? 1 : 0);
    for (const Dimension* d : still) key = key * d->counts.size() + d->value_of[i];
    if (images != nullptr) key = key * (kImageWeightMax + 1) + (*images)[i];
    const auto [at, fresh] = known.try_emplace(key, static_cast<uint32_t>(values_.size()));
    group_of_[i] = at->second;
    if (!fresh) continue;
    int64_t cost = 0;
    for (size_t a = 0; a < masks.size(); ++a)
      cost += has(masks[a], i) ? affinity_cost(ask.wishes.affinities[a].weight) : 0;
    if (images != nullptr) cost += affinity_cost((*images)[i]);
    affinity_of_.push_back(cost);
    values_.emplace_back();
    for (Dimension* d : still) {
      values_.back().push_back(d->value_of[i]);
      d->groups[d->value_of[i]].push_back(at->second);
    }
  }
  by_group_.resize(values_.size());
}

int64_t Shape::group_dimensions_cost(uint32_t group) const {
  int64_t cost = affinity_of_[group];
  size_t at = 0;
  for (const Dimension& d : dimensions_)
    if (!d.moves) cost += d.cost(values_[group][at++]);
  return cost;
}

int64_t Shape::moving_cost(uint32_t index) const {
  int64_t cost = 0;
  for (const Dimension& d : dimensions_)
    if (d.moves) cost += d.cost(d.value(index));
  return cost;
}

void Shape::add_classes(const Mask& mask) {
  const bool moves = std::any_of(dimensions_.begin(), dimensions_.end(), [](const Dimension& d) { return d.moves; });
  if (moves) {
    moving_of_.resize(columns_.size());
    for (uint32_t i = 0; i < columns_.size(); ++i) moving_of_[i] = moving_cost(i);
  }
  if (!moves && group_of_.empty())
    class_at(0, 0).mask = mask;
  else
    for_each_bit(mask, [&](uint32_t i) { set_bit(class_of(i).mask, i, true); });
  for (const auto& each : classes_) {
    std::vector<ScanBest> best(each->mask.size());
    for (size_t word = 0; word < best.size(); ++word) best[word] = scan(*each, word);
    each->words.fill(best);
  }
}

Shape::Class& Shape::class_at(uint32_t group, int64_t moving) {
  for (const auto& [cost, at] : by_group_[group])
    if (cost == moving) return *at;
  auto fresh = std::make_unique<Class>();
  fresh->cost = group_dimensions_cost(group) + moving;
  fresh->group = group;
  fresh->mask.resize(columns_.words());
  fresh->words = Tournament(columns_.words());
  by_group_[group].emplace_back(moving, fresh.get());
  classes_.push_back(std::move(fresh));
  return *classes_.back();
}

Shape::Class& Shape::class_of(uint32_t index) {
  if (group_of_.empty() && moving_of_.empty()) return *classes_.front();
  return class_at(group_of_.empty() ? 0 : group_of_[index], moving_of_.empty() ? 0 : moving_of_[index]);
}

ScanBest Shape::scan(const Class& of, size_t word) const {
  if (of.mask[word] == 0) return {};
  if (costs_ != nullptr) return scan_costs(of.mask[word], static_cast<uint32_t>(word * 64));
  ScanColumns one = view_;
  one.ab += word * 64, one.cd += word * 64, one.cpu += word * 64, one.memory += word * 64, one.disk += word * 64;
  one.mask = &of.mask[word];
  one.words = 1;
  ScanBest out = scan_(one, request_);
  if (out.index != UINT32_MAX) out.index += static_cast<uint32_t>(word * 64);
  return out;
}

// Of this node alone.
ScanBest Shape::measure(uint32_t index) const {
  const ScanRequest& r = request_;
  if (view_.cpu[index] < r.cpu || view_.memory[index] < r.memory || (r.disk > 0 && view_.disk[index] < r.disk))
    return {};
  return {score_of(view_.ab[index], view_.cd[index], r), index};
}

ScanBest Shape::scan_costs(uint64_t bits, uint32_t first) const {
  ScanBest out;
  for (; bits != 0; bits &= bits - 1) {
    const uint32_t index = first + static_cast<uint32_t>(__builtin_ctzll(bits));
    if (!asked_.fits(columns_.free(index))) continue;
    const int32_t cost = columns_.machines().cost(*costs_, index).cost;
    if (cost == INT32_MAX) continue;
    const int32_t score = score_of_valuation(cost);
    if (out.index == UINT32_MAX || score < out.score) out = {score, index};
  }
  return out;
}

std::optional<size_t> Shape::gpu(uint32_t index) const {
  if (costs_ == nullptr || costs_->task.count == 0) return std::nullopt;
  return columns_.machines().device_of(*costs_, index);
}

int64_t Shape::wishes_on(uint32_t index) const {
  return group_dimensions_cost(group_of_.empty() ? 0 : group_of_[index]) + (moving_of_.empty() ? 0 : moving_of_[index]);
}

std::optional<int64_t> Shape::cost_on(uint32_t index) const {
  const uint32_t first = index / 64 * 64;
  const ScanBest found = costs_ != nullptr ? scan_costs(uint64_t{1} << (index - first), first) : measure(index);
  if (found.index == UINT32_MAX) return std::nullopt;
  return wishes_on(index) + found.score;
}

void Shape::scan_word(Class& of, size_t word) const {
  of.words.set(word, scan(of, word));
}

const Shape::Class* Shape::best_class() const {
  const Class* best = nullptr;
  for (const auto& each : classes_) {
    const ScanBest& top = each->words.top();
    if (top.index == UINT32_MAX) continue;
    if (best != nullptr) {
      const int64_t total = each->cost + top.score;
      const int64_t so_far = best->cost + best->words.top().score;
      if (total > so_far || (total == so_far && top.index > best->words.top().index)) continue;
    }
    best = each.get();
  }
  return best;
}

std::optional<uint32_t> Shape::best(uint32_t avoid) {
  const Class* found = best_class();
  if (found == nullptr) return std::nullopt;
  const uint32_t index = found->words.top().index;
  if (index != avoid) return index;
  Class& its = class_of(avoid);
  set_bit(its.mask, avoid, false);
  scan_word(its, avoid / 64);
  const Class* other = best_class();
  const uint32_t out = other == nullptr ? avoid : other->words.top().index;
  set_bit(its.mask, avoid, true);
  scan_word(its, avoid / 64);
  return out;
}

void Shape::exclude(uint32_t index) {
  Class& its = class_of(index);
  set_bit(its.mask, index, false);
  scan_word(its, index / 64);
}

void Shape::touch(uint32_t index) {
  Class& its = class_of(index);
  if (!has(its.mask, index)) return;
  const size_t word = index / 64;
  if (costs_ != nullptr) return scan_word(its, word);
  const ScanBest now = measure(index);
  const ScanBest& best = its.words.at(word);
  if (better(now, best))
    its.words.set(word, now);
  else if (best.index == index)
    scan_word(its, word);
}

void Shape::catch_up(const std::vector<Taken>& placed) {
  for (; seen_ < placed.size(); ++seen_) {
    const Taken& taken = placed[seen_];
    if (job_ && taken.job == job_) count(taken.index);
    // Of many on one node the last is enough.
    if (!taken.again) touch(taken.index);
  }
}

void Shape::count(uint32_t index) {
  for (Dimension& d : dimensions_) {
    const uint32_t value = d.value(index);
    ++d.counts[value];
    if (!d.moves) {
      for (const uint32_t group : d.groups[value])
        for (const auto& [moving, each] : by_group_[group]) each->cost = group_dimensions_cost(group) + moving;
    } else if (d.nodes.empty()) {
      move(index);
    } else {
      for (const uint32_t node : d.nodes[value]) move(node);
    }
  }
}

void Shape::move(uint32_t index) {
  const int64_t cost = moving_cost(index);
  if (cost == moving_of_[index]) return;
  Class& from = class_of(index);
  moving_of_[index] = cost;
  if (!has(from.mask, index)) return;
  set_bit(from.mask, index, false);
  scan_word(from, index / 64);
  Class& to = class_of(index);
  set_bit(to.mask, index, true);
  scan_word(to, index / 64);
}

}  // namespace tutti::scheduler
