// Random events around reconcile(): it comes to rest, never fills a slot twice, and reaches what was asked.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "base/random.h"
#include "reconcile/test_world.h"

namespace tutti::reconcile {
namespace {

class Chaos {
 public:
  explicit Chaos(uint64_t seed) : random_(seed) {}

  void start() {
    nodes_ = w_.add_nodes(2 + static_cast<int>(random_.below(4)));
    for (int i = 0; i < 3; ++i) {
      JobSpec spec = TestPool::service("job" + std::to_string(i), 1 + static_cast<int64_t>(random_.below(3)));
      spec.type = static_cast<JobType>(i);
      if (random_.below(2) == 0) {
        spec.tasks.push_back(spec.tasks[0]);
        spec.tasks.back().name = "second";
      }
      jobs_.push_back(w_.pool.submit(spec));
      specs_.push_back(spec);
    }
  }

  void event() {
    const size_t which = random_.below(jobs_.size());
    const JobId job = jobs_[which];
    const NodeId node = nodes_[random_.below(nodes_.size())];
    switch (random_.below(14)) {
      case 0: health(node, NodeHealth::lost); break;
      case 1: health(node, NodeHealth::unknown); break;
      case 2: health(node, NodeHealth::ready); break;
      case 3: eligibility(node, static_cast<Eligibility>(random_.below(4))); break;
      case 4:
        w_.pool.edit_job(
            job, [&](Job& j) { j.counts[specs_[which].tasks[0].name] = static_cast<int64_t>(random_.below(4)); });
        break;
      case 5: w_.pool.edit_job(job, [&](Job& j) { j.stopped = !j.stopped; }); break;
      case 6:
        if (random_.below(3) != 0) update(which);
        w_.deploy(specs_[which], job);
        break;
      case 7: wish(job, static_cast<Override>(random_.below(5))); break;
      case 8: wish(job, Override::none); break;
      case 9: end(job, TaskState::failed); break;
      case 10: end(job, random_.below(2) == 0 ? TaskState::completed : TaskState::rejected); break;
      case 11: promote(job); break;
      default: w_.now = w_.now + seconds(static_cast<int64_t>(random_.below(20))); break;
    }
  }

  void turn() {
    if (random_.below(3) != 0) check(w_.settle(), "reconcile did not come to rest");
    if (random_.below(3) != 0) w_.schedule();
    if (random_.below(3) != 0) w_.work();
    check(two_in_one_slot(w_).empty(), two_in_one_slot(w_));
    check(w_.refused_creates == 0, "a create for a slot that was taken");
  }

  // The faults stop: everything that was asked for stands in the end.
  void heal() {
    w_.node_room = 1000;
    for (NodeId node : nodes_) {
      health(node, NodeHealth::ready);
      eligibility(node, Eligibility::eligible);
    }
    for (JobId job : jobs_) {
      w_.pool.edit_job(job, [](Job& j) { j.stopped = false; });
      promote(job);
      for (const Instance& i : w_.instances(job)) {
        if (i.override_ != Override::delete_)
          w_.pool.edit_instance(i.id, [](Instance& row) { row.override_ = Override::none; });
      }
    }
    check(w_.run(2000), "did not converge");
    // A version that came in meanwhile, by a revert, may want to be promoted too.
    for (JobId job : jobs_) promote(job);
    check(w_.run(2000), "did not converge");
    check(two_in_one_slot(w_).empty(), two_in_one_slot(w_));
    for (size_t i = 0; i < jobs_.size(); ++i) reached(jobs_[i]);
  }

  std::string wrong;

 private:
  void reached(JobId id) {
    const Job& job = *w_.pool.s.jobs.find(id.value);
    const JobVersion& version = *w_.pool.s.version_of(id, job.active_version);
    size_t wanted = 0;
    for (const GroupView& group : **w_.pool.s.groups.find(version.id.value)) {
      if (job.type == JobType::system)
        wanted += nodes_.size();
      else
        wanted += static_cast<size_t>(count_of(job, group));
    }
    if (job.type == JobType::batch) {
      check(w_.running(id) <= wanted, "more of a batch job than asked for");
      return;
    }
    check(w_.running(id) == wanted,
          job.name + ": " + std::to_string(w_.running(id)) + " run, wanted " + std::to_string(wanted));
    const bool over = job.deployment.state == DeploymentState::failed;
    for (const Instance& i : w_.live(id)) {
      check(!i.beside, "one still stands beside");
      check(over || i.job_version == job.active_version, "an old version is still there");
    }
  }
  // The next version: other work, and another way to bring it in.
  void update(size_t which) {
    JobSpec& spec = specs_[which];
    for (TaskSpec& task : spec.tasks) task.env["V"] = std::to_string(random_.below(1000));
    if (spec.type == JobType::batch) return;
    spec.update.max_parallel = 1 + static_cast<int32_t>(random_.below(3));
    spec.update.min_healthy_time = seconds(static_cast<int64_t>(random_.below(3)));
    spec.update.progress_deadline = seconds(random_.below(3) == 0 ? 40 : 0);
    spec.update.auto_revert = random_.below(2) == 0;
    spec.update.strategy = random_.below(3) == 0 ? UpdateStrategy::recreate : UpdateStrategy::rolling;
    if (spec.type == JobType::system) return;
    spec.update.strategy = static_cast<UpdateStrategy>(random_.below(4));
    spec.update.start_first = random_.below(2) == 0;
    spec.update.auto_promote = random_.below(2) == 0;
  }
  void promote(JobId job) {
    w_.pool.edit_job(job, [](Job& row) {
      if (under_way(row.deployment)) row.deployment.promoted = true, row.deployment.state = DeploymentState::running;
    });
  }
  void check(bool ok, const std::string& what) {
    if (!ok && wrong.empty()) wrong = what;
  }
  void health(NodeId node, NodeHealth health) {
    w_.pool.edit_node(node, [&](Node& n) { n.health = health; });
  }
  void eligibility(NodeId node, Eligibility wish) {
    w_.pool.edit_node(node, [&](Node& n) { n.spec.eligibility = wish; });
  }
  // Only what apply would accept.
  void wish(JobId job, Override wish) {
    const auto all = w_.live(job);
    if (all.empty()) return;
    const Instance& i = all[random_.below(all.size())];
    if (i.finished && (wish == Override::pause || wish == Override::suspend)) return;
    w_.pool.edit_instance(i.id, [&](Instance& row) { row.override_ = wish; });
  }
  void end(JobId job, TaskState state) {
    for (const Instance& i : w_.live(job)) {
      if (i.finished || !i.admitted || i.desired != Desired::running || random_.below(2) != 0) continue;
      w_.finish(i.id, state);
    }
  }

  SeededRandom random_;
  TestWorld w_;
  std::vector<NodeId> nodes_;
  std::vector<JobId> jobs_;
  std::vector<JobSpec> specs_;
};

TEST(ReconcileProperty, ConvergesAndNeverFillsASlotTwice) {
  EXPECT_TRUE(rc::check("random events", [](uint64_t seed) {
    Chaos chaos(seed);
    chaos.start();
    for (int i = 0; i < 60 && chaos.wrong.empty(); ++i) {
      chaos.event();
      chaos.turn();
    }
    if (chaos.wrong.empty()) chaos.heal();
    if (!chaos.wrong.empty()) RC_FAIL(chaos.wrong + " (seed " + std::to_string(seed) + ")");
  }));
}

}  // namespace
}  // namespace tutti::reconcile
