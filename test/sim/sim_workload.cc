// Users: what is asked for, drawn from the seed, and how requests fare on their way.
#include <algorithm>

#include "model/validate.h"
#include "sim_world.h"

namespace tutti::sim {
namespace {

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
  out.feature_level = kFeatureLevel;
  out.arch = "x86_64";
  out.cores = 16;
  // Short: what is asked for does not always fit, and the more important work pushes the rest aside.
  out.capacity = {{short_of_room_ ? 3'000 : 16'000}, {64LL << 30}, {500LL << 30}};
  out.drivers = {{"fake", "1", true, ""}, {"container", "1", true, ""}};
  out.port_last = out.port_first + 30;  // few, so that two plans want the same one
  if (host.number % 3 == 0) out.limits["licence"] = 3;
  if (devices_ && host.number % 2 == 0) {
    for (uint64_t i = 0; i < 1 + host.number % 4; ++i)
      out.devices.push_back({"gpu" + std::to_string(i), "gpu", i % 2 == 0 ? "T4" : "V100", {16LL << 30}});
  }
  return out;
}

std::shared_ptr<Connection> SimWorld::dial(SimHost& host) {
  const bool blocked = host.link.blocked_until[0] > sim.boot() || host.link.blocked_until[1] > sim.boot();
  const Node* node = manager->state().nodes.find(host.node.value);
  // As the server does: the certificate is that of a node of the pool.
  const bool member = node != nullptr && node->key_fingerprint == host.fingerprint;
  if (!manager->up() || blocked || !member) return nullptr;
  auto connection = std::make_shared<Connection>(sim, host.link, ++connections_);
  sim.count("sessions");
  manager->accept(host.node, host.fingerprint, connection);
  return connection;
}

void SimWorld::submit(const state::Command& command, const std::string& key, const state::Done& done) {
  state::CommandMeta meta{"user:sim", key, key.empty() ? "" : "the same"};
  manager->submit(command, std::move(meta), [this, done](const Result<state::Outcome>& result) {
    if (sim.faults && sim.chance(30)) return sim.count("answers lost");
    done(result);
  });
}

void SimWorld::ask(state::Command command, state::Done done, const std::string& key) {
  sim.count("requests");
  if (!sim.faults || !sim.chance(8)) return submit(command, key, done);
  switch (sim.random.below(3)) {
    case 0: return sim.count("requests lost");
    case 1:
      sim.count("requests late");
      return sim.after(sim.between(0, 4'000), [this, command, key, done] { submit(command, key, done); });
    default:
      sim.count("requests doubled");
      submit(command, key, done);
      return sim.after(sim.between(0, 4'000), [this, command, key, done] { submit(command, key, done); });
  }
}

void SimWorld::ask_until_answered(state::Command command, std::string key, state::Done done) {
  auto answered = std::make_shared<bool>(false);
  auto again = std::make_shared<std::function<void()>>();
  *again = [this, command = std::move(command), key = std::move(key), done = std::move(done), answered,
            weak = std::weak_ptr(again)] {
    if (*answered) return;
    ask(
        command,
        [answered, done](const Result<state::Outcome>& result) {
          if (!result && result.error().code == ErrorCode::unavailable) return;
          *answered = true;
          done(result);
        },
        key);
    if (!*answered) sim.after(sim.between(200, 3'000), [again = weak.lock()] { (*again)(); });
  };
  (*again)();
}

bool SimWorld::run_until(Time end) {
  while (sim.failure.empty() && sim.wall() < end && sim.step()) ++events;
  return sim.failure.empty();
}

SimHost& SimWorld::new_host() {
  hosts.push_back(std::make_unique<SimHost>(*this, hosts.size()));
  return *hosts.back();
}

void SimWorld::join(SimHost& host) {
  host.boot();
  ask_until_answered(state::JoinNode{token_, host.name, host.fingerprint}, {}, [this, &host](const auto& result) {
    if (!result) return sim.broken("no join: " + result.error().to_string());
    if (host.node) return;  // asked twice
    host.node = NodeId{result->id};
    host.start_worker();
  });
}

void SimWorld::set_up(uint64_t workers) {
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
  workers_ = workers;
  short_of_room_ = sim.chance(2);
  devices_ = sim.chance(2);
  Project project = *manager->state().projects.find(project_.value);
  project.preemption = sim.chance(2);
  ask(state::PutProject{project}, [](const auto&) {});
  for (uint64_t i = 0; i < workers; ++i) join(new_host());
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

// Together, apart, and what there is little of.
void SimWorld::random_placement(JobSpec& job) {
  if (job.type == JobType::system) return;
  if (sim.chance(8)) job.placement.all_or_nothing = true;
  if (sim.chance(16)) job.placement.same_node = true;
  if (sim.chance(4)) job.policy = static_cast<PlacementPolicy>(sim.random.below(7));
  for (TaskSpec& task : job.tasks) {
    if (sim.chance(8)) task.node_limits["licence"] = 1;
    if (!devices_ || !sim.chance(3)) continue;
    DeviceSpec gpu;
    if (sim.chance(2))
      gpu.share = 100 * static_cast<int64_t>(1 + sim.random.below(9));
    else
      gpu.count = static_cast<int64_t>(1 + sim.random.below(2));
    if (sim.chance(3)) gpu.models = {sim.chance(2) ? "T4" : "V100"};
    task.gpu = gpu;
  }
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
    task.count = static_cast<int64_t>(sim.random.below(4 + workers_ / 4));
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
  random_placement(job);
  return job;
}

void SimWorld::submit_job() {
  const std::string name = "job" + std::to_string(sim.random.below(6 + workers_ / 16));
  sim.trace("user submits ", name);
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
  const uint64_t what = sim.random.below(11);
  if (what < 3 || what == 8 || what == 9) sim.count("jobs promoted, aborted, stopped, started or deleted");
  switch (what) {
    case 8: return ask(state::PromoteJob{id}, [](const auto&) {});
    case 9: return ask(state::AbortJob{id}, [](const auto&) {});
    case 0:
      known_[job.name] = {.job = id, .may_be_deleted = true};  // whether its submit was answered or not
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
      const auto count = static_cast<int64_t>(sim.random.below(6 + workers_ / 4));
      sim.count("jobs scaled");
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
  sim.count("verbs on instances");
  sim.trace("user: verb " + std::to_string(static_cast<int>(verb)) + " on " + to_text(id));
  ask(state::OperateInstance{id, verb}, [](const auto&) {});
}

void SimWorld::touch_node() {
  const std::vector<uint64_t> all = keys_of(manager->state().nodes);
  if (all.empty()) return;
  const Node& node = *manager->state().nodes.find(all[sim.random.below(all.size())]);
  NodeSpec spec = node.spec;
  spec.eligibility = sim.chance(2) ? Eligibility::eligible : static_cast<Eligibility>(sim.random.below(4));
  spec.drain_deadline = sim.chance(2) ? sim.wall() + sim.between(0, 30'000) : Time{};
  if (spec.eligibility == Eligibility::draining) sim.count("nodes drained");
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
  }
  // Now and then in one breath: what was just decided is overtaken.
  sim.after(sim.chance(3) ? sim.between(0, 30) : sim.between(0, 6'000), [this] { workload(); });
}

}  // namespace tutti::sim
