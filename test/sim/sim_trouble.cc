// Trouble: what breaks, who comes and goes, and the end of it all.
#include <algorithm>

#include "sim_world.h"

namespace tutti::sim {
namespace {

constexpr int64_t kTroubleSeconds = 180;
constexpr int64_t kCalmSecondsMax = 300;
constexpr uint64_t kJoinsMost = 5;

// Most pools are small, so that many of them can be played; some are as wide as a pool of some size.
uint64_t how_many_workers(Simulation& sim) {
  if (const char* asked = std::getenv("SIM_WORKERS")) return std::strtoull(asked, nullptr, 10);
  const uint64_t dice = sim.random.below(400);
  if (dice < 340) return 1 + sim.random.below(6);
  if (dice < 385) return 7 + sim.random.below(10);
  if (dice < 398) return 17 + sim.random.below(44);
  return 61 + sim.random.below(240);
}

}  // namespace

void SimWorld::partition(SimHost& host) {
  const BootTime until = sim.boot() + (sim.chance(2) ? sim.between(0, 5'000) : sim.between(0, 25'000));
  const uint64_t which = sim.random.below(3);
  static constexpr std::string_view kNames[] = {"partitions: the manager is not heard",
                                                "partitions: the worker is not heard", "partitions both ways"};
  sim.count(kNames[which]);
  sim.trace(host.name, " cut off, direction ", std::to_string(which));
  if (which != 0) host.link.blocked_until[kWorkerSide] = until;
  if (which != 1) host.link.blocked_until[kManagerSide] = until;
  if (host.connection && sim.chance(3)) host.connection->cut();
}

// A switch fails: many at once.
void SimWorld::partition_some() {
  sim.count("partitions of many at once");
  for (const auto& host : hosts) {
    if (!host->left && sim.chance(2)) partition(*host);
  }
}

void SimWorld::jump_clock() {
  Duration wrong_by;
  if (!sim.chance(3)) wrong_by = sim.chance(3) ? sim.between(-3'600'000, 3'600'000) : sim.between(-20'000, 20'000);
  if (sim.chance(2)) {
    sim.count(wrong_by < manager->clock_error() ? "clock jumps of the manager, back"
                                                : "clock jumps of the manager, forward");
    sim.trace("the manager's clock is wrong by ", std::to_string(wrong_by.ms()), " ms");
    return manager->set_clock(wrong_by);
  }
  SimHost& host = *hosts[sim.random.below(hosts.size())];
  sim.count("clock jumps of workers");
  sim.trace(host.name, "'s clock is wrong by ", std::to_string(wrong_by.ms()), " ms");
  host.set_clock(wrong_by);
}

// Its machine is off for good, its user says so; or it is idle, and asked to go.
void SimWorld::someone_leaves(SimHost& host) {
  if (host.leaving || !host.node || hosts.size() >= workers_ + kJoinsMost) return;
  const bool fenced = sim.chance(2);
  host.leaving = true;
  const NodeId node = host.node;
  if (fenced) host.leave();
  sim.trace("user removes ", host.name, fenced ? ", which is off" : "");
  ask_until_answered(state::RemoveNode{node, fenced}, {}, [this, &host, fenced](const Result<state::Outcome>& result) {
    // A second copy of the request may do what the first was refused.
    if (!result && manager->state().nodes.contains(host.node.value)) {
      host.leaving = false;
      return;
    }
    sim.count(fenced ? "nodes removed, fenced" : "nodes removed");
    if (!fenced) host.leave();
  });
  const auto there = std::ranges::count_if(hosts, [](const auto& each) { return !each->leaving; });
  if (there > 1 && sim.chance(3)) return;
  sim.count("nodes joined late");
  join(new_host());
}

void SimWorld::trouble() {
  if (!sim.faults) return;
  SimHost& host = *hosts[sim.random.below(hosts.size())];
  // The more there are, the more often something happens to one of them; not to their manager, nor to many at once.
  const uint64_t crowd = 1 + hosts.size() / 16;
  uint64_t dice = sim.random.below(16);
  const bool of_all = dice == 0 || dice == 6 || dice == 8 || dice == 11 || dice == 12;
  if (of_all && !sim.chance(crowd)) dice = 1 + sim.random.below(5);
  switch (dice) {
    case 0:
      sim.count("manager crashes");
      manager->crash();
      sim.after(sim.chance(3) ? sim.between(0, 15'000) : sim.between(0, 500), [this] { manager->start(); });
      break;
    case 1:
    case 2:
      sim.count("worker crashes");
      host.crash_worker();
      sim.after(sim.chance(3) ? sim.between(0, 20'000) : sim.between(0, 500), [&host] { host.start_worker(); });
      break;
    case 3:
      sim.count("reboots");
      host.reboot();
      sim.after(sim.between(0, 25'000), [&host] { host.start_worker(); });
      break;
    case 4:
    case 5:
      sim.count("connections broken");
      sim.trace(host.name, " connection breaks");
      if (host.connection) host.connection->cut();
      break;
    case 6: {
      const auto what = static_cast<DiskTrouble>(1 + sim.random.below(3));
      static constexpr std::string_view kNames[] = {"", "manager's disk slow", "manager's disk full",
                                                    "manager's disk failing"};
      sim.count(kNames[static_cast<size_t>(what)]);
      sim.trace(kNames[static_cast<size_t>(what)]);
      manager->trouble_disk(what, sim.between(0, 15'000));
      break;
    }
    case 7:
      sim.count("a worker's disk fills");
      host.fill_disk(sim.between(0, 30'000));
      break;
    case 8:
    case 9: jump_clock(); break;
    case 10:
      sim.count("worker stands still");
      sim.trace(host.name, " stands still");
      host.stall(sim.chance(2) ? sim.between(0, 2'000) : sim.between(0, 20'000));
      break;
    case 11:
      if (sim.chance(2)) {
        sim.count("manager stands still");
        sim.trace("manager stands still");
        manager->stall(sim.chance(2) ? sim.between(0, 2'000) : sim.between(0, 15'000));
      } else {
        someone_leaves(host);
      }
      break;
    case 12: partition_some(); break;
    default: partition(host); break;
  }
  sim.after(sim.between(0, 8'000 / static_cast<int64_t>(crowd)), [this] { trouble(); });
}

void SimWorld::make_calm() {
  sim.faults = false;
  sim.trace("calm");
  manager->set_clock({});
  manager->start();
  for (const auto& host : hosts) {
    host->heal();
    host->set_clock({});
    if (host->node) host->start_worker();
  }
}

std::string SimWorld::calm_down() {
  make_calm();
  if (!run_until(sim.wall() + seconds(40))) return sim.failure;  // what was under way, half-open connections
  for (const auto& host : hosts)                                 // removed by a request whose copy came late
    if (host->node && !host->left && !manager->state().nodes.contains(host->node.value)) host->leave();
  manager->state().nodes.for_each([&](uint64_t id, const Node& node) {
    NodeSpec spec = node.spec;
    spec.eligibility = Eligibility::eligible;
    ask(state::UpdateNode{NodeId{id}, spec, {}}, [](const auto&) {});
  });
  stop_launchers();
  const Time deadline = sim.wall() + seconds(kCalmSecondsMax);
  std::string left = "?";
  while (!left.empty() && sim.wall() < deadline) {
    if (!run_until(sim.wall() + seconds(2))) return sim.failure;
    left = unfinished();
  }
  if (!left.empty()) sim.broken("not as asked " + std::to_string(kCalmSecondsMax) + " s after all trouble: " + left);
  check_everything(manager->state());
  return sim.failure;
}

std::string SimWorld::run() {
  const uint64_t workers = how_many_workers(sim);
  sim.count(workers == 1   ? "pools of one worker"
            : workers > 60 ? "pools of 61 to 300 workers"
            : workers > 6  ? "pools of 7 to 60 workers"
                           : "pools of 2 to 6 workers");
  set_up(workers);
  sim.faults = true;
  workload();
  trouble();
  if (!run_until(sim.wall() + seconds(kTroubleSeconds))) return sim.failure;
  return calm_down();
}

// Whatever a short run does up to a write, it does in every run of the seed: so all writes can be gone through.
std::string SimWorld::run_crash_at(uint64_t append, store::AppendFault fault, uint64_t record) {
  set_up(2);
  appends_before_ = manager->disk->appends;
  if (append > 0) manager->crash_at_append(appends_before_ + append, fault);
  crash_at_record = record;
  for (int i = 0; i < 3; ++i) submit_job();
  if (!run_until(sim.wall() + seconds(6))) return sim.failure;
  for (int i = 0; i < 3; ++i) touch_job();
  if (!run_until(sim.wall() + seconds(6))) return sim.failure;
  return calm_down();
}

}  // namespace tutti::sim
