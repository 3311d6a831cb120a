#pragma once
// SimWorld: a manager, its workers, what breaks between them, what users ask for, and what must hold all the while.
//
// Everything in one thread and from one seed (sim_time.h). sim_network: cables. sim_host: machines with their worker.
// sim_manager: the manager's machines wired as manager/manager.cc does. sim_workload: users. sim_trouble: what breaks,
// and who comes and goes. sim_launch: work that begins later. sim_check: what must hold at every commit. sim_calm: what
// must have come true once all trouble is over.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim_host.h"
#include "sim_manager.h"

namespace tutti::sim {

class SimWorld {
 public:
  explicit SimWorld(uint64_t seed);

  // The whole run: trouble, then calm until everything is as asked. Empty: well; else what broke.
  std::string run();
  // A short one without trouble, but that a process dies behind one of its writes: the manager with its store write
  // `append`, as `fault` says, or a worker behind the `record`-th that is stored. Both 0: nobody dies.
  std::string run_crash_at(uint64_t append, store::AppendFault fault, uint64_t record);
  // How many there were in the part where processes may die.
  uint64_t appends() const { return manager->disk->appends - appends_before_; }
  // Records that workers stored; the process dies behind that number.
  uint64_t records_stored = 0;
  uint64_t crash_at_record = 0;

  // A connection attempt of a worker; null: refused, or nobody answers.
  std::shared_ptr<Connection> dial(SimHost& host);
  Inventory inventory(const SimHost& host, const std::string& boot_id) const;
  void committed(const ChangeSet& changes);  // checks of one commit
  // Work that ends with its lease runs once in its place: this run, and all others.
  void check_once(const SimHost& host, const RunKey& key);

  Simulation sim;
  uint64_t events = 0;
  std::vector<std::unique_ptr<SimHost>> hosts;
  std::unique_ptr<SimManager> manager;

 private:
  // What users know of a job because it was acknowledged.
  struct Known {
    JobId job;
    uint64_t version = 0;
    bool may_be_deleted = false;
  };

  bool run_until(Time end);
  // A client's request: it may be late, lost, or come twice, and its answer may be lost.
  void ask(state::Command command, state::Done done, const std::string& idempotency_key = {});
  // Until it is answered: the same request with the same key.
  void ask_until_answered(state::Command command, std::string key, state::Done done);
  void submit(const state::Command& command, const std::string& key, const state::Done& done);
  void set_up(uint64_t workers);
  SimHost& new_host();
  void join(SimHost& host);
  // ---- users
  void workload();
  void submit_job();
  void touch_job();
  void touch_instance();
  void touch_node();
  void submit_launcher();
  void touch_launcher();
  void stop_launchers();
  void random_update(JobSpec& job);
  void random_placement(JobSpec& job);
  JobSpec random_spec(const std::string& name);
  // ---- trouble
  void trouble();
  void partition(SimHost& host);
  void partition_some();
  void jump_clock();
  void someone_leaves(SimHost& host);
  void make_calm();
  std::string calm_down();

  // ---- what must hold
  void check_node_row(const ChangeSet& changes, uint64_t id);
  void check_instance_row(const ChangeSet& changes, uint64_t id);
  void check_job_row(const Snapshot& state, uint64_t id);
  void check_usage(const Snapshot& state, NodeId id);
  void check_slots(const Snapshot& state, JobId id);
  void check_policy(const ChangeSet& changes, const Instance& made);
  void check_everything(const Snapshot& state);
  void check_bounds(const Snapshot& state);
  void check_pushed_aside(const Snapshot& state, const Instance& victim);
  void check_launches(const ChangeSet& changes);
  void check_launch(const Snapshot& before, const Snapshot& state, JobId id);
  void check_order(const Snapshot& before, const Snapshot& state, const Instance& made);
  // ---- what must have come true
  std::string unfinished() const;  // what is not as asked; empty: all is
  bool waits_for_room(const Snapshot& state, const Job& job) const;
  std::string unfinished_job(const Snapshot& state, const Job& job) const;
  std::string undecided() const;
  std::string unplaced() const;
  std::string leftovers() const;
  std::string too_much_history(const Snapshot& state) const;

  std::map<std::string, JobType> types_;
  std::map<std::string, Known> known_;
  std::set<std::pair<JobId, Time>> launched_;  // by parent and time of its schedule
  std::map<std::string, JobId> dispatched_;    // by the key of the request
  ProjectId project_;
  TokenId token_;
  uint64_t connections_ = 0;
  uint64_t requests_ = 0;
  uint64_t appends_before_ = 0;
  uint64_t workers_ = 0;  // when the pool begins
  bool short_of_room_ = false;
  bool devices_ = false;  // some of its machines have some
  int checked_ago_ = 0;   // commits since everything was checked
};

}  // namespace tutti::sim
