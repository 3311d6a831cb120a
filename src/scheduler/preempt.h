#pragma once
// Preemption: whom to push aside for an instance that finds no room (J07). Pure; lives for one round.
//
// Only work of lower priority, in projects that allow it, and never more than it takes: on each node the least
// important go first and the youngest of those, then who turns out not to be needed is spared. Among the nodes the
// cheapest set wins: by its most important member, then by how many, then by how much is freed in vain.
//
// For those that are placed as one (J07 with S07) it is found step by step: the step that costs least for each of them
// that it makes room for comes first, by the same order; at the end everybody is spared without whom all still fit. No
// cheaper most important member exists where all of them ask for the same; how many go is close to the fewest.
//
// Who was told to go holds its room until it is gone. Until then that room is promised: a second victim is not taken
// for the same need, and what is free beside it is not given to work of lower priority.

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/limits.h"
#include "model/snapshot.h"
#include "scheduler/columns.h"
#include "scheduler/feasible.h"
#include "scheduler/leeway.h"

namespace tutti::scheduler {

// Told to go by one plan: each is a row and an event, beside what is placed.
inline constexpr size_t kVictimsPerPlan = (limits::kCommandRowsMax - 512) / 2;

class Preemption {
 public:
  // What a round has given out, by node.
  using GivenOut = std::map<uint32_t, Given>;
  Preemption(const Snapshot& snapshot, Columns& columns, GivenOut& given, Leeway& leeway)
      : snapshot_(snapshot), columns_(columns), given_(given), leeway_(leeway) {}

  struct Choice {
    uint32_t index = 0;
    std::vector<InstanceId> victims;  // none: enough is on its way out already
    size_t member = 0;                // for which of those that are placed as one
  };
  // On the nodes of the mask. None: even without all that may be pushed aside it would not fit anywhere.
  std::optional<Choice> choose(const Request& request, int32_t priority, const Mask& nodes) {
    return choose_for({&request}, priority, nodes);
  }

  // One of those that are placed as one.
  struct Member {
    InstanceId id;
    uint16_t group = 0;  // those of one ask for the same
    const Request* request = nullptr;
    const Mask* nodes = nullptr;  // that may hold it at all
  };
  // A choice for each member, on any nodes or all on one, in the order in which they fit; who goes from a node stands
  // with the first member on it. None: they would not fit all.
  std::optional<std::vector<Choice>> choose_all(const std::vector<Member>& members, int32_t priority, bool on_one_node);

  // How many of them fit without anybody being told to go.
  size_t room_for(const std::vector<Member>& members);

  // What `choice` frees is kept for this request for the rest of the round; so is what of it is free now, as given out.
  void promise(const Request& request, const Choice& choice);

 private:
  struct Held {
    InstanceId id;
    int32_t priority = 0;
    Time placed;
    Resources resources;
    std::vector<uint32_t> ports;
    std::map<std::string, int64_t> limits;
    std::vector<DeviceBinding> devices;
  };
  struct View {                              // beside what the round has given out
    Resources coming;                        // beyond what is free: of those that leave, less what was promised
    std::set<uint32_t> ports;                // in use and not about to be free
    std::map<std::string, int64_t> limits;   // likewise
    std::map<std::string, int64_t> devices;  // likewise, thousandths of each
    std::vector<Held> held;                  // who may be pushed aside, the least important first
  };
  using Cost = std::tuple<int32_t, size_t, int64_t>;
  using Requests = std::vector<const Request*>;  // what comes to a node, one after the other
  using Gone = std::vector<const Held*>;
  // What the search for members has laid on a node.
  struct Load {
    std::vector<size_t> members;
    Gone gone;
  };
  struct Step {
    uint32_t index = 0;
    size_t more = 0;  // members that find room by it
    int32_t priority = 0;
    size_t victims = 0;
    int64_t in_vain = 0;
    Gone gone;  // of the node, all in all
    bool operator<(const Step& b) const;
  };
  struct Search;
  View& view_of(uint32_t index);
  // How many that ask for so much the node could hold at most, by what needs no look at its instances.
  int64_t at_most(const Leeway::Amount& asked, uint32_t index, int32_t priority, int64_t most) {
    if (views_.contains(index)) return most;  // room may be promised there
    return leeway_.room_for(snapshot_, columns_, index, asked, priority, most);
  }
  std::optional<Choice> choose_for(const Requests& requests, int32_t priority, const Mask& nodes);
  // What they hold beyond room is free once they are gone.
  static void let_go(View& view, const std::vector<uint32_t>& ports, const std::map<std::string, int64_t>& limits,
                     const std::vector<DeviceBinding>& devices);
  void read(const Instance& instance, View& view) const;
  static std::vector<int64_t> free_devices_of(const Node& node, const View& view, const Given& given, const Gone& gone);
  // Whether they fit, one after the other, once these of `view.held` are gone.
  bool fits(const Requests& requests, uint32_t index, const Gone& gone);
  static bool fits_ports(const Requests& requests, const Node& node, const View& view, const Given& given,
                         const Gone& gone);
  static bool fits_devices(const Requests& requests, const Node& node, const View& view, const Given& given,
                           const Gone& gone);
  static bool fits_limits(const Requests& requests, const Node& node, const View& view, const Given& given,
                          const Gone& gone);
  // Those of `gone` that are needed for it, or all of them.
  Gone needed(const Requests& requests, uint32_t index, Gone gone);
  // Empty: not even without all of them.
  Gone cheapest(const Requests& requests, uint32_t index, int32_t priority);
  Cost cost_of(const Requests& requests, uint32_t index, const Gone& victims) const;

  const Snapshot& snapshot_;
  Columns& columns_;
  GivenOut& given_;
  const Given nothing_;
  Leeway& leeway_;
  std::map<uint32_t, View> views_;
  std::map<InstanceId, uint32_t> expected_;  // for whom others leave, where; of the nodes that were looked at
};

// What waits of a job that is placed as one.
struct Gang {
  std::map<uint16_t, std::pair<Request, Mask>> groups;
  std::vector<Preemption::Member> members;  // point into `groups`
};
Gang gang_of(const Snapshot& snapshot, Columns& columns, const std::vector<InstanceId>& waiting);

}  // namespace tutti::scheduler
