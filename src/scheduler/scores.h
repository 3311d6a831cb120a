#pragma once
// Scores: what each node costs for one instance, term by term, straight from a snapshot: for people who ask why it is
// where it is (S05). The sums that shape.h finds the best of, without what it caches. Pure.
//
// An instance that has a place is looked at as if it were not there yet: what it holds is free, and it is not counted.
// Under the policy `fragmentation` the valuation is the one before anything was learned (valuation.h).
//
// Owner: whoever asks; lives for one answer. Looks at every instance of the pool when it is made.

#include <string>
#include <vector>

#include "scheduler/columns.h"
#include "scheduler/shape.h"

namespace tutti::scheduler {

// What is free on a node for an instance, and what it asks for there.
struct Vacancy {
  Resources free;
  Given given;  // below nothing where the instance itself holds something
  Request request;
};
Vacancy vacancy_for(const Snapshot& snapshot, const Instance& instance, const Request& request, const Node& node);

class Scores {
 public:
  struct Term {
    std::string name;
    int64_t cost = 0;  // lower is better; kCountCost for 100 of weight
  };
  Scores(const Snapshot& snapshot, const Instance& instance);
  std::vector<Term> of(const Node& node);

 private:
  struct Over {
    SpreadOver spread;
    std::vector<std::string> values;
    std::vector<int64_t> counts, shares;
    int64_t largest_share = 1;
  };
  bool is_there(NodeId node) const;
  int64_t instances_of_job_on(NodeId node) const;
  void add_spread(const SpreadOver& spread);
  void count_for_machines();
  int64_t machine_cost(const Node& node);

  const Snapshot& snapshot_;
  const Instance& instance_;
  const Ask ask_;
  const Request request_;
  Scale scale_;
  Factors asked_;
  std::map<NodeId, int64_t> of_job_;  // how many of the job each node holds
  std::vector<Over> spread_;
  Machines machines_;
  std::map<NodeId, uint32_t> index_;  // for machines_
};

}  // namespace tutti::scheduler
