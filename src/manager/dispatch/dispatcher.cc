#include "manager/dispatch/dispatcher.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "model/codec.h"

namespace tutti::manager {
namespace {

constexpr size_t kAssignmentsPerMessage = 200;
// Then it is sent: with one more spec of kSpecBytesMax, and a payload, it is still below kMessageBytesMax.
constexpr size_t kAssignBytes = 256u << 10;
constexpr size_t kSpecSizesKept = 10'000;

// It is over and its worker has forgotten it (a reboot): told of it anew, the worker would run it once more, beside its
// successor. Its disk stays until it is removed, or it starts over with a new generation.
bool over_and_forgotten(const Instance& instance, bool held) {
  const bool would_run = instance.desired == Desired::running || instance.desired == Desired::paused;
  return instance.finished && would_run && !held && instance.presence != Presence::given_up;
}

// A beat costs the manager about 30 us, the network's share included: at one a second each, ten thousand nodes would
// take a third of a core for saying nothing.
int32_t beat_ms(const Snapshot& snapshot) {
  const auto spread = static_cast<int64_t>(snapshot.nodes.size()) * 1000 / limits::kBeatsPerSecondMax;
  return static_cast<int32_t>(std::clamp(spread, limits::kBeatMs, limits::kBeatSlowestMs));
}

}  // namespace

std::optional<Assignment> assignment_of(const Snapshot& snapshot, const Instance& instance) {
  if (instance.presence == Presence::given_up) return std::nullopt;
  const JobVersion* version = snapshot.version_of(instance);
  const Job* job = snapshot.jobs.find(instance.job.value);
  if (version == nullptr || job == nullptr) return std::nullopt;
  Assignment out;
  out.instance = instance.id;
  out.job = instance.job;
  out.job_version = instance.job_version;
  out.name = snapshot.name_of(instance);
  out.job_name = job->name;
  const Project* project = snapshot.projects.find(job->project.value);
  out.project = project != nullptr ? project->name : std::string();
  out.group = instance.group;
  out.slot = instance.slot;
  out.generation = instance.generation;
  out.desired = instance.desired;
  out.ports = instance.detail->ports;
  out.devices = instance.detail->devices;
  return out;
}

void Dispatcher::rebuild(std::shared_ptr<const Snapshot> snapshot) {
  snapshot_ = std::move(snapshot);
  while (!sessions_.empty()) drop(sessions_.begin()->first, "the manager starts over");
}

Dispatcher::Session* Dispatcher::session_at(NodeId node) {
  auto at = by_node_.find(node);
  if (at == by_node_.end()) return nullptr;
  auto session = sessions_.find(at->second);
  return session == sessions_.end() || session->second.phase != Phase::live ? nullptr : &session->second;
}

bool Dispatcher::live(NodeId node) const {
  return session_of(node) != 0;
}

uint64_t Dispatcher::session_of(NodeId node) const {
  auto at = by_node_.find(node);
  if (at == by_node_.end()) return 0;
  auto session = sessions_.find(at->second);
  return session == sessions_.end() || session->second.phase != Phase::live ? 0 : session->second.number;
}

void Dispatcher::drop(ConnectionId connection, std::string reason) {
  outputs_.push_back(CloseWorker{connection, std::move(reason)});
  closed(connection);
}

void Dispatcher::connected(ConnectionId connection, NodeId node, std::string fingerprint) {
  Session session;
  session.connection = connection;
  session.node = node;
  session.fingerprint = std::move(fingerprint);
  sessions_[connection] = std::move(session);
}

void Dispatcher::closed(ConnectionId connection) {
  auto at = sessions_.find(connection);
  if (at == sessions_.end()) return;
  auto by_node = by_node_.find(at->second.node);
  if (by_node != by_node_.end() && by_node->second == connection) by_node_.erase(by_node);
  sessions_.erase(at);
}

void Dispatcher::set_blocked(ConnectionId connection, bool blocked) {
  auto at = sessions_.find(connection);
  if (at == sessions_.end()) return;
  at->second.blocked = blocked;
  if (!blocked) flush(at->second);
}

ManagerMessage Dispatcher::envelope(const Session& session) const {
  ManagerMessage message;
  message.epoch = snapshot_->epoch;
  message.session = session.number;
  return message;
}

void Dispatcher::received(ConnectionId connection, WorkerMessage message, Time now) {
  auto at = sessions_.find(connection);
  if (at == sessions_.end()) return;
  Session& session = at->second;
  if (message.hello) {
    if (session.phase != Phase::connected) return drop(connection, "a second hello");
    return begin(session, std::move(*message.hello));
  }
  if (session.phase != Phase::live) return;
  if (message.beat) {
    ManagerMessage answer = envelope(session);
    answer.beat_ack = BeatAck{message.beat->sequence, beat_ms(*snapshot_)};
    outputs_.push_back(SendToWorker{connection, std::move(answer)});
  }
  if (message.status) {
    // A worker keeps one status message under way, of a bounded size: nobody can fill the queue of commands with them.
    if (session.status_under_way || message.status->reports.size() > limits::kReportsPerMessageMax) {
      return drop(
          connection,
          "a status message before the last one was acknowledged, or with more reports than kReportsPerMessageMax");
    }
    if (message.status->images && message.status->images->held.size() > limits::kImagesToldMax) {
      return drop(connection, "more images than kImagesToldMax");
    }
    const uint64_t tag = next_tag_++;
    session.status_under_way = message.status->sequence;
    outputs_.push_back(
        SubmitForWorker{connection, tag,
                        state::ReportStatus{session.node, session.number, std::move(message.status->reports),
                                            std::move(message.status->images)}});
  }
  (void)now;
}

void Dispatcher::begin(Session& session, HelloMessage hello) {
  if (to_json(hello.inventory).size() > limits::kInventoryBytesMax) {
    return drop(session.connection, "an inventory above " + std::to_string(limits::kInventoryBytesMax) +
                                        " bytes (limit kInventoryBytesMax)");
  }
  session.phase = Phase::beginning;
  std::vector<InstanceId> ids;
  for (const HeldInstance& held : hello.held) {
    session.held[held.instance] = {held.assignment_hash, {}};
    ids.push_back(held.instance);
  }
  outputs_.push_back(SubmitForWorker{
      session.connection, next_tag_++,
      state::BeginSession{session.node, session.fingerprint, std::move(hello.inventory), std::move(ids)}});
}

void Dispatcher::committed(ConnectionId connection, uint64_t tag, const Result<state::Outcome>& result, Time now) {
  (void)tag;
  auto at = sessions_.find(connection);
  if (at == sessions_.end()) return;
  Session& session = at->second;
  if (session.phase == Phase::beginning) {
    if (result) return go_live(session, result->number, now);
    if (result.error().code == ErrorCode::forbidden || result.error().code == ErrorCode::not_found) {
      ManagerMessage message;
      message.goodbye = GoodbyeMessage{result.error().message};
      outputs_.push_back(SendToWorker{connection, std::move(message)});
    }
    return drop(connection, result.error().message);
  }
  if (session.phase != Phase::live || !session.status_under_way) return;
  if (!result) {
    // Not acknowledged: the worker tells it again after it reconnects.
    return drop(connection, result.error().message);
  }
  ManagerMessage message = envelope(session);
  message.status_ack = StatusAck{*session.status_under_way};
  session.status_under_way.reset();
  outputs_.push_back(SendToWorker{connection, std::move(message)});
}

void Dispatcher::go_live(Session& session, uint64_t number, Time now) {
  auto older = by_node_.find(session.node);
  if (older != by_node_.end() && older->second != session.connection) {
    auto other = sessions_.find(older->second);
    if (other != sessions_.end() && other->second.number > number) return drop(session.connection, "superseded");
    drop(older->second, "superseded by a newer session of this node");
  }
  by_node_[session.node] = session.connection;
  session.number = number;
  session.phase = Phase::live;
  const Node* node = snapshot_->nodes.find(session.node.value);
  if (node == nullptr) return drop(session.connection, "the node was removed");
  ManagerMessage message = envelope(session);
  WelcomeMessage welcome;
  welcome.node = session.node;
  welcome.node_name = node->name;
  welcome.pool_id = snapshot_->pool.pool_id;
  welcome.pool_name = snapshot_->pool.name;
  welcome.subnet = node->subnet;
  welcome.beat_ms = beat_ms(*snapshot_);
  welcome.lease_ms = limits::kLeaseMs;
  welcome.now = now;
  message.welcome = std::move(welcome);
  outputs_.push_back(SendToWorker{session.connection, std::move(message)});
  send_complete(session);
}

size_t Dispatcher::add_assignment(Session& session, AssignMessage& message, const Instance& instance,
                                  const Assignment& assignment) {
  size_t bytes = 512 + 128 * (assignment.ports.size() + assignment.devices.size());
  const SpecKey key{instance.job, instance.job_version};
  auto [count, first] = session.specs.try_emplace(key, 0);
  if (first) {
    const JobVersion* version = snapshot_->version_of(instance);
    message.specs.push_back({version->job, version->number, version->spec, version->images});
    bytes += bytes_of(*version);
  }
  ++count->second;
  message.assignments.push_back(assignment);
  Held& held = session.held[instance.id];
  uncount(session, message, held);
  held = {hash_of(assignment), key};
  return bytes;
}

// Of its spec in a message. Computed once: the same goes to thousands of nodes.
size_t Dispatcher::bytes_of(const JobVersion& version) {
  if (spec_bytes_.size() >= kSpecSizesKept) spec_bytes_.clear();
  const auto [at, fresh] = spec_bytes_.try_emplace(version.id, 0);
  if (!fresh) return at->second;
  at->second = to_json(*version.spec, {.omit_defaults = true}).size();
  for (const auto& [reference, digest] : version.images) at->second += reference.size() + digest.size() + 8;
  return at->second;
}

// The last of its version may go: whether it does is seen once the message is whole.
void Dispatcher::uncount(Session& session, AssignMessage& message, const Held& held) {
  if (held.spec && --session.specs.at(*held.spec) == 0) message.forget_specs.push_back(*held.spec);
}

// Of what uncount() found, all that nothing later in the message is of. The worker does the same with this message, so
// that both know of the same specs at any time.
void Dispatcher::forget_specs(Session& session, AssignMessage& message) {
  std::vector<SpecKey>& keys = message.forget_specs;
  std::erase_if(keys, [&](const SpecKey& key) {
    auto at = session.specs.find(key);
    if (at == session.specs.end() || at->second > 0) return true;
    session.specs.erase(at);
    return false;
  });
}

// The first message(s) of a session: everything of this node, by name where the worker has it as it should be.
void Dispatcher::send_complete(Session& session) {
  AssignMessage part;
  part.complete = true;
  size_t bytes = 0;
  auto send = [&](bool more) {
    bytes = 0;
    part.more = more;
    ManagerMessage message = envelope(session);
    message.assign = std::exchange(part, {});
    part.complete = true;
    outputs_.push_back(SendToWorker{session.connection, std::move(message)});
  };
  std::set<InstanceId> wanted;
  if (const IdSet* ids = snapshot_->instances_by_node.find(session.node.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance* instance = snapshot_->instances.find(id);
      if (instance == nullptr || instance->node != session.node) return;
      const bool waits = !instance->admitted && instance->presence != Presence::given_up;
      if (waits ||
          over_and_forgotten(*instance, session.held.contains(instance->id))) {  // waits to start again; its disk stays
        part.keep.push_back(instance->id);
        wanted.insert(instance->id);
        return;
      }
      std::optional<Assignment> assignment = assignment_of(*snapshot_, *instance);
      if (!assignment) {
        part.removed.push_back(instance->id);
        wanted.insert(instance->id);
        return;
      }
      wanted.insert(instance->id);
      auto held = session.held.find(instance->id);
      if (held != session.held.end() && held->second.assignment_hash == hash_of(*assignment)) {
        part.keep.push_back(instance->id);
      } else {
        bytes += add_assignment(session, part, *instance, *assignment);
      }
      if (bytes >= kAssignBytes || part.assignments.size() >= kAssignmentsPerMessage ||
          part.keep.size() >= 8 * kAssignmentsPerMessage)
        send(true);
    });
  }
  send(false);
  // None of them has a spec of this session: nothing is to be forgotten yet.
  std::erase_if(session.held, [&](const auto& entry) { return !wanted.contains(entry.first); });
}

void Dispatcher::follow(const ChangeSet& changes) {
  snapshot_ = changes.after;
  std::set<ConnectionId> touched;
  auto mark = [&](NodeId node, InstanceId instance) {
    if (!node) return;
    if (Session* session = session_at(node)) {
      session->dirty.insert(instance);
      touched.insert(session->connection);
    }
  };
  for (const RowChange& row : changes.rows) {
    if (row.table == TableId::node && snapshot_->nodes.find(row.id) == nullptr) {
      auto at = by_node_.find(NodeId{row.id});
      if (at != by_node_.end()) {
        auto session = sessions_.find(at->second);
        if (session != sessions_.end()) {
          ManagerMessage message = envelope(session->second);
          message.goodbye = GoodbyeMessage{"this node was removed from the pool"};
          outputs_.push_back(SendToWorker{session->first, std::move(message)});
        }
        drop(at->second, "the node was removed");
      }
    }
    if (row.table != TableId::instance) continue;
    const Instance* before = changes.before ? changes.before->instances.find(row.id) : nullptr;
    const Instance* after = snapshot_->instances.find(row.id);
    if (before != nullptr) mark(before->node, before->id);
    if (after != nullptr) mark(after->node, after->id);
  }
  for (ConnectionId connection : touched) {
    auto at = sessions_.find(connection);
    if (at != sessions_.end()) flush(at->second);
  }
}

void Dispatcher::flush(Session& session) {
  if (session.phase != Phase::live || session.blocked) return;
  while (!session.dirty.empty()) {
    AssignMessage part;
    size_t bytes = 0;
    while (!session.dirty.empty() && bytes < kAssignBytes &&
           part.assignments.size() + part.removed.size() < kAssignmentsPerMessage) {
      const InstanceId id = *session.dirty.begin();
      session.dirty.erase(session.dirty.begin());
      const Instance* instance = snapshot_->instances.find(id.value);
      std::optional<Assignment> assignment;
      const bool mine = instance != nullptr && instance->node == session.node && !instance->cleared;
      if (mine && !instance->admitted && instance->presence != Presence::given_up) continue;
      if (mine) assignment = assignment_of(*snapshot_, *instance);
      auto held = session.held.find(id);
      if (mine && over_and_forgotten(*instance, held != session.held.end())) continue;
      if (!assignment) {
        if (held != session.held.end()) {
          part.removed.push_back(id);
          uncount(session, part, held->second);
          session.held.erase(held);
        }
        continue;
      }
      if (held != session.held.end() && held->second.assignment_hash == hash_of(*assignment)) continue;
      bytes += add_assignment(session, part, *instance, *assignment);
    }
    if (part.assignments.empty() && part.removed.empty()) continue;
    forget_specs(session, part);
    ManagerMessage message = envelope(session);
    message.assign = std::move(part);
    outputs_.push_back(SendToWorker{session.connection, std::move(message)});
  }
}

Status Dispatcher::open_stream(NodeId node, StreamRequest request) {
  Session* session = session_at(node);
  if (session == nullptr) {
    const Node* row = snapshot_ ? snapshot_->nodes.find(node.value) : nullptr;
    return fail(ErrorCode::unavailable, "node " + (row != nullptr ? row->name : to_text(node)) +
                                            " is not connected: try again when it is back");
  }
  ManagerMessage message = envelope(*session);
  message.stream = std::move(request);
  outputs_.push_back(SendToWorker{session->connection, std::move(message)});
  return {};
}

}  // namespace tutti::manager
