#pragma once
// SimManager: the manager's machines wired as manager/manager.cc wires them, with queues in virtual time for threads.
//
// Each of the three threads of the real one (state, control, scheduler) is a queue that is worked off a little later.
// A crash drops everything but the disk; start() opens the engine on it again. The process may stand still for a while,
// its disk be slow, full or broken, and its wall clock jump.

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/steady_clock.h"
#include "manager/control/controller.h"
#include "manager/control/housekeeping.h"
#include "manager/control/operations.h"
#include "manager/dispatch/dispatcher.h"
#include "manager/dispatch/liveness.h"
#include "scheduler/planner.h"
#include "sim_network.h"
#include "state/engine.h"
#include "store/memory/memory_store.h"

namespace tutti::sim {

class SimWorld;

enum class DiskTrouble : uint8_t { none, slow, full, failing };

class SimManager {
 public:
  explicit SimManager(SimWorld& world);

  void start();
  void crash();
  bool up() const { return running_ != nullptr; }
  // Nothing of the process runs until then (SIGSTOP, a starved machine).
  void stall(Duration time) { stalled_until_ = std::max(stalled_until_, sim_.boot() + time); }
  void trouble_disk(DiskTrouble trouble, Duration time);
  // Its wall clock is wrong by that much from now on.
  void set_clock(Duration wrong_by) { wall_.offset = wrong_by; }
  Duration clock_error() const { return wall_.offset; }
  // What it takes for the time; it is up.
  Time time() const { return now(); }
  // Dies with the store write of that number (MemoryDisk::appends): right behind it, once all was answered (none), or
  // with an answer that never came.
  void crash_at_append(uint64_t number, store::AppendFault fault) { crash_at_ = number, crash_fault_ = fault; }
  // Answers unavailable while it is down; a crash leaves the question without an answer.
  void submit(state::Command command, state::CommandMeta meta, state::Done done);
  void accept(NodeId node, const std::string& fingerprint, std::shared_ptr<Connection> connection);
  // The newest; while it is down, the one it had last.
  const Snapshot& state() const { return *state_; }
  std::shared_ptr<const Snapshot> snapshot() const { return state_; }

  const std::shared_ptr<store::MemoryDisk> disk = std::make_shared<store::MemoryDisk>();

 private:
  // What lives as long as the process.
  struct Process {
    explicit Process(const Clock& wall) : clock(wall) {}
    SteadyClock clock;
    std::unique_ptr<store::Store> store;
    std::unique_ptr<state::Engine> engine;
    bool stepping = false;

    Revision control_revision;
    manager::Controller controller;
    manager::Dispatcher dispatcher;
    manager::Liveness liveness;
    manager::OperationTracker operations;
    manager::Housekeeping housekeeping;
    BootTime operations_measured;
    BootTime last_turn;
    std::map<manager::ConnectionId, std::shared_ptr<Connection>> sessions;
    std::deque<std::function<void()>> control;
    bool control_due = false;

    std::array<scheduler::Planner, 2> planners;
    bool shared = false;  // the second one takes part
    std::deque<std::function<void()>> scheduling;
    bool scheduling_due = false;
  };

  Time now() const { return running_->clock.now(); }
  void append_fault();
  void check_loaded(const Snapshot& loaded);
  void check_queues();
  // Work for later, unless the process is another one by then.
  void later(Duration delay, std::function<void()> work);
  void step_soon();
  void committed(const std::shared_ptr<const ChangeSet>& changes);
  void post_control(std::function<void()> work);
  void post_scheduler(std::function<void()> work);
  void control_soon(Duration delay);
  void scheduler_soon(Duration delay);
  void rebuild_control();
  void follow_control(const ChangeSet& changes);
  Duration control_turn();
  void rebuild_scheduler();
  void follow_scheduler(const ChangeSet& changes);
  Duration schedule_turn();
  void share_work();
  void check_plan_holds();
  void carry_out();
  void perform(manager::SendToWorker& send);
  void perform(manager::CloseWorker& close);
  void perform(manager::SubmitForWorker& work);

  SimWorld& world_;
  Simulation& sim_;
  std::unique_ptr<Process> running_;
  uint64_t incarnation_ = 0;
  uint64_t connections_ = 0;
  uint64_t control_timer_ = 0;
  uint64_t scheduler_timer_ = 0;
  WallClock wall_;
  BootTime stalled_until_;
  DiskTrouble disk_trouble_ = DiskTrouble::none;
  BootTime disk_trouble_until_;
  uint64_t crash_at_ = 0;
  store::AppendFault crash_fault_ = store::AppendFault::none;
  std::shared_ptr<const Snapshot> state_;
};

}  // namespace tutti::sim
