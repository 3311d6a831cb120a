#pragma once
// RandomPool: a pool that changes at random, for property tests: nodes come, go and change; jobs of every kind;
// instances are placed, end and wait again. Only for tests; one thread.

#include <string>
#include <vector>

#include "base/random.h"
#include "model/plan.h"
#include "model/test_pool.h"

namespace tutti::scheduler {

class RandomPool {
 public:
  explicit RandomPool(uint64_t seed) : random_(seed) {
    set_policy();
    for (uint64_t i = 1; i <= 3; ++i) pool.put_project(i, "p" + std::to_string(i), false);
    for (uint64_t i = 0, n = 1 + random_.below(150); i < n; ++i) add_node();
    for (uint64_t i = 0, n = 1 + random_.below(6); i < n; ++i) add_job();
  }
  void change() {
    for (uint64_t i = 0, n = 1 + random_.below(8); i < n; ++i) change_one();
  }
  void set_policy() {
    static constexpr const char* kPolicies[] = {"binpack", "spread", "roundrobin", "greedy", "epvm"};
    Pool row = pool.s.pool;
    row.policy = kPolicies[random_.below(5)];
    pool.put(std::move(row));
  }
  // As apply does it.
  void apply(const Plan& plan) {
    for (const Placement& p : plan.placements)
      if (random_.below(8) != 0) pool.place(p.instance, p.node, TaskState::running, p.ports, p.devices);
  }
  TestPool pool;
  SeededRandom random_;
  bool adopts = false;  // new versions of the same work come

 private:
  std::string zone() { return std::string(1, static_cast<char>('a' + random_.below(4))); }
  void add_node() {
    static constexpr int64_t kCores[] = {2'000, 4'000, 16'000};
    const int64_t memory =
        (1 + static_cast<int64_t>(random_.below(16))) * (512 << 20) + static_cast<int64_t>(random_.below(3)) * 12'345;
    const NodeId id = pool.add_node({{kCores[random_.below(3)]}, {memory}, {10LL << 30}},
                                    random_.below(12) == 0 ? NodeHealth::unknown : NodeHealth::ready,
                                    random_.below(4) == 0 ? "aarch64" : "x86_64");
    nodes_.push_back(id);
    pool.edit_node(id, [&](Node& n) { n.spec.labels["zone"] = zone(); });
    set_images(id);
    pool.edit_inventory(id, [&](Inventory& i) {
      i.port_last = i.port_first + 2;
      for (uint64_t n = random_.below(2) * random_.below(5); n > 0; --n)
        i.devices.push_back({"gpu" + std::to_string(n), "gpu", random_.below(2) == 0 ? "T4" : "A100", {}});
      if (random_.below(3) == 0) i.limits["licence"] = static_cast<int64_t>(1 + random_.below(4));
    });
  }
  void set_images(NodeId id) {
    NodeImages images;
    for (const char* name : {"a", "b", "c"})
      if (random_.below(3) == 0)
        images.held.push_back({std::string("sha256:") + name, {static_cast<int64_t>(random_.below(20)) << 26}});
    pool.edit_node(id, [&](Node& n) { n.images = std::make_shared<const NodeImages>(images); });
  }
  void add_job() {
    const Resources asked{{static_cast<int64_t>(1 + random_.below(40)) * 50},
                          {static_cast<int64_t>(1 + random_.below(30)) * (33 << 20) + 7},
                          {random_.below(2) == 0 ? 0 : 1LL << 30}};
    JobSpec spec = TestPool::service("job" + std::to_string(jobs_.size()), 1, asked);
    spec.priority = static_cast<int32_t>(random_.below(3)) * 10;
    spec.policy = static_cast<PlacementPolicy>(random_.below(6));
    if (random_.below(3) == 0) spec.tasks[0].constraints = {"node.arch == x86_64"};
    if (random_.below(4) == 0) spec.tasks[0].constraints.push_back("node.label.zone == a");
    if (random_.below(3) == 0)
      spec.tasks[0].ports.push_back({"p", 80, random_.below(2) == 0 ? 0 : 8080, Protocol::tcp});
    if (random_.below(5) == 0) spec.tasks[0].node_limits["licence"] = static_cast<int64_t>(1 + random_.below(2));
    if (random_.below(3) == 0) {
      DeviceSpec gpu;
      gpu.share = random_.below(2) == 0 ? kWholeDevice : 300 + static_cast<int64_t>(random_.below(300));
      if (gpu.share == kWholeDevice) gpu.count = static_cast<int64_t>(1 + random_.below(2));
      if (random_.below(3) == 0) gpu.models = {"T4"};
      spec.tasks[0].gpu = gpu;
    }
    if (random_.below(2) == 0) spec.tasks[0].image = std::string(1, static_cast<char>('a' + random_.below(3)));
    add_wishes(spec.placement);
    jobs_.push_back(pool.submit(spec));
    pool.edit_job(jobs_.back(), [&](Job& job) { job.project = ProjectId{1 + random_.below(3)}; });
    for (uint64_t i = 0, n = random_.below(40); i < n; ++i) add_instance(jobs_.back());
  }
  void add_wishes(PlacementSpec& wishes) {
    for (uint64_t n = random_.below(3); n > 0; --n)
      wishes.affinities.push_back({random_.below(2) == 0 ? "node.label.zone == b" : "node.arch == aarch64",
                                   static_cast<int32_t>(random_.below(201)) - 100});
    if (random_.below(3) == 0) {
      SpreadOver over;
      over.attribute = random_.below(3) == 0 ? "node.name" : "node.label.zone";
      over.weight = static_cast<int32_t>(1 + random_.below(100));
      if (random_.below(2) == 0) over.targets = {{"a", 60}, {"b", static_cast<int32_t>(random_.below(41))}};
      wishes.spread.push_back(over);
    }
    if (random_.below(6) == 0) wishes.spread.push_back({"node.name", 30, {}});
    wishes.all_or_nothing = random_.below(6) == 0;
    wishes.same_node = random_.below(8) == 0;
  }
  void add_instance(JobId job) {
    const InstanceId id = pool.add_pending(job, static_cast<uint32_t>(instances_.size()));
    instances_.push_back(id);
    if (random_.below(10) == 0 && !nodes_.empty()) pool.edit_instance(id, [&](Instance& i) { i.pinned = any(nodes_); });
    if (random_.below(6) == 0 && !nodes_.empty())
      pool.edit_detail(id, [&](InstanceDetail& d) { d.avoid = any(nodes_); });
    if (random_.below(15) == 0) pool.edit_instance(id, [&](Instance& i) { i.not_before = pool.s.now + seconds(5); });
  }
  template <class T>
  T any(const std::vector<T>& of) {
    return of[random_.below(of.size())];
  }
  void change_one() {
    switch (random_.below(adopts ? 11 : 10)) {
      case 0: return add_node();
      case 1: return add_job();
      case 2: return add_instance(any(jobs_));
      case 3:
        return pool.edit_node(any(nodes_),
                              [&](Node& n) { n.spec.eligibility = static_cast<Eligibility>(random_.below(4)); });
      case 4:
        return pool.edit_node(
            any(nodes_), [&](Node& n) { n.health = random_.below(2) == 0 ? NodeHealth::ready : NodeHealth::lost; });
      case 5: return pool.edit_node(any(nodes_), [&](Node& n) { n.spec.labels["zone"] = zone(); });
      case 6:
        return pool.edit_inventory(any(nodes_),
                                   [&](Inventory& i) { i.capacity.cpu.value += random_.below(2) == 0 ? 1'000 : 0; });
      case 7: return set_images(any(nodes_));
      case 10: return adopt(any(jobs_));
      default: {
        if (instances_.empty()) return;
        const InstanceId id = any(instances_);
        if (pool.at(id).admitted && !pool.at(id).finished)
          pool.edit_instance(id, [&](Instance& i) {
            i.finished = true, i.cleared = random_.below(2) == 0, i.state = TaskState::failed;
          });
      }
    }
  }
  // The next version of a job is the same work: what waits for a node waits on under its number.
  void adopt(JobId job) {
    const uint32_t number = pool.s.jobs.find(job.value)->active_version;
    pool.submit(*pool.s.version_of(job, number)->spec, job);
    const uint32_t next = pool.s.jobs.find(job.value)->active_version;
    const JobVersionId row_of_next = pool.s.version_of(job, next)->id;
    for (const InstanceId id : instances_) {
      const Instance* i = pool.s.instances.find(id.value);
      if (i == nullptr || i->job != job || i->finished) continue;
      pool.edit_instance(id, [&](Instance& row) { row.job_version = next, row.version_row = row_of_next; });
    }
  }
  std::vector<NodeId> nodes_;
  std::vector<JobId> jobs_;
  std::vector<InstanceId> instances_;
};

}  // namespace tutti::scheduler
