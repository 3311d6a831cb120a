// The scheduler alone, on one thread: pending instances into a plan.
#include "app/bench/bench.h"
#include "scheduler/bench.h"

namespace tutti::app::bench {

Result<std::vector<Figure>> bench_scheduler(const Options& options) {
  const BootTime start = now();
  std::vector<Figure> out;
  for (const scheduler::BenchFigure& figure : scheduler::bench([&] { return seconds_since(start); }, options.quick)) {
    out.push_back(above("scheduler." + figure.name, figure.value, figure.unit, figure.target));
  }
  return out;
}

}  // namespace tutti::app::bench
