#pragma once
// Learning: what the policy `fragmentation` finds out by playing against itself. Pure: the same fleet, workload and
// seed give the same result.
//
// A game fills the idle fleet with draws from the workload, one by one, nothing leaves, until 130 % of the GPUs have
// been asked for; what fits nowhere is dropped. From time to time every idle piece of a GPU is noted; when the game has
// ended, each note is told what part of its piece was still idle (half at 100 %, half at the end), and the means by
// key (valuation.h) become what the next games are played by. The first are played by FGD. The round of games with the
// most GPUs given out, counted at 90, 100 and 130 %, is kept; how much of FGD's measure counts beside it is found by
// games as well. In the end it has to beat FGD at 100 and 130 % on draws of its own, and lose nothing at 90 %, else
// nothing useful was learned.
//
// Cost: about a tenth of a second per game of 1,200 machines. A larger fleet is thinned out to kMachinesMax, a workload
// to its kWantedMax most frequent requests. In what order machines and requests come does not count.

#include <functional>
#include <memory>

#include "scheduler/valuation.h"

namespace tutti::scheduler {

// Of games: in a fleet of few machines several times as many.
struct Lessons {
  int rounds = 30;
  int games = 3;  // of a round
  int exams = 4;  // games of the learned and of FGD, on the same draws
};
inline constexpr size_t kMachinesMax = 1'500;
inline constexpr size_t kWantedMax = 500;

// Allocated parts of all GPU, in millionths, when the requests come to 90, 100 and 130 % of it.
struct GameResult {
  int64_t at_90 = 0, at_100 = 0, at_130 = 0;
  // What learning seeks: 90 % is nearly always reached, so what is lost there counts most.
  int64_t worth() const { return 4 * at_90 + at_100 + at_130; }
};

// `stop`: looked at all the time; once it says so, the result is null. Null too if the workload asks for no GPUs or the
// fleet has none.
std::shared_ptr<const Learned> learn(const Fleet& fleet, const Workload& workload, uint64_t seed,
                                     const Lessons& lessons, const std::function<bool()>& stop);

// The same tables with the exam passed, or not, on this fleet and workload. Null as above.
std::shared_ptr<const Learned> examine(const Fleet& fleet, const Workload& workload, uint64_t seed,
                                       const std::shared_ptr<const Learned>& learned, const Lessons& lessons,
                                       const std::function<bool()>& stop);

// How different two workloads are: 0, the same, to 1,000.
int64_t drift(const Workload& a, const Workload& b);

}  // namespace tutti::scheduler
