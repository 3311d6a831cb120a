#include <algorithm>

#include "reconcile/reconcile.h"

namespace tutti::reconcile {
namespace {

// A group of its job waits for another one, maybe for its start.
bool has_order(const Snapshot& snapshot, const Instance& instance) {
  const JobVersion* version = snapshot.version_of(instance);
  const auto* groups = version == nullptr ? nullptr : snapshot.groups.find(version->id.value);
  if (groups == nullptr || *groups == nullptr) return false;
  return std::ranges::any_of(**groups, [](const GroupView& group) { return !group.after.empty(); });
}

// Whether reconcile could answer differently. What a worker reports on its way to running concerns nobody here, unless
// an update or a drain waits for it; at two million instances that is what keeps this loop idle.
bool matters(const Snapshot& after, const Instance* was, const Instance* is) {
  if (was == nullptr || is == nullptr) return true;
  if (was->finished != is->finished || was->desired != is->desired || was->override_ != is->override_ ||
      was->presence != is->presence) {
    return true;
  }
  if (was->cleared != is->cleared || was->pending_since < is->pending_since) return true;
  // The same state, but a check that passes or fails now, or a restart that was over at once.
  if (was->state == is->state && was->detail->running_since == is->detail->running_since) return false;
  const Job* job = after.jobs.find(is->job.value);
  if (job != nullptr && job->type == JobType::batch && has_order(after, *is)) return true;
  // A first version that failed is looked at again: it may become healthy yet.
  return job == nullptr || job->active_version > 1 || job->version > 1 || is->detail->avoid ||
         job->deployment.state == DeploymentState::failed;
}

bool draining(const Snapshot& snapshot, NodeId id) {
  const Node* node = snapshot.nodes.find(id.value);
  return node != nullptr && node->spec.eligibility == Eligibility::draining;
}

bool matters(const Node* was, const Node* is) {
  if (was == nullptr || is == nullptr) return true;
  return was->health != is->health || was->spec != is->spec || was->inventory != is->inventory;
}

void add_all_of_node(const Snapshot& snapshot, uint64_t node, std::vector<JobId>& jobs) {
  const IdSet* held = snapshot.instances_by_node.find(node);
  if (held == nullptr) return;
  held->for_each([&](uint64_t id, const Unit&) {
    if (const Instance* instance = snapshot.instances.find(id)) jobs.push_back(instance->job);
  });
}

void add_waiters(const Snapshot& snapshot, JobId job, std::vector<JobId>& jobs) {
  if (const IdSet* waiters = snapshot.waiters.find(job.value))
    waiters->for_each([&](uint64_t id, const Unit&) { jobs.push_back(JobId{id}); });
}

// Itself, and where it came, ended or went: who launched it and who waits for it.
void add_job(const Snapshot& before, const Snapshot& after, uint64_t id, std::vector<JobId>& jobs) {
  jobs.push_back(JobId{id});
  const Job* was = before.jobs.find(id);
  const Job* is = after.jobs.find(id);
  if (was != nullptr && is != nullptr && was->result == is->result && was->deleted == is->deleted) return;
  if (const Job* any = is != nullptr ? is : was; any != nullptr && any->parent) jobs.push_back(any->parent);
  add_waiters(after, JobId{id}, jobs);
}

}  // namespace

std::vector<JobId> concerned_jobs(const ChangeSet& changes) {
  const Snapshot& before = *changes.before;
  const Snapshot& after = *changes.after;
  std::vector<JobId> jobs;
  bool every_system_job = false;
  for (const RowChange& row : changes.rows) {
    switch (row.table) {
      case TableId::job: add_job(before, after, row.id, jobs); break;
      case TableId::version: {
        const JobVersion* version = after.versions.find(row.id);
        if (version == nullptr) version = before.versions.find(row.id);
        if (version != nullptr) jobs.push_back(version->job);
        break;
      }
      case TableId::instance: {
        const Instance* was = before.instances.find(row.id);
        const Instance* is = after.instances.find(row.id);
        if (was == nullptr && is == nullptr) break;
        if (was == nullptr || is == nullptr || was->state != is->state)
          add_waiters(after, is != nullptr ? is->job : was->job, jobs);
        if (!matters(after, was, is)) break;
        jobs.push_back(is != nullptr ? is->job : was->job);
        // System work leaves a draining node when the last of the other work has.
        if (was != nullptr && was->node && (is == nullptr || is->finished != was->finished) &&
            draining(after, was->node))
          add_all_of_node(after, was->node.value, jobs);
        break;
      }
      case TableId::node:
        if (!matters(before.nodes.find(row.id), after.nodes.find(row.id))) break;
        every_system_job = true;
        add_all_of_node(before, row.id, jobs);
        add_all_of_node(after, row.id, jobs);
        break;
      case TableId::pool:
      case TableId::project:
      case TableId::volume:
      case TableId::image:
      case TableId::token:
      case TableId::operation:
      case TableId::event:
      case TableId::idempotency: break;
    }
  }
  if (every_system_job) {
    after.jobs.for_each([&](uint64_t, const Job& job) {
      if (job.type == JobType::system) jobs.push_back(job.id);
    });
  }
  std::sort(jobs.begin(), jobs.end());
  jobs.erase(std::unique(jobs.begin(), jobs.end()), jobs.end());
  return jobs;
}

}  // namespace tutti::reconcile
