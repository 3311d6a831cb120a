#include "reconcile/periodic.h"

#include "base/limits.h"
#include "model/schedule.h"

namespace tutti::reconcile {
namespace {

// Each is a job's row and an event; the rest waits for the next call.
constexpr size_t kChangesMax = limits::kCommandRowsMax / 4;

struct Children {
  std::vector<const Job*> live;   // oldest first
  std::vector<const Job*> ended;  // likewise
};

Children children_of(const Snapshot& snapshot, const Job& job) {
  Children out;
  if (const IdSet* ids = snapshot.children.find(job.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Job* child = snapshot.jobs.find(id);
      if (child != nullptr) (child->result == JobResult::none ? out.live : out.ended).push_back(child);
    });
  }
  return out;
}

void add(Actions& actions, ChangeJob change) {
  if (actions.jobs.size() < kChangesMax)
    actions.jobs.push_back(std::move(change));
  else
    actions.more = true;
}

void stop(Actions& actions, const std::vector<const Job*>& children, const std::string& why) {
  for (const Job* child : children)
    if (!child->stopped) add(actions, {.job = child->id, .stop = true, .reason = why});
}

void wind_down(Actions& actions, const Job& job, const Children& children) {
  if (!job.deleted) return stop(actions, children.live, job.name + " was stopped");
  for (const auto* all : {&children.live, &children.ended})
    for (const Job* child : *all)
      if (!child->deleted) add(actions, {.job = child->id, .remove = true, .reason = job.name + " was deleted"});
  if (children.live.empty() && children.ended.empty()) actions.forget_jobs.push_back(job.id);
}

void trim(Actions& actions, const Children& children, int32_t keep) {
  const size_t kept = static_cast<size_t>(keep);
  for (size_t i = 0; i + kept < children.ended.size(); ++i) {
    const Job* child = children.ended[i];
    if (!child->deleted)
      add(actions, {.job = child->id, .remove = true, .reason = "newer ones are kept (" + std::to_string(keep) + ")"});
  }
}

void follow_schedule(Actions& actions, const Job& job, const JobVersion& version, const Children& children, Time now) {
  const PeriodicSpec& spec = *version.spec->periodic;
  const auto schedule = Schedule::of(spec);
  const std::string problem = schedule ? "" : schedule.error().message;
  if (job.reason != problem) add(actions, {.job = job.id, .result = JobResult::none, .reason = problem});
  if (!schedule) return;  // taken by a manager that knew the time zone
  const LaunchRecord& record = job.launches;
  const auto due = schedule->last_in(record.seen, now);
  const bool busy = spec.overlap != OverlapPolicy::allow && !children.live.empty();
  LaunchChild next{job.id, version.number, LaunchStep::launch, due ? *due : record.waiting, ""};
  if (due && !record.waiting && spec.missed == MissedPolicy::skip && now - *due > seconds(limits::kLaunchLateSeconds)) {
    next.step = LaunchStep::leave_out;
    next.reason = "missed; it is " + format_duration(seconds((now - *due).ns / 1'000'000'000)) + " late";
  } else if (busy && spec.overlap == OverlapPolicy::forbid) {
    next.step = LaunchStep::leave_out;
    next.reason = children.live.front()->name + " still runs (overlap: forbid)";
  } else if (busy) {
    next.step = LaunchStep::wait;
    if (next.time) stop(actions, children.live, "the next one is due (overlap: replace)");
  }
  if (due || (record.waiting && !busy)) actions.launches.push_back(std::move(next));
  if (const auto wake = schedule->next_after(std::max(now, record.seen))) actions.wake = *wake;
}

}  // namespace

Actions keep_launching(const Snapshot& snapshot, const Job& job, const JobVersion& version, Time now) {
  Actions actions;
  const Children children = children_of(snapshot, job);
  if (job.stopped || job.deleted) {
    wind_down(actions, job, children);
    return actions;
  }
  const JobSpec& spec = *version.spec;
  trim(actions, children, spec.periodic ? spec.periodic->keep : spec.parameterized->keep);
  if (spec.periodic) follow_schedule(actions, job, version, children, now);
  return actions;
}

}  // namespace tutti::reconcile
