#include "sim_manager.h"

#include <algorithm>

#include "model/codec.h"
#include "sim_world.h"
#include "state/apply.h"
#include "state/draft.h"
#include "state/row_codec.h"

namespace tutti::sim {
namespace {

constexpr size_t kActionsPerTurn = 256;
constexpr size_t kQueueMost = 20'000;  // posts that wait for one of its threads

}  // namespace

SimManager::SimManager(SimWorld& world)
    : world_(world), sim_(world.sim), wall_(world.sim), state_(std::make_shared<Snapshot>()) {}

void SimManager::start() {
  if (running_) return;
  sim_.trace("manager starts");
  ++incarnation_;
  running_ = std::make_unique<Process>(wall_);
  Process& p = *running_;
  p.store = store::make_memory_store(disk);
  p.engine = state::make_engine(*p.store);
  if (Status opened = p.engine->open(now()); !opened)
    return sim_.broken("the state does not open: " + opened.error().to_string());
  if (p.engine->snapshot()->revision < state_->revision) {
    sim_.broken("committed revision " + std::to_string(state_->revision.value) +
                " was lost: " + std::to_string(p.engine->snapshot()->revision.value));
  }
  check_loaded(*p.engine->snapshot());
  state_ = p.engine->snapshot();
  p.clock.advance_to(state_->now);
  p.engine->follow([this](const std::shared_ptr<const ChangeSet>& changes) { committed(changes); });
  p.engine->decide_with(manager::decide_at_once);
  post_control([this] { rebuild_control(); });
  post_scheduler([this] { rebuild_scheduler(); });
}

void SimManager::crash() {
  if (!running_) return;
  sim_.trace("manager crashes");
  ++incarnation_;
  for (auto& [id, connection] : running_->sessions)
    connection->vanish(kManagerSide, sim_.chance(4) ? sim_.between(0, 20'000) : sim_.between(0, 50));
  // Nobody is answered: a client learns nothing from a dead manager.
  running_.reset();
  if (!sim_.chance(2)) return;
  sim_.count("power cuts of the manager");
  disk->cut_power();
}

void SimManager::later(Duration delay, std::function<void()> work) {
  sim_.after(delay, [this, incarnation = incarnation_, work = std::move(work)]() mutable {
    if (!running_ || incarnation != incarnation_) return;
    if (stalled_until_ > sim_.boot()) return later(stalled_until_ - sim_.boot(), std::move(work));
    work();
  });
}

// What was acknowledged is there, row by row, as it was.
void SimManager::check_loaded(const Snapshot& loaded) {
  sim_.count("manager starts");
  if (loaded.revision != state_->revision) return sim_.count("a commit of unknown outcome was stored");
  auto same = [&](TableId table, const auto& was, const auto& is) {
    if (was.size() != is.size()) sim_.broken("rows were lost or made over a restart");
    was.for_each([&](uint64_t id, const auto&) {
      if (state::encode_row(*state_, table, id) != state::encode_row(loaded, table, id))
        sim_.broken("a row is not as it was acknowledged: " + state::encode_row(*state_, table, id) + " is now " +
                    state::encode_row(loaded, table, id));
    });
  };
  same(TableId::node, state_->nodes, loaded.nodes);
  same(TableId::job, state_->jobs, loaded.jobs);
  same(TableId::version, state_->versions, loaded.versions);
  same(TableId::instance, state_->instances, loaded.instances);
  same(TableId::token, state_->tokens, loaded.tokens);
  same(TableId::operation, state_->operations, loaded.operations);
  same(TableId::event, state_->events, loaded.events);
  same(TableId::idempotency, state_->idempotency, loaded.idempotency);
}

void SimManager::trouble_disk(DiskTrouble trouble, Duration time) {
  disk_trouble_ = trouble;
  disk_trouble_until_ = sim_.boot() + time;
}

// What the disk does with the append to come.
void SimManager::append_fault() {
  using store::AppendFault;
  AppendFault fault = AppendFault::none;
  if (!sim_.faults) {
    disk_trouble_ = DiskTrouble::none;
    if (disk->appends + 1 == crash_at_ && crash_fault_ != AppendFault::none) disk->faults.push_back(crash_fault_);
    return;
  }
  if (disk_trouble_until_ <= sim_.boot()) disk_trouble_ = DiskTrouble::none;
  if (disk_trouble_ == DiskTrouble::full)
    fault = AppendFault::refused;
  else if (disk_trouble_ == DiskTrouble::failing ? sim_.chance(4) : sim_.chance(400))
    fault = static_cast<AppendFault>(1 + sim_.random.below(4));
  if (fault == AppendFault::none) return;
  disk->faults.push_back(fault);
  static constexpr std::string_view kNames[] = {"", "append refused", "append stored, answer lost",
                                                "append lost, answer too", "append torn"};
  sim_.count(kNames[static_cast<size_t>(fault)]);
  sim_.trace("store fault ", std::to_string(static_cast<int>(fault)));
}

void SimManager::check_queues() {
  if (running_->control.size() > kQueueMost || running_->scheduling.size() > kQueueMost)
    sim_.broken("a queue of the manager grows without bound");
}

void SimManager::submit(state::Command command, state::CommandMeta meta, state::Done done) {
  if (!running_) return done(fail(ErrorCode::unavailable, "no manager"));
  const auto* report = std::get_if<state::ReportStatus>(&command);
  if (report != nullptr && sim_.faults && sim_.chance(20)) {
    // A second copy on a slow path: it comes late, perhaps after the node's next session has begun.
    sim_.count("status doubled, late");
    later(sim_.between(0, 9'000), [this, twin = *report] {
      const Node* node = state_->nodes.find(twin.node.value);
      const bool superseded = node == nullptr || node->session > twin.session;
      running_->engine->submit(twin, {}, [this, superseded](const Result<state::Outcome>& result) {
        if (result && superseded) sim_.broken("what a superseded session reported was believed");
      });
      step_soon();
    });
  }
  running_->engine->submit(std::move(command), std::move(meta), std::move(done));
  step_soon();
}

void SimManager::step_soon() {
  Process& p = *running_;
  if (p.stepping || !p.engine->has_work()) return;
  p.stepping = true;
  const bool slow = sim_.faults && (disk_trouble_ == DiskTrouble::slow ? sim_.chance(2) : sim_.chance(100));
  if (slow) sim_.count("append slow");
  later(slow ? sim_.between(0, 1'500) : sim_.between(0, 4), [this] {
    Process& p = *running_;
    append_fault();
    const uint64_t written = disk->appends;
    const Status stepped = p.engine->step(now());
    p.stepping = false;
    disk->faults.clear();
    auto again = [this] {
      crash();
      sim_.after(sim_.between(10, 500), [this] { start(); });
    };
    if (!stepped) return later({}, again);  // the process ends and starts again
    if (written < crash_at_ && disk->appends >= crash_at_) return again();
    // Written and answered, and nobody else has heard of it yet.
    if (sim_.faults && disk->appends > written && sim_.chance(1'500)) {
      sim_.count("crash behind an acknowledged append");
      return again();
    }
    if (p.engine->checkpoint_due() || sim_.chance(300)) {
      disk->fail_next_checkpoint = sim_.faults && (disk_trouble_ == DiskTrouble::full || sim_.chance(4));
      sim_.count(disk->fail_next_checkpoint ? "checkpoint failed" : "checkpoint");
      (void)p.engine->checkpoint(now());
      disk->fail_next_checkpoint = false;
      if (sim_.faults && sim_.chance(20)) {
        sim_.count("crash behind a checkpoint");
        return again();
      }
    }
    step_soon();
  });
}

void SimManager::committed(const std::shared_ptr<const ChangeSet>& changes) {
  state_ = changes->after;
  post_control([this, changes] { follow_control(*changes); });
  post_scheduler([this, changes] { follow_scheduler(*changes); });
  world_.committed(*changes);
}

// ---- the threads
void SimManager::post_control(std::function<void()> work) {
  running_->control.push_back(std::move(work));
  control_soon(milliseconds(0));
}
void SimManager::post_scheduler(std::function<void()> work) {
  running_->scheduling.push_back(std::move(work));
  scheduler_soon(milliseconds(0));
}

// Zero: woken by a post. Otherwise: the turn's own timer, replaced by the next turn's.
void SimManager::control_soon(Duration delay) {
  const bool timer = delay.ns > 0;
  if (!timer && std::exchange(running_->control_due, true)) return;
  const uint64_t mine = timer ? ++control_timer_ : 0;
  later(timer ? delay : sim_.between(0, 1), [this, timer, mine] {
    if (timer && mine != control_timer_) return;
    if (!timer) running_->control_due = false;
    while (!running_->control.empty()) {
      auto work = std::move(running_->control.front());
      running_->control.pop_front();
      work();
    }
    check_queues();
    control_soon(std::max(milliseconds(2), control_turn()));
  });
}

void SimManager::scheduler_soon(Duration delay) {
  const bool timer = delay.ns > 0;
  if (!timer && std::exchange(running_->scheduling_due, true)) return;
  const uint64_t mine = timer ? ++scheduler_timer_ : 0;
  later(timer ? delay : sim_.between(0, 2), [this, timer, mine] {
    if (timer && mine != scheduler_timer_) return;
    if (!timer) running_->scheduling_due = false;
    while (!running_->scheduling.empty()) {
      auto work = std::move(running_->scheduling.front());
      running_->scheduling.pop_front();
      work();
    }
    scheduler_soon(std::max(milliseconds(3), schedule_turn()));
  });
}

// ---- control (manager.cc, "control thread")
void SimManager::rebuild_control() {
  Process& p = *running_;
  const auto state = p.engine->snapshot();
  p.control_revision = state->revision;
  p.controller.rebuild(state);
  p.dispatcher.rebuild(state);
  p.liveness.rebuild(*state, sim_.boot());
  p.operations.rebuild(*state);
  p.housekeeping.rebuild(*state);
}

void SimManager::follow_control(const ChangeSet& changes) {
  Process& p = *running_;
  if (changes.after->revision <= p.control_revision) return;
  if (changes.before->revision != p.control_revision) return rebuild_control();
  p.control_revision = changes.after->revision;
  p.controller.follow(changes);
  p.liveness.follow(changes, sim_.boot());
  p.dispatcher.follow(changes);
  p.housekeeping.follow(changes);
  for (state::UpdateOperation& update : p.operations.follow(changes, now()))
    submit(std::move(update), {}, [](const auto&) {});
}

Duration SimManager::control_turn() {
  Process& p = *running_;
  const BootTime boot = sim_.boot();
  if (p.last_turn.ns != 0 && boot - p.last_turn > milliseconds(1500)) p.liveness.excuse(boot - p.last_turn);
  p.last_turn = boot;
  if (p.control_revision.value == 0) return milliseconds(10);
  const Time now = this->now();
  for (manager::Controller::Work& work : p.controller.step(now, kActionsPerTurn)) {
    const JobId job = work.job;
    if (sim_.tracing()) {
      std::string line = "actions for " + to_text(job) + ":";
      for (const CreateInstance& c : work.command.actions.create)
        line += " create " + std::to_string(c.group) + "/" + std::to_string(c.slot);
      for (const ChangeInstance& c : work.command.actions.change) {
        line += " " + to_text(c.instance) +
                (c.give_up      ? " give up"
                 : c.start_over ? " start over"
                                : " desired " + std::to_string(c.desired ? static_cast<int>(*c.desired) : -1)) +
                " (" + c.reason + ")";
      }
      for (InstanceId id : work.command.actions.forget) line += " forget " + to_text(id);
      sim_.trace(line);
    }
    submit(std::move(work.command), {}, [this, job](const Result<state::Outcome>& result) {
      post_control([this, job, ok = result.has_value()] { running_->controller.done(job, ok, this->now()); });
    });
  }
  for (state::SetNodeHealth& command : p.liveness.tick(sim_.boot())) {
    const NodeId node = command.node;
    const NodeHealth health = command.health;
    submit(std::move(command), {}, [this, node, health](const Result<state::Outcome>& result) {
      const bool done = result && !result->unchanged;
      post_control([this, node, health, done] { running_->liveness.answered(node, health, done); });
    });
  }
  if (sim_.boot() - p.operations_measured > seconds(5)) {
    p.operations_measured = sim_.boot();
    for (state::UpdateOperation& update : p.operations.sweep(*p.engine->snapshot(), now))
      submit(std::move(update), {}, [](const auto&) {});
  }
  for (state::UpdateOperation& update : p.operations.catch_up(*p.engine->snapshot(), now))
    submit(std::move(update), {}, [](const auto&) {});
  for (state::Command& command : p.housekeeping.step(boot)) {
    submit(command, {}, [this, command](const Result<state::Outcome>& result) {
      post_control([this, command, result] { running_->housekeeping.answered(command, result, sim_.boot()); });
    });
  }
  carry_out();
  Duration wait = milliseconds(500);
  for (const Time wake : {p.controller.wake(), p.operations.wake()})
    if (wake) wait = std::clamp(wake - now, Duration{0}, wait);
  return wait;
}

void SimManager::carry_out() {
  for (manager::DispatchOutput& output : running_->dispatcher.take_outputs()) {
    std::visit([this](auto& one) { perform(one); }, output);
  }
}
void SimManager::perform(manager::SendToWorker& send) {
  auto at = running_->sessions.find(send.connection);
  if (at != running_->sessions.end()) at->second->send(kManagerSide, to_json(send.message, {.omit_defaults = true}));
}
void SimManager::perform(manager::CloseWorker& close) {
  auto at = running_->sessions.find(close.connection);
  if (at == running_->sessions.end()) return;
  sim_.trace("manager closes ", std::to_string(close.connection), ": ", close.reason);
  at->second->close(kManagerSide);
  running_->sessions.erase(at);
}
void SimManager::perform(manager::SubmitForWorker& work) {
  submit(std::move(work.command), {},
         [this, connection = work.connection, tag = work.tag](const Result<state::Outcome>& result) {
           post_control(
               [this, connection, tag, result] { running_->dispatcher.committed(connection, tag, result, now()); });
         });
}

void SimManager::accept(NodeId node, const std::string& fingerprint, std::shared_ptr<Connection> connection) {
  const manager::ConnectionId id = ++connections_;
  Ear ear;
  ear.message = [this, id, node, incarnation = incarnation_](const std::string& text) {
    if (!running_ || incarnation != incarnation_) return;
    auto message = from_json<WorkerMessage>(text, {.allow_unknown = true, .what = "worker message"});
    if (!message) return sim_.broken("not a worker message: " + message.error().to_string());
    post_control([this, id, node, message = std::move(*message)]() mutable {
      if (!running_->liveness.heard(node, sim_.boot())) message.beat.reset();
      running_->dispatcher.received(id, message, now());
    });
  };
  ear.closed = [this, id, incarnation = incarnation_] {
    if (!running_ || incarnation != incarnation_) return;
    post_control([this, id] {
      running_->dispatcher.closed(id);
      running_->sessions.erase(id);
    });
  };
  connection->listen(kManagerSide, std::move(ear));
  // As in session_opened(): on the control thread, behind what is queued there.
  post_control([this, id, node, fingerprint, connection] {
    running_->sessions[id] = connection;
    running_->dispatcher.connected(id, node, fingerprint);
  });
}

// ---- schedulers: the one inside, and now and then another that takes its share, is slow, or dies with its plan
void SimManager::rebuild_scheduler() {
  for (scheduler::Planner& planner : running_->planners) planner.rebuild(running_->engine->snapshot());
}

void SimManager::follow_scheduler(const ChangeSet& changes) {
  for (scheduler::Planner& planner : running_->planners)
    if (!planner.follow(changes)) planner.rebuild(running_->engine->snapshot());
}

void SimManager::share_work() {
  Process& p = *running_;
  const bool shared = sim_.faults && sim_.chance(40) ? !p.shared : p.shared && sim_.faults;
  if (shared == p.shared) return;
  sim_.count(shared ? "another scheduler comes" : "another scheduler dies");
  p.shared = shared;
  p.planners[1] = {};
  p.planners[1].rebuild(p.engine->snapshot());
  p.planners[0].take_share({0, shared ? 2u : 1u});
  p.planners[1].take_share({1, 2});
}

// What is proposed for a state holds in that state: else it would be proposed again and again. Looked at where a plan
// has collided with what it did not know.
void SimManager::check_plan_holds() {
  const std::shared_ptr<const Snapshot> state = running_->engine->snapshot();
  const auto scheduler = scheduler::make_scheduler();
  scheduler->rebuild(state);
  const Plan plan = scheduler->schedule_all_pending(1, now(), scheduler::Planner::kPlacementsPerPlan);
  state::Draft draft(*state, std::max(now(), state->now));
  const auto held = state::apply(draft, state::ApplyPlan{plan}, {}, draft.now());
  sim_.count("plans tried out");
  if (held && held->number == plan.placements.size() + plan.push_aside.size()) return;
  std::string told;
  for (const Placement& each : plan.placements) {
    const Instance& i = *draft.state().instances.find(each.instance.value);
    if (!i.admitted) told += " " + state->name_of(i) + (each.together ? " (of all)" : "") + " -> " + to_text(each.node);
  }
  for (const PushAside& each : plan.push_aside) {
    told += " for " + state->name_of(*state->instances.find(each.instance.value)) + (each.together ? " (of all)" : "") +
            " on " + to_text(each.node) + " " + std::to_string(each.victims.size()) + " go;";
  }
  sim_.broken("what is proposed does not hold in the state that it is proposed for:" + told);
}

Duration SimManager::schedule_turn() {
  Process& p = *running_;
  if (p.planners[0].revision().value == 0) return milliseconds(10);
  share_work();
  const Time now = this->now();
  Duration wait = seconds(1);
  for (size_t which = 0; which < (p.shared ? 2u : 1u); ++which) {
    scheduler::Planner& planner = p.planners[which];
    std::optional<Plan> plan = planner.step(now);
    if (plan) {
      sim_.count(which == 0 ? "plans" : "plans of another scheduler");
      if (sim_.tracing())
        sim_.trace("plan: ", std::to_string(plan->placements.size()), " placed, ", std::to_string(plan->refused.size()),
                   " refused");
      if (sim_.tracing()) {
        for (const Placement& placement : plan->placements)
          sim_.trace("  places ", to_json(placement, {.omit_defaults = true}));
        for (const InstanceId refused : plan->refused) sim_.trace("  refused ", to_text(refused));
      }
      if (std::ranges::any_of(plan->push_aside, [](const PushAside& each) { return each.together; }))
        sim_.count("plans that push others aside for a gang");
      const size_t proposed = plan->placements.size() + plan->push_aside.size();
      auto propose = [this, which, proposed, plan = std::move(*plan)] {
        submit(state::ApplyPlan{plan}, {}, [this, which, proposed](const Result<state::Outcome>& result) {
          const auto placed = result ? static_cast<size_t>(result->number) : 0;
          if (result && placed != proposed) check_plan_holds();
          post_scheduler([this, which, placed] { running_->planners[which].applied(placed, this->now()); });
        });
      };
      if (which == 0)
        propose();
      else
        later(sim_.between(0, 20), std::move(propose));
    }
    if (const Time wake = planner.wake()) wait = std::clamp(wake - now, Duration{0}, wait);
  }
  return wait;
}

}  // namespace tutti::sim
