#pragma once
// SimHost: one machine of the pool: what its kernel and disk hold, and the worker process on it (worker::Core).
//
// Plays the driver and the executor: an operation takes its time, may hang and may fail; one at a time per instance.
// What runs and what is on record survives a crash of the worker process, not a reboot; disks survive both. The process
// may stand still for a while, the disk be full, the wall clock jump.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "base/steady_clock.h"
#include "sim_network.h"
#include "worker/core.h"

namespace tutti::sim {

class SimWorld;

// One attempt of one task.
struct RunKey {
  InstanceId instance;
  uint32_t generation = 0;
  uint32_t attempt = 0;
  std::string task;
  auto operator<=>(const RunKey&) const = default;
};

struct Run {
  enum class State : uint8_t { prepared, running, ended } state = State::prepared;
  bool paused = false;
  bool stop_with_lease = false;
  JobId job;
  std::string group_slot;  // what may exist once
  std::vector<DeviceBinding> devices;
  uint64_t watcher = 0;  // the worker process that waits for its end
  uint16_t task_index = 0;
  uint64_t number = 0;  // of its start, so that a scripted end meets only its own
  driver::ExitStatus exit;
};

class SimHost {
 public:
  SimHost(SimWorld& world, uint64_t number);

  void boot();  // power on: a new boot id, nothing runs
  void start_worker();
  void crash_worker();
  void reboot();  // crash, and everything that ran or was in memory is gone
  bool worker_up() const { return core_ != nullptr; }
  void stall(Duration time) { stalled_until_ = std::max(stalled_until_, sim_.boot() + time); }
  void set_clock(Duration wrong_by) { wall_.offset = wrong_by; }
  // No room for anything new until then.
  void fill_disk(Duration time) { full_until_ = sim_.boot() + time; }
  void heal();
  // Taken out of the pool: the process is sent away, what it had is nobody's.
  void leave();

  const uint64_t number;
  NodeId node;
  std::string name;
  std::string fingerprint;
  Link link;
  bool leaving = false;  // its node is being removed
  bool left = false;     // and was
  std::shared_ptr<Connection> connection;

  // What invariants look at.
  const std::map<RunKey, Run>& runs() const { return runs_; }
  const std::set<std::pair<InstanceId, std::string>>& disks() const { return disks_; }
  const std::map<InstanceId, std::string>& records() const { return records_; }
  const worker::Core* core() const { return core_.get(); }
  BootTime lease() const { return lease_; }
  // Runs that end with the lease, and have not.
  bool holds(const Run& run) const {
    return run.state == Run::State::running && run.stop_with_lease && lease_ > sim_.boot();
  }

 private:
  struct Job {
    worker::Op op;
    Assignment assignment;
    SpecMessage spec;
    TaskSpec task;
  };

  worker::Now now() const;
  void carry_out();
  void perform(worker::Output& output);
  void connect();
  void retry();
  void tick();
  void begin(worker::Op op);
  void next(InstanceId instance);
  // Once the process runs again.
  void when_awake(std::function<void()> work);
  void wake();
  void heard(const std::string& text);
  void heard_again_later(const std::string& text);
  std::optional<driver::Failure> trouble_of(const Job& job);
  std::optional<driver::Failure> effect(const Job& job);
  std::optional<driver::Failure> effect_on_task(const Job& job);
  void start_run(const Job& job, Run& run);
  void end_run(const RunKey& key, driver::ExitStatus status);
  void watch(const RunKey& key, Run& run);
  void sweep(const std::set<InstanceId>& live);
  void check_lease();
  void check_position(InstanceId instance, const TaskStatus& task);
  void check_devices(const RunKey& started);

  SimWorld& world_;
  Simulation& sim_;
  std::string boot_id_;
  uint64_t boots_ = 0;
  std::unique_ptr<worker::Core> core_;
  uint64_t process_ = 0;  // of the worker that runs now
  WallClock wall_;
  std::unique_ptr<SteadyClock> clock_;  // of the process
  BootTime stalled_until_;
  std::deque<std::function<void()>> asleep_;  // what waits for that
  BootTime full_until_;
  int failures_ = 0;
  uint64_t ticks_ = 0;
  std::map<InstanceId, std::deque<Job>> queues_;
  std::set<InstanceId> busy_;

  std::map<InstanceId, std::string> records_;
  std::map<RunKey, Run> runs_;
  std::set<std::pair<InstanceId, std::string>> disks_;
  BootTime lease_;
  uint64_t next_run_ = 0;
  std::map<std::pair<InstanceId, std::string>, Position> told_;  // by the present process
};

}  // namespace tutti::sim
