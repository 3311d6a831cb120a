#include <unistd.h>

#include <atomic>
#include <deque>
#include <thread>

#include "base/limits.h"
#include "net/net_test.h"

namespace tutti::net::testing {
namespace {

using Socket = std::shared_ptr<WebSocket>;
constexpr size_t kLimit = 4u << 20;

// What one end got, readable from the test's thread.
struct Inbox {
  std::mutex mutex;
  std::deque<std::pair<std::string, bool>> messages;
  std::vector<std::string> closed;
  std::atomic<int> drained{0};

  WebSocket::Callbacks callbacks() {
    return {[this](std::string message, bool binary) {
              std::lock_guard lock(mutex);
              messages.emplace_back(std::move(message), binary);
            },
            [this](std::string reason) {
              std::lock_guard lock(mutex);
              closed.push_back(std::move(reason));
            },
            [this] { ++drained; }};
  }
  size_t count() {
    std::lock_guard lock(mutex);
    return messages.size();
  }
  std::string closed_reason() {
    EXPECT_TRUE(eventually([this] {
      std::lock_guard lock(mutex);
      return !closed.empty();
    }));
    std::lock_guard lock(mutex);
    EXPECT_EQ(closed.size(), 1u);
    return closed.empty() ? std::string() : closed[0];
  }
};

class WebSocketTest : public NetTest {
 protected:
  void serve_sockets(bool mutual = false) {
    serve_with(
        [this](std::shared_ptr<const Request> request, std::shared_ptr<Responder> responder) {
          if (request->path == "/denied") return responder->send({.status = 403, .body = "not you"});
          peer_.set(request->peer_common_name + "|" + request->header("x-token"));
          responder->websocket([this](Result<Socket> opened) { accepted_.set(std::move(opened)); }, kLimit);
        },
        {}, mutual);
  }
  Result<Socket> dial(const std::string& target, const ClientTls& tls, uint16_t port) {
    Promised<Result<Socket>> opened;
    io_->websocket({"127.0.0.1", port}, tls, target, {{"X-Token", "secret"}}, kLimit,
                   [&](Result<Socket> socket) { opened.set(std::move(socket)); });
    return opened.get();
  }
  Result<Socket> dial(const std::string& target = "/ws") { return dial(target, pool_.trusting(), server_->port()); }

  Promised<Result<Socket>> accepted_;
  Promised<std::string> peer_;
  Inbox near_, far_;  // the client's, the server's
  std::unique_ptr<IoThread> io_ = make_io_thread("test-io");

  ~WebSocketTest() override {
    accepted_.set(Result<Socket>());
    io_.reset();
    server_.reset();
  }
};

TEST_F(WebSocketTest, WhoeverIsToldOfTheEndByStopMayStillAskForMore) {
  serve_sockets();
  auto socket = dial();
  ASSERT_TRUE(socket);
  WebSocket::Callbacks callbacks = near_.callbacks();
  std::atomic<bool> dialed{false}, waited{false}, posted{false};
  callbacks.closed = [&, told = callbacks.closed](const std::string& reason) {
    io_->after(milliseconds(1), [&] { waited = true; });
    io_->websocket({"127.0.0.1", server_->port()}, pool_.trusting(), "/ws", {}, kLimit,
                   [&](Result<Socket> again) { dialed = again.has_value(); });
    told(reason);
  };
  (*socket)->start(std::move(callbacks));
  io_->stop();
  EXPECT_EQ(near_.closed_reason(), "stopping");
  io_->post([&] { posted = true; });
  io_.reset();
  EXPECT_FALSE(dialed || waited || posted);
}

TEST_F(WebSocketTest, MessagesBothWaysInOrder) {
  serve_sockets();
  auto near = dial();
  ASSERT_TRUE(near) << near.error().message;
  auto far = accepted_.get();
  ASSERT_TRUE(far);
  EXPECT_EQ(peer_.get(), "|secret");
  (*near)->start(near_.callbacks());
  (*far)->start(far_.callbacks());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE((*near)->send(std::to_string(i), false));
    ASSERT_TRUE((*far)->send(std::string(100, static_cast<char>(i)), true));
  }
  ASSERT_TRUE(eventually([&] { return near_.count() == 1000 && far_.count() == 1000; }));
  for (size_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(far_.messages[i], std::make_pair(std::to_string(i), false));
    EXPECT_EQ(near_.messages[i], std::make_pair(std::string(100, static_cast<char>(i)), true));
  }
  ASSERT_TRUE((*near)->send("", false));
  std::string large(limits::kMessageBytesMax, 'L');
  large[77] = 'x';
  ASSERT_TRUE((*near)->send(large, true));
  ASSERT_TRUE((*far)->send(large, false));
  ASSERT_TRUE(eventually([&] { return near_.count() == 1001 && far_.count() == 1002; }));
  EXPECT_EQ(far_.messages[1000].first, "");
  EXPECT_EQ(far_.messages[1001], std::make_pair(large, true));
  EXPECT_EQ(near_.messages[1000], std::make_pair(large, false));
}

TEST_F(WebSocketTest, MessagesAboveTheLimitEndTheConnection) {
  serve_sockets();
  auto near = dial(), far = accepted_.get();
  ASSERT_TRUE(near && far);
  (*near)->start(near_.callbacks());
  (*far)->start(far_.callbacks());
  ASSERT_TRUE((*near)->send(std::string(limits::kMessageBytesMax + 1, 'L'), false));
  std::string reason = far_.closed_reason();
  EXPECT_NE(reason.find("kMessageBytesMax"), std::string::npos) << reason;
  near_.closed_reason();
  EXPECT_EQ(far_.count(), 0u);
  EXPECT_FALSE((*far)->send("x", false));
}

TEST_F(WebSocketTest, CloseSendsWhatIsQueuedAndTheReason) {
  serve_sockets();
  auto near = dial(), far = accepted_.get();
  ASSERT_TRUE(near && far);
  (*near)->start(near_.callbacks());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE((*near)->send(std::string(10'000, 'q'), true));
  (*near)->close("going home");
  EXPECT_FALSE((*near)->send("late", false));
  (*far)->start(far_.callbacks());  // the messages waited
  EXPECT_EQ(far_.closed_reason(), "going home");
  EXPECT_EQ(far_.count(), 100u);
  EXPECT_EQ(near_.closed_reason(), "going home");
  // Started after the end: still told.
  Inbox late;
  (*far)->start(late.callbacks());
  EXPECT_EQ(late.closed_reason(), "going home");
}

TEST_F(WebSocketTest, PausedReadingHoldsThePeerBackAndDrainedFollows) {
  serve_sockets();
  auto near = dial(), far = accepted_.get();
  ASSERT_TRUE(near && far);
  (*near)->start(near_.callbacks());
  (*far)->start(far_.callbacks());
  (*far)->pause_reading(true);
  std::string piece(256 << 10, 'p');
  size_t sent = 0;
  int refused = 0;  // in a row: the kernel takes no more either
  ASSERT_TRUE(eventually([&] {
    for (; (*near)->send(piece, true); ++sent) refused = 0;
    return ++refused > 50;
  }));
  // The kernel took its share; the rest waits, bounded, here.
  EXPECT_GT((*near)->pending_bytes(), kLimit / 2);
  EXPECT_LE((*near)->pending_bytes(), kLimit);
  size_t before = far_.count();
  EXPECT_LT(before, sent);
  (*far)->pause_reading(false);
  ASSERT_TRUE(eventually([&] { return far_.count() == sent && near_.drained > 0; }));
  EXPECT_EQ((*near)->pending_bytes(), 0u);
  EXPECT_TRUE((*near)->send("more", false));
}

TEST_F(WebSocketTest, LossAndDroppingAreNoticed) {
  serve_sockets();
  auto near = dial(), far = accepted_.get();
  ASSERT_TRUE(near && far);
  (*near)->start(near_.callbacks());
  (*far)->start(far_.callbacks());
  near->reset();  // the last reference
  EXPECT_EQ(far_.closed_reason(), "dropped");
  near_.closed_reason();
}

TEST_F(WebSocketTest, StoppingTheServerClosesBothEnds) {
  serve_sockets();
  auto near = dial(), far = accepted_.get();
  ASSERT_TRUE(near && far);
  (*near)->start(near_.callbacks());
  (*far)->start(far_.callbacks());
  server_->stop();
  far_.closed_reason();
  near_.closed_reason();
  EXPECT_FALSE((*far)->send("x", false));
  (*far)->close("again");
  server_.reset();
}

TEST_F(WebSocketTest, StoppingTheIoThreadClosesToo) {
  serve_sockets();
  auto near = dial(), far = accepted_.get();
  ASSERT_TRUE(near && far);
  (*near)->start(near_.callbacks());
  (*far)->start(far_.callbacks());
  io_->after(seconds(3600), [] { ADD_FAILURE() << "an hour passed"; });
  io_.reset();
  near_.closed_reason();
  far_.closed_reason();
}

TEST_F(WebSocketTest, RefusalsSayWhy) {
  serve_sockets();
  EXPECT_EQ(dial("/denied").error().code, ErrorCode::forbidden);
  EXPECT_EQ(dial("/denied").error().details, (std::vector<ErrorDetail>{{"answer", "not you", ""}}));
  auto plain = client()->call(get("/ws"), seconds(20));
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ(plain->status, 426);
  EXPECT_EQ(accepted_.get().error().code, ErrorCode::invalid);
  Pool other;
  auto untrusted = dial("/ws", other.trusting(), server_->port());
  EXPECT_EQ(untrusted.error().code, ErrorCode::unavailable);
  EXPECT_NE(untrusted.error().message.find("authority"), std::string::npos) << untrusted.error().message;
  uint16_t port = server_->port();
  server_.reset();
  EXPECT_EQ(dial("/ws", pool_.trusting(), port).error().code, ErrorCode::unavailable);
}

TEST_F(WebSocketTest, MutualTls) {
  serve_sockets(true);
  EXPECT_FALSE(dial());
  EXPECT_FALSE(accepted_.is_set());
  auto near = dial("/ws", pool_.as("node-3"), server_->port());
  ASSERT_TRUE(near) << near.error().message;
  EXPECT_EQ(peer_.get(), "node-3|secret");
}

TEST_F(WebSocketTest, EchoInTheCallbackOfManySockets) {
  ServerOptions options;
  options.threads = 2;
  serve_with(
      [](auto, auto responder) {
        responder->websocket(
            [](Result<Socket> opened) {
              if (!opened) return;
              Socket socket = *opened;
              // The callbacks own the socket; its end lets them go.
              socket->start({[socket](std::string m, bool binary) { socket->send(std::move(m), binary); }, {}, {}});
            },
            kLimit);
      },
      options);
  std::vector<std::unique_ptr<Inbox>> inboxes;
  std::vector<Socket> sockets;
  for (int i = 0; i < 20; ++i) {
    auto near = dial();
    ASSERT_TRUE(near) << near.error().message;
    inboxes.push_back(std::make_unique<Inbox>());
    (*near)->start(inboxes.back()->callbacks());
    sockets.push_back(*near);
  }
  for (int round = 0; round < 50; ++round)
    for (auto& socket : sockets) ASSERT_TRUE(socket->send(std::to_string(round), true));
  for (auto& inbox : inboxes) EXPECT_TRUE(eventually([&] { return inbox->count() == 50; }));
  for (auto& socket : sockets) socket->close("done");
  for (auto& inbox : inboxes) EXPECT_EQ(inbox->closed_reason(), "done");
}

TEST(IoThread, PostsTimersAndWatches) {
  auto io = make_io_thread("io");
  Promised<bool> posted, later;
  io->post([&] { posted.set(true); });
  io->after(milliseconds(20), [&] { later.set(posted.is_set()); });
  EXPECT_TRUE(later.get());
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  std::atomic<int> reads{0};
  Promised<bool> done;
  io->watch_readable(ends[0], [&, fd = ends[0]] {
    char c = 0;
    EXPECT_EQ(::read(fd, &c, 1), 1);
    ++reads;
    if (c == 'q') done.set(true);
    return c != 'q';
  });
  ASSERT_EQ(::write(ends[1], "abq", 3), 3);
  EXPECT_TRUE(done.get());
  EXPECT_EQ(reads, 3);
  // The watch is over, the descriptor is still the caller's, and may be watched again.
  ASSERT_EQ(::write(ends[1], "z", 1), 1);
  Promised<bool> again;
  io->watch_readable(ends[0], [&] { return again.set(true), false; });
  EXPECT_TRUE(again.get());
  io.reset();
  EXPECT_EQ(reads, 3);
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace tutti::net::testing
