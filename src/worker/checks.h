#pragma once
// Checks: asks the tasks that run on this node whether they do well (H03).
//
// Owner: Worker, on its I/O thread; everything but stop() is called there. A run is watched from when it runs to when
// it ends or is told to; in between every check has a timer of its own, and at most one question under way. Questions
// over the network are asked by the I/O thread without waiting, commands by CheckCommands. Only changes are told.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/random.h"
#include "net/http.h"
#include "worker/check_command.h"
#include "worker/core.h"
#include "worker/health.h"

namespace tutti::worker {

// What is watched.
struct CheckedRun {
  InstanceId instance;
  uint16_t task = 0;
  uint32_t generation = 0;
  uint32_t attempt = 0;
  HealthState before = HealthState::starting;
  TaskSpec spec;
  std::vector<PortBinding> ports;
  std::string address;  // of its network; empty: the node's own
  driver::Driver* driver = nullptr;
  driver::RunContext run;
};

class Checks {
 public:
  using Told = std::function<void(const CheckedRun& run, HealthChange change)>;
  // `told` comes on the I/O thread. `io` must outlive this.
  Checks(net::IoThread& io, uint64_t seed, Told told) : io_(io), random_(seed), told_(std::move(told)) {}

  void watch(CheckedRun run);
  void unwatch(InstanceId instance, uint16_t task);
  // Any thread, while `io` is there: no command runs after it.
  void stop() { commands_.stop(); }

 private:
  struct Watched {
    CheckedRun run;
    TaskHealth health;
    std::vector<bool> begun;
    bool over = false;
  };
  using WatchedPtr = std::shared_ptr<Watched>;
  void begin_due(const WatchedPtr& watched, bool first);
  void ask(const WatchedPtr& watched, size_t check);
  void ask_network(const WatchedPtr& watched, size_t check, std::function<void(CheckResult)> answered);
  void ask_command(const WatchedPtr& watched, size_t check, std::function<void(CheckResult)> answered);
  void answered(const WatchedPtr& watched, size_t check, BootTime asked, CheckResult result);

  net::IoThread& io_;
  SeededRandom random_;
  const Told told_;
  const SystemClock clock_;
  CheckCommands commands_;
  std::map<std::pair<InstanceId, uint16_t>, WatchedPtr> watched_;
};

// The port that a check goes to: of the container on its bridge, of the node in the node's own network.
int32_t port_of(const HealthCheck& check, const TaskSpec& task, const std::vector<PortBinding>& bindings,
                bool own_network);

}  // namespace tutti::worker
