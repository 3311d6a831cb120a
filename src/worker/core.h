#pragma once
// Core: the worker's deciding half, a machine without I/O: session, assignments, outbox, lease.
//
// Owner: Worker (worker.h), on its one I/O thread; a simulation drives many of them itself. Inputs are methods; each
// may add to the outputs, which the caller takes with take_outputs() and carries out in order.
//
//   session   hello → welcome → assign(complete) … ; every message of the manager carries (epoch, session) and older
//             ones are dropped. Statuses go out as a set of dirty ids, one message under way at a time, again after a
//             reconnect until they were acknowledged.
//   specs     those that the manager sent in this session and has not told to forget. Runners keep their own.
//   lease     counted from when the acknowledged beat was sent, on the boot-time clock.

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "worker/runner.h"

namespace tutti::worker {

struct SendMessage {
  WorkerMessage message;
};
struct StoreRecord {
  InstanceRecord record;
};  // before the operations that follow it
struct DropRecord {
  InstanceId instance;
};
struct RunOp {
  Op op;
};
struct SetLease {
  BootTime until;
};
struct OpenStream {
  StreamRequest request;
};
struct CloseSession {
  std::string reason;
  bool for_good = false;
};
// The first welcome, or one that differs: where bridges and names come from.
struct UseWelcome {
  WelcomeMessage welcome;
};
// The complete set has arrived: what is found on disk or in the kernel and not among these may go.
struct SweepLeftovers {
  std::vector<InstanceId> live;
};
using Output = std::variant<SendMessage, StoreRecord, DropRecord, RunOp, SetLease, OpenStream, CloseSession, UseWelcome,
                            SweepLeftovers, WatchHealth>;

class Core {
 public:
  // `process` tells one worker process from the next (random).
  Core(uint64_t process, std::string boot_id);

  // Before the first session: what an earlier process had stored.
  void load(std::vector<InstanceRecord> records, Now now);
  void set_inventory(Inventory inventory) { inventory_ = std::move(inventory); }
  // What is unpacked here, for the manager's scheduler; told when it differs from before.
  void set_images(NodeImages images, Now now);

  void session_opened(Now now);
  void session_closed(Now now);
  void received(const ManagerMessage& message, Now now);
  void op_done(OpResult result, Now now);
  void exited(InstanceId instance, uint16_t task, uint32_t generation, uint32_t attempt,
              const driver::ExitStatus& status, Now now);
  // What the checks of a run, begun by WatchHealth, add up to now (Runner::checked).
  void checked(InstanceId instance, uint16_t task, uint32_t generation, uint32_t attempt, HealthState state,
               std::string reason, bool restart, Now now);
  // Beats, retries, the end of the lease. Call at wake() at the latest.
  void tick(Now now);

  std::vector<Output> take_outputs() { return std::exchange(outputs_, {}); }
  // Nanoseconds until tick() has something to do; at most one beat.
  Duration wake_in(Now now) const;

  bool connected() const { return connected_ && welcomed_; }
  bool lease_valid(Now now) const { return now.boot < lease_until_; }
  const Runner* find(InstanceId instance) const;
  std::vector<const Runner*> runners() const;
  const std::map<SpecKey, SpecMessage>& specs() const { return specs_; }

 private:
  void assign(const AssignMessage& message, Now now);
  void accept(const Assignment& assignment, Now now);
  void remove(InstanceId instance);
  void name_instances(Error& error) const;
  void advance(InstanceId instance, Now now);
  void advance_all(Now now);
  // When the runner has something to do by itself, kept in order: looking at every runner for the next time would make
  // each message cost what the whole node holds.
  void set_due(InstanceId instance, Time at);
  void flush_status(Now now);
  // To be reported; `passing`: it is on its way to a state worth waiting for.
  void mark(InstanceId instance, bool passing, Now now);
  void beat(Now now);

  uint64_t process_;
  std::string boot_id_;
  Inventory inventory_;
  struct Held {
    std::unique_ptr<Runner> runner;
    Time due;  // as in due_; 0: not there
  };
  std::map<InstanceId, Held> runners_;
  std::set<std::pair<Time, InstanceId>> due_;
  std::optional<NodeImages> images_;  // none: not looked at yet
  bool images_due_ = false;
  std::map<SpecKey, SpecMessage> specs_;
  std::vector<Output> outputs_;

  bool connected_ = false;
  bool welcomed_ = false;
  BootTime heard_;  // the manager, last
  uint64_t epoch_ = 0;
  uint64_t session_ = 0;
  WelcomeMessage welcome_;
  bool welcome_used_ = false;

  bool completing_ = false;     // a complete set that goes on in the next message
  std::set<InstanceId> named_;  // by the complete set so far

  std::set<InstanceId> dirty_;  // to be reported
  bool urgent_ = false;         // some of it is more than a state on the way
  BootTime passing_since_;
  std::set<InstanceId> gone_;       // nothing left here; reported until acknowledged
  std::set<InstanceId> in_flight_;  // reported in the message under way
  uint64_t status_sequence_ = 0;
  bool status_waiting_ = false;

  uint64_t beat_sequence_ = 0;
  BootTime next_beat_;
  std::deque<std::pair<uint64_t, BootTime>> beats_;  // sent, not acknowledged: at most 16
  BootTime lease_until_;
};

}  // namespace tutti::worker
