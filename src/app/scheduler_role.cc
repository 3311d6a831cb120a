// `tutti scheduler`: schedules for a manager elsewhere (T04). Holds a replica of what placing needs, plans with the
// same Planner as the one inside the manager, and sends the plans. It keeps nothing: killed, it comes back with a
// snapshot.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>

#include "app/checked_settings.h"
#include "app/roles.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/random.h"
#include "base/steady_clock.h"
#include "base/version.h"
#include "manager/learning_thread.h"
#include "model/codec.h"
#include "model/scheduler_session.h"
#include "net/backoff.h"
#include "net/http.h"
#include "scheduler/planner.h"
#include "state/replica.h"

namespace tutti::app {

std::vector<Setting> scheduler_settings() {
  return with_log_settings(
      {{"manager", "", "host:port of the manager's API"},
       {"token", "", "a token of the role scheduler ('tutti node token --role scheduler' makes one)"},
       {"name", "scheduler", "the name it is listed by"}});
}

namespace {

constexpr size_t kPendingBytes = 8u << 20;

// Everything but start and stop happens on the I/O thread.
class SchedulerProcess {
 public:
  SchedulerProcess(net::Endpoint manager, net::ClientTls tls, std::string token, std::string name)
      : manager_(std::move(manager)),
        tls_(std::move(tls)),
        token_(std::move(token)),
        name_(std::move(name)),
        io_(net::make_io_thread("scheduler")) {}
  void start() {
    io_->post([this] { connect(); });
  }
  // Its session ends with it, and is told so on the thread that is being stopped.
  ~SchedulerProcess() {
    stopping_ = true;
    learning_.stop();
    io_->stop();
  }

 private:
  void connect() {
    io_->websocket(manager_, tls_, "/v1/schedulers/session", {{"Authorization", "Bearer " + token_}}, kPendingBytes,
                   [this](Result<std::shared_ptr<net::WebSocket>> socket) {
                     if (!socket) return retry(socket.error().to_string());
                     opened(std::move(*socket));
                   });
  }

  void retry(const std::string& why) {
    if (stopping_) return;
    const net::Backoff::Next next = backoff_.failed(random_);
    if (next.tell) log_warning("not connected to the manager", {{"error", why}});
    io_->after(next.wait, [this] { connect(); });
  }

  void opened(std::shared_ptr<net::WebSocket> socket) {
    socket_ = socket;
    const uint64_t session = ++session_;
    replica_ = {};
    planner_ = {};
    shared_ = false;  // until this manager says which part is for us
    armed_ = {};
    health_ = {};
    net::WebSocket::Callbacks callbacks;
    callbacks.message = [this, session](const std::string& text, bool rows) {
      if (session == session_) received(text, rows);
    };
    callbacks.closed = [this, session](const std::string& why) {
      if (stopping_ || session != session_) return;
      ++session_;
      socket_.reset();
      retry("closed: " + why);
    };
    callbacks.drained = [] {};
    socket->start(std::move(callbacks));
    send({.hello = SchedulerHello{name_, std::string(program_version())}, .plan = {}, .health = {}});
    tell_health(session);
  }

  void received(const std::string& text, bool rows) {
    backoff_.worked();
    if (rows) {
      auto changes = replica_.receive(text);
      if (!changes) return give_up(changes.error());
      if (*changes == nullptr) return;
      clock_.advance_to(replica_.snapshot()->now);  // what waits was given its time by the manager
      if (planner_.revision().value == 0 || !planner_.follow(**changes)) planner_.rebuild(replica_.snapshot());
    } else {
      auto order = from_json<SchedulerOrder>(text, {.allow_unknown = true, .what = "scheduler order"});
      if (!order) return give_up(order.error());
      if (order->share) {
        log_info("share of the work",
                 {{"share", std::to_string(order->share->index + 1) + " of " + std::to_string(order->share->of)}});
        planner_.take_share({order->share->index, order->share->of});
        shared_ = true;
      }
      if (order->applied) planner_.applied(static_cast<size_t>(order->applied->placed), clock_.now());
    }
    plan();
  }

  void give_up(const Error& error) {
    log_error("the manager sent what this scheduler cannot read", {{"error", error.to_string()}});
    socket_->close("cannot be read");
  }

  void plan() {
    if (stopping_ || !socket_ || !shared_) return;
    const auto started = std::chrono::steady_clock::now();
    if (std::optional<Plan> plan = planner_.step(clock_.now())) {
      health_.plan_us =
          std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - started).count();
      health_.proposed += static_cast<int64_t>(plan->placements.size());
      send({.hello = {}, .plan = std::move(*plan), .health = {}});
    }
    const Time wake = planner_.wake();
    if (!wake || wake == armed_) return;
    armed_ = wake;
    io_->after(std::max(milliseconds(1), wake - clock_.now()), [this, wake] {
      if (armed_ == wake) armed_ = {};
      plan();
    });
  }

  void tell_health(uint64_t session) {
    if (session != session_) return;
    health_.revision = planner_.revision().value;
    if (std::optional<scheduler::Lesson> lesson = planner_.lesson(clock_.now())) {
      learning_.teach(std::move(*lesson), [this, session](scheduler::Taught taught) {
        io_->post([this, session, taught = std::move(taught)] {
          if (session != session_) return;  // the planner that asked is gone
          planner_.taught(taught, clock_.now());
          plan();
        });
      });
    }
    if (std::string learned = planner_.learned(); learned != health_.fragmentation) {
      health_.fragmentation = std::move(learned);
      log_info("placement by fragmentation", {{"by", health_.fragmentation}});
    }
    send({.hello = {}, .plan = {}, .health = health_});
    io_->after(seconds(1), [this, session] { tell_health(session); });
  }

  void send(const SchedulerMessage& message) {
    if (socket_ && !socket_->send(to_json(message, {.omit_defaults = true}), false)) socket_->close("too far behind");
  }

  const net::Endpoint manager_;
  const net::ClientTls tls_;
  const std::string token_;
  const std::string name_;
  const SystemClock system_clock_;
  SteadyClock clock_{system_clock_};
  SeededRandom random_{fnv1a(secure_random_hex(8))};
  std::shared_ptr<net::WebSocket> socket_;
  uint64_t session_ = 0;
  net::Backoff backoff_;
  state::Replica replica_;
  scheduler::Planner planner_;
  bool shared_ = false;
  SchedulerHealth health_;
  Time armed_;
  manager::LearningThread learning_;
  std::atomic<bool> stopping_{false};
  std::unique_ptr<net::IoThread> io_;
};

}  // namespace

int run_scheduler(const std::vector<std::string>& arguments) {
  Settings settings(scheduler_settings());
  if (Status loaded = settings.load(arguments); !loaded) return complain(loaded.error());
  if (settings.help_wanted()) {
    std::printf(
        "Example: tutti scheduler --manager pool.example:7171 --token TOKEN\n\n"
        "A scheduler in a process of its own, beside the one inside the manager.\n\n%s",
        settings.help_text().c_str());
    return 0;
  }
  block_signals();
  if (Status right = check_log_settings(settings); !right) return complain(right.error());
  configure_log(settings, "scheduler");
  for (const char* key : {"manager", "token"})
    if (settings.get(key).empty())
      return complain(
          {ErrorCode::invalid, std::string("say --") + key + ": 'tutti scheduler --help' shows how", {}, 0});
  auto endpoint = net::parse_endpoint(settings.get("manager"));
  if (!endpoint) return complain(endpoint.error());
  // "<token>.<hash of the authority's certificate>"
  const std::string& given = settings.get("token");
  const size_t dot = given.find('.');
  if (dot == std::string::npos)
    return complain(
        {ErrorCode::invalid, "this is no scheduler's token: 'tutti node token --role scheduler' makes one", {}, 0});
  net::ClientTls tls;
  tls.authority_sha256 = given.substr(dot + 1);
  SchedulerProcess process(std::move(*endpoint), std::move(tls), given.substr(0, dot), settings.get("name"));
  process.start();
  while (wait_for_signal(3'600'000) == 0) {
  }
  return 0;
}

}  // namespace tutti::app
