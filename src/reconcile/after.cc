// What a batch job waits for (J06), and how it ends: its result is written down, so that others may wait for it.
//
// A group that waits has no instances. Once it has one of the active version it is released for good: what it waited
// for may be run again without holding it back. What failed for good holds its followers back as blocked, and their
// job fails with the reason; if it is run again, they wait again.
#include <algorithm>
#include <set>

#include "reconcile/decider.h"

namespace tutti::reconcile {
namespace {

// What is known of a task or job that others wait for.
enum class Seen : uint8_t { open, completed, failed, stopped, skipped, gone };

std::string_view wanted_word(AfterCondition when) {
  switch (when) {
    case AfterCondition::complete: return " to complete";
    case AfterCondition::failed: return " to fail";
    case AfterCondition::ended: return " to end";
    case AfterCondition::started: return " to start";
  }
  return "";
}

Gate waits(const After& after, const std::string& who) {
  return {GateState::waits, "waits for " + who + std::string(wanted_word(after.when))};
}

Gate weigh(const After& after, const std::string& who, Seen seen, bool started) {
  const bool met_by_start = after.when == AfterCondition::started && started;
  switch (seen) {
    case Seen::open: return met_by_start ? Gate{} : waits(after, who);
    case Seen::completed:
      if (after.when != AfterCondition::failed) return {};
      return {GateState::skipped, "not needed: " + who + " completed"};
    case Seen::failed:
      if (after.when == AfterCondition::failed || after.when == AfterCondition::ended || met_by_start) return {};
      return {GateState::blocked, "never starts: " + who + " failed"};
    case Seen::stopped:
      if (after.when == AfterCondition::ended || met_by_start) return {};
      return {GateState::waits, waits(after, who).reason + ", which is stopped"};
    case Seen::skipped:
      if (after.when == AfterCondition::ended) return {};
      return {GateState::skipped, "not needed: " + who + " was not"};
    case Seen::gone: return {GateState::blocked, "never starts: " + who + " is gone"};
  }
  return {};
}

// Of several: what can never be met decides.
void combine(Gate& whole, Gate part) {
  if (part.state > whole.state) whole = std::move(part);
}

bool has_run(const Instance& instance) {
  if (instance.state == TaskState::running || instance.state == TaskState::completed) return true;
  const auto& tasks = instance.detail->tasks;
  return !tasks.empty() && std::ranges::all_of(tasks, [](const TaskStatus& t) { return static_cast<bool>(t.started); });
}

// Every slot of its active version has run, whatever became of it.
bool has_started(const Snapshot& snapshot, const Job& job) {
  const JobVersion* version = job.active_version == 0 ? nullptr : snapshot.version_of(job.id, job.active_version);
  const IdSet* ids = snapshot.instances_by_job.find(job.id.value);
  if (version == nullptr || ids == nullptr) return false;
  std::set<std::pair<uint16_t, uint32_t>> run;
  ids->for_each([&](uint64_t id, const Unit&) {
    const Instance* i = snapshot.instances.find(id);
    if (i != nullptr && i->job_version == version->number && i->admitted && has_run(*i)) run.emplace(i->group, i->slot);
  });
  int64_t wanted = 0;
  for (const GroupView& group : groups_of(*version->spec)) wanted += count_of(job, group);
  return !run.empty() && (job.type == JobType::system || static_cast<int64_t>(run.size()) >= wanted);
}

Seen seen_of(const Job* job) {
  if (job == nullptr) return Seen::gone;
  switch (job->result) {
    case JobResult::none: return job->deleted ? Seen::gone : Seen::open;
    case JobResult::completed: return Seen::completed;
    case JobResult::failed: return Seen::failed;
    case JobResult::stopped: return job->deleted ? Seen::gone : Seen::stopped;
    case JobResult::skipped: return Seen::skipped;
  }
  return Seen::open;
}

}  // namespace

Gate Decider::gate_of_job() const {
  Gate out;
  for (size_t i = 0; i < active_->spec->after.size(); ++i) {
    const After& after = active_->spec->after[i];
    const Job* other = i < active_->waits_for.size() ? snapshot_.jobs.find(active_->waits_for[i].value) : nullptr;
    const bool started = after.when == AfterCondition::started && other != nullptr && has_started(snapshot_, *other);
    combine(out, weigh(after, "job " + after.name, seen_of(other), started));
  }
  return out;
}

// Of the active version something is or was there.
bool Decider::released(const Group& group) const {
  return std::ranges::any_of(group.slots, [&](const Slot& slot) {
    for (const Instance* i : {slot.live, slot.leaving, slot.last})
      if (i != nullptr && i->job_version == active_->number) return true;
    return false;
  });
}

Gate Decider::find_gate(size_t index, const Gate& job_gate) {
  if (gates_[index]) return *gates_[index];
  gates_[index] = Gate{GateState::waits, ""};  // validation has refused circles; one in the store waits for ever
  const Group& group = table_.groups[index];
  Gate out;
  if (group.view != nullptr && !released(group)) {
    out = job_gate;
    for (const After& after : group.view->after) combine(out, gate_of_task(after, job_gate));
  }
  gates_[index] = out;
  return out;
}

Gate Decider::gate_of_task(const After& after, const Gate& job_gate) {
  const auto& tasks = active_->spec->tasks;
  const auto task = std::ranges::find(tasks, after.name, &TaskSpec::name);
  if (task == tasks.end()) return {};
  const std::string& name = task->group.empty() ? task->name : task->group;
  const auto other = std::ranges::find(table_.groups, name, &Group::name);
  const auto gate = find_gate(static_cast<size_t>(other - table_.groups.begin()), job_gate);
  Seen seen = Seen::open;
  switch (gate.state) {
    case GateState::waits: break;
    case GateState::blocked: seen = Seen::failed; break;
    case GateState::skipped: seen = Seen::skipped; break;
    case GateState::open: {
      const JobResult end = end_of(*other);
      seen = end == JobResult::completed ? Seen::completed : end == JobResult::failed ? Seen::failed : Seen::open;
    }
  }
  const bool started = std::ranges::all_of(other->slots, [&](const Slot& slot) {
    const Instance* i = slot.live != nullptr ? slot.live : slot.leaving != nullptr ? slot.leaving : slot.last;
    return slot.surplus || slot.completed != nullptr ||
           (i != nullptr && i->job_version == active_->number && has_run(*i));
  });
  return weigh(after, "task " + after.name, seen, started);
}

void Decider::find_gates() {
  gates_.assign(table_.groups.size(), std::nullopt);
  const bool any = !active_->spec->after.empty() ||
                   std::ranges::any_of(active_->spec->tasks, [](const TaskSpec& t) { return !t.after.empty(); });
  const Gate job_gate = any ? gate_of_job() : Gate{};
  for (size_t i = 0; i < table_.groups.size(); ++i) {
    if (any)
      find_gate(i, job_gate);
    else
      gates_[i] = Gate{};
  }
}

bool Decider::held_back(const Group& group) const {
  const auto index = static_cast<size_t>(&group - table_.groups.data());
  return expired_ || (index < gates_.size() && gates_[index] && gates_[index]->state != GateState::open);
}

// Nothing is there, and nothing will follow.
bool Decider::is_over(const Group& group, const Slot& slot) const {
  if (slot.live != nullptr || slot.leaving != nullptr || slot.coming) return false;
  if (expired_) return true;
  return slot.last != nullptr && ends_its_line(group, *slot.last);
}

// It is of the active version, and its policy lets it have no successor.
bool Decider::ends_its_line(const Group& group, const Instance& last) const {
  if (last.job_version != active_->number || let_go_before(last)) return false;
  CreateInstance next;
  return !account(active_->spec->tasks[group.view->tasks.front()].reschedule, last, next);
}

// none: not yet.
JobResult Decider::end_of(const Group& group) const {
  bool failed = false;
  for (const Slot& slot : group.slots) {
    const bool there = slot.live != nullptr || slot.leaving != nullptr;
    if (slot.surplus ? !there : slot.completed != nullptr && !there) continue;
    if (slot.surplus || !is_over(group, slot)) return JobResult::none;
    failed = true;
  }
  return failed ? JobResult::failed : JobResult::completed;
}

// Nothing is beside the one of before, and nothing will stand there again.
bool Decider::beside_is_over(const Group& group, const Slot& slot) const {
  if (slot.beside != nullptr || slot.beside_leaving != nullptr) return false;
  if (slot.live == nullptr || slot.live->job_version == active_->number) return false;
  return slot.beside_last != nullptr && ends_its_line(group, *slot.beside_last);
}

std::string Decider::failure_of(const Instance& last, std::string_view how) const {
  std::string why = last.detail->reason;
  for (const TaskStatus& task : last.detail->tasks)
    if (why.empty() && (task.position.state == TaskState::failed || task.position.state == TaskState::rejected))
      why = task.reason.empty() ? "exit code " + std::to_string(task.exit_code) : task.reason;
  return snapshot_.name_of(last) + std::string(how) + (why.empty() ? "" : ": " + why);
}

std::string Decider::why_failed(const Group& group) const {
  for (const Slot& slot : group.slots) {
    if (slot.surplus || slot.completed != nullptr || slot.last == nullptr) continue;
    return failure_of(*slot.last, " failed");
  }
  return group.name + " failed";
}

void Decider::check_deadline() {
  const Duration most = active_->spec->deadline;
  const bool pending = job_.result == JobResult::none || job_.result == JobResult::failed;
  if (job_.type != JobType::batch || most.ns <= 0 || !job_.begun || !pending) return;
  expired_ = now_ >= job_.begun + most;
  if (!expired_) wake(job_.begun + most);
}

std::string Decider::deadline_reason() const {
  return "did not end within its deadline of " + format_duration(active_->spec->deadline);
}

void Decider::conclude() {
  if (job_.type != JobType::batch || actions_.more) return;
  if (expired_ && job_.result == JobResult::failed) return;  // for this or for an earlier reason
  bool open = false;
  bool failed = false;
  bool skipped = false;
  bool completed = false;
  std::string reason;
  for (size_t i = 0; i < table_.groups.size(); ++i) {
    const Group& group = table_.groups[i];
    if (group.view == nullptr) {
      open = open || end_of(group) == JobResult::none;
      continue;
    }
    const Gate gate = expired_ ? Gate{} : *gates_[i];
    const std::string prefix = table_.groups.size() > 1 ? group.name + " " : "";
    if (!gate.reason.empty() && (reason.empty() || gate.state == GateState::blocked)) reason = prefix + gate.reason;
    switch (gate.state) {
      case GateState::waits: open = true; break;
      case GateState::blocked: failed = true; break;
      case GateState::skipped: skipped = true; break;
      case GateState::open: {
        const JobResult end = end_of(group);
        open = open || end == JobResult::none;
        completed = completed || end == JobResult::completed;
        if (end == JobResult::failed && !std::exchange(failed, true))
          reason = expired_ ? deadline_reason() : why_failed(group);
      }
    }
  }
  if (open) return tell(JobResult::none, reason);
  if (failed) return tell(JobResult::failed, reason);
  if (skipped && !completed) return tell(JobResult::skipped, reason);
  tell(JobResult::completed, skipped ? reason : "");
}

// A stopped job that nothing is left of; what had ended before stays as it was.
void Decider::conclude_stopped() {
  if (job_.type != JobType::batch || job_.result != JobResult::none || actions_.more) return;
  const bool left = !table_.duplicates.empty() || std::ranges::any_of(table_.groups, [](const Group& group) {
    return std::ranges::any_of(group.slots,
                               [](const Slot& slot) { return slot.live != nullptr || slot.leaving != nullptr; });
  });
  if (!left) tell(JobResult::stopped, "");
}

void Decider::tell(JobResult result, std::string reason) {
  // Once it has failed, it is told why once: what a clearing adds to an instance's reason later concerns nobody here.
  if (job_.result == result && (job_.reason == reason || result == JobResult::failed)) return;
  actions_.jobs.push_back({.job = job_.id, .result = result, .reason = std::move(reason)});
}

// J10: what has ended goes after a while, unless a newer version is on its way.
void Decider::check_ttl(const JobVersion& version) {
  const auto ttl = version.spec->ttl;
  if (!ttl || job_.deleted || job_.version != version.number || job_.result == JobResult::none || !job_.ended) return;
  if (now_ < job_.ended + *ttl) return wake(job_.ended + *ttl);
  actions_.expired_jobs.push_back(job_.id);
}

}  // namespace tutti::reconcile
