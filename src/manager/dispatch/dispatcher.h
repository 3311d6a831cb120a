#pragma once
// Dispatcher: the manager's side of every worker session, a machine without I/O.
//
// Owner: the control thread of the manager (manager/manager.h), or a simulation. Inputs are methods; the caller takes
// the outputs and carries them out in order. It follows the ChangeSets and keeps, per session, the set of instance ids
// that the worker has to hear about: never a queue of messages, so a slow worker costs memory for ids only.
//
//   connected → hello → BeginSession committed → welcome, complete set → live → closed | superseded
//
// Only a node's newest session is served; an older connection of the same node gets a goodbye-less close.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"
#include "model/session.h"
#include "model/snapshot.h"
#include "state/command.h"

namespace tutti::manager {

using ConnectionId = uint64_t;

struct SendToWorker {
  ConnectionId connection = 0;
  ManagerMessage message;
};
struct CloseWorker {
  ConnectionId connection = 0;
  std::string reason;
};
// Commit this; answer with committed(connection, tag, …).
struct SubmitForWorker {
  ConnectionId connection = 0;
  uint64_t tag = 0;
  state::Command command;
};
using DispatchOutput = std::variant<SendToWorker, CloseWorker, SubmitForWorker>;

class Dispatcher {
 public:
  // Starts over from a snapshot; drops every session.
  void rebuild(std::shared_ptr<const Snapshot> snapshot);
  void follow(const ChangeSet& changes);

  // `node` and `fingerprint` are what the peer's certificate says.
  void connected(ConnectionId connection, NodeId node, std::string fingerprint);
  void received(ConnectionId connection, WorkerMessage message, Time now);
  void closed(ConnectionId connection);
  void committed(ConnectionId connection, uint64_t tag, const Result<state::Outcome>& result, Time now);
  // The socket holds more than it should, or has drained: nothing but acknowledgements goes out meanwhile.
  void set_blocked(ConnectionId connection, bool blocked);

  // Asks the worker to open a stream. Errors: unavailable (the node is not connected, with its name).
  Status open_stream(NodeId node, StreamRequest request);

  std::vector<DispatchOutput> take_outputs() { return std::exchange(outputs_, {}); }
  bool live(NodeId node) const;
  // The fencing number of a node's live session; 0: none.
  uint64_t session_of(NodeId node) const;

 private:
  enum class Phase : uint8_t { connected, beginning, live };
  struct Held {
    uint64_t assignment_hash = 0;
    std::optional<SpecKey> spec;  // counted in `specs`; none: held since before this session
  };
  struct Session {
    ConnectionId connection = 0;
    NodeId node;
    std::string fingerprint;
    Phase phase = Phase::connected;
    uint64_t number = 0;
    bool blocked = false;
    std::map<InstanceId, Held> held;  // what the worker has
    std::map<SpecKey, size_t> specs;  // what it was sent, and how many of `held` are of it
    std::set<InstanceId> dirty;
    std::optional<uint64_t> status_under_way;  // tag of the status being committed
  };

  void begin(Session& session, HelloMessage hello);
  void go_live(Session& session, uint64_t number, Time now);
  void send_complete(Session& session);
  void flush(Session& session);
  size_t add_assignment(Session& session, AssignMessage& message, const Instance& instance,
                        const Assignment& assignment);
  size_t bytes_of(const JobVersion& version);
  static void uncount(Session& session, AssignMessage& message, const Held& held);
  static void forget_specs(Session& session, AssignMessage& message);
  ManagerMessage envelope(const Session& session) const;
  void drop(ConnectionId connection, std::string reason);
  Session* session_at(NodeId node);

  std::shared_ptr<const Snapshot> snapshot_;
  std::map<ConnectionId, Session> sessions_;
  std::map<NodeId, ConnectionId> by_node_;
  std::map<JobVersionId, size_t> spec_bytes_;
  uint64_t next_tag_ = 1;
  std::vector<DispatchOutput> outputs_;
};

// What a worker is told about an instance of its node; none when it shall clear it away without more ado
// (given up, or moved). Pure.
std::optional<Assignment> assignment_of(const Snapshot& snapshot, const Instance& instance);

}  // namespace tutti::manager
