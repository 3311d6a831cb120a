#pragma once
// Machines: the nodes of a pool as the policy `fragmentation` sees them, what has been asked for there, and what each
// request costs on each node. Part of Columns, and empty until somebody places by that policy. Pure.
//
// A cost is computed again when its node changed, or when the pool got fuller by a phase. What was asked for is counted
// as instances appear; half of it is forgotten whenever kSeenMax have come, so that it follows a drift. The typical
// tasks of FGD are made anew when a quarter more has come; or they are those of what use() gave.
//
// Owner: one Columns. Memory: about 250 bytes a node, and 8 per node and request, of at most kRequestsMax requests.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/snapshot.h"
#include "scheduler/feasible.h"
#include "scheduler/valuation.h"

namespace tutti::scheduler {

class Machines {
 public:
  // What one request costs, node by node.
  struct Costs {
    struct Known {
      uint32_t version = 0;
      Valuation::Choice choice;
    };
    GpuTask task;
    std::vector<Known> known;
  };

  bool needed() const { return needed_; }
  void clear();  // nothing is needed any more; what was seen and learned stays
  void begin(const Snapshot& snapshot);
  // A node's row or use has changed, or it is the next one of begin().
  void set(const Snapshot& snapshot, uint32_t index, const Node& node);
  // In a round: what an instance gets, and back.
  void take(uint32_t index, const Resources& resources, const std::vector<DeviceBinding>& devices, int sign);

  void count(const Request& request);
  void forget_seen();
  Workload seen() const;
  const Fleet& fleet() const { return fleet_; }
  void use(std::shared_ptr<const Learned> learned);

  // Before a round: the phase, and what it makes of the costs.
  void begin_round();
  Costs& costs_of(const std::string& shape, const Request& request);
  const Valuation::Choice& cost(Costs& costs, uint32_t index);
  // A share goes to this device of the node's inventory.
  size_t device_of(const Costs& costs, uint32_t index) const;

 private:
  static constexpr size_t kRequestsMax = 256;
  static constexpr int64_t kSeenMax = 50'000;
  void make_valuation();

  bool needed_ = false;
  Fleet fleet_;  // as they would be idle
  std::vector<Machine> now_;
  std::vector<std::vector<std::string>> gpu_ids_;  // by node
  std::vector<uint32_t> versions_;
  std::map<std::string, Costs> costs_;
  std::map<std::string, Wanted> seen_;
  int64_t seen_total_ = 0, valued_at_ = 0;
  size_t shapes_at_ = 0, kinds_at_ = 0;
  std::shared_ptr<const Learned> learned_;
  std::unique_ptr<Valuation> valuation_;
  int64_t all_ = 0, free_ = 0;
  int phase_ = 0;
};

}  // namespace tutti::scheduler
