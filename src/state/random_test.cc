// Random sequences of commands from a seed: after every step the indexes are what the tables say, no node is
// over-committed by a naive count, no slot holds two, a refusal leaves no trace, and a load gives back the same state.
#include "base/random.h"

#include <gtest/gtest.h>

#include <map>
#include <regex>

#include "base/limits.h"
#include "state/apply.h"
#include "state/draft.h"
#include "state/engine.h"
#include "state/replica.h"
#include "state/row_codec.h"
#include "store/memory/memory_store.h"

namespace tutti::state {
namespace {

std::string dump(const Snapshot& s) {
  std::string out;
  for (int table = 0; table < kTableCount; ++table) {
    for (uint64_t page = 0; page <= s.next_id >> kPageBits; ++page)
      out += encode_page(s, static_cast<TableId>(table), page);
  }
  return out + std::to_string(s.next_id) + "@" + std::to_string(s.revision.value);
}

template <class T>
std::vector<uint64_t> keys_of(const Table<T>& table) {
  std::vector<uint64_t> out;
  table.for_each([&](uint64_t id, const T&) { out.push_back(id); });
  return out;
}

class Fuzz {
 public:
  explicit Fuzz(uint64_t seed) : random_(seed) {
    disk_ = std::make_shared<store::MemoryDisk>();
    open();
    Pool pool;
    pool.pool_id = "abcdef";
    pool.network = "10.86.0.0/16";
    run(InitializePool{pool});
    project_ = state().project_by_name("default")->id;
    Token token;
    token.kind = TokenKind::join;
    token_ = TokenId{run(CreateToken{token})->id};
  }

  void open() {
    engine_.reset();
    store_ = store::make_memory_store(disk_);
    engine_ = make_engine(*store_);
    Status opened = engine_->open(now_);
    ASSERT_TRUE(opened) << opened.error().to_string();
    held_ = engine_->snapshot();
  }

  Result<Outcome> run(Command command) {
    Result<Outcome> out = fail(ErrorCode::internal, "no answer");
    const auto before = engine_->snapshot();
    engine_->submit(std::move(command), {}, [&](Result<Outcome> o) { out = std::move(o); });
    now_ = now_ + milliseconds(static_cast<int64_t>(random_.below(2'000)));
    EXPECT_TRUE(engine_->step(now_));
    held_ = engine_->snapshot();
    if (!out) {
      ++refused_;
      EXPECT_EQ(before, held_) << "a refusal published something: " << out.error().to_string();
    } else {
      ++done_;
    }
    check();
    return out;
  }

  const Snapshot& state() const { return *held_; }
  uint64_t done() const { return done_; }

  void step() {
    switch (random_.below(16)) {
      case 0: return submit();
      case 1: return void(run(ScaleJob{JobId{any(state().jobs)}, "", static_cast<int64_t>(random_.below(6))}));
      case 2: return void(run(SetJobStopped{JobId{any(state().jobs)}, random_.below(2) == 0}));
      case 3: return random_.below(4) == 0 ? void(run(DeleteJob{JobId{any(state().jobs)}})) : void();
      case 4: return join();
      case 5: return begin();
      case 6: return health();
      case 7:
        return random_.below(6) == 0 ? void(run(RemoveNode{NodeId{any(state().nodes)}, random_.below(2) == 0}))
                                     : void();
      case 8: return operate();
      case 9:
      case 10: return act();
      case 11:
      case 12: return plan();
      case 13:
      case 14: return report();
      default: return eligibility();
    }
  }

 private:
  template <class T>
  uint64_t any(const Table<T>& table) {
    const std::vector<uint64_t> ids = keys_of(table);
    return ids.empty() || random_.below(20) == 0 ? 999'999 : ids[random_.below(ids.size())];
  }

  void submit() {
    JobSpec job;
    job.job = "job" + std::to_string(random_.below(4));
    for (uint64_t i = 0; i <= random_.below(2); ++i) {
      TaskSpec task;
      task.name = "t" + std::to_string(i);
      task.driver = "fake";
      task.count = static_cast<int64_t>(random_.below(5));
      task.resources = {{static_cast<int64_t>(100 + random_.below(1500))},
                        {64 << 20},
                        {static_cast<int64_t>(random_.below(3)) << 30}};
      if (random_.below(3) == 0) task.ports.push_back({"http", 80, random_.below(2) == 0 ? 8080 : 0, Protocol::tcp});
      job.tasks.push_back(task);
    }
    SubmitJob command{job, project_, {}, {}};
    if (random_.below(5) == 0) command.if_version = random_.below(3);
    run(std::move(command));
  }

  void join() {
    run(JoinNode{token_, "n" + std::to_string(random_.below(6)), "key" + std::to_string(random_.below(6))});
  }

  void begin() {
    const Node* node = state().nodes.find(any(state().nodes));
    if (node == nullptr) return;
    Inventory inventory;
    inventory.capacity = {{4000}, {8LL << 30}, {20LL << 30}};
    BeginSession command{node->id, random_.below(8) == 0 ? "stolen" : node->key_fingerprint, inventory, {}};
    if (const IdSet* ids = state().instances_by_node.find(node->id.value)) {
      ids->for_each([&](uint64_t id, const Unit&) {
        if (random_.below(4) != 0) command.held.push_back(InstanceId{id});
      });
    }
    run(std::move(command));
  }

  void health() {
    const Node* node = state().nodes.find(any(state().nodes));
    if (node == nullptr) return;
    const NodeHealth to[] = {NodeHealth::ready, NodeHealth::unknown, NodeHealth::lost};
    run(SetNodeHealth{node->id, node->session, to[random_.below(3)], "fuzz"});
  }

  void eligibility() {
    const Node* node = state().nodes.find(any(state().nodes));
    if (node == nullptr) return;
    NodeSpec spec = node->spec;
    spec.eligibility = random_.below(2) == 0 ? Eligibility::eligible : static_cast<Eligibility>(random_.below(4));
    run(UpdateNode{node->id, spec, {}});
  }

  void operate() {
    run(OperateInstance{InstanceId{any(state().instances)}, static_cast<InstanceVerb>(random_.below(8))});
  }

  void act() {
    Actions actions;
    for (uint64_t i = 0; i < 1 + random_.below(6); ++i) {
      const JobId job{any(state().jobs)};
      const Job* row = state().jobs.find(job.value);
      switch (random_.below(5)) {
        case 0:
        case 1:
          actions.create.push_back({job,
                                    row != nullptr ? row->active_version : 1,
                                    static_cast<uint16_t>(random_.below(2)),
                                    static_cast<uint32_t>(random_.below(5)),
                                    {},
                                    {},
                                    0,
                                    {}});
          break;
        case 2: actions.forget.push_back(InstanceId{any(state().instances)}); break;
        case 3: actions.forget_jobs.push_back(job); break;
        default: {
          ChangeInstance change{.instance = InstanceId{any(state().instances)}, .reason = "fuzz"};
          const Instance* instance = state().instances.find(change.instance.value);
          const uint64_t what = random_.below(7);
          if (what < 5) change.desired = static_cast<Desired>(what);
          // As reconcile does it: only what waits for its user is started over.
          const bool waits =
              instance != nullptr && (instance->desired == Desired::stopped || instance->desired == Desired::suspended);
          if (change.desired == Desired::running) change.start_over = waits;
          change.give_up = what == 5;
          actions.change.push_back(change);
        }
      }
    }
    run(ApplyActions{actions});
  }

  void plan() {
    Plan plan;
    state().pending.for_each([&](uint64_t id, const Unit&) {
      const Instance& instance = *state().instances.find(id);
      Placement placement{
          instance.id, instance.generation + (random_.below(20) == 0 ? 1u : 0u), NodeId{any(state().nodes)}, {}};
      const JobSpec& spec = *state().version_of(instance)->spec;
      for (size_t index : state().group_of(instance).tasks) {
        const TaskSpec& task = spec.tasks[index];
        for (const PortSpec& port : task.ports) {
          const int32_t host = port.host != 0 ? port.host : 20000 + static_cast<int32_t>(random_.below(3));
          placement.ports.push_back({task.name, port.name, port.container, host, port.protocol});
        }
      }
      plan.placements.push_back(std::move(placement));
    });
    run(ApplyPlan{plan});
  }

  void report() {
    const Node* node = state().nodes.find(any(state().nodes));
    if (node == nullptr) return;
    ReportStatus command{node->id, node->session - (random_.below(10) == 0 ? 1 : 0), {}};
    state().instances.for_each([&](uint64_t id, const Instance& row) {
      if (row.node != node->id || random_.below(3) == 0) return;
      InstanceReport told;
      told.instance = InstanceId{id};
      told.gone = random_.below(6) == 0;
      static constexpr TaskState kStates[] = {TaskState::accepted,  TaskState::running, TaskState::running,
                                              TaskState::completed, TaskState::failed,  TaskState::stopped,
                                              TaskState::suspended};
      if (!told.gone) {
        for (const TaskStatus& task : row.detail->tasks) {
          TaskStatus status;
          status.task = task.task;
          status.position = {row.generation - (random_.below(8) == 0 ? 1u : 0u),
                             1 + static_cast<uint32_t>(random_.below(3)), kStates[random_.below(std::size(kStates))]};
          status.final = is_terminal(status.position.state) && random_.below(2) == 0;
          told.tasks.push_back(status);
        }
      }
      command.reports.push_back(std::move(told));
    });
    run(std::move(command));
  }

  // Says nothing through the code under test but what a row means.
  void check() {
    Status audited = audit(state());
    ASSERT_TRUE(audited) << audited.error().to_string();
    std::map<uint64_t, Resources> used;
    std::map<std::pair<uint64_t, int32_t>, uint64_t> ports;
    std::map<std::tuple<uint64_t, std::string, uint32_t>, uint64_t> slots;
    state().instances.for_each([&](uint64_t id, const Instance& i) {
      if (i.finished || i.presence == Presence::given_up) return;
      const auto [slot, only] = slots.try_emplace({i.job.value, state().group_of(i).name, i.slot}, id);
      EXPECT_TRUE(only) << "slot " << i.slot << " holds " << id << " and " << slot->second;
      if (!i.node || !i.admitted || i.cleared || is_terminal(i.state)) return;
      used[i.node.value] += state().group_of(i).resources;
      for (const PortBinding& port : i.detail->ports) {
        EXPECT_TRUE(ports.try_emplace({i.node.value, port.host}, id).second) << "port " << port.host << " given twice";
      }
    });
    for (const auto& [id, sum] : used) {
      const Node* node = state().nodes.find(id);
      ASSERT_NE(node, nullptr) << "something runs on a node that is no more";
      EXPECT_TRUE(sum.fits(allocatable(*node))) << "node " << node->name << " is over-committed";
    }
    EXPECT_LE(state().events.size(), limits::kEventsKept);
    follow_replica();
  }

  // T04: a replica that began at some point, and now and then is sent several commits as one, holds the same rows and
  // indexes.
  void follow_replica() {
    if (replica_.snapshot() == nullptr) {
      if (random_.below(10) != 0) return;
      PageReader pages(held_);
      for (std::string page = pages.next(); !page.empty(); page = pages.next()) ASSERT_TRUE(replica_.receive(page));
      ASSERT_TRUE(replica_.receive(changes_for_replica({}, state().revision, now_)));
      replicated_ = {state().epoch, state().revision};
    } else if (random_.below(3) != 0) {
      return;
    }
    while (replicated_.revision != state().revision) {
      const auto batch = engine_->events_after(replicated_, 100);
      ASSERT_TRUE(batch) << batch.error().to_string();
      const auto changes = replica_.receive(changes_for_replica(batch->events, batch->to.revision, now_));
      ASSERT_TRUE(changes) << changes.error().to_string();
      EXPECT_EQ((*changes)->before->revision, replicated_.revision);
      replicated_ = batch->to;
    }
    const Snapshot& copy = *replica_.snapshot();
    EXPECT_EQ(copy.revision, state().revision);
    for (int table = 0; table < kTableCount; ++table) {
      const auto id = static_cast<TableId>(table);
      for (uint64_t page = 0; is_replicated(id) && page <= state().next_id >> kPageBits; ++page)
        ASSERT_EQ(without_stamps(encode_page(copy, id, page)), without_stamps(encode_page(state(), id, page)));
    }
    const Status audited = audit(copy);
    EXPECT_TRUE(audited) << audited.error().to_string();
  }
  // A replica may see several commits as one: it counts and dates them as it sees them.
  static std::string without_stamps(const std::string& page) {
    static const std::regex stamps("\"(revision\":[0-9]+|updated\":\"[^\"]*\"),?");
    return std::regex_replace(page, stamps, "");
  }

  SeededRandom random_;
  std::shared_ptr<store::MemoryDisk> disk_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<const Snapshot> held_;
  Replica replica_;
  Cursor replicated_;
  Time now_{1'800'000'000'000'000'000};
  ProjectId project_;
  TokenId token_;
  uint64_t done_ = 0;
  uint64_t refused_ = 0;

 public:
  // A quiet end: everything is told to go, every node says so; nothing may be left behind.
  void wind_down() {
    for (uint64_t id : keys_of(state().jobs)) run(DeleteJob{JobId{id}});
    for (int round = 0; round < 3; ++round) {
      Actions remove;
      for (uint64_t id : keys_of(state().instances))
        remove.change.push_back({.instance = InstanceId{id}, .desired = Desired::removed});
      run(ApplyActions{remove});
      for (uint64_t node : keys_of(state().nodes)) {
        ReportStatus told{NodeId{node}, state().nodes.find(node)->session, {}};
        if (const IdSet* ids = state().instances_by_node.find(node)) {
          ids->for_each([&](uint64_t id, const Unit&) {
            InstanceReport gone;
            gone.instance = InstanceId{id};
            gone.gone = true;
            told.reports.push_back(gone);
          });
        }
        run(std::move(told));
      }
      Actions forget;
      for (uint64_t id : keys_of(state().instances)) forget.forget.push_back(InstanceId{id});
      for (uint64_t id : keys_of(state().jobs)) forget.forget_jobs.push_back(JobId{id});
      run(ApplyActions{forget});
    }
    EXPECT_EQ(state().instances.size(), 0u);
    EXPECT_EQ(state().jobs.size(), 0u);
    EXPECT_EQ(state().usage.size(), 0u);
    EXPECT_EQ(state().pending.size(), 0u);
  }
  void checkpoint() { ASSERT_TRUE(engine_->checkpoint(now_)); }
};

TEST(StateRandom, EverySequenceKeepsTheInvariantsAndLoadsBackEqual) {
  for (uint64_t seed = 1; seed <= 60 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Fuzz fuzz(seed);
    for (int i = 0; i < 250 && !::testing::Test::HasFailure(); ++i) {
      fuzz.step();
      if (i % 50 == 25) fuzz.checkpoint();
      if (i % 40 == 39) {
        const std::string before = dump(fuzz.state());
        fuzz.open();
        ASSERT_EQ(dump(fuzz.state()), before);
      }
    }
    EXPECT_GT(fuzz.done(), 50u);
    fuzz.wind_down();
  }
}

}  // namespace
}  // namespace tutti::state
