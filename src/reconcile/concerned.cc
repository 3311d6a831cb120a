#include <algorithm>

#include "reconcile/reconcile.h"

namespace tutti::reconcile {
namespace {

// Whether reconcile could answer differently. What a worker reports on its way to running concerns nobody here, unless
// an update or a drain waits for it; at two million instances that is what keeps this loop idle.
bool matters(const Snapshot& after, const Instance* was, const Instance* is) {
  if (was == nullptr || is == nullptr) return true;
  if (was->finished != is->finished || was->desired != is->desired || was->override_ != is->override_ ||
      was->presence != is->presence) {
    return true;
  }
  if (was->cleared != is->cleared || was->pending_since < is->pending_since) return true;
  if (was->state == is->state) return false;
  const Job* job = after.jobs.find(is->job.value);
  return job == nullptr || job->active_version > 1 || job->version > 1 || is->detail->avoid;
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

}  // namespace

std::vector<JobId> concerned_jobs(const ChangeSet& changes) {
  const Snapshot& before = *changes.before;
  const Snapshot& after = *changes.after;
  std::vector<JobId> jobs;
  bool every_system_job = false;
  for (const RowChange& row : changes.rows) {
    switch (row.table) {
      case TableId::job: jobs.push_back(JobId{row.id}); break;
      case TableId::version: {
        const JobVersion* version = after.versions.find(row.id);
        if (version == nullptr) version = before.versions.find(row.id);
        if (version != nullptr) jobs.push_back(version->job);
        break;
      }
      case TableId::instance: {
        const Instance* was = before.instances.find(row.id);
        const Instance* is = after.instances.find(row.id);
        if ((was == nullptr && is == nullptr) || !matters(after, was, is)) break;
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
