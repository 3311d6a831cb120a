#include "model/job.h"

#include <algorithm>

namespace tutti {

std::vector<GroupView> groups_of(const JobSpec& spec) {
  std::vector<GroupView> groups;
  for (size_t i = 0; i < spec.tasks.size(); ++i) {
    const TaskSpec& task = spec.tasks[i];
    const std::string& group_name = task.group.empty() ? task.name : task.group;
    auto group = std::ranges::find(groups, group_name, &GroupView::name);
    if (group == groups.end()) group = groups.insert(groups.end(), GroupView{group_name, {}, task.count, {}, {}, {}});
    group->tasks.push_back(i);
    group->resources += task.resources;
    for (const auto& [name, count] : task.node_limits) group->node_limits[name] += count;
    if (task.gpu) group->devices.push_back({task.name, *task.gpu});
    for (const DeviceSpec& device : task.devices) group->devices.push_back({task.name, device});
  }
  return groups;
}

Deployment begin_deployment(const Job& job, const JobVersion& version, Time now) {
  Deployment out;
  if (job.type == JobType::batch) return out;
  out.version = version.number;
  out.from = job.stable_version == version.number ? 0 : job.stable_version;
  out.state = DeploymentState::running;
  out.promoted = out.from == 0 || !wants_promotion(version.spec->update);
  out.started = out.progressed = now;
  return out;
}

}  // namespace tutti
