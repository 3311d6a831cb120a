#include "driver/fake/fake_driver.h"

#include <algorithm>

namespace tutti::driver {

class FakeDriver final : public Driver,
                         public SignalDriver,
                         public StatsDriver,
                         public PauseDriver,
                         public SuspendDriver {
 public:
  explicit FakeDriver(std::shared_ptr<FakeWorld> world) : world_(std::move(world)) {}

  std::string name() const override { return "fake"; }
  Capabilities capabilities() const override { return {.images = false, .network = false, .keeps_running = true}; }
  DriverInfo fingerprint() override { return {"fake", "1", true, ""}; }
  SignalDriver* as_signal() override { return this; }
  StatsDriver* as_stats() override { return this; }
  PauseDriver* as_pause() override { return this; }
  SuspendDriver* as_suspend() override { return this; }

  DriverStatus prepare(const RunContext& run, std::stop_token) override {
    auto script = script_of(run);
    if (!script) return tl::make_unexpected(script.error());
    std::lock_guard lock(world_->mutex_);
    if (world_->runs_.contains(run.run_dir)) return {};
    FakeWorld::Disk& disk = world_->disks_[run.disk_dir];
    return play_failure(script->prepare, disk.prepare_failures, "prepare", run);
  }

  DriverResult<Handle> start(const RunContext& run, std::stop_token stop) override {
    if (auto found = recover(run)) return found;
    auto script = script_of(run);
    if (!script) return tl::make_unexpected(script.error());
    {
      std::lock_guard lock(world_->mutex_);
      FakeWorld::Disk& disk = world_->disks_[run.disk_dir];
      if (auto refused = play_failure(script->start, disk.start_failures, "start", run); !refused)
        return tl::make_unexpected(refused.error());
    }
    if (script->start_delay.ns > 0) world_->wait_(script->start_delay, stop);
    if (stop.stop_requested()) return retryable({ErrorCode::cancelled, "the start was given up", {}, 0});
    const bool leased = !run.lease_page.empty() && run.task.on_disconnect == DisconnectPolicy::stop_after;
    if (leased && run.start_by.ns != 0 && world_->clock_.boot_now() >= run.start_by + run.task.disconnect_grace)
      return retryable({ErrorCode::unavailable, "the worker's lease ended before it could start", {}, 0});
    std::lock_guard lock(world_->mutex_);
    FakeWorld::Disk& disk = world_->disks_[run.disk_dir];
    ++disk.starts;
    FakeWorld::Run entry;
    entry.script = *script;
    entry.data = "{\"v\":1,\"pid\":" + std::to_string(world_->next_pid_++) + "}";
    std::optional<Duration> left = script->run_for;
    if (disk.suspended) left = disk.suspended->ns < 0 ? std::nullopt : disk.suspended;
    disk.suspended.reset();
    if (left) entry.ends_at = world_->clock_.boot_now() + *left;
    if (leased) entry.lease_page = run.lease_page;
    entry.lease_grace = run.task.disconnect_grace;
    Handle handle{"fake", entry.data};
    world_->runs_.insert_or_assign(run.run_dir, std::move(entry));
    world_->changed();
    return handle;
  }

  DriverResult<Handle> recover(const RunContext& run) override {
    std::lock_guard lock(world_->mutex_);
    auto found = world_->runs_.find(run.run_dir);
    if (found == world_->runs_.end())
      return retryable({ErrorCode::not_found, "nothing was started in " + run.run_dir, {}, 0});
    return Handle{"fake", found->second.data};
  }

  void wait(const RunContext& run, const Handle&, std::function<void(ExitStatus)> done) override {
    ExitStatus status{.exit_code = 137, .finished = world_->clock_.now(), .reason = "it is gone"};
    {
      std::lock_guard lock(world_->mutex_);
      auto found = world_->runs_.find(run.run_dir);
      if (found != world_->runs_.end()) {
        if (found->second.phase != FakeWorld::Phase::ended) {
          found->second.done = std::move(done);
          return;
        }
        status = found->second.status;
      }
    }
    done(std::move(status));
  }

  DriverStatus stop(const RunContext& run, const Handle&, Duration grace, std::stop_token token) override {
    FakeScript script;
    {
      std::lock_guard lock(world_->mutex_);
      FakeWorld::Run* entry = living(run);
      if (entry == nullptr) return {};
      script = entry->script;
    }
    bool listens = !script.ignores_stop && !script.ignores_kill && script.stop_delay <= grace;
    Duration takes = listens ? script.stop_delay : grace;
    if (takes.ns > 0) world_->wait_(takes, token);
    if (token.stop_requested()) return retryable({ErrorCode::cancelled, "the stop was given up", {}, 0});
    if (script.ignores_kill)
      return retryable({ErrorCode::timeout, run.instance_name + " survives SIGKILL (hang_stop: forever)", {}, 0});
    finish(run, {.exit_code = listens ? 143 : 137});
    return {};
  }

  DriverStatus destroy(const RunContext& run) override {
    finish(run, {.exit_code = 137, .reason = "destroyed"});
    std::lock_guard lock(world_->mutex_);
    world_->runs_.erase(run.run_dir);
    return {};
  }

  DriverStatus destroy_disk(const RunContext& run) override {
    std::lock_guard lock(world_->mutex_);
    world_->disks_.erase(run.disk_dir);
    return {};
  }

  DriverStatus signal(const RunContext& run, const Handle&, const std::string& name) override {
    static const std::map<std::string, int> kSignals = {{"HUP", 1},   {"INT", 2},   {"QUIT", 3}, {"KILL", 9},
                                                        {"USR1", 10}, {"USR2", 12}, {"TERM", 15}};
    auto known = kSignals.find(name);
    if (known == kSignals.end()) return rejected({ErrorCode::invalid, "unknown signal '" + name + "'", {}, 0});
    {
      std::lock_guard lock(world_->mutex_);
      FakeWorld::Run* entry = living(run);
      if (entry == nullptr) return failed(not_running(run));
      if (known->second != 9 && entry->script.ignores_stop) return {};
    }
    finish(run, {.exit_code = 128 + known->second});
    return {};
  }

  DriverResult<Stats> stats(const RunContext& run, const Handle&) override {
    std::lock_guard lock(world_->mutex_);
    if (living(run) == nullptr) return failed(not_running(run));
    return Stats{.cpu_ns = 0, .memory_bytes = run.task.resources.memory.value / 2, .pids = 1};
  }

  DriverStatus pause(const RunContext& run, const Handle&) override {
    std::lock_guard lock(world_->mutex_);
    FakeWorld::Run* entry = living(run);
    if (entry == nullptr) return failed(not_running(run));
    if (entry->phase == FakeWorld::Phase::paused) return {};
    entry->phase = FakeWorld::Phase::paused;
    entry->remaining = left_of(*entry);
    entry->ends_at.reset();
    return {};
  }

  DriverStatus unpause(const RunContext& run, const Handle&) override {
    std::lock_guard lock(world_->mutex_);
    FakeWorld::Run* entry = living(run);
    if (entry == nullptr) return failed(not_running(run));
    if (entry->phase == FakeWorld::Phase::running) return {};
    entry->phase = FakeWorld::Phase::running;
    if (entry->remaining) entry->ends_at = world_->clock_.boot_now() + *entry->remaining;
    entry->remaining.reset();
    world_->changed();
    return {};
  }

  DriverStatus suspend(const RunContext& run, const Handle&) override {
    {
      std::lock_guard lock(world_->mutex_);
      FakeWorld::Run* entry = living(run);
      if (entry == nullptr) return failed(not_running(run));
      if (!entry->script.machine)
        return rejected({ErrorCode::unsupported, "only what has the option machine can be suspended", {}, 0});
      auto left = entry->phase == FakeWorld::Phase::paused ? entry->remaining : left_of(*entry);
      world_->disks_[run.disk_dir].suspended = left.value_or(Duration{-1});
    }
    finish(run, {.exit_code = 0, .reason = "suspended"});
    return {};
  }

 private:
  static DriverResult<FakeScript> script_of(const RunContext& run) {
    auto script = parse_fake_script(run.task.options);
    if (!script) return rejected(script.error());
    return *script;
  }

  static Error not_running(const RunContext& run) {
    return {ErrorCode::not_found, run.instance_name + " does not run", {}, 0};
  }

  static DriverStatus play_failure(const FakeScript::Failing& failing, int64_t& count, const char* what,
                                   const RunContext& run) {
    if (failing.times >= 0 && count >= failing.times) return {};
    ++count;
    return tl::make_unexpected(Failure{failing.kind,
                                       {ErrorCode::unprocessable,
                                        std::string("the script of ") + run.instance_name + " lets " + what + " fail",
                                        {},
                                        0}});
  }

  // Lock held.
  FakeWorld::Run* living(const RunContext& run) {
    auto found = world_->runs_.find(run.run_dir);
    return found == world_->runs_.end() || found->second.phase == FakeWorld::Phase::ended ? nullptr : &found->second;
  }
  std::optional<Duration> left_of(const FakeWorld::Run& run) const {
    if (!run.ends_at) return std::nullopt;
    return Duration{std::max<int64_t>((*run.ends_at - world_->clock_.boot_now()).ns, 0)};
  }

  void finish(const RunContext& run, ExitStatus status) {
    FakeWorld::Calls calls;
    {
      std::lock_guard lock(world_->mutex_);
      if (FakeWorld::Run* entry = living(run)) world_->end(*entry, std::move(status), calls);
    }
    for (const auto& call : calls) call();
  }

  const std::shared_ptr<FakeWorld> world_;
};

std::unique_ptr<Driver> make_fake_driver(std::shared_ptr<FakeWorld> world) {
  return std::make_unique<FakeDriver>(std::move(world));
}

}  // namespace tutti::driver
