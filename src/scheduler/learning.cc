#include "scheduler/learning.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <string>
#include <tuple>

#include "base/random.h"

namespace tutti::scheduler {
namespace {

constexpr float kFade = 0.9F;  // what older games count for, from round to round
constexpr size_t kArrivalsMax = 100'000;
constexpr size_t kTimesMax = 8;
constexpr std::array<int, 4> kFragmentParts{2, 4, 8, 16};
constexpr size_t kNoteEvery = 400;  // arrivals

struct Note {
  std::array<uint64_t, Means::kLevels> codes{};
  uint32_t machine = 0;
  uint8_t gpu = 0;
  int16_t piece = 0;
};

// The most frequent, in an order that does not depend on how they came.
Workload in_order(Workload workload) {
  auto name = [](const Wanted& w) {
    return std::tuple(-w.weight, w.resources.cpu.value, w.resources.memory.value, w.gpu.empty() ? 0 : w.gpu[0].count,
                      w.gpu.empty() ? 0 : w.gpu[0].share, w.gpu.empty() ? 0 : w.gpu[0].memory.value,
                      w.gpu.empty() ? "" : to_text(w.gpu[0]));
  };
  std::ranges::sort(workload, {}, name);
  if (workload.size() > kWantedMax) workload.resize(kWantedMax);
  return workload;
}

// One pool that is filled.
class Game {
 public:
  Game(const std::vector<Machine>& idle, const std::vector<GpuTask>& tasks, Valuation& valuation,
       const std::function<bool()>& stop)
      : machines_(idle), tasks_(tasks), valuation_(valuation), stop_(stop), versions_(idle.size(), 1) {
    for (const Machine& machine : machines_)
      for (size_t i = 0; i < machine.gpus; ++i) all_ += machine.free[i];
    free_ = all_;
    for (const Machine& machine : machines_) valuation_.count(machine, 1);
    std::map<std::tuple<int64_t, int32_t, int32_t, uint64_t>, uint32_t> known;
    for (const GpuTask& task : tasks)
      alike_.push_back(known.try_emplace({task.cpu, task.count, task.share, task.kinds}, known.size()).first->second);
    costs_.resize(known.size());
  }

  // Tasks by number. Means may be null: nothing is noted.
  GameResult play(const std::vector<uint32_t>& arrivals, Means* means) {
    GameResult out;
    std::vector<Note> notes;
    std::vector<Machine> at_100;
    int64_t arrived = 0;
    size_t next_note = 0;
    int noted = -1;
    auto allocated = [&] { return (all_ - free_) * 1'000'000 / all_; };
    for (size_t step = 0; step < arrivals.size() && !stop_(); ++step) {
      const int phase = phase_of(free_, all_);
      if (means != nullptr && (phase != noted || step >= next_note)) {
        noted = phase, next_note = step + kNoteEvery;
        note(phase, notes);
      }
      if (valuation_.reprice(free_) || phase != phase_) ++epoch_;
      phase_ = phase;
      const int64_t before = arrived;
      arrived += thousandths(tasks_[arrivals[step]]);
      place(arrivals[step]);
      auto passed = [&](int64_t percent) { return before * 100 < percent * all_ && arrived * 100 >= percent * all_; };
      if (passed(90)) out.at_90 = allocated();
      if (passed(100)) out.at_100 = allocated(), at_100 = machines_;
    }
    out.at_130 = allocated();
    if (out.at_100 == 0) out.at_100 = out.at_130, at_100 = machines_;
    if (out.at_90 == 0) out.at_90 = out.at_100;
    if (means == nullptr) return out;
    for (const Note& n : notes) {
      const int half = std::min(at_100[n.machine].free[n.gpu], n.piece);
      means->add(n.codes,
                 static_cast<float>(half + machines_[n.machine].free[n.gpu]) / static_cast<float>(2 * n.piece));
    }
    return out;
  }

 private:
  struct Known {
    uint32_t version = 0;
    Valuation::Choice choice;
  };
  // Of tasks that are alike but for their memory, by machine.
  struct Costs {
    uint32_t epoch = 0;
    std::vector<Known> known;
  };

  void note(int phase, std::vector<Note>& notes) const {
    for (uint32_t m = 0; m < machines_.size(); ++m) {
      const Machine& machine = machines_[m];
      int idle = 0, broken = 0;
      for (size_t i = 0; i < machine.gpus; ++i) machine.free[i] == kWholeDevice ? ++idle : broken += machine.free[i];
      for (size_t i = 0; i < machine.gpus; ++i) {
        if (machine.free[i] == 0) continue;
        const int others = broken - (machine.free[i] == kWholeDevice ? 0 : machine.free[i]);
        const Means::Key key{phase, machine.shape, idle, machine.cpu, machine.free[i], others};
        notes.push_back({Means::codes_of(key), m, static_cast<uint8_t>(i), machine.free[i]});
      }
    }
  }

  Valuation::Choice cost(size_t machine, GpuTask task) {
    task.memory = 0;
    return valuation_.best(machines_[machine], task, phase_);
  }

  void place(uint32_t number) {
    const GpuTask& task = tasks_[number];
    Costs& costs = costs_[alike_[number]];
    if (costs.epoch != epoch_) costs.epoch = epoch_, costs.known.assign(machines_.size(), {});
    Valuation::Choice best;
    size_t where = 0;
    for (size_t m = 0; m < machines_.size(); ++m) {
      Known& each = costs.known[m];
      if (each.version != versions_[m]) each = {versions_[m], cost(m, task)};
      if (each.choice.cost < best.cost && machines_[m].memory >= task.memory) best = each.choice, where = m;
    }
    if (best.cost == INT32_MAX) return;
    valuation_.count(machines_[where], -1);
    take(machines_[where], task, best.gpu);
    valuation_.count(machines_[where], 1);
    ++versions_[where];
    free_ -= thousandths(task);
  }

  std::vector<Machine> machines_;
  const std::vector<GpuTask>& tasks_;
  Valuation& valuation_;
  const std::function<bool()>& stop_;
  std::vector<uint32_t> versions_;
  std::vector<uint32_t> alike_;  // by task: which costs are its own
  std::vector<Costs> costs_;
  uint32_t epoch_ = 0;
  int64_t all_ = 0, free_ = 0;
  int phase_ = -1;
};

class School {
 public:
  School(const Fleet& fleet, const Workload& workload, uint64_t seed, const std::function<bool()>& stop)
      : fleet_(fleet), workload_(in_order(workload)), stop_(stop), random_(seed) {
    // Machines that can hold no GPU task cost the same under every policy: left out.
    for (const Machine& machine : fleet.machines)
      if (machine.gpus > 0) machines_.push_back(machine);
    auto name = [&](const Machine& m) {
      return std::tuple(m.shape < fleet.shapes.size() ? fleet.shapes[m.shape] : "", m.cpu, m.memory);
    };
    std::ranges::sort(machines_, {}, name);
    shuffle(machines_);
    if (machines_.size() > kMachinesMax) machines_.resize(kMachinesMax);
    for (const Machine& machine : machines_)
      for (size_t i = 0; i < machine.gpus; ++i) capacity_ += machine.free[i];
    for (const Wanted& wanted : workload_) {
      tasks_.push_back(task_of(wanted.resources, wanted.gpu, fleet.kinds));
      weights_.push_back((weights_.empty() ? 0 : weights_.back()) + wanted.weight);
      asked_ += thousandths(tasks_.back()) * wanted.weight;
    }
    typical_ = typical_of(workload_, fleet.kinds);
  }
  // Games of few machines are short, and each tells less: so many times as many.
  int times() const {
    return static_cast<int>(std::clamp<size_t>(kMachinesMax / std::max<size_t>(machines_.size(), 1), 1, kTimesMax));
  }
  bool hopeless() const { return capacity_ == 0 || asked_ == 0; }

  // Draws from the workload until they come to 130 %.
  std::vector<uint32_t> draw() {
    std::vector<uint32_t> out;
    int64_t sum = 0;
    while (out.size() < kArrivalsMax) {
      const auto at = static_cast<int64_t>(random_.below(static_cast<uint64_t>(weights_.back())));
      const auto task = static_cast<uint32_t>(std::ranges::upper_bound(weights_, at) - weights_.begin());
      sum += thousandths(tasks_[task]);
      if (sum * 10 > capacity_ * 13) break;
      out.push_back(task);
    }
    return out;
  }
  // `by`: null for FGD. The machines stand in an order of their own in every game.
  GameResult play(const std::vector<uint32_t>& arrivals, const std::shared_ptr<const Learned>& by, Means* means) {
    Valuation valuation(typical_, by, fleet_);
    return Game(machines_, tasks_, valuation, stop_).play(arrivals, means);
  }
  void reorder() { shuffle(machines_); }
  std::shared_ptr<Learned> make(Means means) const {
    auto out = std::make_shared<Learned>();
    out->means = std::move(means), out->shapes = fleet_.shapes, out->workload = workload_;
    return out;
  }

 private:
  void shuffle(std::vector<Machine>& machines) {
    for (size_t i = machines.size(); i > 1; --i) std::swap(machines[i - 1], machines[random_.below(i)]);
  }
  const Fleet& fleet_;
  const Workload workload_;
  const std::function<bool()>& stop_;
  SeededRandom random_;
  std::vector<Machine> machines_;
  std::vector<GpuTask> tasks_;
  std::vector<int64_t> weights_;  // running sums
  std::vector<Typical> typical_;
  int64_t capacity_ = 0, asked_ = 0;
};

// What part of FGD's measure counts beside the tables: all are tried on the same draws, and the best is kept.
std::shared_ptr<Learned> choose_part(School& school, const std::shared_ptr<Learned>& learned, int games,
                                     const std::function<bool()>& stop) {
  std::vector<std::vector<uint32_t>> arrivals;
  for (int game = 0; game < games; ++game) arrivals.push_back(school.draw());
  std::shared_ptr<Learned> best;
  int64_t best_worth = 0;
  for (const int part : kFragmentParts) {
    auto each = std::make_shared<Learned>(*learned);
    each->fragment_part = part;
    int64_t worth = 0;
    for (int game = 0; game < games && !stop(); ++game)
      worth += school.play(arrivals[static_cast<size_t>(game)], each, nullptr).worth();
    if (best == nullptr || worth > best_worth) best_worth = worth, best = each;
  }
  return best;
}

// On draws of their own, the learned and FGD on the same.
void hold_exam(School& school, const std::shared_ptr<Learned>& learned, int games, const std::function<bool()>& stop) {
  int64_t at_90 = 0, at_100 = 0, at_130 = 0;
  for (int game = 0; game < games && !stop(); ++game) {
    school.reorder();
    const std::vector<uint32_t> arrivals = school.draw();
    const GameResult with = school.play(arrivals, learned, nullptr);
    const GameResult without = school.play(arrivals, nullptr, nullptr);
    at_90 += with.at_90 - without.at_90, at_100 += with.at_100 - without.at_100, at_130 += with.at_130 - without.at_130;
  }
  learned->useful = at_90 >= 0 && at_100 + at_130 > 0;
  learned->exam = at_130 / std::max(games, 1);
}

}  // namespace

std::shared_ptr<const Learned> learn(const Fleet& fleet, const Workload& workload, uint64_t seed,
                                     const Lessons& lessons, const std::function<bool()>& stop) {
  School school(fleet, workload, seed, stop);
  if (school.hopeless()) return nullptr;
  std::shared_ptr<Learned> best, now;
  int64_t best_worth = 0;
  for (int round = 0; round < lessons.rounds && !stop(); ++round) {
    Means means = now == nullptr ? Means() : now->means;
    means.decay(kFade);
    int64_t worth = 0;
    for (int game = 0; game < lessons.games * school.times() && !stop(); ++game) {
      school.reorder();
      worth += school.play(school.draw(), now, &means).worth();
    }
    if (now != nullptr && worth > best_worth) best_worth = worth, best = now;
    now = school.make(std::move(means));
  }
  if (best == nullptr || stop()) return nullptr;
  best = choose_part(school, best, lessons.games * school.times(), stop);
  hold_exam(school, best, lessons.exams * school.times(), stop);
  return stop() ? nullptr : best;
}

std::shared_ptr<const Learned> examine(const Fleet& fleet, const Workload& workload, uint64_t seed,
                                       const std::shared_ptr<const Learned>& learned, const Lessons& lessons,
                                       const std::function<bool()>& stop) {
  School school(fleet, workload, seed, stop);
  if (school.hopeless()) return nullptr;
  auto out = std::make_shared<Learned>(*learned);
  hold_exam(school, out, lessons.exams * school.times(), stop);
  return stop() ? nullptr : out;
}

int64_t drift(const Workload& a, const Workload& b) {
  auto total = [](const Workload& w) {
    int64_t sum = 0;
    for (const Wanted& each : w) sum += each.weight;
    return std::max<int64_t>(sum, 1);
  };
  auto name = [](const Wanted& w) {
    return w.gpu.empty() ? std::to_string(w.resources.cpu.value)
                         : std::to_string(w.resources.cpu.value) + " " + std::to_string(w.gpu[0].count) + " " +
                               std::to_string(w.gpu[0].share) + " " + to_text(w.gpu[0]);
  };
  std::map<std::string, int64_t> parts;
  for (const Wanted& each : a) parts[name(each)] += each.weight * 1'000'000 / total(a);
  for (const Wanted& each : b) parts[name(each)] -= each.weight * 1'000'000 / total(b);
  int64_t sum = 0;
  for (const auto& [key, part] : parts) sum += std::abs(part);
  return sum / 2'000;
}

}  // namespace tutti::scheduler
