#include "sim_host.h"

#include <algorithm>

#include "base/random.h"
#include "model/codec.h"
#include "sim_world.h"

namespace tutti::sim {
namespace {

std::string describe(const RunKey& key) {
  return to_text(key.instance) + "." + std::to_string(key.generation) + "." + std::to_string(key.attempt) + "." +
         key.task;
}

driver::Failure failure(driver::FailureKind kind, const std::string& why) {
  return {kind, Error{ErrorCode::unavailable, why, {}, 0}};
}

std::string_view name_of(worker::OpKind kind) {
  static constexpr std::string_view kNames[] = {"network_up", "network_down", "image", "recover", "prepare", "start",
                                                "stop",       "destroy_run",  "pause", "unpause", "suspend", "clear"};
  return kNames[static_cast<size_t>(kind)];
}

// Literals, so that they can be counted: "failed"/"hung"/"refused" by operation.
std::string_view counter(std::string_view what, worker::OpKind kind) {
  static std::map<std::pair<std::string_view, worker::OpKind>, std::string> names;
  auto& text = names[{what, kind}];
  if (text.empty()) text = "driver " + std::string(what) + ": " + std::string(name_of(kind));
  return text;
}

constexpr size_t kUnderWayMost = 1'000;  // messages on one cable

}  // namespace

SimHost::SimHost(SimWorld& world, uint64_t its_number)
    : number(its_number),
      name("host" + std::to_string(number)),
      fingerprint("key-" + name),
      world_(world),
      sim_(world.sim),
      wall_(world.sim) {}

worker::Now SimHost::now() const {
  return {clock_->now(), sim_.boot()};
}

void SimHost::heal() {
  link = {};
  stalled_until_ = full_until_ = {};
  wake();
}

void SimHost::leave() {
  left = true;
  crash_worker();
  node = {};
  records_.clear();
  runs_.clear();
  disks_.clear();
}

// In order: what came while it stood still comes before what comes now.
void SimHost::when_awake(std::function<void()> work) {
  if (stalled_until_ <= sim_.boot() && asleep_.empty()) return work();
  asleep_.push_back(std::move(work));
  if (asleep_.size() == 1) sim_.after(stalled_until_ - sim_.boot(), [this] { wake(); });
}

void SimHost::wake() {
  if (stalled_until_ > sim_.boot()) return sim_.after(stalled_until_ - sim_.boot(), [this] { wake(); });
  while (!asleep_.empty()) {
    const auto work = std::move(asleep_.front());
    asleep_.pop_front();
    work();
  }
}

void SimHost::boot() {
  boot_id_ = name + "-boot-" + std::to_string(++boots_);
}

void SimHost::start_worker() {
  if (core_ || left) return;
  process_ = sim_.random.next();
  clock_ = std::make_unique<SteadyClock>(wall_);
  sim_.trace(name, " worker starts");
  core_ = std::make_unique<worker::Core>(process_, boot_id_);
  core_->set_inventory(world_.inventory(*this, boot_id_));
  failures_ = 0;
  std::vector<worker::InstanceRecord> records;
  for (const auto& [id, text] : records_) {
    auto record = from_json<worker::InstanceRecord>(text, {.allow_unknown = true, .what = "record"});
    if (!record) return sim_.broken(name + ": a record does not read back: " + record.error().to_string());
    records.push_back(std::move(*record));
  }
  core_->load(std::move(records), now());
  carry_out();
  if (core_) connect();
  tick();
}

void SimHost::crash_worker() {
  if (!core_) return;
  sim_.trace(name, " worker crashes");
  // What it was at may have been done or not.
  for (InstanceId id : std::set<InstanceId>(busy_)) {
    if (sim_.chance(2) && !queues_[id].empty()) (void)effect(queues_[id].front());
  }
  core_.reset();
  process_ = 0;
  queues_.clear();
  busy_.clear();
  told_.clear();
  if (connection) connection->vanish(kWorkerSide, sim_.between(0, 50));
  connection.reset();
}

void SimHost::reboot() {
  if (core_) crash_worker();
  sim_.trace(name, " reboots");
  records_.clear();
  runs_.clear();
  lease_ = {};
  boot();
}

// ---- the worker process around its core (worker/worker.cc)
void SimHost::tick() {
  if (!core_) return;
  core_->tick(now());
  carry_out();
  if (!core_) return;
  sim_.after(std::max(milliseconds(5), core_->wake_in(now())), [this, process = process_] {
    when_awake([this, process] {
      if (process == process_) tick();
    });
  });
}

void SimHost::connect() {
  if (!core_ || connection) return;
  sim_.after(sim_.between(1, 5), [this, process = process_] {
    if (process != process_ || connection) return;
    connection = world_.dial(*this);
    if (connection) {
      Ear ear;
      // By number: one that stays half open for good would hold itself.
      auto here = [this, process, dialed = connection->number()] {
        return process == process_ && connection && connection->number() == dialed;
      };
      ear.message = [this, here](const std::string& text) {
        when_awake([this, here, text] {
          if (here()) heard(text);
        });
      };
      ear.closed = [this, here] {
        when_awake([this, here] {
          if (!here()) return;
          connection.reset();
          sim_.trace(name, " session closed");
          core_->session_closed(now());
          carry_out();
          retry();
        });
      };
      connection->listen(kWorkerSide, std::move(ear));
      core_->session_opened(now());
      carry_out();
      return;
    }
    retry();
  });
}

void SimHost::retry() {
  const int64_t most = std::min<int64_t>(5'000, int64_t{100} << std::min(++failures_, 6));
  sim_.after(sim_.between(most / 2, most), [this, process = process_] {
    if (process == process_) connect();
  });
}

void SimHost::heard(const std::string& text) {
  auto message = from_json<ManagerMessage>(text, {.allow_unknown = true, .what = "manager message"});
  if (!message) return sim_.broken("not a manager message: " + message.error().to_string());
  if (sim_.tracing()) sim_.trace(name, " <- ", text.substr(0, 400));
  failures_ = 0;
  core_->received(*message, now());
  carry_out();
  if (sim_.faults && sim_.chance(100)) heard_again_later(text);
}

// A second copy on a slow path, which comes when another session of the same process serves: it must not be believed.
void SimHost::heard_again_later(const std::string& text) {
  auto copy = from_json<ManagerMessage>(text, {.allow_unknown = true, .what = "manager message"});
  if (copy->welcome || copy->goodbye) return;  // each opens or ends a session of its own
  sim_.after(sim_.between(0, 30'000), [this, copy = std::move(*copy), process = process_, first = connection] {
    if (process != process_ || !connection || connection == first || !core_->connected()) return;
    sim_.count("manager message doubled, in a later session");
    core_->received(copy, now());
    for (worker::Output& output : core_->take_outputs()) {
      if (!std::holds_alternative<worker::SendMessage>(output))
        sim_.broken(name + " believes what a superseded session said");
      perform(output);
    }
  });
}

// The process may die between any two of them, so behind every record that it stores, too.
void SimHost::carry_out() {
  for (worker::Output& output : core_->take_outputs()) {
    const bool stores = std::holds_alternative<worker::StoreRecord>(output);
    perform(output);
    if (stores) ++world_.records_stored;
    const bool dies =
        sim_.faults ? sim_.chance(stores ? 400 : 4'000) : stores && world_.records_stored == world_.crash_at_record;
    if (!dies) continue;
    sim_.count(stores ? "worker crash behind a stored record" : "worker crash between two outputs");
    crash_worker();
    sim_.after(sim_.between(0, 2'000), [this] { start_worker(); });
    return;
  }
}

void SimHost::perform(worker::Output& output) {
  if (auto* send = std::get_if<worker::SendMessage>(&output)) {
    if (!connection) return;
    if (send->message.status) {
      for (const InstanceReport& report : send->message.status->reports)
        for (const TaskStatus& task : report.tasks) check_position(report.instance, task);
    }
    const std::string text = to_json(send->message, {.omit_defaults = true});
    if (connection->under_way(kWorkerSide) > kUnderWayMost) sim_.broken(name + " sends without end");
    if (sim_.tracing() && !send->message.beat) sim_.trace(name + " -> " + text.substr(0, 400));
    connection->send(kWorkerSide, text);
  } else if (auto* store = std::get_if<worker::StoreRecord>(&output)) {
    for (const TaskStatus& task : store->record.tasks) check_position(store->record.assignment.instance, task);
    records_[store->record.assignment.instance] = to_json(store->record, {.omit_defaults = true});
  } else if (auto* drop = std::get_if<worker::DropRecord>(&output)) {
    records_.erase(drop->instance);
  } else if (auto* op = std::get_if<worker::RunOp>(&output)) {
    begin(op->op);
  } else if (auto* lease = std::get_if<worker::SetLease>(&output)) {
    const bool ended = lease_ <= sim_.boot();
    lease_ = lease->until;
    if (ended) {
      for (const auto& [key, run] : runs_) world_.check_once(*this, key);
    }
  } else if (auto* close = std::get_if<worker::CloseSession>(&output)) {
    if (close->reason == "assignment without its spec") sim_.broken(name + " was sent an " + close->reason);
    if (close->for_good && !leaving && world_.manager->state().nodes.contains(node.value))
      sim_.broken(name + " was sent away: " + close->reason);
    if (connection) connection->close(kWorkerSide);
  } else if (auto* leftovers = std::get_if<worker::SweepLeftovers>(&output)) {
    sweep({leftovers->live.begin(), leftovers->live.end()});
  }
}

void SimHost::begin(worker::Op op) {
  const worker::Runner* runner = core_->find(op.instance);
  if (runner == nullptr || runner->task_count() == 0) return;
  queues_[op.instance].push_back({op, runner->assignment(), runner->spec(), runner->task_spec(op.task)});
  next(op.instance);
}

// Like the executor: one operation of an instance at a time, in order.
void SimHost::next(InstanceId instance) {
  if (busy_.contains(instance) || queues_[instance].empty()) return;
  busy_.insert(instance);
  Duration takes = sim_.faults && sim_.chance(20) ? sim_.between(0, 8'000) : sim_.between(0, 200);
  const Job& job = queues_[instance].front();
  if (job.op.kind == worker::OpKind::stop && sim_.chance(4)) takes = std::min(job.op.grace, sim_.between(0, 10'000));
  if (sim_.faults && sim_.chance(250)) {
    sim_.count(counter("hung", job.op.kind));
    takes = sim_.between(10'000, 60'000);
  }
  sim_.after(takes, [this, instance, process = process_] {
    if (process != process_) return;
    const Job done = std::move(queues_[instance].front());
    queues_[instance].pop_front();
    busy_.erase(instance);
    worker::OpResult result{done.op, trouble_of(done), {}};
    if (!result.failure) result.failure = effect(done);
    if (done.op.kind == worker::OpKind::network_up && !result.failure)
      result.address = "10.86.1." + std::to_string(done.op.instance.value % 250);
    next(instance);
    sim_.after(sim_.between(0, 2), [this, process, result] {
      when_awake([this, process, result] {
        if (process != process_) return;
        if (sim_.tracing()) {
          sim_.trace(name, " op ", name_of(result.op.kind), " of ", to_text(result.op.instance), ".",
                     std::to_string(result.op.generation), ".", std::to_string(result.op.attempt),
                     result.failure ? " failed: " + result.failure->error.message : " done");
        }
        core_->op_done(result, now());
        carry_out();
      });
    });
  });
}

// What goes wrong with a call of the driver: every kind of failure, before or after the call had its effect.
std::optional<driver::Failure> SimHost::trouble_of(const Job& job) {
  using worker::OpKind;
  const OpKind kind = job.op.kind;
  if (!sim_.faults) return {};
  const bool writes = kind == OpKind::image || kind == OpKind::prepare;
  if (writes && full_until_ > sim_.boot()) {
    sim_.count("worker's disk full");
    return failure(driver::FailureKind::retryable, "no space left on device");
  }
  if (sim_.chance(25)) {
    sim_.count(counter("failed", kind));
    // recover() that finds its run does not fail: it only looks.
    if (kind == OpKind::recover) return effect(job);
    if (sim_.chance(2)) (void)effect(job);
    return failure(driver::FailureKind::retryable, "simulated trouble");
  }
  const bool before_run = writes || kind == OpKind::start || kind == OpKind::network_up;
  if (before_run && sim_.chance(150)) {
    sim_.count(counter("refused", kind));
    // `failed` of a start may leave a process behind that dies by itself; `rejected` has started nothing.
    return failure(sim_.chance(2) ? driver::FailureKind::rejected : driver::FailureKind::failed, "simulated refusal");
  }
  return {};
}

// ---- the machine
std::optional<driver::Failure> SimHost::effect(const Job& job) {
  if (job.op.kind == worker::OpKind::clear) {
    for (auto at = runs_.begin(); at != runs_.end(); ++at) {
      if (at->first.instance == job.op.instance)
        sim_.broken(name + " clears " + to_text(job.op.instance) + " while run " + describe(at->first) + " is there");
    }
    std::erase_if(disks_, [&](const auto& disk) { return disk.first == job.op.instance; });
    return {};
  }
  if (job.op.kind == worker::OpKind::network_up || job.op.kind == worker::OpKind::network_down) return {};
  return effect_on_task(job);
}

std::optional<driver::Failure> SimHost::effect_on_task(const Job& job) {
  const RunKey key{job.op.instance, job.op.generation, job.op.attempt, job.task.name};
  auto at = runs_.find(key);
  const bool there = at != runs_.end() && at->second.state != Run::State::prepared;
  switch (job.op.kind) {
    case worker::OpKind::image: return {};
    case worker::OpKind::prepare:
      disks_.insert({key.instance, key.task});
      runs_[key];
      return {};
    case worker::OpKind::start:
      if (at == runs_.end()) sim_.broken(name + " starts " + describe(key) + ", which was not prepared");
      if (job.task.on_disconnect == DisconnectPolicy::stop_after && sim_.boot() >= job.op.start_by)
        return failure(driver::FailureKind::retryable, "the lease ended before it could start");
      if (!there) start_run(job, runs_[key]);
      watch(key, runs_[key]);
      return {};
    case worker::OpKind::recover:
      if (!there) return failure(driver::FailureKind::retryable, "no such run");
      watch(key, at->second);
      return {};
    case worker::OpKind::stop: {
      if (!there) return {};
      driver::ExitStatus status;
      status.exit_code = 143;
      end_run(key, status);
      return {};
    }
    case worker::OpKind::destroy_run:
      if (at != runs_.end() && sim_.tracing()) sim_.trace(name, " destroys run ", describe(key));
      runs_.erase(key);
      return {};
    case worker::OpKind::pause:
    case worker::OpKind::unpause:
      if (!there || at->second.state != Run::State::running)
        return failure(driver::FailureKind::retryable, "it does not run");
      at->second.paused = job.op.kind == worker::OpKind::pause;
      return {};
    case worker::OpKind::suspend:
    case worker::OpKind::network_up:
    case worker::OpKind::network_down:
    case worker::OpKind::clear: break;
  }
  return {};
}

void SimHost::start_run(const Job& job, Run& run) {
  const RunKey key{job.op.instance, job.op.generation, job.op.attempt, job.task.name};
  if (sim_.tracing()) sim_.trace(name, " starts run ", describe(key), " of ", job.assignment.name);
  for (const auto& [other, its] : runs_) {
    if (its.state == Run::State::running && other.instance == key.instance && other.task == key.task) {
      sim_.broken(name + " starts " + describe(key) + " while " + describe(other) + " runs");
    }
    // (generation, attempt) never goes back on a host that remembers.
    if (other.instance == key.instance && other.task == key.task && other > key)
      sim_.broken(name + " starts " + describe(key) + " after " + describe(other));
  }
  run.state = Run::State::running;
  run.job = job.assignment.job;
  std::string slot = job.assignment.name;  // the group by its name: an index means another one in another version
  if (slot.ends_with("-next")) slot.resize(slot.size() - 5);
  run.group_slot = slot + "/" + job.task.name;
  run.stop_with_lease = job.task.on_disconnect == DisconnectPolicy::stop_after;
  run.task_index = job.op.task;
  run.number = ++next_run_;
  run.devices.clear();
  for (const DeviceBinding& device : job.assignment.devices)
    if (device.task == job.task.name) run.devices.push_back(device);
  sim_.count("runs started");
  check_devices(key);
  world_.check_once(*this, key);
  auto life = job.task.options.find("life_ms");
  Duration until{};
  driver::ExitStatus status;
  if (life != job.task.options.end()) {
    until = milliseconds(std::atoll(life->second.c_str()) + static_cast<int64_t>(sim_.random.below(1'000)));
    status.exit_code = sim_.faults && sim_.chance(4) ? 1 : 0;
  } else if (sim_.faults && sim_.chance(5)) {
    until = sim_.between(0, 60'000);
    status.exit_code = sim_.chance(4) ? 0 : 1;
  }
  if (until.ns > 0) {
    sim_.after(until, [this, key, status, run_number = run.number] {
      auto at = runs_.find(key);
      if (at != runs_.end() && at->second.number == run_number && at->second.state == Run::State::running)
        end_run(key, status);
    });
  }
  if (run.stop_with_lease) check_lease();
}

void SimHost::end_run(const RunKey& key, driver::ExitStatus status) {
  Run& run = runs_.at(key);
  if (run.state != Run::State::running) return;
  if (sim_.tracing())
    sim_.trace(name, " run ", describe(key), " ends with ", std::to_string(status.exit_code),
               status.lease_expired ? " (lease)" : "");
  if (status.lease_expired) sim_.count("runs ended with their lease");
  status.finished = wall_.now();
  run.state = Run::State::ended;
  run.exit = status;
  if (run.watcher != 0) watch(key, run);
}

void SimHost::watch(const RunKey& key, Run& run) {
  run.watcher = process_;
  if (run.state != Run::State::ended || process_ == 0) return;
  sim_.after(sim_.between(0, 3), [this, key, process = process_, status = run.exit, index = run.task_index] {
    when_awake([this, key, process, status, index] {
      if (process != process_) return;
      core_->exited(key.instance, index, key.generation, key.attempt, status, now());
      carry_out();
    });
  });
}

void SimHost::sweep(const std::set<InstanceId>& live) {
  std::erase_if(runs_, [&](const auto& entry) { return !live.contains(entry.first.instance); });
  for (const auto& [id, task] : disks_) {
    const Instance* i = world_.manager->state().instances.find(id.value);
    if (live.contains(id) || i == nullptr || i->node != node || i->cleared || i->presence == Presence::given_up ||
        i->desired == Desired::removed)
      continue;
    sim_.broken(name + " sweeps away the disk of " + to_text(id) + ", which is to be started again");
  }
  std::erase_if(disks_, [&](const auto& disk) { return !live.contains(disk.first); });
}

// The monitors beside the tasks: they read the lease page, whatever became of the worker.
void SimHost::check_lease() {
  sim_.after(milliseconds(1), [this] {
    bool any = false;
    std::vector<RunKey> over;
    for (const auto& [key, run] : runs_) {
      if (run.state != Run::State::running || !run.stop_with_lease) continue;
      any = true;
      if (sim_.boot() >= lease_) over.push_back(key);
    }
    driver::ExitStatus status;
    status.exit_code = 137;
    status.lease_expired = true;
    for (const RunKey& key : over) end_run(key, status);
    const uint64_t mine = ++ticks_;
    if (any && !(over.size() && runs_.empty())) {
      sim_.after(milliseconds(250), [this, mine] {
        if (mine == ticks_) check_lease();
      });
    }
  });
}

// Of what is told and what is stored.
void SimHost::check_position(InstanceId instance, const TaskStatus& task) {
  Position& told = told_[{instance, task.task}];
  if (task.position < told) {
    sim_.broken(name + ": " + to_text(instance) + " went back from " + std::to_string(told.generation) + "." +
                std::to_string(told.attempt) + "." + std::to_string(static_cast<int>(told.state)) + " to " +
                std::to_string(task.position.generation) + "." + std::to_string(task.position.attempt) + "." +
                std::to_string(static_cast<int>(task.position.state)));
  }
  told = task.position;
}

// No device of the machine is used beyond its whole.
void SimHost::check_devices(const RunKey& started) {
  for (const DeviceBinding& mine : runs_.at(started).devices) {
    int64_t taken = 0;
    std::string by;
    for (const auto& [key, run] : runs_) {
      if (run.state != Run::State::running) continue;
      for (const DeviceBinding& device : run.devices) {
        if (device.device != mine.device) continue;
        taken += device.share;
        if (key != started) by += " " + describe(key);
      }
    }
    sim_.count("devices used");
    if (taken > kWholeDevice)
      sim_.broken(name + " starts " + describe(started) + " on " + mine.device + ", which is in use by" + by);
  }
}

}  // namespace tutti::sim
