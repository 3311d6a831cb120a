#include "app/sim/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/limits.h"
#include "base/random.h"
#include "base/time.h"
#include "scheduler/feasible.h"
#include "scheduler/learner.h"
#include "scheduler/scheduler.h"
#include "state/apply.h"
#include "state/draft.h"

namespace tutti::app {
namespace {

template <class T>
void shuffle(std::vector<T>& list, Random& random) {
  for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[random.below(i)]);
}

// The whole list in a random order, then draws from it.
std::vector<uint32_t> arrivals_of(const Trace& trace, Random& random) {
  std::vector<uint32_t> out = trace.list;
  shuffle(out, random);
  int64_t sum = 0;
  for (const uint32_t i : out) sum += trace.requests[i].thousandths();
  auto too_many = [&](int64_t asked) { return asked * 10 > trace.capacity * 13; };
  while (too_many(sum)) {
    const auto at = static_cast<std::ptrdiff_t>(random.below(out.size()));
    sum -= trace.requests[out[static_cast<size_t>(at)]].thousandths();
    out.erase(out.begin() + at);
  }
  while (true) {
    const uint32_t next = trace.list[random.below(trace.list.size())];
    sum += trace.requests[next].thousandths();
    if (too_many(sum)) return out;
    out.push_back(next);
  }
}

// A pool in memory: what a manager does with a command and a commit, without a store.
class MemoryPool {
 public:
  explicit MemoryPool(std::shared_ptr<const scheduler::Learned> learned)
      : now_(std::make_shared<const Snapshot>()), scheduler_(scheduler::make_scheduler()) {
    scheduler_->rebuild(now_);
    scheduler_->use(std::move(learned));
  }

  Result<state::Outcome> run(const state::Command& command) {
    state::Draft draft(*now_, kTime);
    draft.begin_command();
    TUTTI_TRY(state::Outcome out, state::apply(draft, command, {}, kTime));
    commit(draft);
    return out;
  }
  void add_nodes(const std::vector<TraceNode>& nodes, const std::vector<size_t>& order) {
    state::Draft draft(*now_, kTime);
    for (const size_t i : order) {
      Inventory inventory;
      inventory.capacity = nodes[i].capacity;
      inventory.drivers.push_back({"fake", "simulated", true, ""});
      for (int64_t gpu = 0; gpu < nodes[i].gpus; ++gpu)
        inventory.devices.push_back({"gpu" + std::to_string(gpu), "gpu", nodes[i].model, {}});
      Node node;
      node.id = NodeId{draft.new_id()};
      node.name = fmt::format("node-{}", i);
      node.health = NodeHealth::ready;
      node.inventory = std::make_shared<const Inventory>(std::move(inventory));
      draft.put(std::move(node));
    }
    commit(draft);
  }
  // False: it fits nowhere.
  Result<bool> place(InstanceId id, uint64_t seed) {
    Plan plan = scheduler_->schedule(std::span(&id, 1), seed, kTime, 1);
    if (plan.placements.empty()) return false;
    TUTTI_CHECK(run(state::ApplyPlan{std::move(plan)}));
    if (!now_->instances.find(id.value)->admitted)
      return fail(ErrorCode::internal, "apply refused what the scheduler proposed");
    return true;
  }
  const Snapshot& now() const { return *now_; }
  bool fits_somewhere(InstanceId id) const {
    const scheduler::Request request = scheduler::request_of(*now_, *now_->instances.find(id.value));
    bool out = false;
    now_->nodes.for_each([&](uint64_t, const Node& node) {
      const Resources free = allocatable(node) - now_->usage_of(node.id).used;
      out = out || (request.resources.fits(free) && !scheduler::check(*now_, request, node, free, {}));
    });
    return out;
  }

 private:
  static constexpr Time kTime{1};
  void commit(state::Draft& draft) {
    ChangeSet changes{now_, nullptr, draft.rows()};
    now_ = std::make_shared<const Snapshot>(draft.take());
    changes.after = now_;
    scheduler_->follow(changes);
  }
  std::shared_ptr<const Snapshot> now_;
  std::unique_ptr<scheduler::Scheduler> scheduler_;
};

JobSpec job_of(const TraceRequest& request, size_t number, int64_t count) {
  JobSpec out;
  out.job = "request-" + std::to_string(number);
  TaskSpec task;
  task.name = "main";
  task.driver = "fake";
  task.count = count;
  task.resources = request.resources;
  if (!request.gpu.empty()) task.gpu = request.gpu.front();
  out.tasks.push_back(std::move(task));
  return out;
}

// A job per kind of request, and all instances, pending; by arrival.
Result<std::vector<InstanceId>> submit(MemoryPool& pool, const Trace& trace, const std::vector<uint32_t>& arrivals) {
  ProjectId project;
  pool.now().projects.for_each([&](uint64_t id, const Project&) { project = ProjectId{id}; });
  std::vector<int64_t> counts(trace.requests.size(), 0);
  for (const uint32_t i : arrivals) ++counts[i];
  std::vector<JobId> jobs(trace.requests.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    TUTTI_TRY(const state::Outcome made,
              pool.run(state::SubmitJob{job_of(trace.requests[i], i, counts[i]), project, {}, {}}));
    jobs[i] = JobId{made.id};
  }
  std::vector<InstanceId> out;
  std::vector<uint32_t> slots(trace.requests.size(), 0);
  std::vector<std::vector<InstanceId>> by_job(trace.requests.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    for (uint32_t slot = 0; slot < static_cast<uint32_t>(counts[i]);) {
      Actions actions;
      for (; slot < static_cast<uint32_t>(counts[i]) && actions.create.size() < limits::kCommandRowsMax / 2; ++slot)
        actions.create.push_back({.job = jobs[i], .job_version = 1, .group = 0, .slot = slot});
      TUTTI_CHECK(pool.run(state::ApplyActions{std::move(actions)}));
    }
    if (counts[i] == 0) continue;
    by_job[i].resize(static_cast<size_t>(counts[i]));
    if (const IdSet* ids = pool.now().instances_by_job.find(jobs[i].value)) {
      ids->for_each([&](uint64_t id, const Unit&) { by_job[i][pool.now().instances.find(id)->slot] = InstanceId{id}; });
    }
  }
  for (const uint32_t i : arrivals) out.push_back(by_job[i][slots[i]++]);
  return out;
}

// The mean of what was given out while what was asked for was within these percents; in a cluster so small that one
// request jumps over them, what was given out before.
struct Window {
  double from, to;
  double sum = 0, before = 0;
  int64_t count = 0;
  void note(double asked, double given) {
    if (asked < to) before = given;
    if (asked >= from && asked < to) sum += given, ++count;
  }
  double mean() const { return count == 0 ? before : sum / static_cast<double>(count); }
};

}  // namespace

Result<ReplayFigures> replay(const Trace& trace, const std::string& policy,
                             std::shared_ptr<const scheduler::Learned> learned, uint64_t seed) {
  SeededRandom random(seed);
  const std::vector<uint32_t> arrivals = arrivals_of(trace, random);
  std::vector<size_t> order(trace.nodes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  shuffle(order, random);
  MemoryPool pool(std::move(learned));
  Pool settings;
  settings.policy = policy;
  TUTTI_CHECK(pool.run(state::InitializePool{settings}));
  pool.add_nodes(trace.nodes, order);
  TUTTI_TRY(const std::vector<InstanceId> instances, submit(pool, trace, arrivals));
  Window asked_at_90{89.5, 90.5}, at_90{89.5, 90.5}, at_100{99.5, 100.5}, at_130{129.5, 130.5};
  int64_t asked = 0, given = 0, refused_but_fits = 0;
  const double percent = 100.0 / static_cast<double>(trace.capacity);
  for (size_t i = 0; i < arrivals.size(); ++i) {
    const int64_t thousandths = trace.requests[arrivals[i]].thousandths();
    TUTTI_TRY(const bool placed, pool.place(instances[i], seed));
    asked += thousandths;
    given += placed ? thousandths : 0;
    if (!placed && pool.fits_somewhere(instances[i])) ++refused_but_fits;
    asked_at_90.note(static_cast<double>(asked) * percent, static_cast<double>(asked) * percent);
    for (Window* window : {&at_90, &at_100, &at_130})
      window->note(static_cast<double>(asked) * percent, static_cast<double>(given) * percent);
  }
  TUTTI_CHECK(state::audit(pool.now()));
  return ReplayFigures{at_90.mean(), at_100.mean(), at_130.mean(), asked_at_90.mean(), refused_but_fits};
}

Result<Replayed> replay_all(const Trace& trace, const std::string& policy, int64_t seeds, int64_t rounds) {
  Replayed out;
  const SystemClock clock;
  const auto seconds_since = [&](Time start) { return static_cast<double>((clock.now() - start).ns) / 1e9; };
  Time start = clock.now();
  std::shared_ptr<const scheduler::Learned> learned;
  if (policy == "fragmentation") {
    scheduler::Lessons lessons;
    lessons.rounds = static_cast<int>(rounds);
    learned =
        scheduler::learn(fleet_of(trace), workload_of(trace), scheduler::kLessonSeed, lessons, [] { return false; });
  }
  out.learned = learned != nullptr && learned->useful;
  out.learn_seconds = seconds_since(start);
  if (learned == nullptr) {
    auto expected = std::make_shared<scheduler::Learned>();
    expected->workload = workload_of(trace);
    learned = std::move(expected);
  }
  start = clock.now();
  const auto part = [&](double figure) { return figure / static_cast<double>(seeds); };
  for (int64_t seed = 1; seed <= seeds; ++seed) {
    TUTTI_TRY(const ReplayFigures one,
              replay(trace, policy == "fgd" ? "fragmentation" : policy, learned, static_cast<uint64_t>(seed)));
    out.runs.push_back(one);
    out.mean.at_90 += part(one.at_90), out.mean.at_100 += part(one.at_100), out.mean.at_130 += part(one.at_130);
    out.mean.asked_at_90 += part(one.asked_at_90), out.mean.refused_but_fits += one.refused_but_fits;
  }
  out.seconds = seconds_since(start);
  return out;
}

scheduler::Fleet fleet_of(const Trace& trace) {
  scheduler::Fleet out;
  for (const TraceNode& node : trace.nodes) {
    scheduler::Machine machine;
    machine.cpu = node.capacity.cpu.value, machine.memory = node.capacity.memory.value;
    const uint8_t kind = scheduler::kind_number(out.kinds, {"", "gpu", node.model, {}});
    for (int64_t gpu = 0; gpu < node.gpus; ++gpu) {
      machine.kind[machine.gpus] = kind;
      machine.free[machine.gpus++] = static_cast<int16_t>(kWholeDevice);
    }
    machine.shape = scheduler::shape_number(out.shapes, machine, out.kinds);
    out.machines.push_back(machine);
  }
  return out;
}

scheduler::Workload workload_of(const Trace& trace) {
  scheduler::Workload out;
  for (const TraceRequest& request : trace.requests) out.push_back({request.resources, request.gpu, 0});
  for (const uint32_t i : trace.list) ++out[i].weight;
  return out;
}

}  // namespace tutti::app
