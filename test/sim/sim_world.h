#pragma once
// SimWorld: a manager, its workers, what breaks between them, what users ask for, and what must hold all the while.
//
// Everything in one thread and from one seed (sim_time.h). sim_network: cables. sim_host: machines with their worker.
// sim_manager: the manager's machines wired as manager/manager.cc does. sim_workload: users and trouble. sim_launch:
// work that begins later. sim_check: invariants.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim_host.h"
#include "sim_manager.h"

namespace tutti::sim {

struct Statistics {
  uint64_t events = 0;
  uint64_t commits = 0;
  uint64_t manager_crashes = 0;
  uint64_t worker_crashes = 0;
  uint64_t reboots = 0;
  uint64_t partitions = 0;
  uint64_t store_faults = 0;
  uint64_t requests = 0;
  uint64_t lost = 0;
  uint64_t launches = 0;
  uint64_t pushed_aside = 0;
};

class SimWorld {
 public:
  explicit SimWorld(uint64_t seed);

  // The whole run: trouble, then calm until everything is as asked. Empty: well; else what broke.
  std::string run();

  // A connection attempt of a worker; null: refused, or nobody answers.
  std::shared_ptr<Connection> dial(SimHost& host);
  Inventory inventory(const SimHost& host, const std::string& boot_id) const;
  void committed(const ChangeSet& changes);  // checks of one commit

  Simulation sim;
  Statistics statistics;
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
  void ask(state::Command command, state::Done done);
  void set_up();
  void workload();
  void submit_job();
  void touch_job();
  void touch_instance();
  void touch_node();
  void trouble();
  void make_calm();
  void submit_launcher();
  void touch_launcher();
  void stop_launchers();
  void check_launches(const ChangeSet& changes);
  void check_launch(const Snapshot& before, const Snapshot& state, JobId id);
  void check_order(const Snapshot& before, const Snapshot& state, const Instance& made);
  std::string undecided() const;
  void random_update(JobSpec& job);
  JobSpec random_spec(const std::string& name);

  void check();
  void check_hosts();
  std::string unfinished() const;  // what is not as asked; empty: all is
  void check_pushed_aside(const Snapshot& state, const Instance& victim);
  bool waits_for_room(const Snapshot& state, const Job& job) const;
  std::string unfinished_job(const Snapshot& state, const Job& job) const;
  std::string leftovers() const;

  std::map<std::string, JobType> types_;
  std::map<std::string, Known> known_;
  std::set<std::pair<JobId, Time>> launched_;  // by parent and time of its schedule
  ProjectId project_;
  TokenId token_;
  uint64_t connections_ = 0;
  bool short_of_room_ = false;
  uint64_t audited_ = 0;
};

}  // namespace tutti::sim
