#include "model/job.h"

#include <algorithm>

namespace tutti {

std::vector<GroupView> groups_of(const JobSpec& spec) {
  std::vector<GroupView> groups;
  for (size_t i = 0; i < spec.tasks.size(); ++i) {
    const TaskSpec& task = spec.tasks[i];
    const std::string& name = task.group.empty() ? task.name : task.group;
    auto group = std::ranges::find(groups, name, &GroupView::name);
    if (group == groups.end()) group = groups.insert(groups.end(), GroupView{name, {}, task.count, {}});
    group->tasks.push_back(i);
    group->resources += task.resources;
  }
  return groups;
}

}  // namespace tutti
