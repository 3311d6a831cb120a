// J07 with S07: whom to push aside so that all members of a job that is placed as one find room, or nobody.
#include <algorithm>
#include <bit>

#include "scheduler/preempt.h"
#include "scheduler/shape.h"

namespace tutti::scheduler {

// What it takes for each of those that find room by it. Compared without dividing.
bool Preemption::Step::operator<(const Step& b) const {
  if (priority != b.priority) return priority < b.priority;
  if (victims * b.more != b.victims * more) return victims * b.more < b.victims * more;
  const auto ours = static_cast<int64_t>(more), theirs = static_cast<int64_t>(b.more);
  if (in_vain * theirs != b.in_vain * ours) return in_vain * theirs < b.in_vain * ours;
  return index < b.index;
}

// Lays the members on nodes, one kind of member after the other. Lives for one call.
struct Preemption::Search {
  Preemption& with;
  const std::vector<Member>& members;
  const int32_t priority;
  std::map<uint32_t, Load> loads;
  // By group, who asks for most first; within one the order does not matter.
  std::map<std::tuple<int64_t, int64_t, uint16_t>, std::vector<size_t>> kinds;

  Search(Preemption& preemption, const std::vector<Member>& all, int32_t their_priority)
      : with(preemption), members(all), priority(their_priority) {
    for (size_t i = 0; i < members.size(); ++i) {
      const Resources& asked = members[i].request->resources;
      kinds[{-asked.cpu.value, -asked.memory.value, members[i].group}].push_back(i);
    }
  }
  Requests requests_of(uint32_t index) const {
    Requests out;
    if (const auto at = loads.find(index); at != loads.end())
      for (const size_t member : at->second.members) out.push_back(members[member].request);
    return out;
  }
  Gone gone_from(uint32_t index) const {
    const auto at = loads.find(index);
    return at == loads.end() ? Gone{} : at->second.gone;
  }
  bool one_more(uint32_t index, size_t member, const Gone& gone) const {
    Requests requests = requests_of(index);
    requests.push_back(members[member].request);
    return with.fits(requests, index, gone);
  }
  void lay(uint32_t index, size_t member) { loads[index].members.push_back(member); }

  template <class F>
  static void each_node(const Mask& nodes, F&& what) {
    for (size_t word = 0; word < nodes.size(); ++word)
      for (uint64_t bits = nodes[word]; bits != 0; bits &= bits - 1)
        what(static_cast<uint32_t>(word * 64 + static_cast<size_t>(std::countr_zero(bits))));
  }

  // Where others leave for it already, then wherever there is room.
  void take_what_is_there(std::vector<size_t>& left) {
    if (left.empty()) return;
    each_node(*members[left.front()].nodes, [&](uint32_t index) {
      for (const InstanceId id : with.leeway_.awaited(with.snapshot_, with.columns_, index)) with.expected_[id] = index;
    });
    std::erase_if(left, [&](size_t member) {
      const auto at = with.expected_.find(members[member].id);
      if (at == with.expected_.end() || !has(*members[member].nodes, at->second)) return false;
      if (!one_more(at->second, member, gone_from(at->second))) return false;
      lay(at->second, member);
      return true;
    });
    if (left.empty()) return;
    const Leeway::Amount asked = Leeway::asked_by(*members[left.front()].request);
    each_node(*members[left.front()].nodes, [&](uint32_t index) {
      if (left.empty() || with.at_most(asked, index, Leeway::kNobody, 1) == 0) return;
      while (!left.empty() && one_more(index, left.back(), gone_from(index))) {
        lay(index, left.back());
        left.pop_back();
      }
    });
  }

  // The best of what can be had of a node for up to `most` members like this one; `more` is 0 where that is nothing.
  Step best_of(uint32_t index, size_t member, size_t most) const {
    Step best;
    Gone gone = gone_from(index);
    const size_t before = gone.size();
    size_t more = 0;
    Requests requests = requests_of(index);
    for (const Held& held : with.view_of(index).held) {
      if (held.priority >= priority || more == most) break;
      if (std::find(gone.begin(), gone.end(), &held) != gone.end()) continue;
      gone.push_back(&held);
      const size_t had = more;
      for (requests.push_back(members[member].request); more < most && with.fits(requests, index, gone); ++more)
        requests.push_back(members[member].request);
      requests.pop_back();
      if (more == had) continue;
      Step step{index, more, 0, 0, 0, with.needed(requests, index, gone)};
      const Cost cost = with.cost_of(requests, index, step.gone);
      step.priority = std::get<0>(cost), step.in_vain = std::get<2>(cost);
      step.victims = step.gone.size() > before ? step.gone.size() - before : 0;
      if (best.more == 0 || step < best) best = std::move(step);
    }
    return best;
  }

  // By what needs no look at any instance. A search that finds in the end that it is not would cost one at all.
  bool may_be_enough(const std::vector<size_t>& members_of_kind) const {
    const Member& one = members[members_of_kind.front()];
    const Leeway::Amount asked = Leeway::asked_by(*one.request);
    auto missing = static_cast<int64_t>(members_of_kind.size());
    each_node(*one.nodes, [&](uint32_t index) {
      if (missing > 0) missing -= with.at_most(asked, index, priority, missing);
    });
    return missing <= 0;
  }

  bool push_for(std::vector<size_t>& left) {
    std::map<uint32_t, Step> steps;
    const Leeway::Amount asked = Leeway::asked_by(*members[left.front()].request);
    each_node(*members[left.front()].nodes, [&](uint32_t index) {
      if (with.at_most(asked, index, priority, 1) == 0) return;
      if (Step step = best_of(index, left.front(), left.size()); step.more > 0) steps.emplace(index, std::move(step));
    });
    while (!left.empty() && !steps.empty()) {
      const auto best = std::min_element(steps.begin(), steps.end(),
                                         [](const auto& a, const auto& b) { return a.second < b.second; });
      const uint32_t index = best->first;
      if (best->second.more <= left.size()) {
        loads[index].gone = std::move(best->second.gone);
        for (size_t i = 0; i < best->second.more; ++i) lay(index, left.back()), left.pop_back();
      }
      if (left.empty()) break;
      best->second = best_of(index, left.front(), left.size());
      if (best->second.more == 0) steps.erase(best);
    }
    return left.empty();
  }

  // Without this one too, though perhaps with some members elsewhere among those that others leave for.
  bool spare(uint32_t index, const Held* held) {
    const std::map<uint32_t, Load> before = loads;
    Load& load = loads[index];
    std::erase(load.gone, held);
    while (!load.members.empty() && !with.fits(requests_of(index), index, load.gone)) {
      const size_t member = load.members.back();
      load.members.pop_back();
      const auto other = std::ranges::find_if(loads, [&](const auto& entry) {
        return entry.first != index && has(*members[member].nodes, entry.first) &&
               one_more(entry.first, member, entry.second.gone);
      });
      if (other == loads.end()) {
        loads = before;
        return false;
      }
      other->second.members.push_back(member);
    }
    return true;
  }
  // The most important first, and of those the oldest. Whether there was one.
  bool spare_who_is_not_needed() {
    std::vector<std::pair<const Held*, uint32_t>> all;
    for (const auto& [index, load] : loads)
      for (const Held* held : load.gone) all.emplace_back(held, index);
    std::ranges::sort(all, [](const auto& a, const auto& b) {
      return std::tuple(-a.first->priority, a.first->placed, a.first->id) <
             std::tuple(-b.first->priority, b.first->placed, b.first->id);
    });
    bool spared = false;
    for (const auto& [held, index] : all) spared |= spare(index, held);
    return spared;
  }

  std::vector<Choice> choices() const {
    std::vector<Choice> out;
    for (const auto& [index, load] : loads) {
      if (load.members.empty()) continue;
      const size_t first = out.size();
      for (const size_t member : load.members) out.push_back({index, {}, member});
      for (const Held* held : load.gone) out[first].victims.push_back(held->id);
    }
    return out;
  }
};

std::optional<std::vector<Preemption::Choice>> Preemption::choose_all(const std::vector<Member>& members,
                                                                      int32_t priority, bool on_one_node) {
  if (on_one_node) {
    Requests requests;
    Mask nodes = *members.front().nodes;
    for (const Member& member : members) {
      requests.push_back(member.request);
      for (size_t word = 0; word < nodes.size(); ++word) nodes[word] &= (*member.nodes)[word];
    }
    auto choice = choose_for(requests, priority, nodes);
    if (!choice) return std::nullopt;
    std::vector<Choice> out;
    for (size_t i = 0; i < members.size(); ++i) out.push_back({choice->index, {}, i});
    out.front().victims = std::move(choice->victims);
    return out;
  }
  Search search(*this, members, priority);
  for (const auto& [kind, all] : search.kinds)
    if (!search.may_be_enough(all)) return std::nullopt;
  for (auto& [kind, left] : search.kinds) search.take_what_is_there(left);
  for (auto& [kind, left] : search.kinds) {
    search.take_what_is_there(left);  // of what was freed for others
    if (!left.empty() && !search.push_for(left)) return std::nullopt;
  }
  while (search.spare_who_is_not_needed()) {
  }
  return search.choices();
}

size_t Preemption::room_for(const std::vector<Member>& members) {
  Search search(*this, members, 0);
  size_t out = members.size();
  for (auto& [kind, left] : search.kinds) {
    search.take_what_is_there(left);
    out -= left.size();
  }
  return out;
}

Gang gang_of(const Snapshot& snapshot, Columns& columns, const std::vector<InstanceId>& waiting) {
  Gang out;
  for (const InstanceId id : waiting) {
    const Instance& i = *snapshot.instances.find(id.value);
    const JobVersion& version = *snapshot.version_of(i);
    const auto [at, fresh] = out.groups.try_emplace(i.group);
    auto& [request, nodes] = at->second;
    if (fresh) {
      Ask ask = ask_of(snapshot, version, i.group);
      nodes = columns.mask_of(snapshot, ask.request, ask.kind);
      request = std::move(ask.request);
      if (const NodeId rest = version.spec->placement.same_node ? node_of_job(snapshot, i.job) : NodeId{})
        keep_only(nodes, columns, rest);
    }
    out.members.push_back({id, i.group, &request, &nodes});
  }
  return out;
}

}  // namespace tutti::scheduler
