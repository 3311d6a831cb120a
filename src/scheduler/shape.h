#pragma once
// Shape: the search for one kind of request within a round: the same job version and group, one instance after the
// other.
//
// The best of every word of 64 nodes is kept; a placement changes one node, so only its word is looked at again. For
// spread the nodes are kept by how many instances of the job they hold, and the fewest come first. Pure; lives for a
// round.

#include <map>
#include <optional>
#include <set>

#include "scheduler/columns.h"

namespace tutti::scheduler {

// One placement of a round.
struct Taken {
  uint32_t index = 0;
  JobId job;
};

class Shape {
 public:
  // `job`: for spread, whose instances keep apart; 0: fullest first. `counts`: instances of that job per node index,
  // those of the round's first `seen` placements too; nodes that are not in it have none.
  Shape(Columns& columns, Request request, Mask mask, JobId job, std::map<uint32_t, uint32_t> counts, size_t seen);

  // The best node by scan, not yet checked to the byte; nothing if there is none. `avoid` comes last: size() for none.
  std::optional<uint32_t> best(uint32_t avoid);
  // It will not do after all, in this round.
  void exclude(uint32_t index);
  // What was placed in this round so far; looked at from where this shape left off.
  void catch_up(const std::vector<Taken>& placed);
  // Nothing was found: nothing will be, as a round only ever takes.
  bool exhausted() const { return exhausted_; }
  const Request& request() const { return request_; }

 private:
  struct Level {
    Mask mask;
    std::vector<ScanBest> words;  // best of each word
    size_t nodes = 0;
  };
  Level make_level(Mask mask) const;
  void rescan(uint32_t index);
  void count_up(uint32_t index);
  void scan_word(Level& level, size_t word) const;
  static std::optional<uint32_t> best_of(const Level& level);
  std::optional<uint32_t> best_without(const Level& level, uint32_t avoid) const;

  Columns& columns_;
  const Request request_;
  const ScanRequest scan_request_;
  const JobId job_;
  std::map<uint32_t, Level> levels_;  // instances of the job → nodes with so many; one level unless spread
  std::map<uint32_t, uint32_t> counts_;
  size_t seen_ = 0;  // of the round's placements
  bool exhausted_ = false;
};

}  // namespace tutti::scheduler
