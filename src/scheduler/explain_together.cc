#include "scheduler/explain_together.h"

#include <set>

#include "base/limits.h"
#include "scheduler/preempt.h"
#include "scheduler/shape.h"

namespace tutti::scheduler {
namespace {

// Of the same version, as the queue has them in one lane.
std::vector<InstanceId> those_that_wait(const Snapshot& s, const Instance& i, Time now) {
  std::vector<InstanceId> out;
  if (const IdSet* ids = s.instances_by_job.find(i.job.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance& other = *s.instances.find(id);
      if (!s.pending.contains(id) || other.job_version != i.job_version || !is_placed_as_one(s, other)) return;
      if (other.not_before <= now || other.id == i.id) out.push_back(other.id);
    });
  }
  return out;
}

std::string less_important(size_t count) {
  return std::to_string(count) + " less important instance" + (count == 1 ? "" : "s");
}

// J07: whether less important work makes room for all of them, or why not.
void tell_pushing(const Snapshot& s, const Instance& i, const std::string& all, Preemption& preemption,
                  const Gang& gang, Explanation& out) {
  const Job* job = s.jobs.find(i.job.value);
  const Project* project = job == nullptr ? nullptr : s.projects.find(job->project.value);
  if (project == nullptr) return;
  const JobSpec& spec = *s.version_of(i)->spec;
  const auto choices = preemption.choose_all(gang.members, spec.priority, spec.placement.same_node);
  size_t victims = 0;
  if (choices)
    for (const Preemption::Choice& each : *choices) victims += each.victims.size();
  const bool too_many = victims > kVictimsPerPlan;
  if (too_many) {
    out.remedies.push_back(less_important(victims) + " would have to go for " + all + ", and a plan tells at most " +
                           std::to_string(kVictimsPerPlan) + " to: ask for less");
  } else if (victims > 0 && project->preemption) {
    out.remedies.insert(out.remedies.begin(), "wait: " + less_important(victims) + " will be told to go for " + all);
  } else if (victims > 0) {
    out.remedies.push_back("let project " + project->name +
                           " push less important work aside (its preemption is off): " + std::to_string(victims) +
                           " would go for " + all);
  } else if (choices) {
    out.remedies.insert(out.remedies.begin(), "wait: " + all + " will find room, as soon as what leaves has gone");
  } else if (project->preemption) {
    out.remedies.push_back("less important work cannot make room for " + all +
                           ", even if all of it goes that may (priority under " + std::to_string(spec.priority) +
                           ", in projects that allow preemption)");
  }
}

}  // namespace

int64_t leaving_for(const Snapshot& s, const std::vector<InstanceId>& waiting) {
  const std::set<InstanceId> members(waiting.begin(), waiting.end());
  int64_t out = 0;
  s.instances.for_each([&](uint64_t, const Instance& other) {
    out += !other.finished && other.desired == Desired::removed && members.contains(other.detail->pushed_by) ? 1 : 0;
  });
  return out;
}

bool is_placed_as_one(const Snapshot& s, const Instance& i) {
  return is_together(s.version_of(i)->spec->placement) && !i.pinned && !(i.node && !i.cleared);
}

void tell_together(const Snapshot& s, const Instance& i, Time now, Explanation& out) {
  const PlacementSpec& wishes = s.version_of(i)->spec->placement;
  const std::vector<InstanceId> waiting = those_that_wait(s, i, now);
  const std::string all = waiting.size() == 1 ? "this one" : "all " + std::to_string(waiting.size()) + " that wait";
  if (waiting.size() > static_cast<size_t>(limits::kTogetherMax)) {
    out.remedies.push_back("scale it down: " + std::to_string(waiting.size()) + " wait, and at most " +
                           std::to_string(limits::kTogetherMax) + " are placed as one (kTogetherMax)");
    return;
  }
  const Node* rest = wishes.same_node ? s.nodes.find(node_of_job(s, i.job).value) : nullptr;
  if (const int64_t leaving = leaving_for(s, waiting); leaving > 0) {
    out.remedies.insert(out.remedies.begin(), "wait: " + less_important(static_cast<size_t>(leaving)) +
                                                  (leaving == 1 ? " was" : " were") + " told to go for " + all);
    return;
  }
  Columns columns;
  columns.rebuild(s);
  const Gang gang = gang_of(s, columns, waiting);
  const Job* job = s.jobs.find(i.job.value);
  Preemption::GivenOut nothing;
  Leeway leeway(job == nullptr ? ProjectId{} : job->project);
  Preemption preemption(s, columns, nothing, leeway);
  if (rest != nullptr) {
    out.remedies.push_back("free room for " + all + " on " + rest->name +
                           ", where the rest of the job is (placement.same_node)");
  } else if (wishes.same_node) {
    out.remedies.push_back("free room for " + all + " on one node (placement.same_node)");
  } else {
    const size_t room = preemption.room_for(gang.members);
    out.remedies.push_back("free room for " + all + " at once (placement.all_or_nothing)" +
                           (waiting.size() > 1 ? "; there is room for " + std::to_string(room) : ""));
  }
  tell_pushing(s, i, all, preemption, gang, out);
}

}  // namespace tutti::scheduler
