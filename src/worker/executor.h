#pragma once
// Executor: carries out the operations that runners ask for, on a small pool.
//
// Owner: Worker. run() from the I/O thread; results come back through `done` and `exited` on pool or driver threads:
// the worker posts them to its I/O thread. It turns (instance, task, generation, attempt) into the driver's RunContext:
// paths, environment, image, network. It remembers nothing that could not be found again: images by digest, network by
// instance, runs by their folders. Operations of one instance run one after another, but its tasks stop side by side.

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "driver/driver.h"
#include "worker/core.h"

namespace tutti::worker {

struct NetworkUp {
  std::string netns;
  std::string address;
};

// The node's network and images, as far as an operation needs them. Blocking; called from pool threads.
struct Host {
  std::function<driver::DriverResult<NetworkUp>(InstanceId, const std::vector<PortBinding>&, NetworkMode)> network_up;
  std::function<Status(InstanceId)> network_down;
  std::function<Result<driver::ImageOnDisk>(const std::string& reference)> image;
};

struct ExecutorPaths {
  std::string data_dir;  // disks, logs, volumes
  std::string run_dir;   // runs, lease page
  std::string cgroup;    // "tutti-abcdef/node-1"
  std::string node_name;
};

// The image that a task runs: by digest, where the manager has resolved it.
const std::string& image_of(const SpecMessage& spec, const TaskSpec& task);

class Executor {
 public:
  Executor(ExecutorPaths paths, driver::Registry& drivers, Host host, int threads);
  ~Executor();

  // What an operation is about, copied: the runner may change meanwhile.
  struct Subject {
    Assignment assignment;
    SpecMessage spec;
    TaskSpec task;
    bool last = false;  // clear: every task of the group is cleared by one operation
  };
  void run(Op op, Subject subject, std::function<void(OpResult)> done,
           std::function<void(uint32_t generation, uint32_t attempt, uint16_t task, driver::ExitStatus)> exited);

  // For streams: the context of a task's present run.
  driver::RunContext context(const Assignment& assignment, const SpecMessage& spec, const TaskSpec& task,
                             uint32_t generation, uint32_t attempt) const;
  driver::Driver* driver_of(const TaskSpec& task) const { return drivers_.find(task.driver); }
  std::string log_dir(InstanceId instance, const std::string& task) const;

  // Removes disks and logs of instances that are not live, and the first time their runs. After a complete set, from
  // the I/O thread: disks and logs lose their names at once, the pool removes them.
  void sweep(const std::vector<InstanceId>& live);

 private:
  struct Job {
    Op op;
    Subject subject;
    std::function<void(OpResult)> done;
    std::function<void(uint32_t, uint32_t, uint16_t, driver::ExitStatus)> exited;
  };
  void work(bool stops_only);
  void sweep_runs(const std::set<std::string>& live);
  void set_aside(const std::string& folder, const std::string& entry);
  bool remove_one_aside(std::unique_lock<std::mutex>& lock);
  bool may_run(const Op& op) const;
  OpResult perform(Job& job);
  std::optional<driver::Failure> perform_task(Job& job);
  std::optional<driver::Failure> clear(const Job& job);
  Status make_volume(const std::string& path) const;
  driver::DriverResult<driver::RunContext> full_context(const Job& job);
  std::string payload_file(InstanceId instance) const;
  Status write_payload(const driver::RunContext& run, const JobSpec& spec) const;

  const ExecutorPaths paths_;
  driver::Registry& drivers_;
  const Host host_;
  bool runs_swept_ = false;   // I/O thread
  uint64_t aside_count_ = 0;  // I/O thread
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;
  std::vector<Op> busy_;  // what threads are at
  std::map<InstanceId, NetworkUp> networks_;
  std::map<std::string, driver::Handle> handles_;  // run_dir → handle
  std::set<std::string> aside_;                    // paths of what was swept away, until it is removed
  bool removing_ = false;                          // a thread is at the first of them
  bool stopping_ = false;
  std::stop_source stop_;
  int idle_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace tutti::worker
