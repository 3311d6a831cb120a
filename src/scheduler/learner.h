#pragma once
// Learner: when a pool that places by `fragmentation` goes to school, and what it places by meanwhile; a machine
// without threads or I/O.
//
//   what the scheduler has seen ──due()──► Lesson ──teach(), on any thread──► Taught ──done()──► what the scheduler
//   uses
//
// FGD until something better was learned. A lesson is due when kEnough requests for GPUs were seen, and again when what
// is asked for, or the fleet, is another by more than kDriftAgain thousandths. Then what was learned before has to pass
// an exam on what is seen now, or FGD takes its place; and a new lesson follows. Nothing of it is durable: after a
// restart the scheduler has counted what the state holds, and a lesson is due.
//
// Owner: a Planner. Limits: one lesson at a time; due() looks closer once per kLookEvery, and what was tried in vain
// waits for kRestAfter.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/time.h"
#include "scheduler/learning.h"

namespace tutti::scheduler {

// Pure data: may be taught on any thread.
struct Lesson {
  Fleet fleet;
  Workload workload;
  std::shared_ptr<const Learned> examine;  // only an exam of that; null: learn
};
struct Taught {
  bool finished = false;                   // false: stopped
  std::shared_ptr<const Learned> learned;  // with its exam; null: nothing could be
};
// A constant seed: the same fleet and workload teach the same everywhere.
inline constexpr uint64_t kLessonSeed = 1;
Taught teach(const Lesson& lesson, const Lessons& lessons, const std::function<bool()>& stop);

class Learner {
 public:
  static constexpr int64_t kEnough = 200;
  static constexpr int64_t kDriftAgain = 150;
  static constexpr Duration kLookEvery = seconds(10);
  static constexpr Duration kRestAfter = seconds(600);

  // `seen` and `fleet` are asked only when it is time to look.
  std::optional<Lesson> due(Time now, const Fleet& fleet, const std::function<Workload()>& seen);
  // What the scheduler shall use from now on: null for FGD on what it sees itself.
  std::shared_ptr<const Learned> done(Taught taught, Time now);

  // One line for people; empty where nobody places by it.
  std::string state() const;

 private:
  enum class Step : uint8_t { idle, exam, school };
  bool another(const Fleet& fleet, const Workload& seen) const;

  Step step_ = Step::idle;
  Time look_, rest_;
  int64_t seen_ = -1;  // requests for GPUs, when it looked last; −1: nobody places by it
  Lesson lesson_;      // the last one
  int64_t lesson_requests_ = 0;
  bool examined_ = false;  // what is used, on lesson_'s fleet and workload
  bool taught_ = false;    // lesson_, to its end
  std::shared_ptr<const Learned> used_;
  int64_t used_requests_ = 0;
  Time used_since_;
};

}  // namespace tutti::scheduler
