// S05: why an instance is where it is, or is not anywhere.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>

#include "base/time.h"
#include "scheduler/explain_together.h"
#include "scheduler/feasible.h"
#include "scheduler/leeway.h"
#include "scheduler/preempt.h"
#include "scheduler/scheduler.h"
#include "scheduler/scores.h"
#include "scheduler/shape.h"

namespace tutti::scheduler {
namespace {

std::string lack_text(const Resources& request, const Resources& free) {
  std::string out;
  auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
  if (request.cpu > free.cpu) add(format_millicores({request.cpu.value - free.cpu.value}) + " cpu");
  if (request.memory > free.memory) add(format_bytes({request.memory.value - free.memory.value}) + " memory");
  if (request.disk > free.disk) add(format_bytes({request.disk.value - free.disk.value}) + " disk");
  return out;
}

bool is_of_resources(const std::string& why) {
  return why == "not enough cpu" || why == "not enough memory" || why == "not enough disk";
}

// A thing that the node has none or not enough of.
struct Missing {
  std::string what;      // "1 licence", "2 gpu of T4"
  std::string asked;     // likewise, all of it
  bool in_use = false;   // it would be there, were it free
  std::string standing;  // " (2 of 2 in use)"
};

std::optional<Missing> missing_on(const Snapshot& s, const Request& request, const Node& node, const std::string& why) {
  constexpr std::string_view kHasNo = "has no ", kNoDriver = "no ", kNotEnough = "not enough ";
  if (why.starts_with(kHasNo)) return Missing{why.substr(kHasNo.size()), why.substr(kHasNo.size()), false, {}};
  if (why.starts_with("no driver "))
    return Missing{why.substr(kNoDriver.size()), why.substr(kNoDriver.size()), false, {}};
  if (!why.starts_with(kNotEnough) || is_of_resources(why)) return std::nullopt;
  if (const auto limit = request.node_limits.find(why.substr(kNotEnough.size())); limit != request.node_limits.end()) {
    const auto& [name, asked] = *limit;
    const int64_t all = count_of(node.inventory->limits, name), used = count_of(s.usage_of(node.id).limits, name);
    return Missing{std::to_string(asked - (all - used)) + " " + name, std::to_string(asked) + " " + name, true,
                   " (" + std::to_string(used) + " of " + std::to_string(all) + " in use)"};
  }
  std::string devices;
  for (const DeviceAsk& ask : request.devices) devices += (devices.empty() ? "" : ", ") + to_text(ask.spec);
  return Missing{devices, devices, true, " that is free"};
}

// How far a node is from having room, as a sum of fractions of what is asked.
double lack_of(const Resources& request, const Resources& free) {
  auto part = [](int64_t want, int64_t have) {
    return want > have && want > 0 ? static_cast<double>(want - have) / static_cast<double>(want) : 0.0;
  };
  return part(request.cpu.value, free.cpu.value) + part(request.memory.value, free.memory.value) +
         part(request.disk.value, free.disk.value);
}

// Who holds the host port that this one wants there; nothing where that is not the trouble. What runs in another
// project is not for this one's people to know.
std::string holder_of(const Snapshot& s, const Instance& instance, const Request& request, const Node& node) {
  std::string out;
  const Job* own = s.jobs.find(instance.job.value);
  const IdSet* held = s.instances_by_node.find(node.id.value);
  if (held == nullptr) return out;
  held->for_each([&](uint64_t id, const Unit&) {
    const Instance* other = s.instances.find(id);
    if (other == nullptr || !out.empty()) return;
    for (const PortBinding& theirs : other->detail->ports) {
      for (const PortBinding& ours : request.ports) {
        const Job* job = s.jobs.find(other->job.value);
        if (ours.host == 0 || ours.host != theirs.host || ours.protocol != theirs.protocol || job == nullptr) continue;
        out = own != nullptr && own->project == job->project
                  ? ": instance " + s.name_of(*other) + " of job " + job->name + " has it"
                  : ": an instance of another project has it";
      }
    }
  });
  return out;
}

void tell_tasks(const Instance& i, Time now, Explanation& out) {
  for (const TaskStatus& task : i.detail->tasks) {
    const bool down = is_terminal(task.position.state);
    if (task.health == HealthState::starting)
      out.tasks.push_back(task.task + ": its health checks have not passed yet");
    if (task.health == HealthState::unhealthy)
      out.tasks.push_back(task.task + ": unhealthy since " + format_time(task.health_since) + ": " + task.reason);
    if (!down && task.restarts == 0) continue;
    std::string text = task.task + ": attempt " + std::to_string(task.position.attempt) + ", restarted " +
                       std::to_string(task.restarts) + (task.restarts == 1 ? " time" : " times");
    if (down) text += ", last exit code " + std::to_string(task.exit_code);
    const std::string plain = "exit code " + std::to_string(task.exit_code);
    if (!task.reason.empty() && task.reason != plain) text += " (" + task.reason + ")";
    if (down && task.finished) text += " at " + format_time(task.finished);
    if (task.retry_at && !task.final)
      text += task.retry_at > now ? ", next try at " + format_time(task.retry_at) : ", next try now";
    if (task.final) text += ", not tried again here";
    out.tasks.push_back(std::move(text));
  }
}

// The host ports it may have any of are all in use.
bool out_of_ports(const Snapshot& s, const Request& request, const Node& node) {
  const std::vector<uint32_t>& used = s.usage_of(node.id).ports;
  for (const Protocol protocol : {Protocol::tcp, Protocol::udp}) {
    const auto asked = std::count_if(request.ports.begin(), request.ports.end(), [&](const PortBinding& port) {
      return port.host == 0 && port.protocol == protocol;
    });
    if (asked == 0) continue;
    const int64_t first = node.inventory->port_first;
    const int64_t last = node.inventory->port_last;
    const auto taken = std::upper_bound(used.begin(), used.end(), port_key(protocol, static_cast<int32_t>(last))) -
                       std::lower_bound(used.begin(), used.end(), port_key(protocol, static_cast<int32_t>(first)));
    if (last - first + 1 - taken < asked) return true;
  }
  return false;
}

// Why the node will not do.
std::optional<std::string> why_not(const Snapshot& s, const Instance& instance, const Node& node,
                                   const Vacancy& vacancy) {
  if (auto why = check(s, vacancy.request, node, vacancy.free, vacancy.given)) return why;
  const bool there = instance.admitted && instance.node == node.id;
  if (!there && out_of_ports(s, vacancy.request, node)) return "no free host port in its range";
  return std::nullopt;
}

using NodesByReason = std::map<std::string, int32_t>;

std::vector<Reason> most_nodes_first(const NodesByReason& counts) {
  std::vector<Reason> out;
  for (const auto& [reason, nodes] : counts) out.push_back({reason, nodes});
  std::sort(out.begin(), out.end(), [](const Reason& a, const Reason& b) {
    return a.nodes != b.nodes ? a.nodes > b.nodes : a.reason < b.reason;
  });
  return out;
}

// The place that the instance has counts as free.
void survey(const Snapshot& s, const Request& request, const Instance& instance, Explanation& out) {
  NodesByReason counts;
  double nearest = 1e300;
  const Node* nearest_node = nullptr;
  std::string nearest_reason;
  s.nodes.for_each([&](uint64_t, const Node& node) {
    ++out.nodes_total;
    const Vacancy vacancy = vacancy_for(s, instance, request, node);
    const auto why = why_not(s, instance, node, vacancy);
    if (!why) {
      ++out.nodes_feasible;
      return;
    }
    ++counts[*why];
    // A wish or a constraint is further away than any lack of room.
    const double lack = lack_of(request.resources, vacancy.free) + (why->starts_with("not enough") ? 0 : 10);
    if (lack < nearest) nearest = lack, nearest_node = &node, nearest_reason = *why;
  });
  out.reasons = most_nodes_first(counts);
  if (out.nodes_feasible > 0) return;
  if (nearest_node == nullptr) {
    out.remedies.push_back("add a node: the pool has none ('tutti node token' makes a token to join with)");
    return;
  }
  const Resources free = allocatable(*nearest_node) - s.usage_of(nearest_node->id).used;
  out.nearest_node = nearest_node->name;
  out.nearest_reason = nearest_reason + holder_of(s, instance, request, *nearest_node);
  if (const auto missing = missing_on(s, request, *nearest_node, nearest_reason)) {
    out.nearest_lacks = missing->what + missing->standing;
    if (missing->in_use) out.remedies.push_back("free " + missing->what + " on " + nearest_node->name);
    out.remedies.push_back("add a node that has " + missing->asked + (missing->in_use ? " free" : ""));
    out.remedies.push_back("ask for something else: the task asks for " + missing->asked);
  } else if (is_of_resources(nearest_reason)) {
    out.nearest_lacks = lack_text(request.resources, free);
    const Resources all = allocatable(*nearest_node);
    if (request.resources.fits(all)) out.remedies.push_back("free " + out.nearest_lacks + " on " + nearest_node->name);
    out.remedies.push_back("add a node with at least " + format_millicores(request.resources.cpu) + " cpu and " +
                           format_bytes(request.resources.memory) + " memory free");
    out.remedies.push_back("ask for less: the task asks for " + format_millicores(request.resources.cpu) + " cpu, " +
                           format_bytes(request.resources.memory) + " memory");
  } else if (nearest_reason == "cordoned" || nearest_reason == "draining" || nearest_reason == "disabled") {
    out.remedies.push_back("make it eligible again: tutti node uncordon " + nearest_node->name);
  } else if (nearest_reason.starts_with("too old")) {
    out.remedies.push_back("run a newer tutti on " + nearest_node->name +
                           ": the job asks for something of feature level " + std::to_string(request.feature_level));
  } else {
    out.remedies.push_back("change what rules the nodes out: " + out.nearest_reason);
  }
}

// How many would be pushed aside for it, did its project allow that; 0: it would be in vain.
size_t would_go_for(const Snapshot& s, const Instance& i, ProjectId project) {
  Columns columns;
  columns.rebuild(s);
  const JobVersion& version = *s.version_of(i);
  const Ask ask = ask_of(s, version, i.group);
  Mask nodes = columns.mask_of(s, ask.request, ask.kind);
  if (const NodeId own = i.node && !i.cleared ? i.node : i.pinned) keep_only(nodes, columns, own);
  Preemption::GivenOut nothing;
  Leeway leeway(project);
  const auto choice = Preemption(s, columns, nothing, leeway).choose(ask.request, version.spec->priority, nodes);
  return choice ? choice->victims.size() : 0;
}

// J07: whether less important work makes room, or why not.
void tell_preemption(const Snapshot& s, const Instance& i, Explanation& out) {
  const Job* job = s.jobs.find(i.job.value);
  const Project* project = job == nullptr ? nullptr : s.projects.find(job->project.value);
  if (project == nullptr || out.nodes_feasible > 0) return;
  const int64_t leaving = leaving_for(s, {i.id});
  if (leaving > 0)
    out.remedies.insert(out.remedies.begin(),
                        "wait: " + std::to_string(leaving) + " less important were told to go for it");
  else if (!project->preemption && would_go_for(s, i, project->id) > 0)
    out.remedies.push_back("let project " + project->name +
                           " push less important work aside (its preemption is off: 'tutti project set " +
                           project->name + " --preemption')");
}

// J04: it cannot go where the rest of its job is, nor leave its disk.
void tell_apart(const Snapshot& s, const Instance& i, Explanation& out) {
  const NodeId own = i.node && !i.cleared ? i.node : i.pinned;
  if (!own || !apart_from_job(s, i, own)) return;
  const Node* node = s.nodes.find(own.value);
  out.remedies.push_back("stop the rest of its job, which runs on another node than " +
                         (node != nullptr ? node->name : std::string("its own")) +
                         ", the only one for this instance (placement.same_node), or delete this one");
}

// What became of the one before it in its slot.
std::string reason_before(const Snapshot& s, const Instance& i) {
  if (!i.detail->reason.empty()) return i.detail->reason;
  const Instance* last = nullptr;
  if (const IdSet* ids = s.instances_by_job.find(i.job.value)) {
    ids->for_each([&](uint64_t id, const Unit&) {
      const Instance& other = *s.instances.find(id);
      if (id < i.id.value && other.slot == i.slot && other.group == i.group) last = &other;
    });
  }
  return last != nullptr && last->detail->pushed_by ? last->detail->reason : std::string();
}

void tell_queue(const Snapshot& s, const Instance& i, Explanation& out) {
  const Job* job = s.jobs.find(i.job.value);
  const int32_t priority = s.version_of(i)->spec->priority;
  s.pending.for_each([&](uint64_t id, const Unit&) {
    const Instance& other = *s.instances.find(id);
    ++out.queue_length;
    const JobVersion* version = s.version_of(other);
    const Job* its = s.jobs.find(other.job.value);
    if (version == nullptr || its == nullptr || job == nullptr || other.not_before > i.not_before) return;
    const bool older = std::pair(other.pending_since, other.id) < std::pair(i.pending_since, i.id);
    const int32_t theirs = version->spec->priority;
    if (theirs > priority || (theirs == priority && its->project == job->project && older)) ++out.queue_before;
  });
}

constexpr size_t kOthersTold = 3;

struct Row {
  bool other = true;
  int64_t cost = 0;
  const Node* node = nullptr;
  std::vector<Scores::Term> terms;
  bool operator<(const Row& b) const {
    return std::tuple(other, cost, node->id) < std::tuple(b.other, b.cost, b.node->id);
  }
};

void tell_scores(const Snapshot& s, const Instance& i, Explanation& out) {
  if (out.nodes_feasible == 0) return;
  const Request request = request_of(s, i);
  Scores scores(s, i);
  std::vector<Row> rows;
  s.nodes.for_each([&](uint64_t, const Node& node) {
    const Vacancy vacancy = vacancy_for(s, i, request, node);
    Row row{!i.admitted || i.node != node.id, 0, &node, {}};
    // Where it is may have stopped to be a place for it since.
    if (!node.inventory || (row.other && check(s, vacancy.request, node, vacancy.free, vacancy.given))) return;
    row.terms = scores.of(node);
    for (const Scores::Term& term : row.terms) row.cost += term.cost;
    rows.push_back(std::move(row));
    std::push_heap(rows.begin(), rows.end());
    if (rows.size() <= kOthersTold + 1) return;
    std::pop_heap(rows.begin(), rows.end());
    rows.pop_back();
  });
  std::sort_heap(rows.begin(), rows.end());
  auto points = [](int64_t cost) { return -std::round(static_cast<double>(cost) * 1e4 / kCountCost) / 100 + 0.0; };
  for (const Row& row : rows) {
    ScoredNode told{row.node->name, points(row.cost), {}};
    for (const Scores::Term& term : row.terms)
      if (term.cost != 0) told.terms.push_back({term.name, points(term.cost)});
    if (!row.other) out.score = told.score;
    out.scores.push_back(std::move(told));
  }
}

}  // namespace

Explanation explain(const Snapshot& s, InstanceId id, Time now) {
  Explanation out;
  out.instance = id;
  const Instance* i = s.instances.find(id.value);
  if (i == nullptr) {
    out.state = "there is no such instance";
    return out;
  }
  out.name = s.name_of(*i);
  const Node* node = s.nodes.find(i->node.value);
  if (i->finished) {
    out.state = "finished";
  } else if (i->admitted) {
    out.state = "placed" + (node != nullptr ? " on " + node->name : std::string());
    if (is_terminal(i->state) && i->desired == Desired::running) out.state += ", restarting";
  } else if (i->not_before > now) {
    out.state = "waiting until " + format_time(i->not_before) + " before it is tried again";
  } else {
    out.state = "pending";
  }
  if (node != nullptr) out.node = node->name;
  tell_tasks(*i, now, out);
  if (!i->admitted) out.pending_since = i->pending_since;
  if (s.version_of(*i) != nullptr) survey(s, request_of(s, *i), *i, out);
  if (!i->admitted && !i->finished && s.version_of(*i) != nullptr) {
    if (is_placed_as_one(s, *i))
      tell_together(s, *i, now, out);
    else
      tell_preemption(s, *i, out);
    tell_apart(s, *i, out);
  }
  if (i->admitted) {
    out.remedies.clear();
    out.nearest_node.clear(), out.nearest_lacks.clear(), out.nearest_reason.clear();
  }
  if (const std::string before = i->admitted ? std::string() : reason_before(s, *i); !before.empty())
    out.remedies.push_back("before: " + before);
  return out;
}

std::vector<Reason> reasons_against(const Snapshot& s, InstanceId id) {
  const Instance* i = s.instances.find(id.value);
  if (i == nullptr || s.version_of(*i) == nullptr) return {};
  const Request request = request_of(s, *i);
  NodesByReason counts;
  const auto look = [&](const Node& node) {
    if (const auto why = why_not(s, *i, node, vacancy_for(s, *i, request, node))) ++counts[*why];
  };
  if (const Node* only = s.nodes.find((request.home ? request.home : request.pinned).value))
    look(*only);
  else
    s.nodes.for_each([&](uint64_t, const Node& node) { look(node); });
  return most_nodes_first(counts);
}

Explanation explain_fully(const Snapshot& s, InstanceId id, Time now) {
  Explanation out = explain(s, id, now);
  const Instance* i = s.instances.find(id.value);
  if (i == nullptr || i->finished || s.version_of(*i) == nullptr) return out;
  if (s.pending.contains(id.value)) tell_queue(s, *i, out);
  tell_scores(s, *i, out);
  return out;
}

}  // namespace tutti::scheduler
