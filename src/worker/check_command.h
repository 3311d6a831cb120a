#pragma once
// CheckCommands: runs the commands of exec checks beside their tasks, on a few threads of its own.
//
// Owner: Checks. run() from the I/O thread; `done` comes on a thread of the pool, once, unless stop() came before. A
// command that takes longer than its timeout is killed with what it has started. At most kCheckCommandsAtOnceMax at
// once, of them kCheckCommandsPerInstanceMax of one instance and kCheckCommandsPerJobMax of one job, so that a task
// whose checks hang holds up its own. Further ones wait, the jobs take turns, and their timeout counts from when they
// begin. Of what a command says, the last kCheckOutputBytesMax are kept.

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "driver/driver.h"
#include "worker/health.h"

namespace tutti::worker {

class CheckCommands {
 public:
  struct Job {
    driver::Driver* driver = nullptr;
    driver::RunContext run;
    std::vector<std::string> command;
    Duration timeout;
  };
  CheckCommands();
  ~CheckCommands();
  void run(Job job, std::function<void(CheckResult)> done);
  // Kills what runs and joins; nothing is run afterwards.
  void stop();

 private:
  struct Waiting {
    Job job;
    std::function<void(CheckResult)> done;
  };
  void work();
  // With the mutex held. The next one that may begin, which is under way from then on.
  std::optional<Waiting> take();
  void ended(const Job& job);
  CheckResult perform(const Job& job) const;
  CheckResult follow(const driver::ExecSession& session, Duration timeout) const;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<JobId, std::deque<Waiting>> waiting_;  // in the order they came; no empty ones
  size_t waiting_count_ = 0;
  JobId turn_;                                // the job that a command was last taken of
  std::map<InstanceId, size_t> of_instance_;  // under way
  std::map<JobId, size_t> of_job_;
  bool stopping_ = false;
  size_t idle_ = 0;
  int stop_event_ = -1;  // readable once stop() was called
  std::vector<std::thread> threads_;
};

}  // namespace tutti::worker
