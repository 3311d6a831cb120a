// Users and trouble: what is asked for and what breaks, drawn from the seed.
#include <algorithm>

#include "sim_world.h"

namespace tutti::sim {
namespace {

constexpr int64_t kTroubleSeconds = 180;
constexpr int64_t kCalmSecondsMax = 300;

template <class T>
std::vector<uint64_t> keys_of(const Table<T>& table) {
  std::vector<uint64_t> out;
  table.for_each([&](uint64_t id, const T&) { out.push_back(id); });
  return out;
}

}  // namespace

SimWorld::SimWorld(uint64_t seed) : sim(seed), manager(std::make_unique<SimManager>(*this)) {}

Inventory SimWorld::inventory(const SimHost& host, const std::string& boot_id) const {
  Inventory out;
  out.hostname = host.name;
  out.boot_id = boot_id;
  out.arch = "x86_64";
  out.cores = 16;
  // Short: what is asked for does not always fit, and the more important work pushes the rest aside.
  out.capacity = {{short_of_room_ ? 3'000 : 16'000}, {64LL << 30}, {500LL << 30}};
  out.drivers = {{"fake", "1", true, ""}, {"container", "1", true, ""}};
  out.port_last = out.port_first + 30;  // few, so that two plans want the same one
  return out;
}

std::shared_ptr<Connection> SimWorld::dial(SimHost& host) {
  const bool blocked = host.link.blocked_until[0] > sim.boot() || host.link.blocked_until[1] > sim.boot();
  if (!manager->up() || blocked || !host.node) return nullptr;
  auto connection = std::make_shared<Connection>(sim, host.link, ++connections_);
  manager->accept(host.node, host.fingerprint, connection);
  return connection;
}

void SimWorld::ask(state::Command command, state::Done done) {
  ++statistics.requests;
  manager->submit(std::move(command), {"user:sim", {}, {}}, std::move(done));
}

bool SimWorld::run_until(Time end) {
  while (sim.failure.empty() && sim.wall() < end && sim.step()) {
    ++statistics.events;
    check();
  }
  return sim.failure.empty();
}

void SimWorld::set_up() {
  sim.faults = false;
  manager->start();
  Pool pool;
  pool.pool_id = "5117ab";
  pool.network = "10.86.0.0/16";
  ask(state::InitializePool{pool}, [this](const auto& result) {
    if (!result) sim.broken("no pool: " + result.error().to_string());
  });
  Token token;
  token.kind = TokenKind::join;
  ask(state::CreateToken{token}, [this](const auto& result) {
    if (result) token_ = TokenId{result->id};
  });
  if (!run_until(sim.wall() + seconds(1))) return;
  project_ = manager->state().project_by_name("default")->id;
  const uint64_t count = 2 + sim.random.below(5);
  short_of_room_ = sim.chance(2);
  Project project = *manager->state().projects.find(project_.value);
  project.preemption = sim.chance(2);
  ask(state::PutProject{project}, [](const auto&) {});
  for (uint64_t i = 0; i < count; ++i) {
    hosts.push_back(std::make_unique<SimHost>(*this, "host" + std::to_string(i)));
    SimHost* host = hosts.back().get();
    host->boot();
    ask(state::JoinNode{token_, host->name, host->fingerprint}, [this, host](const auto& result) {
      if (!result) return sim.broken("no join: " + result.error().to_string());
      host->node = NodeId{result->id};
      host->start_worker();
    });
  }
  run_until(sim.wall() + seconds(2));
}

void SimWorld::random_update(JobSpec& job) {
  if (job.type == JobType::batch) return;
  UpdatePolicy& update = job.update;
  update.min_healthy_time = milliseconds(static_cast<int64_t>(sim.random.below(4'000)));
  update.healthy_deadline = sim.chance(2) ? seconds(20) : Duration{};
  update.progress_deadline = sim.chance(2) ? seconds(30) : Duration{};
  update.max_parallel = static_cast<int32_t>(1 + sim.random.below(3));
  job.disruption.max_unavailable = static_cast<int32_t>(1 + sim.random.below(2));
  update.auto_revert = sim.chance(3);
  if (job.type == JobType::system) {
    if (sim.chance(4)) update.strategy = UpdateStrategy::recreate;
    return;
  }
  update.strategy = static_cast<UpdateStrategy>(sim.random.below(4));
  update.start_first = update.strategy == UpdateStrategy::rolling && sim.chance(2);
  update.auto_promote = wants_promotion(update) && sim.chance(2);
}

JobSpec SimWorld::random_spec(const std::string& name) {
  JobSpec job;
  job.job = name;
  const auto type = sim.random.below(8) < 5 ? JobType::service : sim.chance(2) ? JobType::batch : JobType::system;
  job.type = types_.try_emplace(name, type).first->second;
  job.priority = static_cast<int32_t>(sim.random.below(4)) * 20;
  const uint64_t tasks = 1 + sim.random.below(2);
  const bool one_group = sim.chance(2);
  for (uint64_t i = 0; i < tasks; ++i) {
    TaskSpec task;
    task.name = "t" + std::to_string(i);
    if (one_group) task.group = "g";
    task.driver = sim.chance(3) ? "container" : "fake";
    task.count = static_cast<int64_t>(sim.random.below(4));
    task.resources = {{static_cast<int64_t>(100 + sim.random.below(short_of_room_ ? 1'500 : 300))},
                      {64 << 20},
                      {sim.chance(2) ? 1LL << 30 : 0}};
    task.restart.attempts = static_cast<int32_t>(sim.random.below(3));
    task.restart.delay = milliseconds(500);
    task.restart.max_delay = seconds(3);
    task.reschedule.delay = seconds(1);
    task.reschedule.max_delay = seconds(8);
    task.stop_grace = seconds(static_cast<int64_t>(sim.random.below(6)));
    if (sim.chance(2)) task.on_disconnect = DisconnectPolicy::stop_after;
    if (sim.chance(4)) task.ports.push_back({"http", 80, 0, Protocol::tcp});
    if (job.type == JobType::batch) task.options["life_ms"] = std::to_string(sim.random.below(15'000));
    task.env["V"] = std::to_string(sim.random.below(4));
    job.tasks.push_back(std::move(task));
  }
  random_update(job);
  return job;
}

void SimWorld::submit_job() {
  const std::string name = "job" + std::to_string(sim.random.below(6));
  sim.trace("user submits " + name);
  ask(state::SubmitJob{random_spec(name), project_, {}, {}}, [this, name](const Result<state::Outcome>& result) {
    if (!result) {
      if (result.error().code == ErrorCode::invalid) sim.broken("submit refused: " + result.error().to_string());
      return;
    }
    Known& known = known_[name];
    if (known.job != JobId{result->id}) known = {};
    known.job = JobId{result->id};
    known.version = std::max(known.version, result->version);
  });
}

void SimWorld::touch_job() {
  const std::vector<uint64_t> jobs = keys_of(manager->state().jobs);
  if (jobs.empty()) return;
  const JobId id{jobs[sim.random.below(jobs.size())]};
  const Job& job = *manager->state().jobs.find(id.value);
  switch (sim.random.below(11)) {
    case 8: return ask(state::PromoteJob{id}, [](const auto&) {});
    case 9: return ask(state::AbortJob{id}, [](const auto&) {});
    case 0:
      known_[job.name].may_be_deleted = true;
      sim.trace("user deletes " + job.name);
      return ask(state::DeleteJob{id}, [](const auto&) {});
    case 1:
    case 2: {
      const bool stop = sim.chance(2);
      sim.trace(std::string("user ") + (stop ? "stops " : "starts ") + job.name);
      return ask(state::SetJobStopped{id, stop}, [](const auto&) {});
    }
    default: {
      const JobVersion* version = manager->state().version_of(id, job.active_version);
      if (version == nullptr) return;
      const auto groups = groups_of(*version->spec);
      const std::string group = groups[sim.random.below(groups.size())].name;
      const auto count = static_cast<int64_t>(sim.random.below(6));
      sim.trace("user scales " + job.name + " " + group + " to " + std::to_string(count));
      return ask(state::ScaleJob{id, group, count}, [](const auto&) {});
    }
  }
}

void SimWorld::touch_instance() {
  const std::vector<uint64_t> all = keys_of(manager->state().instances);
  if (all.empty()) return;
  static constexpr state::InstanceVerb kVerbs[] = {state::InstanceVerb::start,  state::InstanceVerb::start,
                                                   state::InstanceVerb::stop,   state::InstanceVerb::restart,
                                                   state::InstanceVerb::pause,  state::InstanceVerb::unpause,
                                                   state::InstanceVerb::delete_};
  const auto verb = kVerbs[sim.random.below(std::size(kVerbs))];
  const InstanceId id{all[sim.random.below(all.size())]};
  sim.trace("user: verb " + std::to_string(static_cast<int>(verb)) + " on " + to_text(id));
  ask(state::OperateInstance{id, verb}, [](const auto&) {});
}

void SimWorld::touch_node() {
  const std::vector<uint64_t> all = keys_of(manager->state().nodes);
  const Node& node = *manager->state().nodes.find(all[sim.random.below(all.size())]);
  NodeSpec spec = node.spec;
  spec.eligibility = sim.chance(2) ? Eligibility::eligible : static_cast<Eligibility>(sim.random.below(4));
  spec.drain_deadline = sim.chance(2) ? sim.wall() + sim.between(0, 30'000) : Time{};
  sim.trace("user: " + node.name + " eligibility " + std::to_string(static_cast<int>(spec.eligibility)));
  ask(state::UpdateNode{node.id, spec, {}}, [](const auto&) {});
}

void SimWorld::workload() {
  if (!sim.faults) return;
  if (manager->up()) {
    const uint64_t dice = sim.random.below(24);
    if (dice < 6)
      submit_job();
    else if (dice < 11)
      touch_job();
    else if (dice < 18)
      touch_instance();
    else if (dice < 20)
      touch_node();
    else if (dice < 23)
      submit_launcher();
    else
      touch_launcher();
    if (sim.chance(30)) ask(state::TrimHistory{}, [](const auto&) {});
  }
  sim.after(sim.between(0, 5'000), [this] { workload(); });
}

void SimWorld::trouble() {
  if (!sim.faults) return;
  SimHost& host = *hosts[sim.random.below(hosts.size())];
  switch (sim.random.below(9)) {
    case 0:
      ++statistics.manager_crashes;
      manager->crash();
      sim.after(sim.chance(3) ? sim.between(0, 15'000) : sim.between(0, 500), [this] { manager->start(); });
      break;
    case 1:
    case 2:
      ++statistics.worker_crashes;
      host.crash_worker();
      sim.after(sim.chance(3) ? sim.between(0, 20'000) : sim.between(0, 500), [&host] { host.start_worker(); });
      break;
    case 3:
      ++statistics.reboots;
      host.reboot();
      sim.after(sim.between(0, 25'000), [&host] { host.start_worker(); });
      break;
    case 4:
    case 5:
      sim.trace(host.name + " connection breaks");
      if (host.connection) host.connection->cut();
      break;
    default: {
      ++statistics.partitions;
      const BootTime until = sim.boot() + (sim.chance(2) ? sim.between(0, 5'000) : sim.between(0, 25'000));
      const uint64_t which = sim.random.below(3);
      sim.trace(host.name + " cut off, direction " + std::to_string(which));
      if (which != 0) host.link.blocked_until[0] = until;
      if (which != 1) host.link.blocked_until[1] = until;
      if (host.connection && sim.chance(3)) host.connection->cut();
      break;
    }
  }
  sim.after(sim.between(0, 12'000), [this] { trouble(); });
}

void SimWorld::make_calm() {
  sim.faults = false;
  sim.trace("calm");
  manager->start();
  for (const auto& host : hosts) {
    host->link = {};
    host->start_worker();
  }
}

std::string SimWorld::run() {
  set_up();
  sim.faults = true;
  workload();
  trouble();
  if (!run_until(sim.wall() + seconds(kTroubleSeconds))) return sim.failure;
  make_calm();
  if (!run_until(sim.wall() + seconds(40))) return sim.failure;  // what was under way, half-open connections
  for (uint64_t id : keys_of(manager->state().nodes)) {
    NodeSpec spec = manager->state().nodes.find(id)->spec;
    spec.eligibility = Eligibility::eligible;
    ask(state::UpdateNode{NodeId{id}, spec, {}}, [](const auto&) {});
  }
  stop_launchers();
  const Time deadline = sim.wall() + seconds(kCalmSecondsMax);
  std::string left = "?";
  while (!left.empty() && sim.wall() < deadline) {
    if (!run_until(sim.wall() + seconds(2))) return sim.failure;
    left = unfinished();
  }
  if (!left.empty()) sim.broken("not as asked " + std::to_string(kCalmSecondsMax) + " s after all trouble: " + left);
  return sim.failure;
}

}  // namespace tutti::sim
