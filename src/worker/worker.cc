#include "worker/worker.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <set>

#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "base/steady_clock.h"
#include "driver/lease_page.h"
#include "model/codec.h"
#include "net/backoff.h"
#include "net/http.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "worker/checks.h"
#include "worker/core.h"
#include "worker/streams.h"

namespace tutti::worker {
namespace {

constexpr size_t kSessionPendingBytes = 4u << 20;
constexpr int64_t kRenewAgainSeconds = 10;  // after a renewal that failed
constexpr Duration kTidyEvery = seconds(60);
constexpr Duration kNetworkAgainAfter = seconds(5);  // what is in its way may go; how long work waits: kNetworkAwaited

class WorkerImpl final : public Worker {
 public:
  WorkerImpl(WorkerOptions options, NodeIdentity identity, driver::Registry& drivers, HostServices& host)
      : options_(std::move(options)),
        identity_(std::move(identity)),
        drivers_(drivers),
        host_(host),
        records_(options_.run_dir + "/records"),
        random_(std::hash<std::string>{}(secure_random_hex(8))) {}

  ~WorkerImpl() override {
    stopping_ = true;
    if (io_) io_->stop();  // what the others post to it from now on is never run
    if (checks_) checks_->stop();
    streams_.reset();
    executor_.reset();
    for (std::jthread* each : {&renewing_, &tidying_})
      if (each->joinable()) each->join();
    if (page_ != nullptr) ::munmap(page_, 4096);
  }

  Status begin() {
    for (const std::string& dir : {options_.data_dir, options_.run_dir, options_.run_dir + "/runs",
                                   options_.data_dir + "/disks", options_.data_dir + "/logs"}) {
      TUTTI_CHECK(sys::make_dirs(dir, 0711));
    }
    auto lock = sys::take_lock(options_.run_dir + "/worker.lock");
    if (!lock)
      return fail(ErrorCode::conflict,
                  options_.run_dir + " is in use by another worker: stop it, or choose another run directory");
    lock_ = std::move(*lock);
    TUTTI_CHECK(map_lease_page());
    inventory_ = fingerprint(options_.fingerprint, drivers_);
    TUTTI_TRY(std::vector<InstanceRecord> records, records_.load());
    core_ = std::make_unique<Core>(random_.next(), inventory_.boot_id);
    core_->set_inventory(inventory_);
    io_ = net::make_io_thread("worker");
    checks_ = std::make_unique<Checks>(*io_, random_.next(), [this](const CheckedRun& run, HealthChange change) {
      core_->checked(run.instance, run.task, run.generation, run.attempt, change.state, std::move(change.reason),
                     change.restart, now());
      carry_out();
    });
    Host host;
    host.network_up = [this](InstanceId id, const std::vector<PortBinding>& ports, NetworkMode mode) {
      return host_.network_up(id, ports, mode);
    };
    host.network_down = [this](InstanceId id) { return host_.network_down(id); };
    host.image = [this](const std::string& reference) { return host_.image(reference); };
    // The pool's short id is known from the first welcome on; runs found before it carry it in their records' cgroup.
    pool_ = sys::read_file(options_.data_dir + "/identity/pool").value_or("");
    io_->post([this, host = std::move(host), records = std::move(records)]() mutable {
      host_hooks_ = std::move(host);
      if (!pool_.empty()) make_executor();
      core_->load(std::move(records), now());
      carry_out();
      connect();
      tick();
    });
    return {};
  }

  std::string refused() const override {
    std::lock_guard lock(mutex_);
    return refused_;
  }
  bool connected() const override { return connected_; }

 private:
  Now now() const { return {clock_.now(), clock_.boot_now()}; }

  Status map_lease_page() {
    const std::string path = options_.run_dir + "/lease";
    sys::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!fd || ::ftruncate(fd.get(), 4096) != 0) return fail_errno("open " + path, errno);
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (page == MAP_FAILED) return fail_errno("map " + path, errno);
    page_ = static_cast<driver::LeasePage*>(page);
    return {};
  }

  // ---- on the I/O thread from here on
  void make_executor() {
    ExecutorPaths paths{options_.data_dir, options_.run_dir, "tutti-" + pool_ + "/" + identity_.name, identity_.name};
    executor_ = std::make_unique<Executor>(std::move(paths), drivers_, host_hooks_, options_.threads);
    streams_ = std::make_unique<Streams>(*executor_,
                                         [this](InstanceId id, const std::string& task) { return is_over(id, task); });
  }

  void connect() {
    if (stopping_ || session_) return;
    auto endpoint = net::parse_endpoint(identity_.worker_address);
    if (!endpoint) return log_error("no address to dial", {{"error", endpoint.error().to_string()}});
    io_->websocket(*endpoint, tls(), "/v1/worker/session", {}, kSessionPendingBytes,
                   [this](Result<std::shared_ptr<net::WebSocket>> socket) {
                     if (!socket) return retry(socket.error().to_string());
                     opened(std::move(*socket));
                   });
  }

  net::ClientTls tls() const { return {identity_.authority, {}, identity_.certificate, identity_.private_key}; }

  void retry(const std::string& why) {
    if (stopping_) return;
    const net::Backoff::Next next = backoff_.failed(random_);
    if (next.tell) log_warning("not connected to the manager", {{"address", identity_.worker_address}, {"error", why}});
    io_->after(next.wait, [this] { connect(); });
  }

  void opened(std::shared_ptr<net::WebSocket> socket) {
    session_ = socket;
    net::WebSocket::Callbacks callbacks;
    callbacks.message = [this, socket](const std::string& text, bool) {
      if (session_ != socket) return;
      auto message = from_json<ManagerMessage>(text, {.allow_unknown = true, .what = "manager message"});
      if (!message) {
        log_error("the manager sent what is no message", {{"error", message.error().to_string()}});
        return socket->close("not a message");
      }
      backoff_.worked();
      core_->received(*message, now());
      carry_out();
    };
    callbacks.closed = [this, socket](const std::string& reason) {
      if (session_ != socket) return;
      session_.reset();
      connected_ = false;
      core_->session_closed(now());
      carry_out();
      retry("closed: " + reason);
    };
    callbacks.drained = [] {};
    core_->session_opened(now());
    socket->start(std::move(callbacks));
    carry_out();
  }

  void tick() {
    if (stopping_) return;
    core_->tick(now());
    carry_out();
    const Time wall = clock_.now();
    if (wall > renew_at_) {
      renew_at_ = wall + seconds(3600);
      renew_certificate();
    }
    if (network_again_.ns != 0 && clock_.boot_now() >= network_again_) use_network();
    if (swept_ && !tidy_under_way_ && clock_.boot_now() >= tidy_at_) tidy_images();
    arm();
  }

  // What has just happened may be due for something sooner than the timer that runs: a restart, a report.
  void arm() {
    const BootTime at = clock_.boot_now() + std::max(milliseconds(1), core_->wake_in(now()));
    if (stopping_ || (armed_.ns != 0 && armed_ <= at)) return;
    armed_ = at;
    io_->after(at - clock_.boot_now(), [this, at] {
      if (armed_ != at) return;
      armed_ = {};
      tick();
    });
  }

  // A day's work at most once an hour: blocking, so on a thread of its own.
  void renew_certificate() {
    if (renewing_.joinable()) renewing_.join();
    renewing_ = std::jthread([this, identity = identity_, at = clock_.now()]() mutable {
      auto renewed = renew(options_.data_dir, identity, at);
      if (!renewed) {
        log_warning("certificate not renewed", {{"error", renewed.error().to_string()}});
        return io_->post([this] { renew_at_ = clock_.now() + seconds(kRenewAgainSeconds); });
      }
      if (!*renewed) return;
      log_info("certificate renewed");
      io_->post([this, identity] {
        identity_ = identity;
        host_.renewed(identity_);
        if (session_) session_->close("the certificate was renewed");
      });
    });
  }

  // Removing may take a while, so on a thread of its own too.
  void tidy_images() {
    if (tidying_.joinable()) tidying_.join();
    tidy_at_ = clock_.boot_now() + kTidyEvery;
    tidy_under_way_ = true;
    std::set<std::string> in_use;
    for (const Runner* runner : core_->runners())
      for (const TaskSpec& task : runner->spec().spec->tasks) in_use.insert(image_of(runner->spec(), task));
    tidying_ = std::jthread([this, in_use = std::vector<std::string>(in_use.begin(), in_use.end()), at = clock_.now()] {
      host_.tidy_images(in_use, at);
      io_->post([this] { tidy_under_way_ = false; });
    });
  }

  void carry_out() {
    std::vector<Output> outputs = core_->take_outputs();
    for (Output& output : outputs) {
      std::visit([this](auto& one) { perform(one); }, output);
    }
    arm();
  }
  void perform(SendMessage& send) {
    if (!session_) return;
    if (!session_->send(to_json(send.message, {.omit_defaults = true}), false))
      session_->close("the manager does not take what is sent");
  }
  void perform(StoreRecord& store) {
    if (Status stored = records_.store(store.record); !stored)
      log_error("record not stored", {{"error", stored.error().to_string()}});
  }
  void perform(DropRecord& drop) {
    if (Status dropped = records_.drop(drop.instance); !dropped)
      log_error("record not dropped", {{"error", dropped.error().to_string()}});
  }
  void perform(SetLease& lease) {
    page_->deadline_boot_ns.store(lease.until.ns, std::memory_order_release);
    connected_ = true;
  }
  void perform(CloseSession& close) {
    if (close.for_good) {
      log_error("the manager does not want this node", {{"reason", close.reason}});
      std::lock_guard lock(mutex_);
      refused_ = close.reason;
    }
    if (session_) session_->close(close.reason);
  }
  void perform(UseWelcome& use) {
    const std::string pool = use.welcome.pool_id.substr(0, 6);
    if (pool != pool_) {
      pool_ = pool;
      if (Status saved = sys::write_file_atomic(options_.data_dir + "/identity/pool", pool_); !saved)
        log_error("not saved", {{"error", saved.error().to_string()}});
    }
    // For 'tutti worker --purge', which finds the node's network by it.
    if (Status saved = sys::write_file_atomic(options_.data_dir + "/identity/subnet", use.welcome.subnet); !saved)
      log_error("not saved", {{"error", saved.error().to_string()}});
    host_.on_images([this](NodeImages images) {
      io_->post([this, images = std::move(images)] {
        core_->set_images(images, now());
        carry_out();
      });
    });
    welcome_ = use.welcome;
    use_network();
    if (!executor_) make_executor();
    for (Op& op : std::exchange(early_, {})) start(op);
  }
  // The manager hears in a new session what this node is able to do now.
  void use_network() {
    const Status used = host_.use(welcome_, identity_, live_instances());
    const std::string why = used ? "" : used.error().message;
    network_again_ = used ? BootTime{} : clock_.boot_now() + kNetworkAgainAfter;
    if (why == network_missing_) return;
    if (used)
      log_info("the node's network is ready");
    else
      log_error("the node's network is not ready", {{"error", why}});
    network_missing_ = why;
    core_->set_inventory(with_network(inventory_, drivers_, why));
    if (session_) session_->close("what the node is able to do has changed");
  }
  // Those with a network that some task will need: runs, or starts over after a while.
  std::vector<LiveInstance> live_instances() const {
    std::vector<LiveInstance> out;
    for (const Runner* runner : core_->runners()) {
      InstanceReport report = runner->report();
      const bool over =
          std::all_of(report.tasks.begin(), report.tasks.end(), [](const TaskStatus& task) { return task.final; });
      if (!over && !report.address.empty())
        out.push_back({report.instance, report.address, runner->assignment().ports});
    }
    return out;
  }
  void perform(SweepLeftovers& sweep) {
    if (!executor_) return;
    // The first time before anything that is new runs: what a dead worker left. Later the disk of what waited here to
    // start over, and was given up while this node was not heard; it has no network.
    executor_->sweep(sweep.live);
    swept_ = true;
    // Once there is a network: when it comes late, a new session begins, and what lives is named again.
    const bool has_network = network_again_.ns == 0;
    if (has_network && !std::exchange(network_swept_, true)) host_.sweep(sweep.live);
  }
  void perform(RunOp& run) {
    if (!executor_) return early_.push_back(run.op);
    start(run.op);
  }
  void start(const Op& op) {
    const Runner* runner = core_->find(op.instance);
    if (runner == nullptr || runner->task_count() == 0) return;
    Executor::Subject subject{runner->assignment(), runner->spec(), runner->task_spec(op.task), false};
    executor_->run(
        op, std::move(subject),
        [this](OpResult result) {
          io_->post([this, result = std::move(result)] {
            if (result.failure)
              log_warning("operation failed",
                          {{"instance", to_text(result.op.instance)}, {"error", result.failure->error.to_string()}});
            core_->op_done(result, now());
            carry_out();
          });
        },
        // Drivers outlive this worker, and so may what they tell.
        [this, io = io_, id = op.instance](uint32_t generation, uint32_t attempt, uint16_t task,
                                           driver::ExitStatus status) {
          io->post([this, id, generation, attempt, task, status = std::move(status)] {
            core_->exited(id, task, generation, attempt, status, now());
            carry_out();
          });
        });
  }

  void perform(WatchHealth& watch) {
    const Runner* runner = core_->find(watch.instance);
    if (!watch.on) return checks_->unwatch(watch.instance, watch.task);
    if (runner == nullptr || !executor_) return;
    const TaskSpec& task = runner->task_spec(watch.task);
    CheckedRun run{watch.instance, watch.task, watch.generation,           watch.attempt,
                   watch.before,   task,       runner->assignment().ports, {},
                   nullptr,        {}};
    run.driver = executor_->driver_of(task);
    run.run = executor_->context(runner->assignment(), runner->spec(), task, watch.generation, watch.attempt);
    const bool own_network =
        run.driver != nullptr && run.driver->capabilities().network && task.network != NetworkMode::host;
    if (own_network) run.address = runner->report().address;
    checks_->watch(std::move(run));
  }

  void perform(OpenStream& open) {
    auto endpoint = net::parse_endpoint(identity_.worker_address);
    if (!endpoint || !streams_) return;
    StreamRequest request = std::move(open.request);
    const std::string target = "/v1/worker/stream?ticket=" + net::percent_encode(request.ticket);
    io_->websocket(*endpoint, tls(), target, {}, kSessionPendingBytes,
                   [this, request](Result<std::shared_ptr<net::WebSocket>> socket) {
                     if (!socket) return log_warning("stream not opened", {{"error", socket.error().to_string()}});
                     streams_->serve(std::move(*socket), request, find_target(request));
                   });
  }
  Result<StreamTarget> find_target(const StreamRequest& request) const {
    const Runner* runner = core_->find(request.instance);
    if (runner == nullptr) return fail(ErrorCode::not_found, "the instance is not on this node (any more)");
    const InstanceReport report = runner->report();
    for (uint16_t i = 0; i < runner->task_count(); ++i) {
      const TaskSpec& task = runner->task_spec(i);
      if (!request.task.empty() && task.name != request.task) continue;
      return StreamTarget{runner->assignment(), runner->spec(), task, report.tasks[i]};
    }
    return fail(ErrorCode::not_found, "instance " + runner->assignment().name + " has no task '" + request.task + "'");
  }
  // From a stream's thread: the answer comes from the I/O thread, which owns the runners.
  bool is_over(InstanceId id, const std::string& name) {
    if (stopping_) return true;
    auto promise = std::make_shared<std::promise<bool>>();
    auto future = promise->get_future();
    io_->post([this, id, name, promise] {
      const Runner* runner = core_->find(id);
      bool over = runner == nullptr;
      if (runner != nullptr) {
        for (const TaskStatus& task : runner->report().tasks) over = over || (task.task == name && task.final);
      }
      promise->set_value(over);
    });
    return future.wait_for(std::chrono::seconds(5)) == std::future_status::ready && future.get();
  }

  const WorkerOptions options_;
  NodeIdentity identity_;
  driver::Registry& drivers_;
  HostServices& host_;
  const Records records_;
  const SystemClock system_clock_;
  const SteadyClock clock_{system_clock_};
  SeededRandom random_;
  Inventory inventory_;
  sys::UniqueFd lock_;
  driver::LeasePage* page_ = nullptr;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> connected_{false};
  mutable std::mutex mutex_;
  std::string refused_;

  // I/O thread
  Host host_hooks_;
  std::string pool_;
  std::unique_ptr<Core> core_;
  std::shared_ptr<net::WebSocket> session_;
  BootTime armed_;              // when the next tick comes; 0: none is on its way
  std::vector<Op> early_;       // asked for before the pool's name was known
  bool swept_ = false;          // runs and disks of what is not to be here
  bool network_swept_ = false;  // and their addresses, rules and ports
  net::Backoff backoff_;
  Time renew_at_;
  std::jthread renewing_;
  WelcomeMessage welcome_;       // the last that was used
  std::string network_missing_;  // why the node has no network; empty: it has one
  BootTime network_again_;       // when it is tried again; 0: not to be
  BootTime tidy_at_;
  bool tidy_under_way_ = false;
  std::jthread tidying_;

  std::unique_ptr<Checks> checks_;  // its timers run on the thread below
  std::shared_ptr<net::IoThread> io_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Streams> streams_;
};

}  // namespace

Result<std::unique_ptr<Worker>> Worker::start(WorkerOptions options, NodeIdentity identity, driver::Registry& drivers,
                                              HostServices& host) {
  auto worker = std::make_unique<WorkerImpl>(std::move(options), std::move(identity), drivers, host);
  TUTTI_CHECK(worker->begin());
  return worker;
}

}  // namespace tutti::worker
