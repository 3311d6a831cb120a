#include "manager/control/operations.h"

#include <algorithm>
#include <set>

#include "manager/control/rebalance.h"

namespace tutti::manager {
namespace {

struct Tally {
  int64_t wanted = 0;
  int64_t ready = 0;  // running, or completed for batch; of a slot one, though it stands beside the old one
  int64_t pending = 0;
  int64_t failed = 0;      // for good
  int64_t old = 0;         // still there of an older version, or beyond what is wanted
  std::string restarting;  // what starts over again and again, in words; the last that was seen
  bool crashes = false;    // one of them has done so kRestartsMax times
};

// A service that started over so often while somebody waits for it is not up, however it looks at the moment.
constexpr int32_t kRestartsMax = 3;

void tally_restarts(const Snapshot& snapshot, const Instance& instance, Tally& out) {
  for (const TaskStatus& task : instance.detail->tasks) {
    const bool down = is_terminal(task.position.state);
    if (task.restarts == 0 && !down) continue;
    out.crashes = out.crashes || task.restarts >= kRestartsMax;
    if (down)
      out.restarting = snapshot.name_of(instance) + " is restarting: " +
                       (task.reason.empty() ? "exit code " + std::to_string(task.exit_code) : task.reason);
    else if (out.restarting.empty())
      out.restarting = snapshot.name_of(instance) + " was restarted " + std::to_string(task.restarts) + " times";
  }
}

// A task of a job that has ended, which waited for others and was not needed then: it has no instance, and gets none.
bool was_skipped(const Snapshot& snapshot, const Job& job, uint32_t version_number, const GroupView& group) {
  if (job.result == JobResult::none || group.after.empty()) return false;
  bool any = false;
  if (const IdSet* ids = snapshot.instances_by_job.find(job.id.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* i = snapshot.instances.find(id);
      any = any || (i != nullptr && i->job_version == version_number && snapshot.group_of(*i).name == group.name);
    });
  }
  return !any;
}

using GroupSlot = std::pair<uint16_t, uint32_t>;

// Of these slots, those where none of the version lives but the one that stands beside another: a move is no update.
int64_t count_updated(const Snapshot& snapshot, const IdSet& ids, uint32_t version_number, std::set<GroupSlot> beside) {
  ids.for_each([&](uint64_t id, const Unit&) {
    const Instance* i = snapshot.instances.find(id);
    const bool holds = i != nullptr && !i->beside && !i->finished && i->presence != Presence::given_up;
    if (holds && i->job_version == version_number && i->desired != Desired::removed) beside.erase({i->group, i->slot});
  });
  return static_cast<int64_t>(beside.size());
}

// Restarts count of what was made since then only: somebody waits for that.
Tally tally_job(const Snapshot& snapshot, const Job& job, uint32_t version_number, Time since) {
  Tally out;
  std::set<GroupSlot> beside;  // where a running one of this version stands beside another
  const JobVersion* version = snapshot.version_of(job.id, version_number);
  if (version != nullptr && job.type != JobType::system && !job.stopped) {
    for (const GroupView& group : groups_of(*version->spec)) {
      if (was_skipped(snapshot, job, version_number, group)) continue;
      out.wanted += count_of(job, group);
    }
  }
  const IdSet* ids = snapshot.instances_by_job.find(job.id.value);
  if (ids != nullptr) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* instance = snapshot.instances.find(id);
      if (instance == nullptr || instance->presence == Presence::given_up) return;
      const bool current = instance->job_version == version_number;
      if (instance->finished) {
        if (!current) return;
        if (instance->state == TaskState::completed && job.type == JobType::batch) ++out.ready;
        if (instance->state == TaskState::failed || instance->state == TaskState::rejected) ++out.failed;
        return;
      }
      if (!current || instance->desired == Desired::removed) {
        ++out.old;
        return;
      }
      if (instance->beside) {
        if (!instance->node) ++out.pending;
        if (instance->state == TaskState::running) beside.emplace(instance->group, instance->slot);
        return;
      }
      if (job.type == JobType::system) ++out.wanted;
      if (!instance->node) ++out.pending;
      if (instance->state == TaskState::running && job.type != JobType::batch) ++out.ready;
      if (job.type != JobType::batch && instance->desired == Desired::running && instance->created >= since)
        tally_restarts(snapshot, *instance, out);
    });
  }
  out.ready += beside.empty() ? 0 : count_updated(snapshot, *ids, version_number, std::move(beside));
  return out;
}

void set_step(state::UpdateOperation& update, std::string name, bool done, std::string message) {
  update.steps.push_back(
      {std::move(name), done ? OperationState::succeeded : OperationState::running, std::move(message)});
}

void finish(state::UpdateOperation& update, OperationState state, std::string message) {
  update.state = state;
  update.message = std::move(message);
  if (state == OperationState::succeeded) {
    update.progress = 100;
    for (OperationStep& step : update.steps) step.state = OperationState::succeeded;
  }
}

// Scaling and starting leave the version as it is: how its update ended is not how they do.
bool brings_version(const Operation& operation) {
  return operation.kind != "job.scale" && operation.kind != "job.start";
}

// What became of a version that a newer one has taken the place of.
void measure_superseded(const Operation& operation, const Job& job, const JobVersion* version,
                        state::UpdateOperation& update) {
  const std::string newer = "version " + std::to_string(job.version);
  if (!brings_version(operation) || version == nullptr || version->error.empty())
    return finish(update, OperationState::cancelled, "superseded by " + newer);
  const bool reverted = job.deployment.reverting && job.deployment.version == job.version;
  finish(update, OperationState::failed,
         "version " + std::to_string(version->number) + ": " + version->error +
             (reverted ? "; " + newer + " brings back what served before" : "; superseded by " + newer));
}

void measure_job_running(const Snapshot& snapshot, const Operation& operation, const Job& job,
                         state::UpdateOperation& update) {
  const uint32_t wanted_version = operation.target_version != 0 ? operation.target_version : job.active_version;
  const JobVersion* version = snapshot.version_of(job.id, wanted_version);
  if (version == nullptr || job.version > wanted_version) return measure_superseded(operation, job, version, update);
  if (version->state == VersionState::failed) return finish(update, OperationState::failed, version->error);
  set_step(update, "images", version->state == VersionState::active, version->images.empty() ? "" : "digests known");
  if (version->state != VersionState::active) {
    update.message = "fetching images";
    return;
  }
  if (version->spec->periodic) return finish(update, OperationState::succeeded, "launched by its schedule");
  if (version->spec->parameterized) return finish(update, OperationState::succeeded, "ready to be dispatched");
  if (operation.kind != "job.scale") {
    if (job.result == JobResult::failed) return finish(update, OperationState::failed, job.reason);
    if (job.result == JobResult::skipped) return finish(update, OperationState::succeeded, job.reason);
  }
  if (job.stopped) return finish(update, OperationState::cancelled, "the job was stopped");
  const Deployment& d = job.deployment;
  if (d.version == wanted_version && brings_version(operation)) {
    if (d.state == DeploymentState::failed || d.state == DeploymentState::cancelled)
      return finish(update, d.state == DeploymentState::failed ? OperationState::failed : OperationState::cancelled,
                    d.reason);
    // Its user is asked now; what comes then is an operation of its own.
    if (d.state == DeploymentState::waiting) return finish(update, OperationState::succeeded, d.reason);
  }
  const Tally tally = tally_job(snapshot, job, wanted_version, operation.created);
  set_step(update, "place", tally.pending == 0, std::to_string(tally.pending) + " waiting for a node");
  update.done = std::min(tally.ready, tally.wanted);
  update.total = tally.wanted;
  update.progress = tally.wanted == 0 ? 100 : static_cast<int32_t>(update.done * 100 / tally.wanted);
  const std::string word = job.type == JobType::batch ? "completed" : "running";
  const std::string count = std::to_string(update.done) + " of " + std::to_string(tally.wanted) + " " + word;
  set_step(update, "run", update.done == tally.wanted, count);
  update.message = count;
  if (tally.pending > 0) update.message += ", " + std::to_string(tally.pending) + " waiting for a node";
  if (!job.reason.empty()) update.message += ", " + job.reason;
  if (tally.old > 0) update.message += ", " + std::to_string(tally.old) + " old ones left";
  if (!tally.restarting.empty()) update.message += "; " + tally.restarting;
  if (tally.crashes)
    return finish(update, OperationState::failed, update.message + "; 'tutti explain " + job.name + "' says more");
  if (job.type == JobType::batch && tally.failed > 0 && tally.failed + update.done >= tally.wanted &&
      snapshot.instances_by_job.find(job.id.value) != nullptr && tally.pending == 0) {
    bool live = false;
    snapshot.instances_by_job.find(job.id.value)->for_each([&](uint64_t id, const Unit&) {
      const Instance* instance = snapshot.instances.find(id);
      if (instance != nullptr && !instance->finished && instance->presence != Presence::given_up) live = true;
    });
    if (!live) return finish(update, OperationState::failed, std::to_string(tally.failed) + " failed, " + count);
  }
  // A task that was not needed is among the wanted ones and never runs.
  if (job.result == JobResult::completed && operation.kind != "job.scale")
    return finish(update, OperationState::succeeded, count + (job.reason.empty() ? "" : ", " + job.reason));
  if (update.done == tally.wanted && tally.old == 0) finish(update, OperationState::succeeded, count);
}

void measure_job_stopped(const Snapshot& snapshot, const Operation& operation, state::UpdateOperation& update) {
  const Job* job = snapshot.jobs.find(operation.target);
  int64_t left = 0;
  if (const IdSet* ids = snapshot.instances_by_job.find(operation.target)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* instance = snapshot.instances.find(id);
      if (instance != nullptr && !instance->finished && instance->presence != Presence::given_up) ++left;
    });
  }
  if (job != nullptr && !job->stopped) return finish(update, OperationState::cancelled, "the job was started again");
  update.total = std::max(operation.total, left);
  update.done = update.total - left;
  update.progress = update.total == 0 ? 100 : static_cast<int32_t>(update.done * 100 / update.total);
  update.message = std::to_string(left) + " still stopping";
  set_step(update, "stop", left == 0, update.message);
  const bool row_gone = operation.kind != "job.delete" || job == nullptr;
  if (left == 0 && row_gone)
    finish(update, OperationState::succeeded, operation.kind == "job.delete" ? "deleted" : "stopped");
}

// What the instance's user wishes for while this is under way.
Override wish_of(const Operation& operation) {
  if (operation.kind == "instance.stop") return Override::stop;
  if (operation.kind == "instance.pause") return Override::pause;
  if (operation.kind == "instance.suspend") return Override::suspend;
  if (operation.kind == "instance.delete") return Override::delete_;
  return Override::none;  // start, restart, unpause, resume
}

// What was asked of the same instance since; rare, so that all may be looked at.
std::string asked_since(const Snapshot& snapshot, const Operation& operation) {
  std::string out;
  snapshot.operations.for_each([&](uint64_t, const Operation& other) {
    if (other.target == operation.target && other.id > operation.id && other.kind.starts_with("instance."))
      out = other.kind;
  });
  return out;
}

std::string task_reason(const Instance& instance) {
  for (const TaskStatus& task : instance.detail->tasks)
    if (!task.reason.empty()) return task.reason;
  return instance.detail->reason;
}

void measure_instance(const Snapshot& snapshot, const Operation& operation, state::UpdateOperation& update) {
  const Instance* instance = snapshot.instances.find(operation.target);
  const bool leaving = operation.kind == "instance.stop" || operation.kind == "instance.delete";
  if (instance == nullptr || instance->presence == Presence::given_up) {
    return finish(update, leaving ? OperationState::succeeded : OperationState::failed, "the instance is gone");
  }
  std::string why = instance->detail->reason;
  bool done = false;
  bool failed = false;
  // What is to start, or go on, is not there yet while an earlier wish is still carried out.
  const bool wanted_up = instance->desired == Desired::running;
  const bool resting = instance->desired == Desired::stopped || instance->desired == Desired::suspended;
  if (operation.kind == "instance.stop") done = instance->finished;
  if (operation.kind == "instance.delete") done = instance->finished;
  if (operation.kind == "instance.suspend") {
    done = instance->finished && instance->state == TaskState::suspended;
    failed = instance->finished && !done;
    why = task_reason(*instance);
    if (failed) why = "it ended before its memory was on disk" + (why.empty() ? "" : ": " + why);
  }
  if (operation.kind == "instance.start" || operation.kind == "instance.restart" ||
      operation.kind == "instance.resume") {
    const bool current =
        instance->generation >= static_cast<uint32_t>(std::max(1, std::atoi(operation.argument.c_str())));
    done = current && wanted_up && (instance->state == TaskState::running || instance->state == TaskState::completed);
    failed = current && !resting && instance->finished && !done;
  }
  if (operation.kind == "instance.pause" || operation.kind == "instance.unpause") {
    const bool wanted = operation.kind == "instance.pause";
    done = std::all_of(instance->detail->tasks.begin(), instance->detail->tasks.end(),
                       [&](const TaskStatus& t) { return t.paused == wanted || is_terminal(t.position.state); }) &&
           (wanted || wanted_up);
  }
  if (!done && instance->override_ != wish_of(operation)) {
    const std::string since = asked_since(snapshot, operation);
    return finish(update, OperationState::cancelled, "superseded by " + (since.empty() ? "a later wish" : since));
  }
  update.message = why;
  set_step(update, operation.kind.substr(operation.kind.find('.') + 1), done, "");
  update.total = 1;
  update.done = done ? 1 : 0;
  if (done) finish(update, OperationState::succeeded, "done");
  if (failed) finish(update, OperationState::failed, why.empty() ? "it ended at once" : why);
}

std::string instances_left(int64_t left) {
  return std::to_string(left) + (left == 1 ? " instance left" : " instances left");
}

// For stopping what is left at the deadline; a node that nobody hears is given up long before.
constexpr Duration kDrainStopsWithin = seconds(600);

void measure_drain(const Snapshot& snapshot, const Operation& operation, Time now, state::UpdateOperation& update) {
  const Node* node = snapshot.nodes.find(operation.target);
  if (node == nullptr) return finish(update, OperationState::succeeded, "the node was removed");
  if (node->spec.eligibility != Eligibility::draining) {
    return finish(update, OperationState::cancelled, "the drain was called off");
  }
  int64_t left = 0;
  if (const IdSet* ids = snapshot.instances_by_node.find(operation.target)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* instance = snapshot.instances.find(id);
      if (instance != nullptr && !instance->finished && instance->presence != Presence::given_up &&
          instance->node == node->id)
        ++left;
    });
  }
  update.total = std::max(operation.total, left);
  update.done = update.total - left;
  update.progress = update.total == 0 ? 100 : static_cast<int32_t>(update.done * 100 / update.total);
  const bool late = node->spec.drain_deadline && now >= node->spec.drain_deadline;
  update.message = (late ? "the deadline has passed, stopping what is left: " : "") + instances_left(left);
  set_step(update, "move", left == 0, update.message);
  if (left == 0) finish(update, OperationState::succeeded, "drained");
  if (left > 0 && late && now > node->spec.drain_deadline + kDrainStopsWithin)
    finish(update, OperationState::failed,
           "what was left at the deadline did not stop within " + format_duration(kDrainStopsWithin) + ": " +
               instances_left(left));
}

void measure_remove(const Snapshot& snapshot, const Operation& operation, state::UpdateOperation& update) {
  int64_t left = 0;
  if (const IdSet* ids = snapshot.instances_by_node.find(operation.target)) left = static_cast<int64_t>(ids->size());
  const bool gone = !snapshot.nodes.contains(operation.target);
  update.total = std::max(operation.total, left);
  update.done = update.total - left;
  update.progress = gone ? 100 : update.total == 0 ? 0 : static_cast<int32_t>(update.done * 100 / update.total);
  update.message = instances_left(left) + " to give up";
  set_step(update, "give up", gone, update.message);
  if (gone) finish(update, OperationState::succeeded, "removed");
}

// Progress is told this often: a commit for each would delay the very work it speaks of.
constexpr int64_t kProgressMs = 250;
// Of a larger job even the end is looked for only so often: looking at every instance after every commit would cost n².
constexpr size_t kMeasuredAtOnceMax = 64;

bool differs(const state::UpdateOperation& update, const Operation& operation) {
  return !update.moves.empty() || update.state != operation.state || update.steps != operation.steps ||
         update.progress != operation.progress || update.done != operation.done || update.total != operation.total ||
         update.message != operation.message;
}

}  // namespace

std::optional<state::UpdateOperation> measure(const Snapshot& snapshot, const Operation& operation, Time now) {
  if (operation.state != OperationState::running) return std::nullopt;
  state::UpdateOperation update;
  update.operation = operation.id;
  update.progress = operation.progress;
  if (operation.rebalance) {
    measure_rebalance(snapshot, operation, update);
  } else if (operation.cancel_requested) {
    finish(update, OperationState::cancelled, "cancelled on request");
  } else if (operation.kind == "job.submit" || operation.kind == "job.scale" || operation.kind == "job.start" ||
             operation.kind == "job.promote" || operation.kind == "job.abort") {
    const Job* job = snapshot.jobs.find(operation.target);
    if (job == nullptr)
      finish(update, OperationState::cancelled, "the job was deleted");
    else
      measure_job_running(snapshot, operation, *job, update);
  } else if (operation.kind == "job.force") {
    const Job* job = snapshot.jobs.find(operation.target);
    if (job == nullptr || job->stopped)
      finish(update, OperationState::cancelled, "the job was stopped");
    else if (!job->launches.waiting)
      finish(update, OperationState::succeeded, "launched");
    else
      update.message = "waits for what runs to stop";
  } else if (operation.kind == "job.stop" || operation.kind == "job.delete") {
    measure_job_stopped(snapshot, operation, update);
  } else if (operation.kind.starts_with("instance.")) {
    measure_instance(snapshot, operation, update);
  } else if (operation.kind == "node.remove") {
    measure_remove(snapshot, operation, update);
  } else if (operation.kind == "node.drain") {
    measure_drain(snapshot, operation, now, update);
  } else {
    return std::nullopt;  // driven by a loop of its own (image.fetch)
  }
  if (!differs(update, operation)) return std::nullopt;
  return update;
}

void OperationTracker::rebuild(const Snapshot& snapshot) {
  running_.clear();
  late_.clear();
  snapshot.operations.for_each([&](uint64_t id, const Operation& operation) {
    if (operation.state == OperationState::running) running_.insert(OperationId{id});
  });
}

std::vector<state::UpdateOperation> OperationTracker::sweep(const Snapshot& snapshot, Time now) {
  late_.clear();
  for (OperationId id : running_) late_.insert({id, {}});
  return catch_up(snapshot, now);
}

std::vector<state::UpdateOperation> OperationTracker::catch_up(const Snapshot& snapshot, Time now) {
  std::vector<state::UpdateOperation> out;
  for (auto at = late_.begin(); at != late_.end();) {
    if (at->second > now) {
      ++at;
      continue;
    }
    const Operation* operation = snapshot.operations.find(at->first.value);
    at = late_.erase(at);
    if (operation == nullptr) continue;
    if (auto update = measure(snapshot, *operation, now)) out.push_back(std::move(*update));
  }
  return out;
}

Time OperationTracker::wake() const {
  Time out;
  for (const auto& [id, at] : late_)
    if (!out || at < out) out = at;
  return out;
}

std::vector<state::UpdateOperation> OperationTracker::follow(const ChangeSet& changes, Time now) {
  std::set<uint64_t> targets;
  bool relevant = false;
  for (const RowChange& row : changes.rows) {
    if (row.table == TableId::operation) {
      const Operation* operation = changes.after->operations.find(row.id);
      if (operation != nullptr && operation->state == OperationState::running) {
        running_.insert(operation->id);
        const Operation* before = changes.before ? changes.before->operations.find(row.id) : nullptr;
        if (before == nullptr || before->cancel_requested != operation->cancel_requested) {
          targets.insert(operation->target);
          relevant = true;
        }
      } else {
        running_.erase(OperationId{row.id});
      }
    } else if (row.table == TableId::instance) {
      const Instance* after = changes.after->instances.find(row.id);
      const Instance* before = changes.before ? changes.before->instances.find(row.id) : nullptr;
      const Instance* any = after != nullptr ? after : before;
      targets.insert(row.id);
      if (any != nullptr) targets.insert({any->job.value, any->node.value});
      relevant = true;
    } else if (row.table == TableId::job || row.table == TableId::node) {
      targets.insert(row.id);
      relevant = true;
    } else if (row.table == TableId::version) {
      const JobVersion* version = changes.after->versions.find(row.id);
      if (version != nullptr) targets.insert(version->job.value);
      relevant = true;
    }
  }
  std::vector<state::UpdateOperation> out;
  if (!relevant) return out;
  for (OperationId id : running_) {
    const Operation* operation = changes.after->operations.find(id.value);
    if (operation != nullptr && operation->rebalance)
      late_.insert({id, now + milliseconds(kProgressMs)});  // it may concern any
    if (operation == nullptr || operation->rebalance || !targets.contains(operation->target)) continue;
    const IdSet* members = changes.after->instances_by_job.find(operation->target);
    std::optional<state::UpdateOperation> update;
    if (members == nullptr || members->size() <= kMeasuredAtOnceMax) update = measure(*changes.after, *operation, now);
    if (update && update->state != OperationState::running)
      out.push_back(std::move(*update));
    else
      late_.insert({id, now + milliseconds(kProgressMs)});
  }
  return out;
}

}  // namespace tutti::manager
