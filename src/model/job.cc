#include "model/job.h"

#include <algorithm>

#include "model/validate.h"

namespace tutti {

int64_t count_of(const Job& job, const GroupView& group) {
  const auto scaled = job.counts.find(group.name);
  return scaled != job.counts.end() ? scaled->second : group.count;
}

std::vector<GroupView> groups_of(const JobSpec& spec) {
  std::vector<GroupView> groups;
  const uint32_t feature_level = required_feature_level(spec);
  for (size_t i = 0; i < spec.tasks.size(); ++i) {
    const TaskSpec& task = spec.tasks[i];
    const std::string& group_name = task.group.empty() ? task.name : task.group;
    auto group = std::ranges::find(groups, group_name, &GroupView::name);
    if (group == groups.end())
      group = groups.insert(groups.end(), GroupView{group_name, {}, task.count, {}, {}, {}, {}, feature_level});
    group->tasks.push_back(i);
    group->resources += task.resources;
    for (const auto& [name, count] : task.node_limits) group->node_limits[name] += count;
    if (task.gpu) group->devices.push_back({task.name, *task.gpu});
    for (const DeviceSpec& device : task.devices) group->devices.push_back({task.name, device});
    group->after.insert(group->after.end(), task.after.begin(), task.after.end());
  }
  return groups;
}

bool is_parent(const JobSpec& spec) {
  return spec.periodic.has_value() || spec.parameterized.has_value();
}

std::string child_name(std::string_view parent, LaunchKind kind, Time at, JobId id) {
  const bool by_request = kind == LaunchKind::dispatched;
  return std::string(parent) + "-" + (by_request ? to_text(id) : std::to_string(at.ns / 1'000'000'000));
}

JobSpec child_spec(const JobSpec& parent, std::string name, const std::map<std::string, std::string>& meta,
                   std::string payload) {
  JobSpec out = parent;
  out.job = std::move(name);
  out.periodic.reset();
  out.parameterized.reset();
  for (const auto& [key, value] : meta) out.meta[key] = value;
  if (!payload.empty()) out.payload = std::move(payload);
  return out;
}

namespace {

std::string with_meta(std::string_view text, const std::map<std::string, std::string>& meta) {
  constexpr std::string_view kOpen = "${meta.";
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find(kOpen, at);
    const size_t close = open == std::string_view::npos ? open : text.find('}', open);
    out += text.substr(at, close == std::string_view::npos ? close : open - at);
    if (close == std::string_view::npos) break;
    const auto value = meta.find(std::string(text.substr(open + kOpen.size(), close - open - kOpen.size())));
    if (value != meta.end()) out += value->second;
    at = close + 1;
  }
  return out;
}

}  // namespace

TaskSpec with_meta(TaskSpec task, const std::map<std::string, std::string>& meta) {
  for (std::string& word : task.command) word = with_meta(word, meta);
  for (std::string& word : task.entrypoint) word = with_meta(word, meta);
  for (auto& [key, value] : task.env) value = with_meta(value, meta);
  return task;
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
