// Jobs that wait for jobs: names become ids when a version is submitted, and no circle comes into being.
#include <algorithm>
#include <set>

#include "state/apply_internal.h"

namespace tutti::state {
namespace {

// What the newest version of each job waits for: an older one that is still active cannot close a circle that lasts.
class Order {
 public:
  Order(const Snapshot& state, std::string name) : state_(state), path_{std::move(name)} {}

  // The names from the submitted job back to itself; empty: there is no way.
  std::vector<std::string> way_back(JobId from, JobId goal) {
    return walk(from, goal) ? path_ : std::vector<std::string>{};
  }

 private:
  bool walk(JobId at, JobId goal) {
    const Job* job = state_.jobs.find(at.value);
    if (job == nullptr) return false;
    path_.push_back(job->name);
    if (at == goal) return true;
    if (seen_.insert(at).second) {
      const JobVersion* newest = state_.version_of(job->id, static_cast<uint32_t>(job->version));
      for (JobId next : newest != nullptr ? newest->waits_for : std::vector<JobId>{})
        if (walk(next, goal)) return true;
    }
    path_.pop_back();
    return false;
  }

  const Snapshot& state_;
  std::vector<std::string> path_;
  std::set<JobId> seen_;
};

}  // namespace

std::vector<JobId> resolve_after(const Snapshot& state, ProjectId project, const JobSpec& spec) {
  std::vector<JobId> out;
  for (const After& after : spec.after) {
    const Job* job = state.job_by_name(project, after.name);
    out.push_back(job != nullptr ? job->id : JobId{});
  }
  return out;
}

Status check_after(const Snapshot& state, ProjectId project, const JobSpec& spec) {
  const Job* self = state.job_by_name(project, spec.job);
  for (size_t i = 0; i < spec.after.size(); ++i) {
    const After& after = spec.after[i];
    const std::string path = "after[" + std::to_string(i) + "]";
    auto refuse = [&](std::string what, std::string hint) {
      return fail(ErrorCode::invalid, "job " + spec.job + " cannot wait for job " + after.name,
                  {{path, std::move(what), std::move(hint)}});
    };
    const Job* other = state.job_by_name(project, after.name);
    if (other == nullptr || other->deleted)
      return refuse("there is no job \"" + after.name + "\" in this project", "submit it first");
    const JobVersion* newest = state.version_of(other->id, static_cast<uint32_t>(other->version));
    if (newest != nullptr && is_parent(*newest->spec)) {
      return refuse("\"" + after.name + "\" launches other jobs and never ends itself", "wait for one of those");
    }
    if (other->type != JobType::batch && after.when != AfterCondition::started) {
      return refuse("\"" + after.name + "\" is no batch job and does not end by itself", "write when: started");
    }
    if (self == nullptr) continue;
    const std::vector<std::string> way = Order(state, spec.job).way_back(other->id, self->id);
    if (way.empty()) continue;
    std::string circle;
    for (const std::string& name : way) circle += (circle.empty() ? "" : " -> ") + name;
    return refuse("these wait for each other in a circle: " + circle, "take one 'after' away");
  }
  return {};
}

}  // namespace tutti::state
