#pragma once
// SimManager: the manager's machines wired as manager/manager.cc wires them, with queues in virtual time for threads.
//
// Each of the three threads of the real one (state, control, scheduler) is a queue that is worked off a little later.
// A crash drops everything but the disk; start() opens the engine on it again.

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "manager/control/controller.h"
#include "manager/control/operations.h"
#include "manager/dispatch/dispatcher.h"
#include "manager/dispatch/liveness.h"
#include "scheduler/planner.h"
#include "sim_network.h"
#include "state/engine.h"
#include "store/memory/memory_store.h"

namespace tutti::sim {

class SimWorld;

class SimManager {
 public:
  explicit SimManager(SimWorld& world);

  void start();
  void crash();
  bool up() const { return running_ != nullptr; }
  // Answers unavailable while it is down; a crash leaves the question without an answer.
  void submit(state::Command command, state::CommandMeta meta, state::Done done);
  void accept(NodeId node, const std::string& fingerprint, std::shared_ptr<Connection> connection);
  // The newest; while it is down, the one it had last.
  const Snapshot& state() const { return *state_; }

  const std::shared_ptr<store::MemoryDisk> disk = std::make_shared<store::MemoryDisk>();

 private:
  // What lives as long as the process.
  struct Process {
    std::unique_ptr<store::Store> store;
    std::unique_ptr<state::Engine> engine;
    bool stepping = false;

    Revision control_revision;
    manager::Controller controller;
    manager::Dispatcher dispatcher;
    manager::Liveness liveness;
    manager::OperationTracker operations;
    BootTime operations_measured;
    std::map<manager::ConnectionId, std::shared_ptr<Connection>> sessions;
    std::deque<std::function<void()>> control;
    bool control_due = false;

    std::array<scheduler::Planner, 2> planners;
    bool shared = false;  // the second one takes part
    std::deque<std::function<void()>> scheduling;
    bool scheduling_due = false;
  };

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
  std::shared_ptr<const Snapshot> state_;
};

}  // namespace tutti::sim
