#pragma once
// Round: one call of schedule(): serves the queue's lanes in their order until the plan is full or nothing more fits.
//
// What it gives out is charged to the columns, the projects' shares and the ports of a node while it lasts; finish()
// takes all of it back, since a plan is only a proposal. Pure; owner: Scheduler.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/plan.h"
#include "scheduler/columns.h"
#include "scheduler/preempt.h"
#include "scheduler/queue.h"
#include "scheduler/shape.h"

namespace tutti::scheduler {

using ProjectUse = std::map<ProjectId, Resources>;

class Round {
 public:
  Round(const Snapshot& snapshot, Columns& columns, Queue& queue, Leeway& leeway, ProjectUse& used, uint64_t seed,
        size_t most);
  Plan run();

 private:
  using Turn = std::tuple<int64_t, std::pair<Time, InstanceId>, ProjectId>;
  struct Mark {
    size_t taken, placed, placements;
    std::map<uint32_t, Given> given;
    ProjectUse used;
  };
  bool full() const { return full_ || plan_.placements.size() >= most_; }
  void serve_level(std::map<ProjectId, Line>& projects);
  Turn turn_of(ProjectId project, const Line& line) const;
  void serve(Lane& lane);
  bool place(const Waiting& waiting, const Ask& ask, ProjectId project, bool together);
  bool place_on_its_node(const Waiting& waiting, const Lane& lane);
  bool try_node(const Waiting& waiting, const Request& request, uint32_t index, ProjectId project, bool together,
                std::optional<size_t> gpu = std::nullopt);
  bool push_aside(const Waiting& waiting, const Lane& lane);
  void push(const Waiting& waiting, const Preemption::Choice& choice, bool together);
  void keep_room(const Request& request, const Preemption::Choice& choice);
  enum class Way : uint8_t { refused, done, next_plan };
  Way push_aside_for_all(const Lane& lane, bool on_one_node);
  bool place_as_chosen(const Lane& lane, const std::vector<Preemption::Choice>& choices);
  void serve_together(Lane& lane);
  bool place_on_one_node(Lane& lane);
  bool place_all(const Lane& lane, NodeId node);
  Ask sum_of(const Lane& lane) const;
  Shape& shape_of(const Ask& ask);
  Counts counts_of(JobId job) const;
  void placed_on(uint32_t index, JobId job);
  Mark mark() const;
  void back_to(Mark mark);
  void finish();

  const Snapshot& snapshot_;
  Columns& columns_;
  Queue& queue_;
  Leeway& leeway_;
  ProjectUse& used_;
  const ProjectUse used_before_;
  const uint64_t seed_;
  const size_t most_;
  bool full_ = false;  // what comes next needs a plan of its own
  Plan plan_;
  std::map<std::string, std::unique_ptr<Shape>, std::less<>> shapes_;
  const Ask* last_ask_ = nullptr;  // of the search before: those of one lane come one after the other
  Shape* last_shape_ = nullptr;
  std::vector<Taken> placed_;
  std::vector<uint32_t> last_on_;  // by node: the number of the last in placed_, from 1; 0: none
  std::map<uint32_t, Given> given_;
  std::optional<Preemption> preemption_;  // made when the first one is stuck that may push others aside
  size_t pushing_ = 0;
  size_t victims_ = 0;              // of the plan so far
  std::vector<uint32_t> promised_;  // nodes where room is kept
};

}  // namespace tutti::scheduler
