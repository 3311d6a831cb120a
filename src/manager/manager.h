#pragma once
// Manager: the role that owns the state, serves the API, schedules and dispatches.
//
// Owns every thread of it. open() starts them in this order:
//   learning    what the policy fragmentation goes by, while nothing else wants the processor
//   content     the distribution protocol's disk work (catalog/distribution.h)
//   file work   file work and image fetches
//   computing   what looks at the whole pool for somebody: plans, explanations
//   state       the single writer, and another one for its checkpoints (state/loop.h)
//   control     Controller, Dispatcher, Liveness, OperationTracker: machines fed from one queue
//   scheduler   follows the ChangeSets, proposes plans
//   schedulers  the sessions of schedulers that are processes of their own
//   hub         whoever waits for commits: watches, ?wait= (api/hub.h)
//   api, worker two TLS servers (net/http.h): people and programs; workers with mutual TLS
// The destructor first ends the servers, so that nothing new is asked for; then those that only propose (scheduler,
// learning, schedulers), then control, then state, which answers what still waits for a commit; and what it was
// answered to after that: schedulers, computing, file work, hub, content.
// Every one of them may fall behind or be restarted without losing anything: what they do is derived from the state.

#include <memory>
#include <string>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "base/time.h"
#include "net/authority.h"
#include "store/store.h"

namespace tutti::manager {

// Where the first start leaves the credential that the first login replaces: a file of its owner's (app/credentials.h).
class Bootstrap {
 public:
  virtual ~Bootstrap() = default;
  virtual bool exists() const = 0;
  virtual Status write(const std::string& credential) = 0;
  virtual void remove() = 0;
};

struct ManagerOptions {
  std::string catalog_dir;
  net::KeyPair authority;  // signs the servers' and the workers' certificates
  std::string pool_name = "tutti";
  std::string listen = "127.0.0.1";  // API
  uint16_t api_port = 0;             // 0: any
  std::string worker_listen = "127.0.0.1";
  uint16_t worker_port = 0;
  std::vector<std::string>
      names;            // further host names and addresses of the server certificate; the first is advertised
  std::string network;  // prefix for node subnets; empty: chosen from the pool's id at first start
  std::vector<std::string> insecure_registries;
  // What the process has descriptors for.
  size_t api_connections_max = limits::kConnectionsMax;
  size_t worker_connections_max = limits::kConnectionsMax;
};

class Manager {
 public:
  virtual ~Manager() = default;  // stops everything; nothing acknowledged is lost by that
  virtual uint16_t api_port() const = 0;
  virtual uint16_t worker_port() const = 0;
  // Set when the state can no longer be served (an unknown commit): the process must end and start again.
  virtual bool failed() const = 0;

  // Serving when it returns. While no admin has logged in, `bootstrap` holds a credential that works.
  // Errors say what, where, and what to do.
  static Result<std::unique_ptr<Manager>> open(ManagerOptions options, std::unique_ptr<store::Store> store,
                                               std::unique_ptr<Bootstrap> bootstrap);
};

}  // namespace tutti::manager
