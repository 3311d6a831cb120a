// S08: `tutti rebalance`: what would be better off elsewhere, and with --apply moving it there.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cli/requests.h"
#include "cli/say.h"
#include "cli/session.h"
#include "model/codec.h"

namespace tutti::cli {
namespace {

void print_moves(const std::vector<Json>& moves, bool done) {
  std::vector<std::vector<std::string>> rows{{"INSTANCE", "FROM", "TO", "WHY"}};
  if (done) rows[0].insert(rows[0].begin() + 3, "STATE");
  for (const Json& move : moves) {
    const std::string reason = move["reason"].text();
    rows.push_back({move["instance"].text(), move["from"].text(), move["to"].text(),
                    reason.empty() ? move["why"].text() : reason});
    if (done) rows.back().insert(rows.back().begin() + 3, move["state"].text());
  }
  if (rows.size() > 1) print_table(rows);
}

// In thousandths → "12.5%" of a node, or "1.2 instances".
std::string deviation(const Json& thousandths, bool by_number) {
  const int64_t tenths = thousandths.number() / (by_number ? 100 : 1);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + (by_number ? " instances" : "%");
}

void print_plan(const Json& plan) {
  const std::vector<Json> moves = plan["moves"].items();
  print_moves(moves, false);
  say(stdout, "%s%zu moves for %s (policy %s)\n", moves.empty() ? "" : "\n", moves.size(), plan["aim"].text().c_str(),
      plan["policy"].text().c_str());
  const bool by_number = plan["policy"].text() == "roundrobin";
  say(stdout, "nodes in use: %s -> %s, deviation from an even load: %s -> %s\n", plan["nodes_used"].text().c_str(),
      plan["nodes_used_after"].text().c_str(), deviation(plan["imbalance"], by_number).c_str(),
      deviation(plan["imbalance_after"], by_number).c_str());
  for (const Json& left : plan["left_out"].items())
    say(stdout, "%s left where they are: %s\n", left["instances"].text().c_str(), left["reason"].text().c_str());
  if (!moves.empty()) say(stdout, "nothing was moved: 'tutti rebalance --apply' does it\n");
}

}  // namespace

int rebalance(Session& s) {
  RebalanceBody body{
      .dry_run = !s.flag("apply"), .node_pool = s.option("node-pool"), .include_batch = s.flag("include-batch")};
  if (const std::string most = s.option("max-moves"); !most.empty()) body.max_moves = std::atoll(most.c_str());
  if (const std::string most = s.option("max-parallel"); !most.empty()) body.max_parallel = std::atoi(most.c_str());
  auto answer = s.call("POST", "/v1/rebalance", to_json(body));
  if (!answer) return complain(answer.error());
  if (body.dry_run) {
    if (s.output != "table") return print_object(s, *answer);
    print_plan(*answer);
    return 0;
  }
  const std::string id = (*answer)["operation.id"].text();
  if (s.flag("no-wait")) {
    if (s.output == "table") return say(stdout, "operation %s\n", id.c_str()), 0;
    return print_object(s, (*answer)["operation"]);
  }
  const int code = s.wait_operation(*answer);
  auto end = s.call("GET", "/v1/operations/" + id);
  if (!end || s.flag("quiet")) return code;
  if (s.output != "table") return std::max(code, print_object(s, *end));
  print_moves((*end)["status.moves"].items(), true);  // how many there were is said already
  return code;
}

}  // namespace tutti::cli
