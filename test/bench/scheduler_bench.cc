// The figures of the scheduler alone, on one thread; `tutti bench scheduler` prints the same. Seconds are the thread's
// processor time: it waits for nothing, and what else the machine does is not its doing.
#include <time.h>

#include <cstdio>
#include <cstring>

#include "scheduler/bench.h"

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  const auto seconds = [] {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
  };
  bool met = true;
  for (const tutti::scheduler::BenchFigure& figure : tutti::scheduler::bench(seconds, quick)) {
    const bool good = figure.value >= figure.target;
    met = met && good;
    std::printf("%-40s %14.2f %-4s target %12.2f %s\n", figure.name.c_str(), figure.value, figure.unit.c_str(),
                figure.target, good ? "met" : "MISSED");
  }
  return met ? 0 : 1;
}
