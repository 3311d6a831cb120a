#include "manager/manager.h"

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "base/steady_clock.h"
#include "catalog/content_store.h"
#include "catalog/distribution.h"
#include "catalog/fetch.h"
#include "manager/api/api.h"
#include "manager/bounded_pool.h"
#include "manager/control/controller.h"
#include "manager/control/housekeeping.h"
#include "manager/control/operations.h"
#include "manager/dispatch/dispatcher.h"
#include "manager/dispatch/liveness.h"
#include "manager/images.h"
#include "manager/intake.h"
#include "manager/learning_thread.h"
#include "manager/prune.h"
#include "manager/queue_thread.h"
#include "manager/schedulers.h"
#include "manager/streams.h"
#include "manager/tags.h"
#include "model/codec.h"
#include "scheduler/planner.h"
#include "state/loop.h"

namespace tutti::manager {
namespace {

constexpr size_t kSessionPendingBytes = 4u << 20;
constexpr size_t kSessionBlockedBytes = 1u << 20;
constexpr size_t kActionsPerTurn = 256;
constexpr size_t kBlockingQueueMax = 256;
constexpr int kBlockingThreads = 4;
constexpr size_t kComputingQueueMax = 64;
constexpr int kComputingThreads = 2;
constexpr Duration kJudgeEvery = milliseconds(250);
// From so many sessions on their beats are taken together, so often: each alone would wake two threads.
constexpr size_t kSessionsTogether = 500;
constexpr size_t kSessionsGathered = 2'500;  // whose beats alone come more often than the I/O thread would rest
constexpr Duration kBeatsEvery = milliseconds(20);

class ManagerImpl final : public Manager, public Services {
 public:
  ManagerImpl(ManagerOptions options, std::unique_ptr<store::Store> store, std::unique_ptr<Bootstrap> bootstrap)
      : options_(std::move(options)),
        store_(std::move(store)),
        bootstrap_(std::move(bootstrap)),
        tags_(*this),
        resolver_(*this, [this](const std::string& reference) { return fetch(reference); }) {}

  ~ManagerImpl() override {
    stopping_ = true;
    if (api_server_) api_server_->stop();
    if (worker_server_) worker_server_->stop();
    if (scheduler_thread_) scheduler_thread_->stop();
    learning_.stop();
    if (schedulers_) schedulers_->stop();
    if (control_) control_->stop();
    if (loop_) loop_->stop();
    // Whatever was waiting for a commit has been answered: what it was answered to may go.
    schedulers_.reset();
    computing_.reset();
    pool_.reset();
    sessions_.clear();
  }

  Status start() {
    TUTTI_TRY(content_, catalog::ContentStore::open(options_.catalog_dir));
    sweep_work_folders();
    distribution_ = std::make_unique<catalog::Distribution>(*content_, tags_, 2);
    pool_ = std::make_unique<BoundedPool>(kBlockingThreads, kBlockingQueueMax, "file work");
    computing_ = std::make_unique<BoundedPool>(kComputingThreads, kComputingQueueMax, "planning and explaining");
    TUTTI_TRY(loop_, state::StateLoop::open(*store_, clock_));
    clock_.advance_to(loop_->snapshot()->now);
    loop_->follow([this](const std::shared_ptr<const ChangeSet>& changes) { committed(changes); });
    loop_->decide_with(decide_at_once);
    loop_->start();
    TUTTI_CHECK(initialise());
    control_ = std::make_unique<QueueThread>("control", [this] { return control_turn(); });
    scheduler_thread_ = std::make_unique<QueueThread>("scheduler", [this] { return schedule_turn(); });
    schedulers_ = std::make_unique<Schedulers>(*this, [this](scheduler::Share share) {
      scheduler_thread_->post([this, share] { planner_.take_share(share); });
    });
    control_->post([this] { rebuild_control(); });
    scheduler_thread_->post([this] { planner_.rebuild(snapshot()); });
    followers_ready_ = true;
    // Commits made between the rebuild's snapshot and now are noticed: a machine that sees a gap rebuilds.
    api_ = std::make_unique<Api>(*this);
    return serve();
  }

  // ---- Manager
  uint16_t api_port() const override { return api_server_->port(); }
  uint16_t worker_port() const override { return worker_server_->port(); }
  bool failed() const override { return loop_->failed(); }

  // ---- Services
  std::shared_ptr<const Snapshot> snapshot() const override { return loop_->snapshot(); }
  void submit(state::Command command, state::CommandMeta meta, state::Done done) override {
    loop_->submit(std::move(command), std::move(meta), std::move(done));
  }
  Result<state::Engine::WatchBatch> events_after(Cursor from, size_t most) const override {
    return loop_->events_after(from, most);
  }
  std::shared_ptr<void> on_commit(std::function<void()> wake) override {
    auto entry = std::make_shared<std::function<void()>>(std::move(wake));
    std::lock_guard lock(wakes_mutex_);
    std::erase_if(wakes_, [](const auto& weak) { return weak.expired(); });
    wakes_.push_back(entry);
    return entry;
  }
  const Clock& clock() const override { return clock_; }
  catalog::ContentStore& content() override { return *content_; }
  catalog::Distribution& distribution() override { return *distribution_; }
  std::string work_dir() const override { return options_.catalog_dir; }
  Status run_blocking(std::function<void()> work) override { return pool_->run(std::move(work)); }
  Status compute(std::function<void()> work) override { return computing_->run(std::move(work)); }
  void resolve_image(std::string reference, PullPolicy pull, std::function<void(Result<std::string>)> done) override {
    resolver_.resolve(std::move(reference), pull, std::move(done));
  }
  Result<std::string> prune_images(Duration grace) override {
    if (pruning_.exchange(true))
      return fail(ErrorCode::conflict, "the catalog is being pruned already: see 'tutti operation list'");
    const PruneWorld world{*content_, [this] { return snapshot(); },
                           [this](state::Command command) { return loop_->submit_and_wait(std::move(command)); }};
    Result<PruneReport> report = prune_catalog(world, grace, clock_.now());
    pruning_ = false;
    if (!report) return tl::make_unexpected(std::move(report).error());
    return describe(*report);
  }
  Result<std::string> push_image(const std::string& reference, const std::string& target,
                                 const catalog::Credentials& credentials) override {
    const std::optional<std::string> found = find_in_catalog(*snapshot(), reference);
    if (!found)
      return fail(ErrorCode::not_found, "no image " + reference + " in the catalog: 'tutti image list' shows them");
    catalog::FetchOptions options;
    options.work_dir = options_.catalog_dir;
    options.insecure_registries = options_.insecure_registries;
    TUTTI_CHECK(
        catalog::push_with_skopeo(*content_, found->substr(found->find('@') + 1), target, credentials, options, {}));
    return reference + " is at " + target;
  }
  const net::KeyPair& authority() const override { return options_.authority; }
  std::string server_authority() const override { return options_.authority.certificate; }
  std::string public_address() const override { return advertised() + ":" + std::to_string(api_port()); }
  std::string worker_address() const override { return advertised() + ":" + std::to_string(worker_port()); }
  void bootstrap_used() override { bootstrap_->remove(); }

  void open_stream(InstanceId instance, StreamRequest request, StreamOpened opened) override {
    const auto state = snapshot();
    const Instance* row = state->instances.find(instance.value);
    if (row == nullptr || !row->node || !row->admitted) {
      return opened(fail(ErrorCode::conflict, "the instance is on no node now"));
    }
    const NodeId node = row->node;
    auto ticket = streams_.issue(node, clock_.boot_now(), std::move(opened));
    if (!ticket) return;
    request.ticket = *ticket;
    request.instance = instance;
    control_->post([this, node, request = std::move(request)] {
      const std::string mine = request.ticket;
      if (Status asked = dispatcher_.open_stream(node, request); !asked) streams_.fail(mine, asked.error());
    });
  }
  bool accept_stream(const Identity& node, const std::string& ticket,
                     std::shared_ptr<net::Responder> responder) override {
    StreamOpened opened = streams_.take(node.node, ticket);
    if (!opened) return false;
    responder->websocket(std::move(opened), kSessionPendingBytes);
    return true;
  }
  void accept_scheduler(const Identity& identity, std::shared_ptr<net::Responder> responder) override {
    schedulers_->accept(identity, std::move(responder));
  }
  std::vector<SchedulerStatus> schedulers() const override { return schedulers_->list(); }
  void accept_session(const Identity& node, const std::string& fingerprint,
                      std::shared_ptr<net::Responder> responder) override {
    responder->websocket(
        [this, node = node.node, fingerprint](Result<std::shared_ptr<net::WebSocket>> socket) {
          if (socket)
            control_->post([this, node, fingerprint, socket = *socket] { session_opened(node, fingerprint, socket); });
        },
        kSessionPendingBytes);
  }

 private:
  std::string advertised() const { return options_.names.empty() ? options_.listen : options_.names.front(); }

  // Half of a fetch, a push or an import that a killed process left behind: nobody goes on with it.
  void sweep_work_folders() {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(options_.catalog_dir, ignored)) {
      const std::string name = entry.path().filename();
      if (name.starts_with("fetch-") || name.starts_with("push-") || name.starts_with("import-"))
        std::filesystem::remove_all(entry.path(), ignored);
    }
  }

  // ---- first start
  Status initialise() {
    if (snapshot()->pool.pool_id.empty()) {
      Pool pool;
      pool.name = options_.pool_name;
      pool.pool_id = secure_random_hex(8);
      pool.network = options_.network;
      // Two pools on one machine get prefixes that differ, so that their bridges do not.
      if (pool.network.empty()) pool.network = "10." + std::to_string(64 + fnv1a(pool.pool_id) % 128) + ".0.0/16";
      TUTTI_CHECK(loop_->submit_and_wait(state::InitializePool{pool}).map([](const auto&) {}));
    }
    TUTTI_CHECK(end_interrupted());
    bool admin = false;
    std::vector<TokenId> stale;
    snapshot()->tokens.for_each([&](uint64_t, const Token& token) {
      const bool usable = !token.revoked && (!token.expires || token.expires > clock_.now());
      if (token.kind == TokenKind::api && token.role == Role::admin && usable) admin = true;
      if (token.kind == TokenKind::bootstrap && usable) stale.push_back(token.id);
    });
    if (admin) {
      bootstrap_->remove();
      return {};
    }
    if (!stale.empty() && bootstrap_->exists()) return {};
    for (TokenId id : stale) TUTTI_CHECK(loop_->submit_and_wait(state::RevokeToken{id}).map([](const auto&) {}));
    return write_bootstrap();
  }

  // What a thread of the last process did is not done by anybody now.
  Status end_interrupted() {
    std::vector<state::UpdateOperation> ends;
    snapshot()->operations.for_each([&](uint64_t, const Operation& operation) {
      if (operation.state != OperationState::running || !operation.kind.starts_with("image.")) return;
      state::UpdateOperation end;
      end.operation = operation.id;
      end.state = OperationState::failed;
      end.message =
          "the manager was restarted meanwhile: 'tutti operation retry " + to_text(operation.id) + "' asks again";
      end.steps = {{operation.kind.substr(6), OperationState::failed, end.message}};
      ends.push_back(std::move(end));
    });
    for (state::UpdateOperation& end : ends)
      TUTTI_CHECK(loop_->submit_and_wait(std::move(end)).map([](const auto&) {}));
    return {};
  }

  Status write_bootstrap() {
    const std::string secret = secure_random_hex(32);
    Token token;
    token.kind = TokenKind::bootstrap;
    token.name = "bootstrap";
    token.role = Role::admin;
    token.secret_hash = net::sha256_hex(secret);
    token.expires = clock_.now() + seconds(7LL * 24 * 3600);
    TUTTI_TRY(const state::Outcome made, loop_->submit_and_wait(state::CreateToken{token}));
    return bootstrap_->write("tutti_" + id_text(made.id) + "_" + secret);
  }

  Result<net::TlsFiles> server_certificate() {
    std::vector<std::string> names = options_.names;
    names.insert(names.end(), {"localhost", "127.0.0.1", "::1", options_.listen, options_.worker_listen});
    std::erase(names, "0.0.0.0");
    TUTTI_TRY(const net::KeyPair pair,
              net::issue_server(options_.authority, "tutti manager", names, clock_.now(), seconds(365LL * 24 * 3600)));
    certified_ns_ = clock_.now().ns;
    return net::TlsFiles{pair.certificate, pair.private_key, {}, {}};
  }
  void for_workers(net::TlsFiles& tls) const {
    tls.client_authority = options_.authority.certificate;
    tls.expired_grace = seconds(limits::kExpiredCertificateSeconds);
  }
  // A manager may run for years; what is connected goes on as it is.
  void renew_own_certificate() {
    const Time made{certified_ns_.load()};
    if (!made || clock_.now() - made < seconds(90LL * 24 * 3600))
      return;  // not made yet: the servers are still to come
    Result<net::TlsFiles> tls = server_certificate();
    Status used = tls ? api_server_->set_tls(*tls) : Status(tl::make_unexpected(tls.error()));
    if (tls) for_workers(*tls);
    if (used) used = worker_server_->set_tls(*tls);
    if (!used) log_error("the manager's certificate was not renewed", {{"error", used.error().to_string()}});
  }

  Status serve() {
    TUTTI_TRY(net::TlsFiles tls, server_certificate());
    net::ServerOptions api;
    api.address = options_.listen;
    api.port = options_.api_port;
    api.connections_max = options_.api_connections_max;
    api.strangers_per_address_max = std::min(limits::kStrangersPerAddressMax, options_.api_connections_max / 2);
    api.admit = [this](const net::Request& head) { return api_->admit(head); };
    TUTTI_TRY(api_server_, net::serve(api, tls, [this](auto request, auto responder) {
                api_->handle(std::move(request), std::move(responder));
              }));
    for_workers(tls);
    net::ServerOptions worker;
    worker.address = options_.worker_listen;
    worker.port = options_.worker_port;
    worker.connections_max = options_.worker_connections_max;
    worker.gather_from = kSessionsGathered;
    // After a power cut very many workers come at once, perhaps from behind one address.
    worker.strangers_per_address_max = options_.worker_connections_max / 2;
    worker.admit = Api::admit_worker;
    TUTTI_TRY(worker_server_, net::serve(worker, tls, [this](auto request, auto responder) {
                api_->handle_worker(std::move(request), std::move(responder));
              }));
    return {};
  }

  // ---- commits, on the state thread: hand over
  void committed(const std::shared_ptr<const ChangeSet>& changes) {
    if (!followers_ready_) return;
    control_->post([this, changes] { follow_control(*changes); });
    scheduler_thread_->post([this, changes] { follow_scheduler(*changes); });
    std::lock_guard lock(wakes_mutex_);
    for (const auto& weak : wakes_) {
      if (auto wake = weak.lock()) (*wake)();
    }
  }

  // ---- control thread
  void rebuild_control() {
    const auto state = snapshot();
    control_revision_ = state->revision;
    controller_.rebuild(state);
    dispatcher_.rebuild(state);
    liveness_.rebuild(*state, clock_.boot_now());
    operations_.rebuild(*state);
    housekeeping_.rebuild(*state);
    resolver_.rebuild(*state);
  }
  void follow_control(const ChangeSet& changes) {
    if (changes.after->revision <= control_revision_) return;
    if (changes.before->revision != control_revision_) return rebuild_control();
    control_revision_ = changes.after->revision;
    controller_.follow(changes);
    liveness_.follow(changes, clock_.boot_now());
    dispatcher_.follow(changes);
    housekeeping_.follow(changes);
    resolver_.follow(changes);
    for (state::UpdateOperation& update : operations_.follow(changes, clock_.now()))
      submit(std::move(update), {}, [](auto) {});
  }

  Duration control_turn() {
    const Time now = clock_.now();
    const BootTime boot = clock_.boot_now();
    if (last_turn_.ns != 0 && boot - last_turn_ > milliseconds(1500)) liveness_.excuse(boot - last_turn_);
    last_turn_ = boot;
    if (control_revision_.value == 0) return milliseconds(10);
    for (Controller::Work& work : controller_.step(now, kActionsPerTurn)) {
      const JobId job = work.job;
      submit(std::move(work.command), {}, [this, job](Result<state::Outcome> result) {
        control_->post([this, job, ok = result.has_value()] { controller_.done(job, ok, clock_.now()); });
      });
    }
    judge_nodes(boot);
    if (boot - operations_measured_ > seconds(5)) {
      operations_measured_ = boot;
      for (state::UpdateOperation& update : operations_.sweep(*snapshot(), now))
        submit(std::move(update), {}, [](auto) {});
    }
    for (state::UpdateOperation& update : operations_.catch_up(*snapshot(), now))
      submit(std::move(update), {}, [](auto) {});
    keep_house(boot);
    carry_out();
    streams_.expire(boot);
    beats_together_ = sessions_.size() >= kSessionsTogether;
    Duration wait = beats_together_ ? kBeatsEvery : kJudgeEvery;
    for (const Time wake : {controller_.wake(), operations_.wake()})
      if (wake) wait = std::clamp(wake - now, Duration{0}, wait);
    return wait;
  }

  // Looks at every node: not for every message of one of them.
  void judge_nodes(BootTime boot) {
    if (boot - judged_ < kJudgeEvery) return;
    judged_ = boot;
    for (state::SetNodeHealth& command : liveness_.tick(boot)) {
      const NodeId node = command.node;
      const NodeHealth health = command.health;
      submit(std::move(command), {}, [this, node, health](Result<state::Outcome> result) {
        const bool committed = result && !result->unchanged;
        control_->post([this, node, health, committed] { liveness_.answered(node, health, committed); });
      });
    }
  }

  void keep_house(BootTime boot) {
    renew_own_certificate();
    for (state::Command& command : housekeeping_.step(boot)) {
      submit(command, {}, [this, command](Result<state::Outcome> result) {
        control_->post([this, command, result = std::move(result)] {
          housekeeping_.answered(command, result, clock_.boot_now());
        });
      });
    }
    if (!housekeeping_.prune_due(boot)) return;
    (void)run_blocking([this] {  // a full queue: the next hour will do
      const Result<std::string> pruned = prune_images(seconds(limits::kPruneGraceSeconds));
      log_info("catalog pruned", {{"result", pruned ? *pruned : pruned.error().to_string()}});
    });
  }

  void carry_out() {
    for (DispatchOutput& output : dispatcher_.take_outputs()) {
      std::visit([this](auto& one) { perform(one); }, output);
    }
  }
  void perform(SendToWorker& send) {
    auto at = sessions_.find(send.connection);
    if (at == sessions_.end()) return;
    if (!at->second->send(to_json(send.message, {.omit_defaults = true}), false))
      return at->second->close("too far behind");
    if (at->second->pending_bytes() > kSessionBlockedBytes) dispatcher_.set_blocked(send.connection, true);
  }
  void perform(CloseWorker& close) {
    auto at = sessions_.find(close.connection);
    if (at == sessions_.end()) return;
    log_info("worker session closed", {{"connection", std::to_string(close.connection)}, {"reason", close.reason}});
    at->second->close(close.reason);
    sessions_.erase(at);
  }
  void perform(SubmitForWorker& work) {
    const ConnectionId connection = work.connection;
    const uint64_t tag = work.tag;
    submit(std::move(work.command), {}, [this, connection, tag](Result<state::Outcome> result) {
      // Behind the ChangeSet of the same commit: followers were told before anybody was answered.
      control_->post([this, connection, tag, result = std::move(result)] {
        dispatcher_.committed(connection, tag, result, clock_.now());
      });
    });
  }

  void session_opened(NodeId node, const std::string& fingerprint, std::shared_ptr<net::WebSocket> socket) {
    const ConnectionId connection = ++last_connection_;
    sessions_[connection] = socket;
    dispatcher_.connected(connection, node, fingerprint);
    net::WebSocket::Callbacks callbacks;
    callbacks.message = [this, connection, node, intake = std::make_shared<Intake>(socket)](std::string text, bool) {
      intake->came();
      auto message = from_json<WorkerMessage>(text, {.allow_unknown = true, .what = "worker message"});
      const bool beat = message && message->beat && !message->status && !message->hello;
      auto take = [this, connection, node, intake, message = std::move(message)]() mutable {
        intake->handled();
        const bool may_hold_a_lease = liveness_.heard(node, clock_.boot_now());
        if (message && !may_hold_a_lease) message->beat.reset();
        if (message) return dispatcher_.received(connection, std::move(*message), clock_.now());
        log_warning("a worker sent what is no message",
                    {{"node", to_text(node)}, {"error", message.error().to_string()}});
        CloseWorker close{connection, "not a message"};
        dispatcher_.closed(connection);
        perform(close);
      };
      if (beat && beats_together_)
        control_->post_unhurried(std::move(take));
      else
        control_->post(std::move(take));
    };
    callbacks.closed = [this, connection](const std::string&) {
      if (stopping_) return;
      control_->post([this, connection] {
        dispatcher_.closed(connection);
        sessions_.erase(connection);
      });
    };
    callbacks.drained = [this, connection] {
      control_->post([this, connection] { dispatcher_.set_blocked(connection, false); });
    };
    socket->start(std::move(callbacks));
  }

  // ---- scheduler thread
  void follow_scheduler(const ChangeSet& changes) {
    if (!planner_.follow(changes)) planner_.rebuild(snapshot());
  }
  Duration schedule_turn() {
    const Time now = clock_.now();
    if (std::optional<Plan> plan = planner_.step(now)) {
      submit(state::ApplyPlan{std::move(*plan)}, {}, [this](Result<state::Outcome> result) {
        const auto placed = result ? static_cast<size_t>(result->number) : 0;
        scheduler_thread_->post([this, placed] { planner_.applied(placed, clock_.now()); });
      });
    }
    if (std::optional<scheduler::Lesson> lesson = planner_.lesson(now)) {
      learning_.teach(std::move(*lesson), [this](scheduler::Taught taught) {
        scheduler_thread_->post([this, taught = std::move(taught)] { planner_.taught(taught, clock_.now()); });
      });
    }
    tell_learned();
    const Time wake = planner_.wake();
    return wake ? std::clamp(wake - now, Duration{0}, seconds(1)) : seconds(1);
  }

  void tell_learned() {
    std::string learned = planner_.learned();
    if (learned == learned_) return;
    learned_ = std::move(learned);
    log_info("placement by fragmentation", {{"by", learned_}});
    schedulers_->tell_learned(learned_);
  }

  Result<std::string> fetch(const std::string& reference) {
    catalog::FetchOptions options;
    options.work_dir = options_.catalog_dir;
    options.insecure_registries = options_.insecure_registries;
    log_info("fetching image", {{"reference", reference}});
    TUTTI_TRY(const catalog::Fetched fetched,
              catalog::fetch_with_skopeo(*content_, reference, {}, options, {},
                                         [](const std::string& line) { log_info("fetch", {{"progress", line}}); }));
    TUTTI_TRY(const oci::Reference parsed, oci::parse_reference(reference));
    Image image;
    image.repository = catalog_repository(reference);
    image.tag = parsed.digest.empty() ? parsed.tag : parsed.digest;
    image.digest = fetched.image.digest;
    image.media_type = fetched.image.media_type;
    image.source = fetched.source;
    image.size.value = static_cast<int64_t>(fetched.image.size);
    image.architectures = fetched.image.architectures;
    const std::string answer = image.repository + "@" + image.digest;
    TUTTI_CHECK(loop_->submit_and_wait(state::PutImage{std::move(image)}).map([](const auto&) {}));
    return answer;
  }

  const ManagerOptions options_;
  const SystemClock system_clock_;
  SteadyClock clock_{system_clock_};
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Bootstrap> bootstrap_;
  StateTags tags_;
  ImageResolver resolver_;
  StreamBroker streams_;
  std::unique_ptr<catalog::ContentStore> content_;
  std::unique_ptr<catalog::Distribution> distribution_;
  std::unique_ptr<BoundedPool> pool_, computing_;
  std::atomic<bool> pruning_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> followers_ready_{false};
  std::atomic<bool> beats_together_{false};
  std::unique_ptr<state::StateLoop> loop_;
  std::mutex wakes_mutex_;
  std::vector<std::weak_ptr<std::function<void()>>> wakes_;

  std::atomic<int64_t> certified_ns_{0};  // when the servers' certificate was made

  // control thread
  Revision control_revision_;
  BootTime last_turn_;
  Controller controller_;
  Dispatcher dispatcher_;
  Liveness liveness_;
  OperationTracker operations_;
  Housekeeping housekeeping_;
  BootTime operations_measured_;
  BootTime judged_;
  std::map<ConnectionId, std::shared_ptr<net::WebSocket>> sessions_;
  ConnectionId last_connection_ = 0;

  // scheduler thread
  scheduler::Planner planner_;
  std::string learned_;

  LearningThread learning_;
  std::unique_ptr<Schedulers> schedulers_;
  std::unique_ptr<QueueThread> control_;
  std::unique_ptr<QueueThread> scheduler_thread_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<net::Server> api_server_;
  std::unique_ptr<net::Server> worker_server_;
};

}  // namespace

Result<std::unique_ptr<Manager>> Manager::open(ManagerOptions options, std::unique_ptr<store::Store> store,
                                               std::unique_ptr<Bootstrap> bootstrap) {
  auto manager = std::make_unique<ManagerImpl>(std::move(options), std::move(store), std::move(bootstrap));
  TUTTI_CHECK(manager->start());
  return manager;
}

}  // namespace tutti::manager
