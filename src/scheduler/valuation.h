#pragma once
// Valuation: what placing a task on a machine costs under the policy `fragmentation`. Lower is better. Pure.
//
// Before anything was learned it is FGD (Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with
// Fragmentation Gradient Descent", USENIX ATC 2023), exactly as published: F is how much of a machine's idle GPU the
// typical tasks could not use; the score is floor(100 / (1 + e^(-(F before - F after) / 1000))), F in thousandths.
//
// Learned (learning.h): how much idle GPU the machine is expected to have left when the pool is full. Every idle piece
// of a GPU is looked up by (phase of fill, machine shape, idle GPUs and broken ones beside it, cpu left, size of the
// piece); means of few observations lean on those of coarser keys. The cost is how much a placement raises that sum,
// plus a part of how much it raises F, which keeps apart what the means are too rare to tell, plus the price of the
// places that it takes from tasks for which few machines will do (Scarce), while there are few such places left.
//
// Owner: a Scheduler, or a game of self-play; it remembers what it looked up. Not thread-safe.

#include <cstdint>
#include <memory>
#include <vector>

#include "scheduler/machine.h"

namespace tutti::scheduler {

struct Typical {
  GpuTask task;
  int64_t weight = 0;  // of all together: kWeights
};
inline constexpr int64_t kWeights = 1 << 16;
// The most frequent (cpu, GPUs), memory left out, that make up 95 % of the workload.
std::vector<Typical> typical_of(const Workload& workload, const std::vector<Device>& kinds);
// What of a machine's idle GPUs typical tasks cannot use, in thousandths of a GPU × kWeights: tasks that want the same
// GPUs are looked at together.
class Fragments {
 public:
  explicit Fragments(const std::vector<Typical>& typical);
  int64_t of(const Machine& machine) const;

 private:
  struct Group {
    GpuTask gpus;                                     // count, share, kinds
    std::vector<std::pair<int64_t, int64_t>> by_cpu;  // cpu; the weight of those that want no more
  };
  std::vector<Group> groups_;
  int64_t weight_ = 0;
};
// FGD's score of a change of F, 0 to 100; more is better.
int32_t fgd_score(int64_t before, int64_t after);

// How full the pool is, in steps; `free` of `all` thousandths.
inline constexpr int kPhases = 17;
int phase_of(int64_t free, int64_t all);

// Means by key, each of kLevels from fine to coarse. Filled by observations, faded by decay.
class Means {
 public:
  // The parts of a key; `piece` in thousandths.
  struct Key {
    int phase = 0;
    uint16_t shape = 0;
    int idle = 0;
    int64_t cpu = 0;
    int32_t piece = 0;
    int32_t others = 0;  // thousandths free on GPUs that are broken, but for the piece
  };
  static constexpr size_t kLevels = 7;
  static std::array<uint64_t, kLevels> codes_of(const Key& key);

  void add(const std::array<uint64_t, kLevels>& codes, float value);
  void decay(float by);
  // 0 to 65,535: what part of the piece is expected to stay idle.
  uint16_t expected(const Key& key) const;
  size_t size() const { return used_; }

 private:
  struct Cell {
    uint64_t code = 0;  // 0: free
    float sum = 0, count = 0;
  };
  const Cell* find(uint64_t code) const;
  Cell& at(uint64_t code);
  std::vector<Cell> cells_ = std::vector<Cell>(1 << 12);  // open addressing, a power of two; never iterated in order
  size_t used_ = 0;
};

// What was learned, and for whom.
struct Learned {
  Means means;
  std::vector<std::string> shapes;  // the numbers of Means' keys
  Workload workload;
  int fragment_part = 2;  // one in so many of F counts beside the means
  bool useful = false;    // it beat FGD in the exam
  int64_t exam = 0;       // by how much, at 130 % of demand: millionths of all GPU
};

// What few machines can hold: several GPUs at once, or models that not all have. All wishes for as many of the same.
struct Scarce {
  GpuTask task;            // the mean of them
  int64_t weight = 0;      // a task of them is what part of `per` tasks
  int64_t places = 0;      // in the pool
  int64_t price = 0;       // of the last place for one; in a value's unit
  bool of_models = false;  // not all models will do
};

class Valuation {
 public:
  // `learned` may be null. `fleet`: how the caller numbers kinds and shapes.
  Valuation(const std::vector<Typical>& typical, std::shared_ptr<const Learned> learned, const Fleet& fleet);

  struct Choice {
    int32_t cost = INT32_MAX;  // that: it has no room
    uint8_t gpu = 0;           // where a share goes
  };
  // The machine is as it was afterwards.
  Choice best(Machine& machine, const GpuTask& task, int phase);
  // The places that a machine of the pool has for what is scarce come, or go: every machine once, then before and after
  // each change.
  void count(const Machine& machine, int sign);
  // Before anything is placed: prices of what is scarce, with so much GPU free. True if one has changed: costs have
  // too.
  bool reprice(int64_t free);
  bool learned() const { return learned_ != nullptr; }

 private:
  int64_t value(const Machine& machine, int phase);
  int64_t value_anew(const Machine& machine, int phase);
  void find_scarce();
  int64_t idle_left(const Machine& machine, int phase);
  uint16_t expected(const Means::Key& key);

  struct Known {
    uint64_t code = 0;
    uint16_t value = 0;
  };
  Fragments fragments_;
  std::vector<Scarce> scarce_;
  std::vector<Device> kinds_;
  int64_t asked_ = 0;  // by the whole workload, weighed
  std::shared_ptr<const Learned> learned_;
  std::vector<uint16_t> shape_of_;  // the caller's number → Learned's
  std::vector<Known> known_;        // what was looked up; direct-mapped
  // Values of machines, by a hash of all that counts: many are alike, and are looked at for many tasks. Direct-mapped.
  struct Valued {
    uint64_t hash = 0;
    int64_t value = 0;
  };
  std::vector<Valued> valued_ = std::vector<Valued>(1 << 15);
};

}  // namespace tutti::scheduler
