// S08: what would be better off elsewhere, and moving it there.
#include <set>

#include "base/limits.h"
#include "base/text.h"
#include "manager/api/requests.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"
#include "scheduler/rebalance.h"

namespace tutti::manager {
namespace {

constexpr size_t kPoolsNamedMax = 20;

Status check(const Snapshot& s, const RebalanceRequest& request) {
  const auto out_of_range = [](const std::string& name, int64_t most, std::string_view limit) -> Status {
    return tl::make_unexpected(
        Error{ErrorCode::invalid,
              name + " is a number from 1 to " + std::to_string(most) + " (limit " + std::string(limit) + ")",
              {{name, "out of range", "from 1 to " + std::to_string(most)}},
              0});
  };
  if (request.max_moves < 1 || request.max_moves > limits::kRebalanceMovesMax)
    return out_of_range("max_moves", limits::kRebalanceMovesMax, "kRebalanceMovesMax");
  if (request.max_parallel < 1 || request.max_parallel > limits::kRebalanceParallelMax)
    return out_of_range("max_parallel", limits::kRebalanceParallelMax, "kRebalanceParallelMax");
  if (request.node_pool.empty()) return {};
  std::set<std::string> pools;
  s.nodes.for_each([&](uint64_t, const Node& node) {
    if (pools.size() < kPoolsNamedMax || node.spec.node_pool == request.node_pool) pools.insert(node.spec.node_pool);
  });
  if (pools.contains(request.node_pool)) return {};
  return tl::make_unexpected(
      Error{ErrorCode::not_found,
            "no node is of the node pool '" + request.node_pool + "'",
            {{"node_pool", "unknown", "there are: " + tutti::join({pools.begin(), pools.end()}, ", ")}},
            0});
}

}  // namespace

// The plan names the work of every project, so it takes an identity of the whole pool; doing it, like a drain, an
// admin.
void rebalance(CallPtr call) {
  auto body = body_of<RebalanceRequest>(*call);
  if (!body) return;
  if (!call->identity.project.empty() || (!body->dry_run && !pool_admin(call->identity))) {
    const std::string needed = body->dry_run ? "an identity of the whole pool" : "the role admin of the whole pool";
    return answer_error(*call, Error{ErrorCode::forbidden,
                                     "this is about all of the pool: it needs " + needed + "; " + call->identity.text +
                                         " does not have it",
                                     {},
                                     0});
  }
  if (Status good = check(*call->state, *body); !good) return answer_error(*call, good.error());
  compute(call, [call, asked = std::move(*body)] {
    scheduler::RebalancePlan plan = scheduler::propose_rebalance(
        *call->state, {asked.node_pool, static_cast<size_t>(asked.max_moves), asked.include_batch});
    if (asked.dry_run) return answer_json(*call, 200, to_json(rebalance_status(*call->state, plan)));
    commit_operation(call, state::StartRebalance{{asked.max_parallel, asked.include_batch, std::move(plan.moves)}});
  });
}

}  // namespace tutti::manager
