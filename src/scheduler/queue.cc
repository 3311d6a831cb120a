#include "scheduler/queue.h"

#include <algorithm>

namespace tutti::scheduler {
namespace {

bool before(const Waiting& a, const Waiting& b) {
  return std::pair(a.since, a.id) < std::pair(b.since, b.id);
}

}  // namespace

void Queue::clear() {
  lanes_.clear();
  blocked_.clear();
  ready_.clear();
  moved_.clear();
  later_.clear();
  asks_.clear();
}

const std::shared_ptr<const Ask>& Queue::ask(const Snapshot& snapshot, const JobVersion& version, uint16_t group) {
  const std::pair key{version.id, group};
  if (const auto at = asks_.find(key); at != asks_.end()) return at->second;
  return asks_.emplace(key, std::make_shared<const Ask>(ask_of(snapshot, version, group))).first->second;
}

Lane::Key Queue::key_of(const Snapshot& snapshot, const Instance& i) {
  const JobVersion& version = *snapshot.version_of(i);
  const JobSpec& spec = *version.spec;
  const Job* job = snapshot.jobs.find(i.job.value);
  const ProjectId project = job == nullptr ? ProjectId{} : job->project;
  const bool returns = i.node && !i.cleared;
  std::string what;
  if (i.pinned || returns)
    what = "on " + std::to_string((returns ? i.node : i.pinned).value) + (returns ? " again" : "") +
           (i.beside ? " beside\n" : "\n");
  if (is_together(spec.placement) && !i.pinned && !returns)
    what = "all of " + std::to_string(version.id.value);
  else
    what += ask(snapshot, version, i.group)->shape;
  return {100 - spec.priority, project, std::move(what)};
}

Lane& Queue::lane_of(const Snapshot& snapshot, const Instance& i) {
  if (asks_.size() >= kAsksMax) asks_.clear();  // not within a round, which points into it
  Lane::Key key = key_of(snapshot, i);
  const auto [at, fresh] = lanes_.try_emplace(key);
  Lane& lane = at->second;
  if (!fresh) return lane;
  const JobVersion& version = *snapshot.version_of(i);
  lane.key = std::move(key);
  lane.priority = version.spec->priority;
  lane.project = std::get<1>(lane.key);
  lane.ask = ask(snapshot, version, i.group);
  lane.own = i.node && !i.cleared ? i.node : i.pinned;
  if (is_together(version.spec->placement) && !lane.own) lane.together = i.job;
  const Project* project = snapshot.projects.find(lane.project.value);
  lane.preempts = project != nullptr && project->preemption;
  if (i.beside && i.pinned) lane.preempts = false;  // a move is not worth pushing others aside
  return lane;
}

void Queue::add(const Snapshot& snapshot, const Instance& i) {
  if (snapshot.version_of(i) == nullptr) return;
  if (i.not_before) {
    later_.insert({i.not_before, i.id});
    return;
  }
  Lane& lane = lane_of(snapshot, i);
  const Waiting row{i.pending_since, i.id, i.job, i.detail->avoid, i.generation, i.group};
  const auto at = lane.waiting.empty() || before(lane.waiting.back(), row)
                      ? lane.waiting.end()
                      : std::lower_bound(lane.waiting.begin(), lane.waiting.end(), row, before);
  step_aside(lane);
  lane.waiting.insert(at, row);
  // One more of those that are placed as one may change everything; of others it is one more in the line.
  if (lane.together) {
    lane.mixed = lane.mixed || ask(snapshot, *snapshot.version_of(i), i.group) != lane.ask;
    unblock(lane);
  }
  stand(lane);
}

void Queue::remove(const Snapshot& snapshot, const Instance& i) {
  if (i.not_before && later_.erase({i.not_before, i.id}) > 0) return;
  if (snapshot.version_of(i) == nullptr) return;
  const auto found = lanes_.find(key_of(snapshot, i));
  if (found == lanes_.end()) return;
  Lane& lane = found->second;
  const Waiting row{i.pending_since, i.id, {}, {}, 0, 0};
  const auto at = std::lower_bound(lane.waiting.begin(), lane.waiting.end(), row, before);
  if (at == lane.waiting.end() || at->id != i.id) return;
  step_aside(lane);
  lane.waiting.erase(at);
  if (lane.together) unblock(lane);
  if (!lane.waiting.empty()) return stand(lane);
  blocked_.erase(lane.key);
  lanes_.erase(found);
}

void Queue::wake(const Snapshot& snapshot, Time now) {
  while (!later_.empty() && later_.begin()->first <= now) {
    const InstanceId id = later_.begin()->second;
    later_.erase(later_.begin());
    Instance row = *snapshot.instances.find(id.value);
    row.not_before = {};
    add(snapshot, row);
  }
}

Time Queue::next_wake(Time now) const {
  const auto at = later_.upper_bound({now, InstanceId{UINT64_MAX}});
  return at == later_.end() ? Time{} : at->first;
}

// Others pushed aside may be helped by anything that happens there.
bool Queue::could_use(const Snapshot& snapshot, Columns& columns, const Lane& lane, uint32_t node) {
  // Where the rest of the job is decides, and that may have gone from anywhere.
  if (lane.ask->wishes.same_node) return true;
  if (lane.own) return columns.id(node) == lane.own;
  auto takes = [&](const Ask& ask) {
    if (!lane.preempts && !ask.request.resources.fits(columns.free(node))) return false;
    return has(columns.mask_of(snapshot, ask.request, ask.kind), node);
  };
  // Whether several kinds find room beside each other may change with what is free anywhere.
  return (lane.together && lane.mixed) || takes(*lane.ask);
}

void Queue::touched(const Snapshot& snapshot, Columns& columns, const std::vector<uint32_t>& nodes) {
  for (auto at = blocked_.begin(); at != blocked_.end();) {
    Lane& lane = *(at++)->second;
    const bool useful = std::any_of(nodes.begin(), nodes.end(),
                                    [&](uint32_t node) { return could_use(snapshot, columns, lane, node); });
    if (useful) unblock(lane);
  }
}

void Queue::unblock_all() {
  while (!blocked_.empty()) unblock(*blocked_.begin()->second);
}

void Queue::stand(Lane& lane) {
  if (lane.ready || lane.blocked || lane.next >= lane.waiting.size()) return;
  const Waiting& first = lane.waiting[lane.next];
  lane.head = {first.since, first.id};
  ready_[100 - lane.priority][lane.project].emplace(lane.head, &lane);
  lane.ready = true;
}

void Queue::step_aside(Lane& lane) {
  if (!lane.ready) return;
  ready_.find(100 - lane.priority)->second.find(lane.project)->second.erase(lane.head);
  lane.ready = false;
}

void Queue::advance(Lane& lane) {
  if (lane.next == 0) moved_.push_back(&lane);
  ++lane.next;
  Line& line = ready_.find(100 - lane.priority)->second.find(lane.project)->second;
  if (lane.next < lane.waiting.size() && line.begin()->second == &lane) {
    // Still the first of its line: then it may keep standing there as who it was.
    const auto second = std::next(line.begin());
    const Waiting& first = lane.waiting[lane.next];
    if (second == line.end() || std::pair(first.since, first.id) < second->first) return;
  }
  step_aside(lane);
  stand(lane);
}

void Queue::advance_all(Lane& lane) {
  if (lane.next == 0) moved_.push_back(&lane);
  step_aside(lane);
  lane.next = lane.waiting.size();
}

void Queue::block(Lane& lane) {
  step_aside(lane);
  lane.blocked = true;
  blocked_.emplace(lane.key, &lane);
}

void Queue::unblock(Lane& lane) {
  if (!lane.blocked) return;
  lane.blocked = false;
  blocked_.erase(lane.key);
  stand(lane);
}

void Queue::restore() {
  for (Lane* lane : moved_) {
    step_aside(*lane);
    lane->next = 0;
    stand(*lane);
  }
  moved_.clear();
}

}  // namespace tutti::scheduler
