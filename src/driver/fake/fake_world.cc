#include <algorithm>
#include <charconv>
#include <chrono>

#include "driver/fake/fake_driver.h"

namespace tutti::driver {
namespace {

Result<bool> parse_flag(const std::string& key, const std::string& value) {
  if (value == "true") return true;
  if (value == "false") return false;
  return fail(ErrorCode::invalid, "option " + key + " of driver fake: '" + value + "' is neither true nor false");
}

Result<int64_t> parse_integer(const std::string& key, std::string_view value) {
  int64_t out = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
  if (error != std::errc() || end != value.data() + value.size()) {
    return fail(ErrorCode::invalid, "option " + key + " of driver fake: '" + std::string(value) + "' is not a number");
  }
  return out;
}

Result<FakeScript::Failing> parse_failing(const std::string& key, const std::string& value) {
  FakeScript::Failing out;
  size_t colon = value.find(':');
  std::string word = value.substr(0, colon);
  if (word == "rejected") {
    out.kind = FailureKind::rejected;
  } else if (word == "retryable") {
    out.kind = FailureKind::retryable;
  } else if (word == "failed") {
    out.kind = FailureKind::failed;
  } else {
    return fail(ErrorCode::invalid, "option " + key + " of driver fake: '" + word +
                                        "': write rejected, retryable or failed, and :n behind it");
  }
  out.times = -1;
  if (colon != std::string::npos) {
    TUTTI_TRY(out.times, parse_integer(key, std::string_view(value).substr(colon + 1)));
  }
  return out;
}

Status set_option(FakeScript& out, const std::string& key, const std::string& value) {
  if (key == "start_delay") {
    TUTTI_TRY(out.start_delay, parse_duration(value));
  } else if (key == "run_for") {
    TUTTI_TRY(out.run_for, parse_duration(value));
  } else if (key == "stop_delay") {
    TUTTI_TRY(out.stop_delay, parse_duration(value));
  } else if (key == "exit_code") {
    TUTTI_TRY(int64_t code, parse_integer(key, value));
    out.exit_code = static_cast<int32_t>(code);
  } else if (key == "oom") {
    TUTTI_TRY(out.oom, parse_flag(key, value));
  } else if (key == "machine") {
    TUTTI_TRY(out.machine, parse_flag(key, value));
  } else if (key == "fail_prepare") {
    TUTTI_TRY(out.prepare, parse_failing(key, value));
  } else if (key == "fail_start") {
    TUTTI_TRY(out.start, parse_failing(key, value));
  } else if (key == "hang_stop") {
    out.ignores_kill = value == "forever";
    if (!out.ignores_kill) {
      TUTTI_TRY(out.ignores_stop, parse_flag(key, value));
    }
  } else {
    return fail(ErrorCode::invalid, "driver fake has no option '" + key + "': see driver/fake/fake_driver.h");
  }
  return {};
}

}  // namespace

Result<FakeScript> parse_fake_script(const std::map<std::string, std::string>& options) {
  FakeScript out;
  for (const auto& [key, value] : options) TUTTI_CHECK(set_option(out, key, value));
  return out;
}

FakeWorld::Wait FakeWorld::sleeping() {
  return [](Duration time, std::stop_token stop) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, stop, std::chrono::nanoseconds(time.ns), [] { return false; });
  };
}

FakeWorld::FakeWorld(const Clock& clock, Wait wait) : clock_(clock), wait_(std::move(wait)) {}

std::optional<BootTime> FakeWorld::due_at(const Run& run) const {
  if (run.phase == Phase::ended) return std::nullopt;
  std::optional<BootTime> out = run.phase == Phase::running ? run.ends_at : std::nullopt;
  auto lease = run.lease_page.empty() ? leases_.end() : leases_.find(run.lease_page);
  if (lease != leases_.end()) {
    BootTime expiry = lease->second + run.lease_grace;
    if (!out || expiry < *out) out = expiry;
  }
  return out;
}

std::optional<BootTime> FakeWorld::next_event() const {
  std::lock_guard lock(mutex_);
  std::optional<BootTime> out;
  for (const auto& [dir, run] : runs_) {
    auto due = due_at(run);
    if (due && (!out || *due < *out)) out = due;
  }
  return out;
}

void FakeWorld::end(Run& run, ExitStatus status, Calls& calls) {
  run.phase = Phase::ended;
  run.ends_at.reset();
  status.finished = clock_.now();
  run.status = std::move(status);
  if (run.done) calls.push_back([done = std::move(run.done), ended = run.status] { done(ended); });
  run.done = nullptr;
}

void FakeWorld::changed() {
  ++changes_;
  wake_.notify_all();
}

size_t FakeWorld::advance() {
  Calls calls;
  size_t ended = 0;
  {
    std::lock_guard lock(mutex_);
    BootTime now = clock_.boot_now();
    for (auto& [dir, run] : runs_) {
      auto due = due_at(run);
      if (!due || *due > now) continue;
      ++ended;
      if (run.phase == Phase::running && run.ends_at && *run.ends_at == *due) {
        ExitStatus status{.exit_code = run.script.oom ? 137 : run.script.exit_code, .oom_killed = run.script.oom};
        if (run.script.oom) status.reason = "killed for using more memory than its limit";
        end(run, std::move(status), calls);
      } else {
        end(run, {.exit_code = 143, .lease_expired = true, .reason = "the worker's lease ended"}, calls);
      }
    }
  }
  for (const auto& call : calls) call();
  return ended;
}

void FakeWorld::set_lease(const std::string& lease_page, BootTime deadline) {
  std::lock_guard lock(mutex_);
  leases_[lease_page] = deadline;
  changed();
}

void FakeWorld::reboot() {
  std::lock_guard lock(mutex_);
  runs_.clear();
  leases_.clear();
  changed();
}

size_t FakeWorld::running() const {
  std::lock_guard lock(mutex_);
  return static_cast<size_t>(
      std::count_if(runs_.begin(), runs_.end(), [](const auto& run) { return run.second.phase != Phase::ended; }));
}

int64_t FakeWorld::starts_on(const std::string& disk_dir) const {
  std::lock_guard lock(mutex_);
  auto found = disks_.find(disk_dir);
  return found == disks_.end() ? 0 : found->second.starts;
}

FakeTimer::FakeTimer(std::shared_ptr<FakeWorld> world, const Clock& clock) : world_(std::move(world)) {
  thread_ = std::thread([this, &clock] {
    for (;;) {
      auto next = world_->next_event();
      std::unique_lock lock(world_->mutex_);
      if (stop_) return;
      uint64_t seen = world_->changes_;
      // A change between the question and the lock is caught by looking again at most a second later.
      int64_t wait_ns = 1'000'000'000;
      if (next) wait_ns = std::clamp<int64_t>((*next - clock.boot_now()).ns, 0, wait_ns);
      world_->wake_.wait_for(lock, std::chrono::nanoseconds(wait_ns),
                             [&] { return stop_ || world_->changes_ != seen; });
      if (stop_) return;
      lock.unlock();
      world_->advance();
    }
  });
}

FakeTimer::~FakeTimer() {
  {
    std::lock_guard lock(world_->mutex_);
    stop_ = true;
    world_->wake_.notify_all();
  }
  thread_.join();
}

}  // namespace tutti::driver
