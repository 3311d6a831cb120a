#pragma once
// Preemption: whom to push aside for an instance that finds no room (J07). Pure; lives for one round.
//
// Only work of lower priority, in projects that allow it, and never more than it takes: on each node the least
// important go first and the youngest of those, then who turns out not to be needed is spared. Among the nodes the
// cheapest set wins: by its most important member, then by how many, then by how much is freed in vain.
//
// Who was told to go holds its room until it is gone. Until then that room is promised: a second victim is not taken
// for the same need, and what is free beside it is not given to work of lower priority.

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "model/snapshot.h"
#include "scheduler/columns.h"
#include "scheduler/feasible.h"

namespace tutti::scheduler {

class Preemption {
 public:
  // What a round has given out, by node.
  using GivenOut = std::map<uint32_t, Given>;
  Preemption(const Snapshot& snapshot, Columns& columns, GivenOut& given)
      : snapshot_(snapshot), columns_(columns), given_(given) {}

  struct Choice {
    uint32_t index = 0;
    std::vector<InstanceId> victims;  // none: enough is on its way out already
  };
  // On the nodes of the mask. None: even without all that may be pushed aside it would not fit anywhere.
  std::optional<Choice> choose(const Request& request, int32_t priority, const Mask& nodes);
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
  struct View {  // beside what the round has given out
    Resources coming;                        // beyond what is free: of those that leave, less what was promised
    std::set<uint32_t> ports;                // in use and not about to be free
    std::map<std::string, int64_t> limits;   // likewise
    std::map<std::string, int64_t> devices;  // likewise, thousandths of each
    std::vector<Held> held;                  // who may be pushed aside, the least important first
  };
  using Cost = std::tuple<int32_t, size_t, int64_t>;
  View& view_of(uint32_t index);
  // What they hold beyond room is free once they are gone.
  static void let_go(View& view, const std::vector<uint32_t>& ports, const std::map<std::string, int64_t>& limits,
                     const std::vector<DeviceBinding>& devices);
  void read(const Instance& instance, View& view) const;
  static std::vector<int64_t> free_devices_of(const Node& node, const View& view, const Given& given,
                                              const std::vector<const Held*>& gone);
  // Whether it fits once these of `view.held` are gone.
  bool fits(const Request& request, const Node& node, uint32_t index, const View& view,
            const std::vector<const Held*>& gone) const;
  std::vector<const Held*> cheapest(const Request& request, const Node& node, uint32_t index, const View& view,
                                    int32_t priority) const;
  Cost cost_of(const Request& request, uint32_t index, const std::vector<const Held*>& victims) const;

  const Snapshot& snapshot_;
  Columns& columns_;
  GivenOut& given_;
  std::map<uint32_t, View> views_;
};

}  // namespace tutti::scheduler
