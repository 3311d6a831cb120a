#include "scheduler/leeway.h"

#include <algorithm>

namespace tutti::scheduler {
namespace {

int64_t devices_of(const Instance& i) {
  int64_t out = 0;
  for (const DeviceBinding& device : i.detail->devices) out += device.share;
  return out;
}

int64_t free_devices(const Node& node, const NodeUsage& usage) {
  int64_t out = 0;
  for (const Device& device : node.inventory->devices) out += kWholeDevice - count_of(usage.devices, device.id);
  return out;
}

// How often `asked` goes into `room`.
int64_t times(int64_t room, int64_t asked, int64_t most) {
  return asked <= 0 ? most : room <= 0 ? 0 : std::min(most, room / asked);
}

}  // namespace

Standing standing_of(const Snapshot& s, const Instance& i, ProjectId as_if) {
  if (i.presence == Presence::given_up || i.cleared || !i.admitted) return Standing::stays;
  if (i.desired == Desired::removed) return Standing::leaves;
  if (i.finished || (i.desired != Desired::running && i.desired != Desired::paused)) return Standing::stays;
  const Job* job = s.jobs.find(i.job.value);
  const Project* project = job == nullptr ? nullptr : s.projects.find(job->project.value);
  const bool allowed = project != nullptr && (project->preemption || project->id == as_if);
  return allowed ? Standing::may_be_pushed : Standing::stays;
}

Leeway::Amount& Leeway::Amount::operator+=(const Amount& o) {
  resources += o.resources, devices += o.devices;
  return *this;
}

Leeway::Amount Leeway::asked_by(const Request& request) {
  Amount out{request.resources, 0};
  for (const DeviceAsk& ask : request.devices) out.devices += ask.spec.count * ask.spec.share;
  return out;
}

void Leeway::read(const Snapshot& s, NodeId id, Node& node) const {
  node = {.known = true};
  const IdSet* ids = s.instances_by_node.find(id.value);
  if (ids == nullptr) return;
  ids->for_each([&](uint64_t each, const Unit&) {
    const Instance& i = *s.instances.find(each);
    if (i.detail->pushed_by && !i.finished) node.awaited.push_back(i.detail->pushed_by);
    const Standing standing = standing_of(s, i, as_if_);
    if (standing == Standing::stays) return;
    const Resources& all = s.group_of(i).resources;
    // Of what has finished there is its disk.
    const Amount amount = i.finished ? Amount{{{}, {}, all.disk}, 0} : Amount{all, devices_of(i)};
    if (standing == Standing::leaves) return static_cast<void>(node.leaving += amount);
    const int32_t priority = s.version_of(i)->spec->priority;
    auto at = std::ranges::lower_bound(node.levels, priority, {}, &Level::priority);
    if (at == node.levels.end() || at->priority != priority) at = node.levels.insert(at, {priority, {}});
    at->freed += amount;
  });
  Amount sum = node.leaving;
  for (Level& level : node.levels) {
    sum += level.freed;
    level.freed = sum;
  }
}

const Leeway::Node& Leeway::node(const Snapshot& s, const Columns& columns, uint32_t index) {
  if (nodes_.size() < columns.size()) nodes_.resize(columns.size());
  Node& out = nodes_[index];
  if (!out.known) read(s, columns.id(index), out);
  return out;
}

int64_t Leeway::room_for(const Snapshot& s, const Columns& columns, uint32_t index, const Amount& asked,
                         int32_t priority, int64_t most) {
  const Node& known = node(s, columns, index);
  const auto above = std::ranges::lower_bound(known.levels, priority, {}, &Level::priority);
  const Amount& freed = above == known.levels.begin() ? known.leaving : std::prev(above)->freed;
  const Resources room = columns.free(index) + freed.resources;
  int64_t out = times(room.cpu.value, asked.resources.cpu.value, most);
  out = times(room.memory.value, asked.resources.memory.value, out);
  out = times(room.disk.value, asked.resources.disk.value, out);
  if (out == 0 || asked.devices == 0) return out;
  const NodeId id = columns.id(index);
  return times(free_devices(*s.nodes.find(id.value), s.usage_of(id)) + freed.devices, asked.devices, out);
}

}  // namespace tutti::scheduler
