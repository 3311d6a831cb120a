#include "scheduler/learner.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace tutti::scheduler {
namespace {

int64_t asking_for_gpus(const Workload& workload) {
  int64_t out = 0;
  for (const Wanted& each : workload) out += each.gpu.empty() ? 0 : each.weight;
  return out;
}

bool has_gpus(const Fleet& fleet) {
  return std::ranges::any_of(fleet.machines, [](const Machine& each) { return each.gpus > 0; });
}

// In thousandths of the machines.
int64_t drift(const Fleet& a, const Fleet& b) {
  std::map<std::string, int64_t> parts;
  auto add = [&](const Fleet& fleet, int64_t sign) {
    int64_t with_gpus = 0;
    for (const Machine& each : fleet.machines) with_gpus += each.gpus > 0 ? 1 : 0;
    for (const Machine& each : fleet.machines)
      if (each.gpus > 0 && each.shape < fleet.shapes.size())
        parts[fleet.shapes[each.shape]] += sign * 1'000'000 / std::max<int64_t>(with_gpus, 1);
  };
  add(a, 1), add(b, -1);
  int64_t sum = 0;
  for (const auto& [shape, part] : parts) sum += std::abs(part);
  return sum / 2'000;
}

}  // namespace

Taught teach(const Lesson& lesson, const Lessons& lessons, const std::function<bool()>& stop) {
  Taught out;
  out.learned = lesson.examine != nullptr
                    ? examine(lesson.fleet, lesson.workload, kLessonSeed, lesson.examine, lessons, stop)
                    : learn(lesson.fleet, lesson.workload, kLessonSeed, lessons, stop);
  out.finished = !stop();
  return out;
}

std::optional<Lesson> Learner::due(Time now, const Fleet& fleet, const std::function<Workload()>& seen) {
  if (step_ != Step::idle || (look_ && now < look_)) return std::nullopt;
  look_ = now + kLookEvery;
  // The scheduler lists no machines until somebody places by it; what was learned stays meanwhile.
  if (!has_gpus(fleet)) return std::nullopt;
  Workload workload = seen();
  seen_ = asking_for_gpus(workload);
  if (seen_ < kEnough) return std::nullopt;
  if (taught_ && (now < rest_ || !another(fleet, workload))) return std::nullopt;
  if (taught_) examined_ = taught_ = false;
  step_ = used_ != nullptr && !examined_ ? Step::exam : Step::school;
  lesson_ = {fleet, std::move(workload), step_ == Step::exam ? used_ : nullptr};
  lesson_requests_ = seen_;
  return lesson_;
}

bool Learner::another(const Fleet& fleet, const Workload& seen) const {
  return drift(lesson_.fleet, fleet) > kDriftAgain || scheduler::drift(lesson_.workload, seen) > kDriftAgain;
}

std::shared_ptr<const Learned> Learner::done(Taught taught, Time now) {
  const Step step = std::exchange(step_, Step::idle);
  if (!taught.finished) return used_;
  const bool passed = taught.learned != nullptr && taught.learned->useful;
  if (step == Step::exam) {
    examined_ = true;
    look_ = {};  // the lesson itself comes next
    if (!passed) used_ = nullptr;
    return used_;
  }
  taught_ = true;
  rest_ = now + kRestAfter;
  // What was used before has just passed its exam, or is gone.
  if (passed) used_ = std::move(taught.learned), used_requests_ = lesson_requests_, used_since_ = now;
  return used_;
}

std::string Learner::state() const {
  if (seen_ < 0) return {};
  const std::string school = step_ == Step::idle ? "" : fmt::format("; learning from {} requests", lesson_requests_);
  if (used_ != nullptr)
    return fmt::format("learned from {} requests at {}, exam {:+.2f} % of all GPU{}", used_requests_,
                       format_time(used_since_), static_cast<double>(used_->exam) / 10'000, school);
  if (step_ != Step::idle) return fmt::format("FGD{}", school);
  if (!taught_) return fmt::format("FGD: {} of {} requests seen", std::min(seen_, kEnough), kEnough);
  return fmt::format("FGD: nothing better was learned from {} requests", lesson_requests_);
}

}  // namespace tutti::scheduler
