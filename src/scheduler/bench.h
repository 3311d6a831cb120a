#pragma once
// What the scheduler does in a second, and how well it packs. Pure but for the clock it is given; run by `tutti bench
// scheduler` and by the program scheduler_bench.

#include <functional>
#include <string>
#include <vector>

namespace tutti::scheduler {

struct BenchFigure {
  std::string name;
  double value = 0;
  std::string unit;
  double target = 0;  // at least
};

// `seconds`: a clock that only goes forward. `quick`: a tenth of the size, for tests.
std::vector<BenchFigure> bench(const std::function<double()>& seconds, bool quick);

}  // namespace tutti::scheduler
