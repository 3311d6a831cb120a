#pragma once
// TestWorld: a naive state, scheduler and workers around reconcile(), for its closed-loop tests. One thread.

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "model/test_pool.h"
#include "reconcile/reconcile.h"
#include "reconcile/slots.h"

namespace tutti::reconcile {

struct TestWorld {
  TestPool pool;
  Time now{1'000'000'000'000};
  size_t node_room = 4;  // instances a node takes

  std::vector<NodeId> add_nodes(int count) {
    std::vector<NodeId> nodes;
    for (int i = 0; i < count; ++i) nodes.push_back(pool.add_node({{100'000}, {1ll << 40}, {1ll << 40}}));
    return nodes;
  }
  std::vector<JobId> jobs() const {
    std::vector<JobId> out;
    pool.s.jobs.for_each([&](uint64_t id, const Job&) { out.push_back(JobId{id}); });
    return out;
  }
  std::vector<Instance> instances(JobId job) const {
    std::vector<Instance> out;
    pool.s.instances.for_each([&](uint64_t, const Instance& i) {
      if (i.job == job) out.push_back(i);
    });
    return out;
  }
  std::vector<Instance> live(JobId job) const {
    std::vector<Instance> out;
    for (const Instance& i : instances(job))
      if (is_live(i)) out.push_back(i);
    return out;
  }
  size_t running(JobId job) const {
    size_t count = 0;
    for (const Instance& i : live(job)) count += i.state == TaskState::running && !i.finished ? 1 : 0;
    return count;
  }

  Actions ask(JobId job) {
    pool.s.now = now;
    return reconcile(pool.s, job, now);
  }
  // As apply does it; the same refusals.
  void apply(const Actions& actions) {
    for (const ChangeInstance& step : actions.change) apply(step);
    for (const CreateInstance& step : actions.create) {
      if (slot_taken(step)) {
        ++refused_creates;
        continue;
      }
      Instance row;
      row.id = InstanceId{pool.new_id()};
      row.job = step.job, row.job_version = step.job_version, row.slot = step.slot, row.group = step.group;
      row.pinned = step.pinned, row.not_before = step.not_before;
      row.created = row.pending_since = now;
      row.beside = step.beside;
      InstanceDetail detail;
      detail.counted_since = step.counted_since;
      detail.reschedules = step.reschedules;
      detail.avoid = step.avoid;
      row.detail = std::make_shared<const InstanceDetail>(std::move(detail));
      pool.put(std::move(row));
    }
    for (InstanceId id : actions.forget)
      if (pool.at(id).finished && remains_gone(pool.at(id))) pool.erase(id);
    for (JobId id : actions.forget_jobs) pool.erase_job(id);
    for (const ChangeDeployment& step : actions.deployments) apply(step);
    for (const ChangeJob& step : actions.jobs) apply(step);
    for (const LaunchChild& step : actions.launches) apply(step);
    for (JobId id : actions.expired_jobs) pool.edit_job(id, [](Job& job) { job.stopped = job.deleted = true; });
  }
  void apply(const ChangeJob& step) {
    pool.edit_job(step.job, [&](Job& job) {
      if (step.result) {
        if (job.result != *step.result) job.ended = *step.result == JobResult::none ? Time{} : now;
        job.result = *step.result, job.reason = step.reason;
      }
      if (step.stop || step.remove) job.stopped = true;
      if (step.remove) job.deleted = true;
    });
  }
  void apply(const LaunchChild& step) {
    launches.push_back(step);
    const Job parent = *pool.s.jobs.find(step.parent.value);
    const bool waited = parent.launches.waiting == step.time;
    if (!waited && step.time <= parent.launches.seen) return;
    pool.edit_job(step.parent, [&](Job& job) {
      job.launches.seen = std::max(job.launches.seen, step.time);
      job.launches.waiting = step.step == LaunchStep::wait ? step.time : Time{};
      if (step.step == LaunchStep::launch) job.launches.last = step.time;
    });
    if (step.step != LaunchStep::launch) return;
    const JobSpec& spec = *pool.s.version_of(step.parent, parent.active_version)->spec;
    const JobId child =
        pool.submit(child_spec(spec, child_name(parent.name, LaunchKind::periodic, step.time, {}), {}, {}));
    pool.edit_job(child, [&](Job& job) {
      job.parent = step.parent;
      job.launch = LaunchKind::periodic;
      job.launched_for = step.time;
      job.begun = now;
    });
  }
  std::vector<LaunchChild> launches;  // what reconcile said of them
  void apply(const ChangeDeployment& step) {
    deployments.push_back(step);
    Job job = *pool.s.jobs.find(step.job.value);
    if (job.deployment.version != step.version) return;
    job.deployment.state = step.state;
    job.deployment.promoted = step.promoted;
    job.deployment.reason = step.reason;
    if (step.progressed) job.deployment.progressed = now;
    if (step.state == DeploymentState::succeeded) job.stable_version = step.version;
    const uint32_t back = step.revert && !job.deployment.reverting ? job.deployment.from : 0;
    pool.put(job);
    if (back == 0) return;
    deploy(*pool.s.version_of(job.id, back)->spec, job.id);
    pool.edit_job(job.id, [](Job& row) { row.deployment.reverting = row.deployment.promoted = true; });
  }
  // A version with a deployment, as apply begins one.
  JobId deploy(JobSpec spec, JobId again = {}) {
    const JobId id = pool.submit(std::move(spec), again);
    pool.edit_job(
        id, [&](Job& job) { job.deployment = begin_deployment(job, *pool.s.version_of(id, job.active_version), now); });
    return id;
  }
  const Deployment& deployment(JobId job) const { return pool.s.jobs.find(job.value)->deployment; }
  std::vector<ChangeDeployment> deployments;  // what reconcile said of them
  void apply(const ChangeInstance& step) {
    Instance row = pool.at(step.instance);
    if (is_given_up(row)) return;
    const bool on_node = row.node && !row.cleared;
    if (step.give_up) {
      row.presence = Presence::given_up, row.finished = true;
      row.cleared = row.cleared || !row.node;
    }
    if (step.desired) {
      row.desired = *step.desired;
      if (row.desired == Desired::removed && on_node && !row.admitted) row.admitted = row.finished = true;
      if (row.desired == Desired::removed && !on_node) row.finished = row.cleared = true;
      if (row.desired != Desired::running && row.desired != Desired::paused && !row.admitted) row.finished = true;
    }
    if (step.take_place) {
      row.beside = false;
      if (pool.s.jobs.find(row.job.value)->type != JobType::system) row.pinned = {};
    }
    if (step.version != 0) row.job_version = step.version, row.group = step.group;
    if (step.start_over) {
      row.generation += 1;
      row.finished = row.admitted = false;
      row.state = TaskState::placed;
      row.pending_since = now;
      if (on_node)
        row.pinned = row.node;
      else
        row.node = {};
    }
    pool.put(std::move(row));
  }
  bool slot_taken(const CreateInstance& step) const {
    for (const Instance& i : instances(step.job)) {
      const bool same = i.slot == step.slot && i.beside == step.beside && pool.s.group_of(i).name == group_name(step);
      if (same && (is_live(i) || is_leaving(i))) return true;
    }
    return false;
  }
  std::string group_name(const CreateInstance& step) const {
    return (**pool.s.groups.find(pool.s.version_of(step.job, step.job_version)->id.value))[step.group].name;
  }

  // Reconciles every job until nothing is left to say; false if it does not come to rest.
  bool settle() {
    for (int round = 0; round < 100; ++round) {
      bool quiet = true;
      for (JobId job : jobs()) {
        const Actions actions = ask(job);
        if (actions.empty()) continue;
        quiet = false;
        apply(actions);
      }
      if (quiet) return true;
    }
    return false;
  }

  bool takes_work(const Node& node) const {
    return node.health == NodeHealth::ready && node.spec.eligibility == Eligibility::eligible;
  }
  void schedule() {
    std::vector<InstanceId> pending;
    pool.s.pending.for_each([&](uint64_t id, const Unit&) { pending.push_back(InstanceId{id}); });
    for (InstanceId id : pending) {
      const Instance i = pool.at(id);
      if (i.not_before > now) continue;
      NodeId found;
      for (const bool avoiding : {true, false}) {
        pool.s.nodes.for_each([&](uint64_t, const Node& node) {
          if (found || !takes_work(node) || (i.pinned && i.pinned != node.id)) return;
          if (avoiding && node.id == i.detail->avoid) return;
          if (i.node && i.node != node.id) return;
          if (load(node.id) < node_room) found = node.id;
        });
      }
      if (found) pool.place(id, found, TaskState::placed);
    }
  }
  size_t load(NodeId node) const {
    size_t count = 0;
    pool.s.instances.for_each([&](uint64_t, const Instance& i) {
      if (i.node == node && i.admitted && !i.finished) ++count;
    });
    return count;
  }
  // Every worker that is heard does what it was told.
  void work() {
    for (JobId job : all_jobs_of_instances()) {
      for (const Instance& i : instances(job)) work(i);
    }
  }
  std::vector<JobId> all_jobs_of_instances() const { return jobs(); }
  void work(const Instance& i) {
    const Node* node = i.node ? pool.s.nodes.find(i.node.value) : nullptr;
    if (node == nullptr || node->health != NodeHealth::ready || !i.admitted || i.cleared) return;
    if (is_given_up(i) || i.desired == Desired::removed) {
      pool.edit_instance(i.id, [](Instance& row) { row.finished = row.cleared = true; });
    } else if (i.finished) {
      return;
    } else if (i.desired == Desired::stopped || i.desired == Desired::suspended) {
      finish(i.id, i.desired == Desired::stopped ? TaskState::stopped : TaskState::suspended);
    } else if (i.state < TaskState::running) {
      pool.edit_instance(i.id, [](Instance& row) { row.state = TaskState::running; });
    }
  }
  void finish(InstanceId id, TaskState state) {
    pool.edit_instance(id, [&](Instance& row) { row.finished = true, row.state = state; });
  }
  // Time goes on and everything works until nothing changes any more; false if it never does.
  bool run(int rounds = 400) {
    for (int round = 0; round < rounds; ++round) {
      const uint64_t before = pool.s.next_id;
      if (!settle()) return false;
      schedule();
      work();
      bool quiet = pool.s.next_id == before;
      for (JobId job : jobs()) quiet = quiet && ask(job).empty();
      const bool waits = !pool.s.pending.empty();
      if (quiet && ++quiet_ > 3 && !waits) return quiet_ = 0, true;
      if (!quiet) quiet_ = 0;
      now = now + seconds(1);
    }
    quiet_ = 0;
    return settle();
  }

  int refused_creates = 0;
  int quiet_ = 0;
};

// Two that hold one slot, in words; empty: none.
inline std::string two_in_one_slot(const TestWorld& world) {
  for (JobId job : world.jobs()) {
    std::map<std::tuple<std::string, uint32_t, bool>, int> held;
    for (const Instance& i : world.instances(job)) {
      if (!is_live(i) && !is_leaving(i)) continue;
      if (++held[{world.pool.s.group_of(i).name, i.slot, i.beside}] > 1)
        return "slot " + std::to_string(i.slot) + " is held twice";
    }
  }
  return "";
}

}  // namespace tutti::reconcile
