#include "manager/schedulers.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "manager/intake.h"
#include "manager/plan_check.h"
#include "model/codec.h"
#include "model/token.h"

namespace tutti::manager {
namespace {

constexpr size_t kPendingBytes = 8u << 20;
constexpr size_t kEventsAtOnce = 2'000;
constexpr size_t kVersionBytesMax = 63;
constexpr size_t kLineBytesMax = 200;

// What another process says of itself: nothing but ASCII letters, which is stricter than printable().
std::string in_ascii(std::string_view text, size_t most) {
  std::string out(text.substr(0, most));
  std::erase_if(out, [](char c) { return c < ' ' || c > '~'; });
  return out;
}

}  // namespace

Schedulers::Schedulers(Services& services, std::function<void(scheduler::Share)> take_share)
    : services_(services), take_share_(std::move(take_share)) {
  thread_ = std::make_unique<QueueThread>("schedulers", [this] { return turn(); });
  publish();
}

Schedulers::~Schedulers() {
  stop();
}

void Schedulers::stop() {
  thread_->stop();
  wake_.reset();  // its thread's until then
}

void Schedulers::accept(const Identity& identity, std::shared_ptr<net::Responder> responder) {
  responder->websocket(
      [this, who = identity](Result<std::shared_ptr<net::WebSocket>> socket) {
        if (socket) thread_->post([this, who, socket = *socket] { opened(who, socket); });
      },
      kPendingBytes);
}

std::vector<SchedulerStatus> Schedulers::list() const {
  std::lock_guard lock(mutex_);
  return listed_;
}

void Schedulers::tell_learned(std::string learned) {
  std::lock_guard lock(mutex_);
  learned_ = std::move(learned);
  if (!listed_.empty()) listed_.front().fragmentation = learned_;
}

// ---- on the thread from here on

void Schedulers::opened(const Identity& identity, std::shared_ptr<net::WebSocket> socket) {
  if (sessions_.size() >= limits::kSchedulersMax) return socket->close("too many schedulers (limit kSchedulersMax)");
  const auto passed = passed_over_.find(root_of(*services_.snapshot(), identity.token));
  if (passed != passed_over_.end() && services_.clock().boot_now() < passed->second) {
    return socket->close(
        "passed over: a scheduler with this token left work undone (limit kSchedulerPassedOverSeconds)");
  }
  const uint64_t id = ++last_;
  Session& session = sessions_[id];
  session.identity = identity.text;
  session.token = identity.token;
  session.socket = socket;
  session.connected = services_.clock().now();
  session.heard = services_.clock().boot_now();
  if (!wake_) wake_ = services_.on_commit([this] { thread_->post([] {}); });
  net::WebSocket::Callbacks callbacks;
  callbacks.message = [this, id, intake = std::make_shared<Intake>(socket)](std::string text, bool) {
    intake->came();
    thread_->post([this, id, intake, text = std::move(text)] {
      intake->handled();
      received(id, text);
    });
  };
  callbacks.closed = [this, id](const std::string& why) { thread_->post([this, id, why] { drop(id, why); }); };
  callbacks.drained = [this] { thread_->post([] {}); };
  socket->start(std::move(callbacks));
}

void Schedulers::received(uint64_t id, const std::string& text) {
  const auto at = sessions_.find(id);
  if (at == sessions_.end()) return;
  Session& session = at->second;
  session.heard = services_.clock().boot_now();
  auto message = from_json<SchedulerMessage>(text, {.allow_unknown = true, .what = "scheduler message"});
  if (!message) return drop(id, message.error().to_string());
  if (message->hello) greeted(session, *message->hello);
  if (message->health) {
    session.health = *message->health;
    session.health.fragmentation = in_ascii(session.health.fragmentation, kLineBytesMax);
  }
  if (message->plan) planned(id, std::move(*message->plan));
}

void Schedulers::greeted(Session& session, const SchedulerHello& hello) {
  if (!session.name.empty()) return;
  // People read these in their terminals, and in events.
  const std::string wanted = is_name(hello.name) ? hello.name : "scheduler";
  session.name = wanted;
  const auto taken = [&] {
    return std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
      return &entry.second != &session && entry.second.name == session.name;
    });
  };
  for (int i = 2; taken(); ++i) session.name = wanted + "-" + std::to_string(i);
  session.version = in_ascii(hello.version, kVersionBytesMax);
  session.pages = std::make_unique<state::PageReader>(services_.snapshot());
  const Snapshot& s = session.pages->snapshot();
  session.cursor = {s.epoch, s.revision};
  log_info("scheduler joins", {{"scheduler", session.name}, {"identity", session.identity}});
}

void Schedulers::planned(uint64_t id, Plan plan) {
  Session& session = sessions_.at(id);
  // Plans are large: they must not pile up on their way to the commit.
  if (session.planning) return drop(id, "a second plan before the first was answered");
  session.planning = true;
  services_.submit(
      state::ApplyPlan{without_forbidden(*services_.snapshot(), std::move(plan))},
      {"scheduler:" + session.name, {}, {}}, [this, id](Result<state::Outcome> result) {
        thread_->post([this, id, placed = result ? static_cast<int64_t>(result->number) : 0] { applied(id, placed); });
      });
}

void Schedulers::applied(uint64_t id, int64_t placed) {
  const auto at = sessions_.find(id);
  if (at == sessions_.end()) return;
  Session& session = at->second;
  session.planning = false;
  session.placed += placed;
  if (placed > 0) session.progressed = services_.clock().boot_now();
  // Behind the commit itself: pump() has sent its rows.
  pump(session);
  send_order(session, {.share = {}, .applied = SchedulerApplied{placed}});
}

// Whether it has had a while, and there is work of its that it could have placed.
bool Schedulers::idles(Session& session, BootTime now) {
  constexpr Duration kIdle = seconds(limits::kSchedulerIdleSeconds);
  if (!session.counted || session.planning || now - session.progressed < kIdle) return false;
  session.progressed = now;  // looked at: again after as long
  const Time at = services_.clock().now();
  return leaves_undone(services_.snapshot(), session.share, at - kIdle, at);
}

void Schedulers::pass_over(TokenId token, BootTime now) {
  std::erase_if(passed_over_, [&](const auto& entry) { return entry.second <= now; });
  passed_over_[root_of(*services_.snapshot(), token)] = now + seconds(limits::kSchedulerPassedOverSeconds);
}

Duration Schedulers::turn() {
  const BootTime now = services_.clock().boot_now();
  const auto state = services_.snapshot();
  std::vector<std::pair<uint64_t, std::string>> over;
  for (auto& [id, session] : sessions_) {
    if (now - session.heard > seconds(limits::kSchedulerSilentSeconds))
      over.emplace_back(id, "silent");
    else if (!still_works(*state, session.token, services_.clock().now()))
      over.emplace_back(id, "its token has ended");
    else if (idles(session, now))
      pass_over(session.token, now),
          over.emplace_back(id, "work that it could place was not placed: others do it for a while");
    else
      pump(session);
  }
  for (const auto& [id, why] : over) drop(id, why);
  publish();
  return seconds(1);
}

void Schedulers::pump(Session& session) {
  if (!session.unsent.empty() && !send_rows(session, std::move(session.unsent))) return;
  while (session.pages) {
    std::string page = session.pages->next();
    if (page.empty()) {
      const Snapshot& s = session.pages->snapshot();
      const std::string end = state::changes_for_replica({}, s.revision, s.now);
      session.pages.reset();
      session.counted = true;
      session.progressed = services_.clock().boot_now();
      share();
      if (!send_rows(session, end)) return;
    } else if (!send_rows(session, std::move(page))) {
      return;
    }
  }
  while (session.counted) {
    Result<std::string> rows = next_changes(session);
    if (!rows) return session.socket->close("too far behind: " + rows.error().message);
    if (rows->empty() || !send_rows(session, std::move(*rows))) return;
  }
}

// As many commits as a message holds; empty: there are none. One that is larger than a message comes with a new
// snapshot.
Result<std::string> Schedulers::next_changes(Session& session) {
  for (size_t most = kEventsAtOnce; most > 0; most /= 4) {
    TUTTI_TRY(const state::Engine::WatchBatch batch, services_.events_after(session.cursor, most));
    if (batch.to.revision == session.cursor.revision) return std::string();
    std::string rows = state::changes_for_replica(batch.events, batch.to.revision, services_.clock().now());
    if (rows.size() > limits::kMessageBytesMax) continue;
    session.cursor = batch.to;
    return rows;
  }
  return fail(ErrorCode::too_many, "a commit is larger than a message");
}

// False: the way is full; goes on when it has drained.
bool Schedulers::send_rows(Session& session, std::string rows) {
  if (session.socket->send(rows, true)) return true;
  session.unsent = std::move(rows);
  return false;
}

void Schedulers::send_order(Session& session, const SchedulerOrder& order) {
  if (!session.socket->send(to_json(order, {.omit_defaults = false}), false)) session.socket->close("too far behind");
}

void Schedulers::drop(uint64_t id, const std::string& why) {
  const auto at = sessions_.find(id);
  if (at == sessions_.end()) return;
  log_info("scheduler gone", {{"scheduler", at->second.name}, {"reason", why}});
  at->second.socket->close(why);
  sessions_.erase(at);
  if (sessions_.empty()) wake_.reset();
  share();
  publish();
}

// The one inside is the first; it is there as long as there is a manager.
void Schedulers::share() {
  uint32_t of = 1;
  for (const auto& [id, session] : sessions_) of += session.counted ? 1 : 0;
  if (of == of_ && of == 1) return;
  of_ = of;
  take_share_({0, of});
  uint32_t index = 1;
  for (auto& [id, session] : sessions_) {
    if (!session.counted) continue;
    session.share = {index++, of};
    send_order(session, {.share = SchedulerShare{session.share.index, of}, .applied = {}});
  }
}

void Schedulers::publish() {
  std::vector<SchedulerStatus> rows;
  const Revision newest = services_.snapshot() ? services_.snapshot()->revision : Revision{};
  rows.push_back({.name = "inside",
                  .health = "ready",
                  .share = "1 of " + std::to_string(of_),
                  .behind = 0,
                  .version = "",
                  .since = {},
                  .proposed = 0,
                  .placed = 0,
                  .plan = {},
                  .fragmentation = {}});
  uint32_t index = 2;
  for (const auto& [id, session] : sessions_) {
    SchedulerStatus row;
    row.name = session.name.empty() ? session.identity : session.name;
    row.health = session.counted ? "ready" : "starting";
    if (session.counted) row.share = std::to_string(index++) + " of " + std::to_string(of_);
    row.behind =
        static_cast<int64_t>(newest.value) - static_cast<int64_t>(std::min(newest.value, session.health.revision));
    row.version = session.version;
    row.since = session.connected;
    row.proposed = session.health.proposed;
    row.placed = session.placed;
    row.plan = Duration{session.health.plan_us * 1'000};
    row.fragmentation = session.health.fragmentation;
    rows.push_back(std::move(row));
  }
  std::lock_guard lock(mutex_);
  rows.front().fragmentation = learned_;
  listed_ = std::move(rows);
}

}  // namespace tutti::manager
