// The sessions of schedulers of their own, while the manager goes down around them.
#include "manager/schedulers.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <future>

#include "model/codec.h"

namespace tutti::manager {
namespace {

struct Socket final : net::WebSocket {
  Callbacks callbacks;
  std::promise<void> started;
  void start(Callbacks given) override {
    callbacks = std::move(given);
    started.set_value();
  }
  bool send(std::string, bool) override { return true; }
  size_t pending_bytes() const override { return 0; }
  void pause_reading(bool) override {}
  void close(std::string) override {}
};

struct Upgrade final : net::Responder {
  std::shared_ptr<Socket> socket = std::make_shared<Socket>();
  void send(net::Response) override {}
  std::shared_ptr<net::BodyWriter> stream(net::Response, size_t) override { return nullptr; }
  void websocket(std::function<void(Result<std::shared_ptr<net::WebSocket>>)> opened, size_t) override {
    opened(std::shared_ptr<net::WebSocket>(socket));
  }
  net::BodyReader* body() override { return nullptr; }
};

// A manager whose commits are answered when the test says so. What schedulers do not ask for is not there.
class SlowManager final : public Services {
 public:
  std::shared_ptr<const Snapshot> snapshot() const override { return snapshot_; }
  void submit(state::Command, state::CommandMeta, state::Done done) override {
    std::lock_guard lock(mutex_);
    done_ = std::move(done);
    asked_.notify_all();
  }
  state::Done asked() {
    std::unique_lock lock(mutex_);
    asked_.wait_for(lock, std::chrono::seconds(30), [&] { return static_cast<bool>(done_); });
    return std::exchange(done_, {});
  }
  Result<state::Engine::WatchBatch> events_after(Cursor from, size_t) const override {
    return state::Engine::WatchBatch{{}, from};
  }
  std::shared_ptr<void> on_commit(std::function<void()> wake) override {
    auto out = std::make_shared<std::function<void()>>(std::move(wake));
    wake_ = out;
    return out;
  }
  std::shared_ptr<std::function<void()>> wake() const { return wake_.lock(); }
  const Clock& clock() const override { return clock_; }

  void open_stream(InstanceId, StreamRequest, StreamOpened) override { std::abort(); }
  bool accept_stream(const Identity&, const std::string&, std::shared_ptr<net::Responder>) override { std::abort(); }
  void accept_scheduler(const Identity&, std::shared_ptr<net::Responder>) override { std::abort(); }
  std::vector<SchedulerStatus> schedulers() const override { std::abort(); }
  void accept_session(const Identity&, const std::string&, std::shared_ptr<net::Responder>) override { std::abort(); }
  catalog::ContentStore& content() override { std::abort(); }
  std::string work_dir() const override { std::abort(); }
  catalog::Distribution& distribution() override { std::abort(); }
  Status run_blocking(std::function<void()>) override { std::abort(); }
  Status compute(std::function<void()>) override { std::abort(); }
  void resolve_image(std::string, PullPolicy, std::function<void(Result<std::string>)>) override { std::abort(); }
  Result<std::string> prune_images(Duration) override { std::abort(); }
  Result<std::string> push_image(const std::string&, const std::string&, const catalog::Credentials&) override {
    std::abort();
  }
  const net::KeyPair& authority() const override { std::abort(); }
  std::string server_authority() const override { std::abort(); }
  std::string public_address() const override { std::abort(); }
  std::string worker_address() const override { std::abort(); }
  void bootstrap_used() override { std::abort(); }

 private:
  const SystemClock clock_;
  static std::shared_ptr<const Snapshot> with_a_token() {
    Snapshot out;
    Token token;
    token.id = TokenId{1};
    out.tokens.put(TableEdit(), 1, token);
    return std::make_shared<const Snapshot>(std::move(out));
  }
  const std::shared_ptr<const Snapshot> snapshot_ = with_a_token();
  std::mutex mutex_;
  std::condition_variable asked_;
  state::Done done_;
  std::weak_ptr<std::function<void()>> wake_;
};

// The state's thread is the last to end: it still answers a plan, and still tells of a commit, when nobody schedules
// any more.
TEST(Schedulers, APlanIsAnsweredAfterTheyHaveStopped) {
  SlowManager manager;
  Schedulers schedulers(manager, [](scheduler::Share) {});
  const auto upgrade = std::make_shared<Upgrade>();
  Identity identity;
  identity.text = "token:s1";
  identity.token = TokenId{1};
  schedulers.accept(identity, upgrade);
  ASSERT_EQ(upgrade->socket->started.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  std::shared_ptr<std::function<void()>> wake = manager.wake();
  ASSERT_TRUE(wake);
  SchedulerMessage message;
  message.hello = SchedulerHello{"s1", "1"};
  message.plan = Plan{};
  upgrade->socket->callbacks.message(to_json(message), false);
  const state::Done done = manager.asked();
  ASSERT_TRUE(done);
  schedulers.stop();
  done(state::Outcome{});
  (*wake)();
  wake.reset();
  EXPECT_FALSE(manager.wake()) << "it is told of no more commits";
  EXPECT_EQ(schedulers.list().size(), 2u);
}

}  // namespace
}  // namespace tutti::manager
