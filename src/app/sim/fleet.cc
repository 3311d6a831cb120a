// `tutti sim fleet`: thousands of workers in one process. Each joins, dials and speaks as any worker does, over a
// socket and a session of its own, with the worker's own deciding half (worker/core.h); only what it "runs" is made up.
// Nothing in the manager knows that they are not real.
#include <fmt/format.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <thread>

#include "app/roles.h"
#include "app/settings.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "model/codec.h"
#include "model/validate.h"
#include "net/backoff.h"
#include "net/http.h"
#include "sys/file.h"
#include "worker/core.h"
#include "worker/records.h"

namespace tutti::app {
namespace {

struct FleetOptions {
  int nodes = 0;
  int threads = 1;
  std::string manager;
  std::string token;
  std::string folder;   // identities; gone afterwards
  Duration start_time;  // from the order to running
  int fail_one_in = 0;  // starts that end at once with exit code 1; 0: none
  Resources capacity;
};

struct FleetFigures {
  std::atomic<int64_t> connected{0};
  std::atomic<int64_t> running{0};
  std::atomic<int64_t> starts{0};
};

// One made-up machine. Everything on its I/O thread.
class FleetNode {
 public:
  FleetNode(const FleetOptions& options, FleetFigures& figures, net::IoThread& io, worker::NodeIdentity identity,
            uint64_t seed)
      : options_(options),
        figures_(figures),
        io_(io),
        identity_(std::move(identity)),
        random_(seed),
        core_(seed, "boot-" + std::to_string(seed)) {
    Inventory inventory;
    inventory.hostname = identity_.name;
    inventory.os = "simulated";
    inventory.arch = "x86_64";
    inventory.boot_id = "boot-" + std::to_string(seed);
    inventory.feature_level = kFeatureLevel;
    inventory.cores = static_cast<int32_t>(options.capacity.cpu.value / 1000);
    inventory.memory = options.capacity.memory;
    inventory.capacity = options.capacity;
    for (const char* driver : {"fake", "process", "container"})
      inventory.drivers.push_back({driver, "simulated", true, ""});
    core_.set_inventory(std::move(inventory));
  }
  void start() {
    io_.post([this] { connect(); });
  }

 private:
  worker::Now now() const { return {clock_.now(), clock_.boot_now()}; }

  void connect() {
    const auto endpoint = net::parse_endpoint(identity_.worker_address);
    if (!endpoint) return;
    const net::ClientTls tls{identity_.authority, {}, identity_.certificate, identity_.private_key};
    io_.websocket(*endpoint, tls, "/v1/worker/session", {}, 4u << 20,
                  [this](Result<std::shared_ptr<net::WebSocket>> socket) {
                    if (!socket) return retry();
                    opened(std::move(*socket));
                  });
  }
  void retry() {
    io_.after(backoff_.failed(random_).wait, [this] { connect(); });
  }
  void opened(std::shared_ptr<net::WebSocket> socket) {
    session_ = socket;
    ++figures_.connected;
    core_.session_opened(now());
    net::WebSocket::Callbacks callbacks;
    callbacks.message = [this, socket](const std::string& text, bool) {
      auto message = from_json<ManagerMessage>(text, {.allow_unknown = true, .what = "manager message"});
      if (session_ != socket || !message) return;
      backoff_.worked();
      core_.received(*message, now());
      carry_out();
    };
    callbacks.closed = [this, socket](const std::string&) {
      if (session_ != socket) return;
      session_.reset();
      --figures_.connected;
      core_.session_closed(now());
      carry_out();
      retry();
    };
    callbacks.drained = [] {};
    socket->start(std::move(callbacks));
    carry_out();
  }

  void carry_out() {
    for (auto outputs = core_.take_outputs(); !outputs.empty(); outputs = core_.take_outputs()) {
      for (worker::Output& output : outputs) {
        if (auto* send = std::get_if<worker::SendMessage>(&output)) {
          if (session_ && !session_->send(to_json(send->message, {.omit_defaults = true}), false))
            session_->close("too slow");
        } else if (auto* close = std::get_if<worker::CloseSession>(&output)) {
          if (session_) session_->close(close->reason);
        } else if (auto* run = std::get_if<worker::RunOp>(&output)) {
          perform(run->op);
        }
      }
    }
    arm();
  }

  void perform(const worker::Op& op) {
    worker::OpResult done{op, {}, ""};
    if (op.kind == worker::OpKind::network_up) done.address = "10.0.0.2";
    if (op.kind == worker::OpKind::start) {
      ++figures_.starts;
      const Duration wait =
          options_.start_time +
          Duration{static_cast<int64_t>(random_.below(static_cast<uint64_t>(options_.start_time.ns / 4 + 1)))};
      return io_.after(wait, [this, done] {
        ++figures_.running;
        core_.op_done(done, now());
        if (options_.fail_one_in > 0 && random_.below(static_cast<uint64_t>(options_.fail_one_in)) == 0)
          end(done.op, 1);
        carry_out();
      });
    }
    core_.op_done(done, now());
    if (op.kind == worker::OpKind::stop) end(op, 143);
  }
  void end(const worker::Op& op, int32_t code) {
    --figures_.running;
    driver::ExitStatus status;
    status.exit_code = code;
    status.finished = clock_.now();
    core_.exited(op.instance, op.task, op.generation, op.attempt, status, now());
  }

  void arm() {
    const BootTime at = clock_.boot_now() + std::max(milliseconds(1), core_.wake_in(now()));
    if (armed_.ns != 0 && armed_ <= at) return;
    armed_ = at;
    io_.after(at - clock_.boot_now(), [this, at] {
      if (armed_ != at) return;
      armed_ = {};
      core_.tick(now());
      carry_out();
    });
  }

  const FleetOptions& options_;
  FleetFigures& figures_;
  net::IoThread& io_;
  const worker::NodeIdentity identity_;
  SystemClock clock_;
  SeededRandom random_;
  net::Backoff backoff_;
  worker::Core core_;
  std::shared_ptr<net::WebSocket> session_;
  BootTime armed_;
};

// Several at a time: each join waits for a commit of the manager's.
Result<std::vector<worker::NodeIdentity>> join_all(const FleetOptions& options) {
  std::vector<worker::NodeIdentity> out(static_cast<size_t>(options.nodes));
  std::atomic<int> next{0};
  std::mutex mutex;
  std::optional<Error> problem;
  std::vector<std::jthread> lanes;
  for (int lane = 0; lane < 16; ++lane) {
    lanes.emplace_back([&] {
      for (int i = next++; i < options.nodes; i = next++) {
        auto joined = worker::join(options.folder + "/" + std::to_string(i), options.manager, options.token,
                                   "sim-" + std::to_string(i + 1));
        std::lock_guard lock(mutex);
        if (!joined) problem = joined.error();
        if (problem) return;
        out[static_cast<size_t>(i)] = std::move(*joined);
      }
    });
  }
  lanes.clear();
  if (problem) return tl::make_unexpected(*problem);
  return out;
}

std::vector<Setting> fleet_settings() {
  return {{"nodes", "100", "how many workers"},
          {"manager", "", "host:port of the manager's API"},
          {"token", "", "join token that may be used so often: tutti node token --uses N"},
          {"threads", "1", "I/O threads they share"},
          {"start-time", "5ms", "from the order to running"},
          {"fail-one-in", "0", "of so many starts one ends at once with exit code 1; 0: none"},
          {"cpu", "64c", "what each says it has"},
          {"memory", "256Gi", "what each says it has"}};
}

Result<FleetOptions> options_of(const Settings& settings) {
  FleetOptions out;
  TUTTI_TRY(const int64_t nodes, settings.number("nodes", 1, 20'000));
  TUTTI_TRY(const int64_t threads, settings.number("threads", 1, 64));
  TUTTI_TRY(const int64_t fail_one_in, settings.number("fail-one-in", 0, 1'000'000));
  TUTTI_TRY(out.start_time, parse_duration(settings.get("start-time")));
  TUTTI_TRY(out.capacity.cpu, parse_millicores(settings.get("cpu")));
  TUTTI_TRY(out.capacity.memory, parse_bytes(settings.get("memory")));
  out.capacity.disk = {1LL << 42};
  out.nodes = static_cast<int>(nodes);
  out.threads = static_cast<int>(threads);
  out.fail_one_in = static_cast<int>(fail_one_in);
  out.manager = settings.get("manager");
  out.token = settings.get("token");
  if (out.manager.empty() || out.token.empty())
    return fail(ErrorCode::invalid,
                "say --manager HOST:PORT and --token TOKEN ('tutti node token --uses N' makes one)");
  out.folder = std::filesystem::temp_directory_path() / "tutti-fleet-XXXXXX";
  if (mkdtemp(out.folder.data()) == nullptr) return fail(ErrorCode::io, "no temporary folder " + out.folder);
  return out;
}

}  // namespace

int run_fleet(const std::vector<std::string>& arguments) {
  Settings settings(fleet_settings());
  if (Status loaded = settings.load(arguments); !loaded) return complain(loaded.error());
  if (settings.help_wanted()) {
    std::printf(
        "Example: tutti sim fleet --nodes 1000 --manager HOST:7171 --token TOKEN\n\nWorkers that run nothing, each "
        "with a session of its own. Ends with Ctrl-C.\n\n%s",
        settings.help_text().c_str());
    return 0;
  }
  auto options = options_of(settings);
  if (!options) return complain(options.error());
  block_signals();
  configure_logging(LogLevel::warning, LogFormat::text, "fleet");
  auto identities = join_all(*options);
  (void)sys::remove_tree(options->folder);
  if (!identities) return complain(identities.error());
  std::printf("%d nodes have joined\n", options->nodes);
  FleetFigures figures;
  std::vector<std::unique_ptr<net::IoThread>> threads;
  for (int i = 0; i < options->threads; ++i) threads.push_back(net::make_io_thread("fleet-" + std::to_string(i)));
  std::vector<std::unique_ptr<FleetNode>> nodes;
  for (size_t i = 0; i < identities->size(); ++i) {
    nodes.push_back(std::make_unique<FleetNode>(*options, figures, *threads[i % threads.size()],
                                                std::move((*identities)[i]), i + 1));
    nodes.back()->start();
  }
  std::string said;
  while (wait_for_signal(1000) == 0) {
    std::string line = fmt::format("{} connected, {} running, {} starts", figures.connected.load(),
                                   figures.running.load(), figures.starts.load());
    if (line != said) std::printf("%s\n", line.c_str()), std::fflush(stdout);
    said = std::move(line);
  }
  threads.clear();  // before the nodes that they call
  return 0;
}

}  // namespace tutti::app
