// Nodes: join, sessions, health, the user's wishes, removal.
#include <arpa/inet.h>

#include <algorithm>
#include <set>

#include "base/limits.h"
#include "base/text.h"
#include "model/validate.h"
#include "state/apply_internal.h"

namespace tutti::state {
namespace {

Result<Node> find_node(const Snapshot& state, NodeId id) {
  const Node* node = state.nodes.find(id.value);
  if (node == nullptr) return fail(ErrorCode::not_found, "no node " + to_text(id));
  return *node;
}

// The first /24 of the pool's prefix that no node has; empty when there is none left.
std::string free_subnet(const Snapshot& state) {
  const size_t slash = state.pool.network.find('/');
  in_addr base{};
  if (slash == std::string::npos || inet_pton(AF_INET, state.pool.network.substr(0, slash).c_str(), &base) != 1)
    return {};
  const int bits = std::atoi(state.pool.network.c_str() + slash + 1);
  if (bits < 8 || bits > 24) return {};
  std::set<std::string> taken;
  state.nodes.for_each([&](uint64_t, const Node& node) { taken.insert(node.subnet); });
  const uint32_t count = 1u << (24 - bits);
  for (uint32_t i = 1; i <= count; ++i) {
    const uint32_t address =
        ntohl(base.s_addr) + ((i % count) << 8);  // the first one last: it looks like the prefix itself
    const in_addr at{htonl(address)};
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &at, text, sizeof text);
    std::string subnet = std::string(text) + "/24";
    if (!taken.contains(subnet)) return subnet;
  }
  return {};
}

std::string free_name(const Snapshot& state) {
  for (size_t n = state.nodes.size() + 1;; ++n) {
    std::string name = "node-" + std::to_string(n);
    if (state.node_by_name(name) == nullptr) return name;
  }
}

// At most `most` of them: what is cleared is no longer listed for the node, so the next call goes on behind it.
void give_up_instances(ApplyContext& c, NodeId node, const std::string& reason, size_t most) {
  std::vector<uint64_t> ids;
  if (const IdSet* set = c.state().instances_by_node.find(node.value)) {
    set->for_each([&](uint64_t id, const Unit&) {
      ids.push_back(id);
      return ids.size() < most;
    });
  }
  for (uint64_t id : ids) {
    Instance row = *c.state().instances.find(id);
    // What has ended there by itself stays as it ended: batch work that is done is not done again.
    const bool ended = row.finished && row.desired == Desired::running;
    row.cleared = row.finished = true;
    if (!ended && row.presence != Presence::given_up) {
      row.presence = Presence::given_up;
      InstanceDetail detail = *row.detail;
      detail.reason = reason;
      row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
    }
    c.draft.put(std::move(row));
  }
}

// The node rebooted, or lost what its worker had on record: what ran there starts over where it is. Without a new
// generation its reports would look like old ones.
void start_over_lost(ApplyContext& c, NodeId node, const std::vector<InstanceId>& held) {
  std::vector<uint64_t> ids;
  const std::set<InstanceId> known(held.begin(), held.end());
  if (const IdSet* set = c.state().instances_by_node.find(node.value)) {
    set->for_each([&](uint64_t id, const Unit&) {
      const Instance& row = *c.state().instances.find(id);
      const bool begun = std::any_of(row.detail->tasks.begin(), row.detail->tasks.end(),
                                     [](const TaskStatus& t) { return t.position.attempt > 0; });
      if (begun && row.admitted && !row.finished && !known.contains(row.id) && row.presence != Presence::given_up)
        ids.push_back(id);
      return ids.size() < limits::kCommandRowsMax;
    });
  }
  for (uint64_t id : ids) {
    Instance row = *c.state().instances.find(id);
    row.generation += 1;
    row.state = TaskState::placed;
    row.detail = fresh_detail(c.state(), row, row.detail->ports, row.detail->devices);
    emit_instance(c, row, "instance.restarted", "warning", "its node came back without it");
    c.draft.put(std::move(row));
  }
}

}  // namespace

Result<Outcome> apply_one(ApplyContext& c, const JoinNode& command) {
  const Token* found = c.state().tokens.find(command.token.value);
  if (found == nullptr || found->kind != TokenKind::join || found->revoked ||
      (found->expires && found->expires <= c.now)) {
    return fail(ErrorCode::unauthenticated,
                "this join token is unknown, expired or revoked: make one with 'tutti node token'");
  }
  Token token = *found;
  // Of a token without limit the nodes remember the keys; the token itself would grow with every one.
  const bool without_limit = token.uses_left < 0;
  const Node* same_key = nullptr;
  c.state().nodes.for_each([&](uint64_t, const Node& node) {
    if (node.key_fingerprint == command.key_fingerprint) same_key = &node;
    return same_key == nullptr;
  });
  if (without_limit && same_key != nullptr) {
    return Outcome{.table = TableId::node, .id = same_key->id.value, .version = same_key->version, .unchanged = true};
  }
  auto bound = token.bound.find(command.key_fingerprint);
  if (bound != token.bound.end()) {
    const Node* node = c.state().nodes.find(bound->second.value);
    if (node != nullptr && !node->removing) {
      return Outcome{.table = TableId::node, .id = node->id.value, .version = node->version, .unchanged = true};
    }
    return fail(ErrorCode::forbidden, "the node that joined with this key was removed");
  }
  if (token.uses_left == 0) {
    return fail(ErrorCode::unauthenticated, "this join token has been used: make another with 'tutti node token'");
  }
  std::string name = command.name.empty() ? token.node_name : command.name;
  if (!token.node_name.empty() && name != token.node_name) {
    return fail(ErrorCode::forbidden, "this join token is for node " + token.node_name + " only");
  }
  if (name.empty()) name = free_name(c.state());
  if (!is_name(name)) return fail(ErrorCode::invalid, "'" + name + "' is not a name: use a-z, 0-9 and '-', at most 63");
  if (c.state().node_by_name(name) != nullptr) {
    return fail(ErrorCode::conflict,
                "there is a node " + name + " already: choose another name, or 'tutti node remove " + name + "' first");
  }
  if (c.state().nodes.size() >= limits::kNodesMax)
    return fail(ErrorCode::unprocessable, "the pool has as many nodes as it can (limit kNodesMax)");
  Node node;
  node.id = NodeId{c.draft.new_id()};
  node.name = name;
  node.created = node.health_since = c.now;
  node.key_fingerprint = command.key_fingerprint;
  node.subnet = free_subnet(c.state());
  node.health_reason = "joined, its worker has not connected yet";
  if (token.uses_left > 0) token.uses_left -= 1;
  if (without_limit)
    token.bound.clear();  // an older version kept them
  else
    token.bound[command.key_fingerprint] = node.id;
  Outcome outcome{.table = TableId::node, .id = node.id.value, .version = 1};
  emit(c, "node.joined", "info", TableId::node, node.id.value, name, {}, "with token " + to_text(token.id));
  c.draft.put(std::move(token));
  c.draft.put(std::move(node));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const BeginSession& command) {
  TUTTI_TRY(Node node, find_node(c.state(), command.node));
  if (node.key_fingerprint != command.key_fingerprint) {
    return fail(ErrorCode::forbidden,
                "node " + node.name + " belongs to another key: was it removed and joined again?");
  }
  if (command.inventory.feature_level == 0) return fail(ErrorCode::invalid, "a worker without a feature level");
  if (Status ok = validate(command.inventory); !ok)
    return fail(ok.error().code, "node " + node.name + ": " + ok.error().message);
  node.session += 1;
  node.inventory = std::make_shared<const Inventory>(command.inventory);
  if (node.health != NodeHealth::ready) {
    node.health_since = c.now;
    emit(c, "node.ready", "info", TableId::node, node.id.value, node.name, {},
         node.health == NodeHealth::joining ? "connected" : "back");
  }
  node.health = NodeHealth::ready;
  node.health_reason = "connected";
  Outcome outcome{.table = TableId::node, .id = node.id.value, .version = node.version, .number = node.session};
  c.draft.put(std::move(node));
  start_over_lost(c, command.node, command.held);
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const SetNodeHealth& command) {
  TUTTI_TRY(Node node, find_node(c.state(), command.node));
  Outcome outcome{.table = TableId::node, .id = node.id.value, .version = node.version};
  if (node.session != command.session || node.health == command.health) {
    outcome.unchanged = true;
    return outcome;
  }
  node.health = command.health;
  node.health_reason = command.reason;
  node.health_since = c.now;
  const bool well = command.health == NodeHealth::ready;
  const std::string word = well ? "ready" : command.health == NodeHealth::lost ? "lost" : "unknown";
  emit(c, "node." + word,
       well                                 ? "info"
       : command.health == NodeHealth::lost ? "error"
                                            : "warning",
       TableId::node, node.id.value, node.name, {}, command.reason);
  c.draft.put(std::move(node));
  return outcome;
}

Result<Outcome> apply_one(ApplyContext& c, const UpdateNode& command) {
  TUTTI_TRY(Node node, find_node(c.state(), command.node));
  if (command.if_version && *command.if_version != node.version) {
    return fail(ErrorCode::stale, fmt::format("node {} is at version {}, not {}: read it again", node.name,
                                              node.version, *command.if_version));
  }
  if (node.removing) return fail(ErrorCode::conflict, "node " + node.name + " is being removed");
  if (command.spec.labels.size() > limits::kLabelsMax)
    return fail(ErrorCode::invalid, fmt::format("more than {} labels (limit kLabelsMax)", limits::kLabelsMax));
  Outcome outcome{.table = TableId::node, .id = node.id.value, .version = node.version};
  outcome.unchanged = node.spec == command.spec;
  if (outcome.unchanged && command.spec.eligibility == Eligibility::draining)
    outcome.operation = present_operation(c.state(), "node.drain", node.id.value);
  if (outcome.operation) return outcome;
  if (!outcome.unchanged) {
    std::string what = "by " + c.meta.identity;
    if (command.spec.eligibility != node.spec.eligibility)
      what = std::string(boost::describe::enum_to_string(command.spec.eligibility, "")) + ", " + what;
    node.version += 1;
    outcome.version = node.version;
    node.spec = command.spec;
    emit(c, "node.updated", "info", TableId::node, node.id.value, node.name, {}, what);
    c.draft.put(node);
  }
  if (command.spec.eligibility == Eligibility::draining)
    outcome.operation = start_operation(c, "node.drain", TableId::node, node.id.value, {});
  return outcome;
}

namespace {

constexpr size_t kGivenUpPerCommand = limits::kCommandRowsMax / 2;

// More than one command may give up: the node is shut out for good, and the manager asks again until nothing is left
// (also the next manager after a crash: the row says so).
Outcome begin_removal(ApplyContext& c, Node node, size_t left) {
  Outcome outcome{.table = TableId::node, .id = node.id.value, .version = node.version};
  outcome.number = left;
  outcome.operation = present_operation(c.state(), "node.remove", node.id.value);
  if (!node.removing) {
    outcome.operation =
        start_operation(c, "node.remove", TableId::node, node.id.value, {}, 0, node.name, static_cast<int64_t>(left));
    node.removing = true;
    node.version += 1;
    node.session += 1;             // what its worker still says is stale
    node.key_fingerprint.clear();  // and it cannot come back
    node.spec.eligibility = Eligibility::disabled;
    node.health = NodeHealth::lost;
    node.health_reason = "being removed";
    node.health_since = c.now;
    c.draft.put(std::move(node));
  }
  return outcome;
}

}  // namespace

Result<Outcome> apply_one(ApplyContext& c, const RemoveNode& command) {
  TUTTI_TRY(Node node, find_node(c.state(), command.node));
  size_t live = 0;
  size_t rows = 0;
  if (const IdSet* set = c.state().instances_by_node.find(node.id.value)) {
    rows = set->size();
    set->for_each([&](uint64_t id, const Unit&) { live += c.state().instances.find(id)->finished ? 0 : 1; });
  }
  if (live > 0 && !command.fenced && !node.removing) {
    return fail(ErrorCode::conflict, fmt::format("node {} still has {} instances: drain it first ('tutti node drain "
                                                 "{}'), or say --fenced if the machine is surely off",
                                                 node.name, live, node.name));
  }
  give_up_instances(c, node.id, "node " + node.name + " was removed", kGivenUpPerCommand);
  if (rows > kGivenUpPerCommand) return begin_removal(c, std::move(node), rows - kGivenUpPerCommand);
  emit(c, "node.removed", "warning", TableId::node, node.id.value, node.name, {}, "by " + c.meta.identity);
  Outcome outcome{.table = TableId::node, .id = node.id.value, .version = node.version};
  outcome.operation = present_operation(c.state(), "node.remove", node.id.value);
  c.draft.erase(TableId::node, node.id.value);
  return outcome;
}

}  // namespace tutti::state
