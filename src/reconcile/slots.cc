#include "reconcile/slots.h"

#include <algorithm>

#include "base/limits.h"
#include "reconcile/system.h"

namespace tutti::reconcile {

bool is_given_up(const Instance& instance) {
  return instance.presence == Presence::given_up;
}

bool is_live(const Instance& instance) {
  if (is_given_up(instance) || instance.desired == Desired::removed) return false;
  if (!instance.finished) return true;
  return instance.desired == Desired::stopped || instance.desired == Desired::suspended ||
         instance.override_ == Override::stop || instance.override_ == Override::suspend;
}

bool is_leaving(const Instance& instance) {
  return !is_given_up(instance) && instance.desired == Desired::removed && !instance.finished;
}

bool remains_gone(const Instance& instance) {
  return !instance.node || instance.cleared;
}

Slot& Group::at(uint32_t number) {
  if (number < slots.size() && slots[number].number == number) return slots[number];
  const auto [it, made] = sparse.try_emplace(number, slots.size());
  if (made) slots.push_back(Slot{.number = number});
  return slots[it->second];
}

Group& SlotTable::group_named(const std::string& name) {
  for (Group& group : groups)
    if (group.name == name) return group;
  groups.push_back(Group{.name = name});
  return groups.back();
}

namespace {

int64_t slots_in(const Job& job, const GroupView& view) {
  return std::clamp<int64_t>(count_of(job, view), 0, limits::kCountMax);
}

// Those that the active version has as well are known by then; the others stay as they are.
void add_base_groups(const Snapshot& snapshot, const Job& job, const JobVersion& base, SlotTable& table) {
  const auto* views = snapshot.groups.find(base.id.value);
  if (views == nullptr || *views == nullptr) return;
  for (size_t i = 0; i < (*views)->size(); ++i) {
    const GroupView& view = (**views)[i];
    Group& group = table.group_named(view.name);
    group.base_view = &view;
    group.base_index = static_cast<uint16_t>(i);
    if (group.view == nullptr) group.count = slots_in(job, view);
  }
}

void add_active_groups(const Snapshot& snapshot, const Job& job, const JobVersion& active, SlotTable& table) {
  const auto* views = snapshot.groups.find(active.id.value);
  if (views == nullptr || *views == nullptr) return;
  for (size_t i = 0; i < (*views)->size(); ++i) {
    const GroupView& view = (**views)[i];
    Group group{.name = view.name, .view = &view, .index = static_cast<uint16_t>(i)};
    if (job.type != JobType::system) {
      group.count = slots_in(job, view);
      group.slots.resize(static_cast<size_t>(group.count));
      for (uint32_t n = 0; n < group.slots.size(); ++n) group.slots[n].number = n;
    }
    table.groups.push_back(std::move(group));
  }
}

// Which entry of table.groups an instance belongs to: by the group's name, since versions may order them differently.
class GroupFinder {
 public:
  GroupFinder(const Snapshot& snapshot, const JobVersion* active, SlotTable& table)
      : snapshot_(snapshot), active_number_(active == nullptr ? 0 : active->number), table_(table) {}

  uint32_t of(const Instance& instance) {
    if (instance.job_version == active_number_ && instance.group < table_.groups.size()) return instance.group;
    if (instance.job_version == last_version_ && instance.group == last_group_) return last_;
    const Group& group = table_.group_named(name_of(instance));
    last_version_ = instance.job_version, last_group_ = instance.group;
    return last_ = static_cast<uint32_t>(&group - table_.groups.data());
  }

 private:
  std::string name_of(const Instance& instance) const {
    const JobVersion* version = snapshot_.version_of(instance);
    const auto* views = version == nullptr ? nullptr : snapshot_.groups.find(version->id.value);
    if (views == nullptr || *views == nullptr || instance.group >= (*views)->size()) return "";
    return (**views)[instance.group].name;
  }

  const Snapshot& snapshot_;
  uint32_t active_number_;
  SlotTable& table_;
  uint32_t last_version_ = 0;
  uint16_t last_group_ = 0;
  uint32_t last_ = 0;
};

void take_past(const Job& job, const JobVersion* active, const Instance& instance, uint32_t group, Slot& slot,
               SlotTable& table) {
  const Instance*& last = instance.beside ? slot.beside_last : slot.last;
  if (last == nullptr || last->id < instance.id) last = &instance;
  ++slot.past;
  table.past.push_back({group, &instance});
  if (job.type == JobType::batch && active != nullptr && instance.job_version == active->number &&
      instance.state == TaskState::completed && !is_given_up(instance)) {
    slot.completed = &instance;
  }
}

void take_beside(const Job& job, const JobVersion* active, const Instance& instance, uint32_t group, Slot& slot,
                 SlotTable& table) {
  if (is_leaving(instance))
    slot.beside_leaving = &instance;
  else if (!is_live(instance))
    take_past(job, active, instance, group, slot, table);
  else if (slot.beside == nullptr)
    slot.beside = &instance;
  else
    table.duplicates.push_back(&instance);
}

void take(const Job& job, const JobVersion* active, const Instance& instance, uint32_t group, SlotTable& table) {
  Slot& slot = table.groups[group].at(instance.slot);
  if (instance.beside) return take_beside(job, active, instance, group, slot, table);
  if (is_leaving(instance)) {
    slot.leaving = &instance;
  } else if (!is_live(instance)) {
    take_past(job, active, instance, group, slot, table);
  } else if (slot.live == nullptr) {
    slot.live = &instance;
  } else if (slot.live->finished) {  // a stopped one that was superseded is history
    take_past(job, active, *slot.live, group, slot, table);
    slot.live = &instance;
  } else if (instance.finished) {
    take_past(job, active, instance, group, slot, table);
  } else {
    table.duplicates.push_back(&instance);
  }
}

}  // namespace

SlotTable slots_of(const Snapshot& snapshot, const Job& job, const JobVersion* active, const JobVersion* base,
                   Time now) {
  SlotTable table;
  if (active != nullptr) add_active_groups(snapshot, job, *active, table);
  if (base != nullptr) add_base_groups(snapshot, job, *base, table);
  if (const IdSet* ids = snapshot.instances_by_job.find(job.id.value)) {
    GroupFinder finder(snapshot, active, table);
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* instance = snapshot.instances.find(id);
      if (instance != nullptr) take(job, active, *instance, finder.of(*instance), table);
    });
  }
  if (job.type == JobType::system && active != nullptr) add_nodes(snapshot, *active, now, table);
  for (Group& group : table.groups) {
    std::sort(group.slots.begin(), group.slots.end(), [](const Slot& a, const Slot& b) { return a.number < b.number; });
    group.sparse.clear();
    if (job.type == JobType::system && group.view != nullptr) continue;  // decided by the nodes
    const bool wanted = group.view != nullptr || (group.base_view != nullptr && job.type != JobType::system);
    for (Slot& slot : group.slots) slot.surplus = !wanted || slot.number >= group.count;
  }
  return table;
}

}  // namespace tutti::reconcile
