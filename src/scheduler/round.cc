#include "scheduler/round.h"

#include <algorithm>

#include "base/limits.h"
#include "base/random.h"

namespace tutti::scheduler {
namespace {

// What of a node's row the class mask has not said yet.
bool asks_for_more_than_room(const Request& request) {
  return !request.ports.empty() || !request.node_limits.empty() || !request.devices.empty();
}

}  // namespace

Round::Round(const Snapshot& snapshot, Columns& columns, Queue& queue, Leeway& leeway, ProjectUse& used, uint64_t seed,
             size_t most)
    : snapshot_(snapshot),
      columns_(columns),
      queue_(queue),
      leeway_(leeway),
      used_(used),
      used_before_(used),
      seed_(seed),
      most_(most),
      last_on_(columns.size(), 0) {}

Plan Round::run() {
  plan_.based_on = snapshot_.revision;
  columns_.machines().begin_round();
  for (auto& [level, projects] : queue_.ready()) {
    if (full()) break;
    serve_level(projects);
  }
  plan_.more = full();
  finish();
  return std::move(plan_);
}

// One level of priority: the project with the smallest share comes first.
void Round::serve_level(std::map<ProjectId, Line>& projects) {
  std::set<Turn> turns;
  for (const auto& [project, line] : projects)
    if (!line.empty()) turns.insert(turn_of(project, line));
  while (!turns.empty() && !full()) {
    const ProjectId project = std::get<2>(*turns.begin());
    turns.erase(turns.begin());
    Line& line = projects.find(project)->second;
    do serve(*line.begin()->second);
    while (!full() && !line.empty() && (turns.empty() || turn_of(project, line) < *turns.begin()));
    if (!line.empty()) turns.insert(turn_of(project, line));
  }
}

Round::Turn Round::turn_of(ProjectId project, const Line& line) const {
  const auto at = used_.find(project);
  const Resources used = at == used_.end() ? Resources{} : at->second;
  const Resources& all = columns_.total();
  // In millionths of the pool.
  const int64_t cpu = all.cpu.value <= 0 ? 0 : used.cpu.value * 1'000'000 / all.cpu.value;
  const int64_t memory =
      (all.memory.value >> 20) <= 0 ? 0 : (used.memory.value >> 20) * 1'000'000 / (all.memory.value >> 20);
  const Lane& lane = *line.begin()->second;
  const Waiting& first = lane.waiting[lane.next];
  return {std::max(cpu, memory), {first.since, first.id}, project};
}

void Round::serve(Lane& lane) {
  if (lane.together) return serve_together(lane);
  const Waiting& waiting = lane.waiting[lane.next];
  const bool placed = lane.own ? place_on_its_node(waiting, lane) : place(waiting, *lane.ask, lane.project, false);
  if (placed || (lane.preempts && push_aside(waiting, lane))) return queue_.advance(lane);
  plan_.refused.push_back(waiting.id);
  queue_.block(lane);
}

bool Round::place(const Waiting& waiting, const Ask& ask, ProjectId project, bool together) {
  Shape& shape = shape_of(ask);
  shape.catch_up(placed_);
  const uint32_t avoid = waiting.avoid ? columns_.index_of(waiting.avoid) : static_cast<uint32_t>(columns_.size());
  while (const auto index = shape.best(avoid)) {
    if (try_node(waiting, ask.request, *index, project, together, shape.gpu(*index))) return true;
    shape.exclude(*index);
  }
  return false;
}

bool Round::place_on_its_node(const Waiting& waiting, const Lane& lane) {
  const uint32_t index = columns_.index_of(lane.own);
  const Instance* instance = snapshot_.instances.find(waiting.id.value);
  const Node* node = snapshot_.nodes.find(lane.own.value);
  if (instance == nullptr || node == nullptr) return false;
  if (apart_from_job(snapshot_, *instance, lane.own)) return false;
  const Request request = request_of(snapshot_, *instance);
  return !check_lasting(snapshot_, request, *node) && try_node(waiting, request, index, lane.project, false);
}

bool Round::try_node(const Waiting& waiting, const Request& request, uint32_t index, ProjectId project, bool together,
                     std::optional<size_t> gpu) {
  Placement out{waiting.id, waiting.generation, columns_.id(index), {}, {}, together};
  if (asks_for_more_than_room(request)) {
    const Node& node = *snapshot_.nodes.find(out.node.value);
    Given& given = given_[index];
    if (check_free(snapshot_, request, node, columns_.free(index), given)) return false;
    if (!give(snapshot_, request, node, given, SeededRandom(seed_ ^ waiting.id.value).next(), out, gpu)) return false;
  } else if (!request.resources.fits(columns_.free(index))) {
    return false;
  }
  columns_.take(index, request.resources, out.devices);
  used_[project] += request.resources;
  placed_on(index, waiting.job);
  plan_.placements.push_back(std::move(out));
  return true;
}

void Round::placed_on(uint32_t index, JobId job) {
  uint32_t& last = last_on_[index];
  if (last != 0) placed_[last - 1].again = true;
  placed_.push_back({index, false, job});
  last = static_cast<uint32_t>(placed_.size());
}

// It stays pending; what is free where it shall go is kept for it.
bool Round::push_aside(const Waiting& waiting, const Lane& lane) {
  if (pushing_ >= limits::kPushAsidePerPlan) return false;
  const Instance* instance = snapshot_.instances.find(waiting.id.value);
  if (instance == nullptr) return false;
  const Request request = request_of(snapshot_, *instance);
  Mask nodes = columns_.mask_of(snapshot_, lane.ask->request, lane.ask->kind);
  if (lane.own) {
    const uint32_t own = columns_.index_of(lane.own);
    if (own >= columns_.size()) return false;
    const bool lasting = !check_lasting(snapshot_, request, *snapshot_.nodes.find(lane.own.value)) &&
                         !apart_from_job(snapshot_, *instance, lane.own);
    std::fill(nodes.begin(), nodes.end(), 0);
    if (lasting) set_bit(nodes, own, true);
  }
  if (!preemption_) preemption_.emplace(snapshot_, columns_, given_, leeway_);
  auto choice = preemption_->choose(request, lane.priority, nodes);
  if (!choice || victims_ + choice->victims.size() > kVictimsPerPlan) return false;
  ++pushing_;
  const bool some = !choice->victims.empty();
  if (some) push(waiting, *choice, false);
  keep_room(request, *choice);
  return true;
}

void Round::push(const Waiting& waiting, const Preemption::Choice& choice, bool together) {
  victims_ += choice.victims.size();
  plan_.push_aside.push_back({waiting.id, waiting.generation, columns_.id(choice.index), choice.victims, together});
}

void Round::keep_room(const Request& request, const Preemption::Choice& choice) {
  preemption_->promise(request, choice);
  promised_.push_back(choice.index);
}

// ---- all of a job at once

void Round::serve_together(Lane& lane) {
  const size_t wanted = lane.waiting.size() - lane.next;
  if (!plan_.placements.empty() && plan_.placements.size() + wanted > most_) {
    full_ = true;
    return;
  }
  const JobVersion* version = snapshot_.version_of(*snapshot_.instances.find(lane.waiting[lane.next].id.value));
  const PlacementSpec& spec = version->spec->placement;
  Way way = Way::refused;
  if (wanted <= static_cast<size_t>(limits::kTogetherMax)) {
    const bool placed = spec.same_node ? place_on_one_node(lane) : place_all(lane, {});
    way = placed ? Way::done : push_aside_for_all(lane, spec.same_node);
  }
  if (way == Way::done) return queue_.advance_all(lane);
  if (way == Way::next_plan) {
    full_ = true;
    return;
  }
  plan_.refused.push_back(lane.waiting[lane.next].id);
  queue_.block(lane);
}

// They stay pending, and room is kept for all of them; or they are placed after all, where only this search has found
// room for all.
Round::Way Round::push_aside_for_all(const Lane& lane, bool on_one_node) {
  if (!lane.preempts || pushing_ >= limits::kPushAsidePerPlan) return Way::refused;
  std::vector<InstanceId> waiting;
  for (size_t i = lane.next; i < lane.waiting.size(); ++i) waiting.push_back(lane.waiting[i].id);
  const Gang gang = gang_of(snapshot_, columns_, waiting);
  if (!preemption_) preemption_.emplace(snapshot_, columns_, given_, leeway_);
  const auto choices = preemption_->choose_all(gang.members, lane.priority, on_one_node);
  if (!choices) return Way::refused;
  size_t victims = 0;
  for (const Preemption::Choice& each : *choices) victims += each.victims.size();
  if (victims > kVictimsPerPlan) return Way::refused;
  if (victims_ + victims > kVictimsPerPlan) return Way::next_plan;
  if (victims == 0 && place_as_chosen(lane, *choices)) return Way::done;
  ++pushing_;
  for (const Preemption::Choice& each : *choices) {
    if (victims > 0) push(lane.waiting[lane.next + each.member], each, true);
    keep_room(*gang.members[each.member].request, each);
  }
  return Way::done;
}

bool Round::place_as_chosen(const Lane& lane, const std::vector<Preemption::Choice>& choices) {
  Mark before = mark();
  for (const Preemption::Choice& each : choices) {
    const Waiting& waiting = lane.waiting[lane.next + each.member];
    const JobVersion& version = *snapshot_.version_of(*snapshot_.instances.find(waiting.id.value));
    const auto ask = queue_.ask(snapshot_, version, waiting.group);
    const bool all = version.spec->placement.all_or_nothing;
    if (try_node(waiting, ask->request, each.index, lane.project, all)) continue;
    back_to(std::move(before));
    return false;
  }
  return true;
}

// Each where it is best, or all on one node; none if one of them finds no place.
bool Round::place_all(const Lane& lane, NodeId node) {
  Mark before = mark();
  for (size_t i = lane.next; i < lane.waiting.size(); ++i) {
    const Waiting& waiting = lane.waiting[i];
    const JobVersion& version = *snapshot_.version_of(*snapshot_.instances.find(waiting.id.value));
    const auto ask = queue_.ask(snapshot_, version, waiting.group);
    const bool all = version.spec->placement.all_or_nothing;
    const bool placed = node ? try_node(waiting, ask->request, columns_.index_of(node), lane.project, all)
                             : place(waiting, *ask, lane.project, all);
    if (placed) continue;
    back_to(std::move(before));
    return false;
  }
  return true;
}

bool Round::place_on_one_node(Lane& lane) {
  const Ask sum = sum_of(lane);
  if (const NodeId anchor = node_of_job(snapshot_, lane.together)) {
    const Node* node = snapshot_.nodes.find(anchor.value);
    return node != nullptr && !check_lasting(snapshot_, sum.request, *node) && place_all(lane, anchor);
  }
  Shape search(snapshot_, columns_, sum, {}, placed_.size());
  while (const auto index = search.best(static_cast<uint32_t>(columns_.size()))) {
    if (place_all(lane, columns_.id(*index))) return true;
    search.exclude(*index);
  }
  return false;
}

// One request for everything that waits in the lane.
Ask Round::sum_of(const Lane& lane) const {
  std::optional<Ask> sum;
  for (size_t i = lane.next; i < lane.waiting.size(); ++i) {
    const JobVersion& version = *snapshot_.version_of(*snapshot_.instances.find(lane.waiting[i].id.value));
    const auto ask = queue_.ask(snapshot_, version, lane.waiting[i].group);
    if (!sum) {
      sum = *ask;
      sum->kind = "all of " + ask->kind;
      sum->job = {};
      sum->wishes.spread.clear();
      continue;
    }
    const Request& r = ask->request;
    sum->kind += "\nand " + ask->kind;
    sum->request.resources += r.resources;
    sum->request.drivers.insert(r.drivers.begin(), r.drivers.end());
    sum->request.constraints.insert(sum->request.constraints.end(), r.constraints.begin(), r.constraints.end());
    for (const auto& [name, count] : r.node_limits) sum->request.node_limits[name] += count;
    sum->request.devices.insert(sum->request.devices.end(), r.devices.begin(), r.devices.end());
  }
  return std::move(*sum);
}

Round::Mark Round::mark() const {
  return {columns_.taken(), placed_.size(), plan_.placements.size(), given_, used_};
}

void Round::back_to(Mark mark) {
  columns_.undo(mark.taken);
  // Nobody asks any more what was placed before this.
  for (size_t i = mark.placed; i < placed_.size(); ++i) last_on_[placed_[i].index] = 0;
  placed_.resize(mark.placed);
  plan_.placements.resize(mark.placements);
  given_ = std::move(mark.given);
  used_ = std::move(mark.used);
  shapes_.clear();  // they have seen what did not happen
  last_ask_ = nullptr;
}

// ---- searches

// Those that ask for the same share one.
Shape& Round::shape_of(const Ask& ask) {
  if (last_ask_ == &ask) return *last_shape_;
  auto at = shapes_.find(ask.shape);
  if (at == shapes_.end()) {
    const Counts counts = ask.job ? counts_of(ask.job) : Counts{};
    at = shapes_.emplace(ask.shape, std::make_unique<Shape>(snapshot_, columns_, ask, counts, placed_.size())).first;
  }
  last_ask_ = &ask;
  return *(last_shape_ = at->second.get());
}

// How many of a job each node holds now.
Counts Round::counts_of(JobId job) const {
  Counts out;
  if (const IdSet* ids = snapshot_.instances_by_job.find(job.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* i = snapshot_.instances.find(id);
      if (i != nullptr && i->node && i->admitted && !i->finished) ++out[columns_.index_of(i->node)];
    });
  }
  out.erase(static_cast<uint32_t>(columns_.size()));
  for (const Taken& taken : placed_)
    if (taken.job == job) ++out[taken.index];
  return out;
}

void Round::finish() {
  std::vector<uint32_t> nodes = promised_;
  for (const Taken& taken : placed_) nodes.push_back(taken.index);
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  columns_.undo(0);
  used_ = used_before_;
  queue_.restore();
  // What found no place beside this plan may find one without it.
  queue_.touched(snapshot_, columns_, nodes);
}

}  // namespace tutti::scheduler
