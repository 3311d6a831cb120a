#include "worker/core.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"

namespace tutti::worker {
namespace {

// What an instance only passes through is told after this time, unless it has come further by then: a commit per state
// would be three where one says it all.
constexpr int64_t kPassingStatusDelayMs = 50;

// A manager that takes a connection and then says nothing is left for another try: it may have died in between.
constexpr int64_t kSilentManagerMs = 3 * limits::kLeaseMs;

constexpr size_t kBeatsUnacknowledgedMax = 16;

}  // namespace

Core::Core(uint64_t process, std::string boot_id) : process_(process), boot_id_(std::move(boot_id)) {}

void Core::load(std::vector<InstanceRecord> records, Now now) {
  for (const InstanceRecord& record : records) {
    const InstanceId id = record.assignment.instance;
    runners_[id].runner = std::make_unique<Runner>(record, now);
    advance(id, now);
  }
}

void Core::session_opened(Now now) {
  connected_ = true;
  heard_ = now.boot;
  welcomed_ = false;
  status_waiting_ = false;
  completing_ = false;
  named_.clear();
  beats_.clear();
  dirty_.insert(in_flight_.begin(), in_flight_.end());
  urgent_ = true;
  in_flight_.clear();
  WorkerMessage message;
  message.hello = HelloMessage{boot_id_, process_, inventory_, {}};
  for (const auto& [id, held] : runners_) {
    message.hello->held.push_back({id, held.runner->assignment().generation, hash_of(held.runner->assignment())});
  }
  next_beat_ = now.boot + milliseconds(limits::kBeatMs);
  outputs_.push_back(SendMessage{std::move(message)});
}

void Core::session_closed(Now now) {
  connected_ = welcomed_ = false;
  (void)now;
}

void Core::received(const ManagerMessage& message, Now now) {
  if (!connected_) return;
  heard_ = now.boot;
  if (message.goodbye) {
    outputs_.push_back(CloseSession{message.goodbye->reason, true});
    return;
  }
  if (message.welcome) {
    epoch_ = message.epoch;
    session_ = message.session;
    welcomed_ = true;
    const WelcomeMessage& w = *message.welcome;
    const bool same =
        welcome_used_ && w.node == welcome_.node && w.pool_id == welcome_.pool_id && w.subnet == welcome_.subnet;
    welcome_ = w;
    welcome_used_ = true;
    specs_.clear();  // the manager begins with none as well
    if (!same) outputs_.push_back(UseWelcome{w});
    // Whatever is known here is told again: acknowledgements of the last session may be lost.
    for (const auto& [id, held] : runners_) dirty_.insert(id);
    dirty_.insert(gone_.begin(), gone_.end());
    urgent_ = true;
    images_due_ = images_.has_value();
    beat(now);
  }
  if (!welcomed_ || message.epoch != epoch_ || message.session != session_) return;
  if (message.beat_ack) {
    const bool was_valid = lease_valid(now);
    while (!beats_.empty() && beats_.front().first <= message.beat_ack->sequence) {
      const BootTime until = beats_.front().second + milliseconds(welcome_.lease_ms);
      if (lease_until_ < until) lease_until_ = until;
      beats_.pop_front();
    }
    if (message.beat_ack->beat_ms > 0)
      welcome_.beat_ms = std::min<int64_t>(message.beat_ack->beat_ms, welcome_.lease_ms / 2);
    outputs_.push_back(SetLease{lease_until_});
    // What its ended lease stopped waits for no time, only for this: it is not among those that are due.
    if (!was_valid && lease_valid(now)) {
      std::vector<InstanceId> all;
      for (const auto& [id, held] : runners_) all.push_back(id);
      for (InstanceId id : all) advance(id, now);
    }
    advance_all(now);
  }
  if (message.assign) assign(*message.assign, now);
  if (message.stream) outputs_.push_back(OpenStream{*message.stream});
  if (message.status_ack && status_waiting_ && message.status_ack->sequence == status_sequence_) {
    status_waiting_ = false;
    for (InstanceId id : in_flight_) {
      if (!dirty_.contains(id)) gone_.erase(id);
    }
    in_flight_.clear();
  }
  flush_status(now);
}

void Core::assign(const AssignMessage& message, Now now) {
  if (message.complete && !completing_) named_.clear();
  for (const SpecMessage& spec : message.specs) {
    if (spec.spec) specs_[{spec.job, spec.version}] = spec;
  }
  for (const Assignment& assignment : message.assignments) accept(assignment, now);
  for (InstanceId id : message.removed) {
    remove(id);
    advance(id, now);
  }
  for (const SpecKey& key : message.forget_specs) specs_.erase(key);
  if (!message.complete) return;
  for (const Assignment& assignment : message.assignments) named_.insert(assignment.instance);
  named_.insert(message.keep.begin(), message.keep.end());
  completing_ = message.more;
  if (completing_) return;
  std::vector<InstanceId> unnamed;
  for (const auto& [id, held] : runners_) {
    if (!named_.contains(id)) unnamed.push_back(id);
  }
  for (InstanceId id : unnamed) {
    remove(id);
    advance(id, now);
  }
  SweepLeftovers sweep;
  // Also what has no runner: one that waits to start over is named, and its disk is what it starts over with.
  std::set<InstanceId> live = named_;
  for (const auto& [id, held] : runners_) live.insert(id);
  sweep.live.assign(live.begin(), live.end());
  outputs_.push_back(std::move(sweep));
}

void Core::accept(const Assignment& assignment, Now now) {
  const InstanceId id = assignment.instance;
  auto spec = specs_.find({assignment.job, assignment.job_version});
  if (spec == specs_.end()) {
    log_error("assignment without its spec", {{"instance", assignment.name}});
    outputs_.push_back(CloseSession{"assignment without its spec", false});
    return;
  }
  auto at = runners_.find(id);
  if (at == runners_.end()) {
    if (gone_.contains(id) && assignment.desired == Desired::removed) {
      dirty_.insert(id);
      flush_status(now);
      return;
    }
    gone_.erase(id);
    runners_[id].runner = std::make_unique<Runner>(assignment, spec->second, now);
  } else {
    at->second.runner->assign(assignment, spec->second);
  }
  advance(id, now);
}

void Core::remove(InstanceId instance) {
  auto at = runners_.find(instance);
  if (at != runners_.end()) {
    at->second.runner->clear();
  } else {
    gone_.insert(instance);
    dirty_.insert(instance);
    urgent_ = true;
  }
}

void Core::advance(InstanceId instance, Now now) {
  auto at = runners_.find(instance);
  if (at == runners_.end()) {
    flush_status(now);
    return;
  }
  Runner& runner = *at->second.runner;
  std::vector<Op> ops = runner.step(now, lease_valid(now));
  if (runner.take_record_due() && !runner.gone()) outputs_.push_back(StoreRecord{runner.record()});
  for (Op& op : ops) {
    if (op.kind == OpKind::start) op.start_by = lease_until_;
    outputs_.push_back(RunOp{op});
  }
  for (WatchHealth& watch : runner.take_watches()) outputs_.push_back(watch);
  if (runner.take_changed()) mark(instance, runner.passing(), now);
  set_due(instance, runner.gone() ? Time{} : runner.wake());
  if (runner.gone()) {
    mark(instance, false, now);
    gone_.insert(instance);
    outputs_.push_back(DropRecord{instance});
    runners_.erase(at);
  }
  flush_status(now);
}

void Core::mark(InstanceId instance, bool passing, Now now) {
  if (dirty_.empty()) passing_since_ = now.boot;
  urgent_ = urgent_ || !passing;
  dirty_.insert(instance);
}

void Core::advance_all(Now now) {
  std::vector<InstanceId> due;
  for (auto at = due_.begin(); at != due_.end() && at->first <= now.wall; ++at) due.push_back(at->second);
  for (InstanceId id : due) advance(id, now);
}

void Core::set_due(InstanceId instance, Time at) {
  Held& held = runners_.at(instance);
  if (held.due == at) return;
  if (held.due) due_.erase({held.due, instance});
  if (at) due_.insert({at, instance});
  held.due = at;
}

void Core::set_images(NodeImages images, Now now) {
  if (images == images_) return;
  images_ = std::move(images);
  images_due_ = true;
  flush_status(now);
}

void Core::flush_status(Now now) {
  if (!welcomed_ || status_waiting_ || (dirty_.empty() && !images_due_)) return;
  if (!urgent_ && !images_due_ && now.boot < passing_since_ + milliseconds(kPassingStatusDelayMs)) return;
  WorkerMessage message;
  message.status = StatusMessage{++status_sequence_, {}, {}};
  if (images_due_) message.status->images = images_;
  images_due_ = false;
  while (!dirty_.empty() && message.status->reports.size() < limits::kReportsPerMessageMax) {
    const InstanceId id = *dirty_.begin();
    dirty_.erase(dirty_.begin());
    in_flight_.insert(id);
    auto at = runners_.find(id);
    if (at != runners_.end()) {
      message.status->reports.push_back(at->second.runner->report());
    } else {
      InstanceReport report;
      report.instance = id;
      report.gone = true;
      message.status->reports.push_back(std::move(report));
    }
  }
  status_waiting_ = true;
  urgent_ = urgent_ && !dirty_.empty();
  outputs_.push_back(SendMessage{std::move(message)});
}

// The network knows instances by their ids; people by their names.
void Core::name_instances(Error& error) const {
  for (const auto& [id, held] : runners_) {
    const size_t at = error.message.find("instance " + to_text(id));
    if (at != std::string::npos)
      error.message.replace(
          at, 9 + to_text(id).size(),
          "instance " + held.runner->assignment().name + " of job " + held.runner->assignment().job_name);
  }
}

void Core::op_done(OpResult result, Now now) {
  auto at = runners_.find(result.op.instance);
  if (at == runners_.end()) return;
  if (result.failure && result.op.kind == OpKind::network_up) name_instances(result.failure->error);
  at->second.runner->op_done(result, now);
  advance(result.op.instance, now);
}

void Core::exited(InstanceId instance, uint16_t task, uint32_t generation, uint32_t attempt,
                  const driver::ExitStatus& status, Now now) {
  auto at = runners_.find(instance);
  if (at == runners_.end()) return;
  at->second.runner->exited(task, generation, attempt, status, now);
  advance(instance, now);
}

void Core::checked(InstanceId instance, uint16_t task, uint32_t generation, uint32_t attempt, HealthState state,
                   std::string reason, bool restart, Now now) {
  auto at = runners_.find(instance);
  if (at == runners_.end()) return;
  at->second.runner->checked(task, generation, attempt, state, std::move(reason), restart, now);
  advance(instance, now);
}

void Core::beat(Now now) {
  WorkerMessage message;
  message.beat = BeatMessage{};
  message.beat->sequence = ++beat_sequence_;
  beats_.emplace_back(beat_sequence_, now.boot);
  if (beats_.size() > kBeatsUnacknowledgedMax) beats_.pop_front();
  next_beat_ = now.boot + milliseconds(welcome_.beat_ms);
  outputs_.push_back(SendMessage{std::move(message)});
}

void Core::tick(Now now) {
  if (connected_ && now.boot - heard_ > milliseconds(kSilentManagerMs)) {
    heard_ = now.boot;
    outputs_.push_back(CloseSession{"the manager is silent"});
  }
  if (welcomed_ && next_beat_ <= now.boot) beat(now);
  advance_all(now);
  flush_status(now);
}

Duration Core::wake_in(Now now) const {
  Duration wait = milliseconds(std::max<int64_t>(limits::kBeatMs, welcome_.beat_ms));
  if (welcomed_) wait = std::min(wait, std::max(Duration{0}, next_beat_ - now.boot));
  if (welcomed_ && !status_waiting_ && !urgent_ && !dirty_.empty())
    wait = std::min(wait, std::max(Duration{0}, passing_since_ + milliseconds(kPassingStatusDelayMs) - now.boot));
  if (!due_.empty()) wait = std::min(wait, std::max(Duration{0}, due_.begin()->first - now.wall));
  return wait;
}

const Runner* Core::find(InstanceId instance) const {
  auto at = runners_.find(instance);
  return at == runners_.end() ? nullptr : at->second.runner.get();
}

std::vector<const Runner*> Core::runners() const {
  std::vector<const Runner*> out;
  for (const auto& [id, held] : runners_) out.push_back(held.runner.get());
  return out;
}

}  // namespace tutti::worker
