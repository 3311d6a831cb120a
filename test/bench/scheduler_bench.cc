// The figures of the scheduler alone, on one thread; `tutti bench scheduler` prints the same.
#include <chrono>
#include <cstdio>
#include <cstring>

#include "scheduler/bench.h"

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  const auto seconds = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
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
