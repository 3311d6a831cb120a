#pragma once
// Services: everything the API handlers need of the rest of the manager, as one interface, so that they can be
// tested without threads or sockets. Implemented by Manager (manager/manager.h). Every method is thread-safe and
// does not block, except where it says so.

#include <functional>
#include <memory>
#include <string>

#include "base/time.h"
#include "model/session.h"
#include "model/snapshot.h"
#include "net/authority.h"
#include "net/http.h"
#include "state/command.h"
#include "state/engine.h"

namespace tutti::catalog {
class ContentStore;
class Distribution;
struct Credentials;
}  // namespace tutti::catalog

namespace tutti::manager {

struct SchedulerStatus;

// Who a request comes from. `text` stands in rows and logs: "token:admin#ID" (model/token.h), "node:node-1". Never from
// a header of the peer's choosing, and never the same for two.
struct Identity {
  std::string text;
  Role role = Role::viewer;
  std::string project;  // empty: every project
  NodeId node;          // set: a worker, limited to its instances
  TokenId token;
};

inline bool may_write(Role role) {
  return role == Role::operator_ || role == Role::admin;
}
// A role counts within the identity's project; what is about the whole pool needs an identity of the whole pool.
inline bool pool_admin(const Identity& identity) {
  return identity.role == Role::admin && identity.project.empty();
}

using StreamOpened = std::function<void(Result<std::shared_ptr<net::WebSocket>>)>;

class Services {
 public:
  virtual ~Services() = default;

  virtual std::shared_ptr<const Snapshot> snapshot() const = 0;
  virtual void submit(state::Command command, state::CommandMeta meta, state::Done done) = 0;
  virtual Result<state::Engine::WatchBatch> events_after(Cursor from, size_t most) const = 0;
  // Calls `wake` (cheaply, on the state's thread) after every commit until the returned subscription is dropped.
  virtual std::shared_ptr<void> on_commit(std::function<void()> wake) = 0;
  virtual const Clock& clock() const = 0;

  // Asks the worker of this instance to open a stream; `opened` gets the worker's end, whose reading has not started.
  virtual void open_stream(InstanceId instance, StreamRequest request, StreamOpened opened) = 0;
  // The worker's dial-in for a ticket given out by open_stream. False: no such ticket for this node.
  virtual bool accept_stream(const Identity& node, const std::string& ticket,
                             std::shared_ptr<net::Responder> responder) = 0;
  // A scheduler's session socket, and who schedules.
  virtual void accept_scheduler(const Identity& identity, std::shared_ptr<net::Responder> responder) = 0;
  virtual std::vector<SchedulerStatus> schedulers() const = 0;
  // A worker's session socket.
  virtual void accept_session(const Identity& node, const std::string& fingerprint,
                              std::shared_ptr<net::Responder> responder) = 0;

  virtual catalog::ContentStore& content() = 0;
  virtual std::string work_dir() const = 0;  // for uploads that are being imported
  virtual catalog::Distribution& distribution() = 0;
  // Runs on a small pool; for file work. Refused with too_many when its queue is full.
  virtual Status run_blocking(std::function<void()> work) = 0;
  // Runs on a few threads of its own, for what looks at the whole pool for long and waits for nothing: a plan, an
  // explanation. Image fetches hold it up no more than it holds up an I/O thread. Refused with too_many as well.
  virtual Status compute(std::function<void()> work) = 0;
  // A reference as `repository@digest`: from the catalog, else fetched from the registry it names (may take minutes;
  // `done` comes on the pool). `operation` gets its progress.
  virtual void resolve_image(std::string reference, PullPolicy pull, std::function<void(Result<std::string>)> done) = 0;

  // Blocking, on the pool: what the catalog no longer needs goes; the answer is a sentence for people. conflict while
  // another one is under way.
  virtual Result<std::string> prune_images(Duration grace) = 0;
  // Blocking, on the pool: an image of the catalog to a registry elsewhere.
  virtual Result<std::string> push_image(const std::string& reference, const std::string& target,
                                         const catalog::Credentials& credentials) = 0;

  virtual const net::KeyPair& authority() const = 0;  // signs workers' certificates
  virtual std::string server_authority() const = 0;   // PEM that clients must trust
  virtual std::string public_address() const = 0;     // host:port of the API, as written into contexts and tokens
  virtual std::string worker_address() const = 0;     // host:port workers dial
  // The bootstrap credential was used: its file is removed.
  virtual void bootstrap_used() = 0;
};

}  // namespace tutti::manager
