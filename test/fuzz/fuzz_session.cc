// The worker session, both ends: each line is a message, '<' from the manager to a worker, anything else from a worker
// to the manager. Whatever comes, neither machine breaks, and a worker never acts for another node's instances.
#include <map>

#include "base/log.h"
#include "fuzz.h"
#include "manager/dispatch/dispatcher.h"
#include "model/codec.h"
#include "state/engine.h"
#include "store/memory/memory_store.h"
#include "worker/core.h"

using namespace tutti;

namespace {

worker::Now at(int64_t step) {
  return {Time{1'700'000'000'000'000'000 + step * 1'000'000}, BootTime{step * 1'000'000}};
}

// The manager's end with a state behind it: two nodes, of which the peer is the first.
struct ManagerEnd {
  std::shared_ptr<store::MemoryDisk> disk = std::make_shared<store::MemoryDisk>();
  std::unique_ptr<store::Store> store = store::make_memory_store(disk);
  std::unique_ptr<state::Engine> engine = state::make_engine(*store);
  manager::Dispatcher dispatcher;
  NodeId peer;
  int64_t step = 0;

  ManagerEnd() {
    if (!engine->open(at(0).wall)) fuzz::broken("no state");
    Pool pool;
    pool.pool_id = "abcdef";
    pool.network = "10.86.0.0/16";
    if (!commit(state::InitializePool{pool})) fuzz::broken("no pool");
    Token token;
    token.kind = TokenKind::join;
    token.uses_left = 2;
    const TokenId join_token{commit(state::CreateToken{token}).value().id};
    for (const char* name : {"a", "b"}) {
      state::JoinNode join;
      join.token = join_token;
      join.name = name;
      join.key_fingerprint = std::string(64, *name);
      if (!commit(join)) fuzz::broken("a node cannot join");
    }
    engine->snapshot()->nodes.for_each([&](uint64_t id, const Node& node) {
      if (node.name == "a") peer = NodeId{id};
    });
    dispatcher.rebuild(engine->snapshot());
    engine->follow([this](const std::shared_ptr<const ChangeSet>& changes) { dispatcher.follow(*changes); });
    dispatcher.connected(1, peer, std::string(64, 'a'));
  }
  Result<state::Outcome> commit(state::Command command) {
    std::optional<Result<state::Outcome>> out;
    engine->submit(std::move(command), {}, [&](Result<state::Outcome> result) { out = std::move(result); });
    while (!out)
      if (!engine->step(at(++step).wall)) fuzz::broken("the state does not step");
    return std::move(*out);
  }
  void received(std::string_view text) {
    auto message = from_json<WorkerMessage>(text);
    if (!message) return;
    dispatcher.received(1, std::move(*message), at(++step).wall);
    for (int rounds = 0; rounds < 100; ++rounds) {
      auto outputs = dispatcher.take_outputs();
      if (outputs.empty()) return;
      for (auto& output : outputs) {
        if (auto* submit = std::get_if<manager::SubmitForWorker>(&output)) {
          auto result = commit(std::move(submit->command));
          dispatcher.committed(submit->connection, submit->tag, result, at(++step).wall);
        } else if (std::get_if<manager::CloseWorker>(&output) != nullptr) {
          dispatcher.closed(1);
          dispatcher.connected(1, peer, std::string(64, 'a'));
        }
      }
    }
    fuzz::broken("the dispatcher does not come to rest");
  }
};

struct WorkerEnd {
  worker::Core core{7, "boot"};
  int64_t step = 0;

  WorkerEnd() { core.session_opened(at(++step)); }
  void received(std::string_view text) {
    auto message = from_json<ManagerMessage>(text);
    if (!message) return;
    core.received(*message, at(++step));
    for (int rounds = 0; rounds < 200; ++rounds) {
      auto outputs = core.take_outputs();
      if (outputs.empty()) return;
      for (auto& output : outputs) {
        if (auto* op = std::get_if<worker::RunOp>(&output)) core.op_done({op->op, {}, "10.0.0.2"}, at(++step));
        if (auto* close = std::get_if<worker::CloseSession>(&output)) {
          if (close->for_good) return;
          core.session_closed(at(++step));
          core.session_opened(at(++step));
        }
      }
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet = [] {
    configure_logging(LogLevel::off, LogFormat::text, "fuzz");
    return true;
  }();
  (void)quiet;
  ManagerEnd manager;
  WorkerEnd worker;
  fuzz::each_line(fuzz::text(data, size), [&](std::string_view line) {
    if (line.starts_with('<'))
      worker.received(line.substr(1));
    else
      manager.received(line);
  });
  return 0;
}
