#pragma once
// Schedulers: the sessions of schedulers that run as processes of their own (T04), and how the work is shared.
//
// Owner: Manager; a thread of its own, so that sending a snapshot holds nobody up. Nothing of a session is durable: a
// scheduler that comes back starts with a snapshot. The pending work is shared by job among the one inside and those
// that are heard of; who falls silent or goes is left out at once, and what fell to it falls to the others. So is, for
// a while, who leaves undone what could be placed: whoever has a scheduler's token can propose, but cannot hold work
// up.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "manager/api/services.h"
#include "manager/api/views.h"
#include "manager/queue_thread.h"
#include "model/scheduler_session.h"
#include "scheduler/scheduler.h"
#include "state/replica.h"

namespace tutti::manager {

class Schedulers {
 public:
  // `take_share` tells the one inside what falls to it; called on this object's thread. `services` outlives it.
  Schedulers(Services& services, std::function<void(scheduler::Share)> take_share);
  ~Schedulers();
  // Nothing is planned, sent or listed anew from now on. What is still answered finds this here: it is destroyed when
  // nobody commits any more.
  void stop();

  // Any thread.
  void accept(const Identity& identity, std::shared_ptr<net::Responder> responder);
  std::vector<SchedulerStatus> list() const;
  // What the one inside goes by where it places by fragmentation.
  void tell_learned(std::string learned);

 private:
  struct Session {
    std::string identity;
    TokenId token;     // no session outlives it
    std::string name;  // empty until its hello
    std::string version;
    std::shared_ptr<net::WebSocket> socket;
    Time connected;
    BootTime heard;
    std::unique_ptr<state::PageReader> pages;  // still sending the snapshot
    Cursor cursor;
    std::string unsent;
    bool counted = false;  // has the whole snapshot, and its share
    scheduler::Share share;
    BootTime progressed;    // since when it has its share; then: when something it proposed was done
    bool planning = false;  // a plan of its is on its way to a commit
    SchedulerHealth health;
    int64_t placed = 0;
  };
  void opened(const Identity& identity, std::shared_ptr<net::WebSocket> socket);
  void received(uint64_t id, const std::string& text);
  void greeted(Session& session, const SchedulerHello& hello);
  void planned(uint64_t id, Plan plan);
  void applied(uint64_t id, int64_t placed);
  bool idles(Session& session, BootTime now);
  void pass_over(TokenId token, BootTime now);
  Duration turn();
  void pump(Session& session);
  Result<std::string> next_changes(Session& session);
  bool send_rows(Session& session, std::string rows);
  void send_order(Session& session, const SchedulerOrder& order);
  void drop(uint64_t id, const std::string& why);
  void share();
  void publish();

  Services& services_;
  const std::function<void(scheduler::Share)> take_share_;
  std::map<uint64_t, Session> sessions_;
  std::map<TokenId, BootTime> passed_over_;  // by root, until when
  uint64_t last_ = 0;
  uint32_t of_ = 1;
  std::shared_ptr<void> wake_;
  mutable std::mutex mutex_;
  std::vector<SchedulerStatus> listed_;
  std::string learned_;
  std::unique_ptr<QueueThread> thread_;  // last: the first to stop
};

}  // namespace tutti::manager
