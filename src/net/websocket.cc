#include "net/websocket.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <deque>
#include <mutex>

#include "base/limits.h"
#include "base/log.h"

namespace tutti::net {

namespace websocket = beast::websocket;

namespace {

using Stream = websocket::stream<TlsStream, false>;  // without compression

constexpr auto kHandshakeWait = std::chrono::seconds(10);
constexpr Duration kDialWait = seconds(15);
constexpr Duration kCloseWait = seconds(5);
constexpr auto kPingEvery = std::chrono::seconds(20);
constexpr size_t kReadPiece = 16u << 10;  // a TLS record; thousands of sessions each hold one

void set_options(Stream& ws) {
  websocket::stream_base::timeout timeouts{};
  timeouts.handshake_timeout = kHandshakeWait;
  timeouts.idle_timeout = websocket::stream_base::none();
  timeouts.keep_alive_pings = false;
  ws.set_option(timeouts);
  ws.read_message_max(0);  // read_done() counts: Beast would lose the reason on its way
  ws.auto_fragment(true);
  ws.write_buffer_bytes(16u << 10);  // one TLS record, and well under kFrameBytesMax
}

// Both ends of a WebSocket. Everything but send(), pending_bytes(), and the flags under the mutex is the loop's.
class WsConnection final : public Tracked, public std::enable_shared_from_this<WsConnection> {
 public:
  WsConnection(std::shared_ptr<Loop> loop, std::unique_ptr<TlsStream> stream, std::shared_ptr<TlsContext> tls,
               size_t limit, Opened opened, std::function<void()> ended)
      : loop_(std::move(loop)),
        tls_(std::move(tls)),
        ws_(std::make_unique<Stream>(std::move(*stream))),
        limit_(limit),
        opened_(std::move(opened)),
        ended_(std::move(ended)),
        ping_(loop_->io.get_executor()) {
    set_options(*ws_);
  }

  // The server's side; on the loop's thread.
  void accept(UpgradeRequest request);
  // The client's side, up to `opened`.
  static Co<> dial(std::shared_ptr<WsConnection> self, Dial dial);

  void start(WebSocket::Callbacks callbacks) {
    std::unique_lock lock(mutex_);
    if (!closed_) {
      asio::post(loop_->io, [self = shared_from_this(), callbacks = std::move(callbacks)]() mutable {
        self->begin(std::move(callbacks));
      });
      return;
    }
    std::string reason = end_reason_;
    lock.unlock();
    if (callbacks.closed) callbacks.closed(reason);
  }

  bool send(std::string message, bool binary) {
    std::lock_guard lock(mutex_);
    if (closed_ || closing_) return false;
    if (pending_ > 0 && pending_ + message.size() > limit_) {
      refused_ = true;
      return false;
    }
    pending_ += message.size();
    above_half_ |= pending_ > limit_ / 2;
    queue_.push_back({std::move(message), binary});
    if (!std::exchange(flush_posted_, true)) post_locked([](WsConnection& self) { self.flush(); });
    return true;
  }

  size_t pending_bytes() const {
    std::lock_guard lock(mutex_);
    return pending_;
  }

  void pause_reading(bool paused) {
    post([paused](WsConnection& self) {
      self.paused_ = paused;
      if (!paused) self.read();
    });
  }

  void close(std::string reason) {
    std::lock_guard lock(mutex_);
    if (closed_ || closing_) return;
    closing_ = true;
    post_locked([reason = std::move(reason)](WsConnection& self) {
      self.close_reason_ = reason;
      self.expires_in(kCloseWait);
      self.flush();
    });
  }

  // The connection was lost or must end now.
  void abort(const std::string& reason) override { finish(close_reason_.empty() ? reason : close_reason_); }

 private:
  struct Message {
    std::string bytes;
    bool binary;
  };

  template <class F>
  void post_locked(F f) {
    asio::post(loop_->io, [self = shared_from_this(), f = std::move(f)]() mutable {
      if (!self->finished_) f(*self);
    });
  }
  template <class F>
  void post(F f) {
    std::lock_guard lock(mutex_);
    if (!closed_) {
      post_locked(std::move(f));
      return;
    }
  }

  void opened();
  void refuse(Error error);
  void refuse(ErrorCode code, const std::string& why);
  void begin(WebSocket::Callbacks callbacks);
  void flush();
  void written(error_code error, size_t bytes);
  void read();
  void read_done(error_code error);
  void refuse_message();
  void ping_later();
  void ping();
  void finish(std::string reason);

  const std::shared_ptr<Loop> loop_;
  const std::shared_ptr<TlsContext> tls_;  // client: the verifying callback reads it
  const std::unique_ptr<Stream> ws_;
  const size_t limit_;
  Opened opened_;  // until the handshake is over
  std::function<void()> ended_;
  Timer ping_;
  std::string where_;  // client: "wss://host:port/target: "
  WebSocket::Callbacks callbacks_;
  beast::flat_buffer buffer_;
  websocket::response_type answer_;  // client: to the upgrade
  std::string close_reason_;
  websocket::close_code close_code_ = websocket::close_code::normal;
  Message writing_;
  bool started_ = false;
  bool paused_ = false;
  bool reading_ = false;
  bool write_busy_ = false;
  bool close_sent_ = false;
  bool finished_ = false;
  bool pinging_ = false;
  bool heard_ = false;  // a message, since the last look

  mutable std::mutex mutex_;
  std::deque<Message> queue_;
  size_t pending_ = 0;
  bool flush_posted_ = false;
  bool refused_ = false;
  bool above_half_ = false;
  bool closing_ = false;
  bool closed_ = false;
  std::string end_reason_;
};

// What the owner holds: dropping it closes the connection.
class WsHandle final : public WebSocket {
 public:
  explicit WsHandle(std::shared_ptr<WsConnection> connection) : connection_(std::move(connection)) {}
  ~WsHandle() override { connection_->close("dropped"); }
  void start(Callbacks callbacks) override { connection_->start(std::move(callbacks)); }
  bool send(std::string message, bool binary) override { return connection_->send(std::move(message), binary); }
  size_t pending_bytes() const override { return connection_->pending_bytes(); }
  void pause_reading(bool paused) override { connection_->pause_reading(paused); }
  void close(std::string reason) override { connection_->close(std::move(reason)); }

 private:
  const std::shared_ptr<WsConnection> connection_;
};

void WsConnection::accept(UpgradeRequest request) {
  loop_->add(shared_from_this());
  auto kept = std::make_shared<UpgradeRequest>(std::move(request));
  ws_->async_accept(*kept, [self = shared_from_this(), kept](error_code error) {
    if (self->finished_) return;
    if (error) return self->refuse(ErrorCode::io, "the WebSocket handshake failed: " + error.message());
    self->opened();
  });
}

void WsConnection::opened() {
  expires_never();
  ping_later();
  auto opened = std::exchange(opened_, nullptr);
  opened(std::shared_ptr<WebSocket>(std::make_shared<WsHandle>(shared_from_this())));
}

void WsConnection::refuse(Error error) {
  auto opened = std::exchange(opened_, nullptr);
  finish(error.message);
  if (opened) opened(tl::make_unexpected(std::move(error)));
}

void WsConnection::refuse(ErrorCode code, const std::string& why) {
  refuse(Error{code, why, {}, 0});
}

// The body of a refusal goes with the error as a detail of the name `answer`: who knows its form takes it apart.
constexpr size_t kRefusalBytesMax = 16u << 10;

ErrorCode code_of_status(unsigned status) {
  switch (status) {
    case 400: return ErrorCode::invalid;
    case 401: return ErrorCode::unauthenticated;
    case 403: return ErrorCode::forbidden;
    case 404: return ErrorCode::not_found;
    case 409: return ErrorCode::conflict;
    case 429: return ErrorCode::too_many;
    default: return ErrorCode::unavailable;
  }
}

Co<> WsConnection::dial(std::shared_ptr<WsConnection> self, Dial dial) {
  const Endpoint& to = dial.endpoint;
  std::string host = to.host.find(':') == std::string::npos ? to.host : "[" + to.host + "]";
  host += ":" + std::to_string(to.port);
  self->where_ = "wss://" + host + dial.target.substr(0, dial.target.find('?')) + ": ";
  self->expires_in(kDialWait);
  self->loop_->add(self);
  std::vector<tcp::endpoint> endpoints;
  error_code error;
  auto literal = asio::ip::make_address(to.host, error);
  if (!error) {
    endpoints.emplace_back(literal, to.port);
  } else {
    asio::ip::basic_resolver<tcp, Executor> resolver(self->loop_->io.get_executor());
    auto [failed, found] = co_await resolver.async_resolve(to.host, std::to_string(to.port), kAwait);
    if (self->finished_) co_return;
    if (failed)
      co_return self->refuse(ErrorCode::unavailable, "cannot find the host '" + to.host + "': " + failed.message());
    for (const auto& entry : found) endpoints.push_back(entry.endpoint());
  }
  TlsStream& tls = self->ws_->next_layer();
  auto [unconnected, where] = co_await asio::async_connect(socket_of(tls), endpoints, kAwait);
  if (self->finished_) co_return;
  if (unconnected)
    co_return self->refuse(ErrorCode::unavailable, "cannot connect to " + host + ": " + unconnected.message() +
                                                       "; check the address and that the manager runs");
  set_socket_options(socket_of(tls).native_handle());
  auto prepared = prepare_client_ssl(*self->tls_, tls.native_handle(), to.host);
  if (!prepared) co_return self->refuse(prepared.error().code, prepared.error().message);
  auto [untrusted] = co_await tls.async_handshake(asio::ssl::stream_base::client, kAwait);
  if (self->finished_) co_return;
  if (untrusted)
    co_return self->refuse(ErrorCode::unavailable,
                           host + ": " + handshake_error(tls.native_handle(), *self->tls_, untrusted.message()));
  self->ws_->set_option(websocket::stream_base::decorator([headers = dial.headers](websocket::request_type& request) {
    for (const auto& [name, value] : headers) request.set(name, value);
  }));
  auto [declined] = co_await self->ws_->async_handshake(self->answer_, host, dial.target, kAwait);
  if (self->finished_) co_return;
  if (declined == websocket::error::upgrade_declined) {
    unsigned status = self->answer_.result_int();
    Error refusal{code_of_status(status), self->where_ + "the server answered " + std::to_string(status), {}, 0};
    refusal.details.push_back({"answer", self->answer_.body().substr(0, kRefusalBytesMax), ""});
    co_return self->refuse(std::move(refusal));
  }
  if (declined) co_return self->refuse(ErrorCode::unavailable, self->where_ + declined.message());
  self->answer_ = {};
  self->opened();
}

void WsConnection::begin(WebSocket::Callbacks callbacks) {
  if (finished_) {
    if (callbacks.closed) callbacks.closed(end_reason_);
    return;
  }
  if (started_) return;
  started_ = true;
  callbacks_ = std::move(callbacks);
  read();
}

void WsConnection::flush() {
  if (write_busy_ || close_sent_) return;
  bool closing = false;
  {
    std::lock_guard lock(mutex_);
    flush_posted_ = false;
    if (!queue_.empty()) {
      writing_ = std::move(queue_.front());
      queue_.pop_front();
      write_busy_ = true;
    }
    closing = closing_;
  }
  if (write_busy_) {
    ws_->binary(writing_.binary);
    ws_->async_write(asio::buffer(writing_.bytes),
                     [self = shared_from_this()](error_code error, size_t n) { self->written(error, n); });
  } else if (closing) {
    close_sent_ = true;
    websocket::close_reason reason(close_code_);
    reason.reason = beast::string_view(close_reason_.data(), std::min<size_t>(close_reason_.size(), 123));
    ws_->async_close(reason, [self = shared_from_this()](error_code) { self->finish(self->close_reason_); });
  }
}

void WsConnection::written(error_code error, size_t) {
  write_busy_ = false;
  if (finished_) return;
  if (error) {
    // The reader knows better why, when there is one: it sees the peer's close frame.
    if (!reading_) return finish("connection lost: " + error.message());
    expires_in(kCloseWait);
    return;
  }
  bool drained = false;
  {
    std::lock_guard lock(mutex_);
    pending_ -= writing_.bytes.size();
    if (pending_ <= limit_ / 2 && (above_half_ || refused_)) {
      drained = true;
      above_half_ = refused_ = false;
    }
  }
  writing_ = Message{};
  flush();
  if (drained && callbacks_.drained) {
    auto keep = callbacks_.drained;  // it may end the connection, and with it the callbacks
    keep();
  }
}

void WsConnection::read() {
  if (!started_ || paused_ || reading_ || close_sent_ || finished_) return;
  reading_ = true;
  ws_->async_read_some(buffer_, kReadPiece,
                       [self = shared_from_this()](error_code error, size_t) { self->read_done(error); });
}

void WsConnection::read_done(error_code error) {
  reading_ = false;
  heard_ = true;
  if (finished_) return;
  if (error) {
    if (close_sent_) return;  // async_close reports the end
    if (error == websocket::error::closed) {
      auto reason = ws_->reason().reason;
      finish(reason.empty() ? "closed by the peer" : std::string(reason.data(), reason.size()));
    } else {
      finish("connection lost: " + error.message());
    }
    return;
  }
  if (buffer_.size() > limits::kMessageBytesMax) return refuse_message();
  if (ws_->is_message_done()) {
    std::string message = beast::buffers_to_string(buffer_.data());
    buffer_.consume(buffer_.size());
    if (buffer_.capacity() > 2 * kReadPiece) buffer_ = beast::flat_buffer();
    bool binary = ws_->got_binary();
    if (callbacks_.message) {
      auto keep = callbacks_.message;
      keep(std::move(message), binary);
    }
  }
  read();
}

void WsConnection::refuse_message() {
  buffer_ = beast::flat_buffer();
  std::lock_guard lock(mutex_);
  if (closing_) return;
  closing_ = true;
  queue_.clear();
  close_code_ = websocket::close_code::too_big;
  close_reason_ = "a message is larger than " + std::to_string(limits::kMessageBytesMax) + " bytes (kMessageBytesMax)";
  expires_in(kCloseWait);
  post_locked([](WsConnection& self) { self.flush(); });
}

void WsConnection::ping_later() {
  ping_.expires_after(kPingEvery);
  ping_.async_wait([weak = weak_from_this()](error_code error) {
    auto self = weak.lock();
    if (self && !error && !self->finished_) self->ping();
  });
}

// A ping gives the kernel something to be acknowledged; who was heard since the last one needs none. Its pong proves
// nothing more, and does not come from a peer that reads nothing for now: whether its program still thinks is for the
// session above to judge.
void WsConnection::ping() {
  if (peer_silent(beast::get_lowest_layer(*ws_).native_handle())) return finish("the peer does not answer any more");
  if (!std::exchange(heard_, false) && !pinging_ && !close_sent_) {
    pinging_ = true;
    ws_->async_ping({}, [self = shared_from_this()](error_code) { self->pinging_ = false; });
  }
  ping_later();
}

void WsConnection::finish(std::string reason) {
  if (std::exchange(finished_, true)) return;
  auto self = shared_from_this();
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    end_reason_ = reason;
    queue_.clear();
    pending_ = 0;
  }
  error_code ignored;
  beast::get_lowest_layer(*ws_).close(ignored);
  ping_.cancel();
  loop_->remove(this);
  auto callbacks = std::exchange(callbacks_, WebSocket::Callbacks());
  if (auto ended = std::exchange(ended_, nullptr)) ended();
  if (auto opened = std::exchange(opened_, nullptr))
    opened(fail(reason == "timeout" ? ErrorCode::timeout : ErrorCode::cancelled, where_ + reason));
  if (callbacks.closed) callbacks.closed(std::move(reason));
}

}  // namespace

bool is_upgrade(const UpgradeRequest& request) {
  return websocket::is_upgrade(request);
}

void accept_websocket(std::shared_ptr<Loop> loop, std::unique_ptr<TlsStream> stream, UpgradeRequest request,
                      size_t pending_limit_bytes, Opened opened, std::function<void()> ended) {
  auto connection = std::make_shared<WsConnection>(std::move(loop), std::move(stream), nullptr, pending_limit_bytes,
                                                   std::move(opened), std::move(ended));
  connection->accept(std::move(request));
}

void dial_websocket(std::shared_ptr<Loop> loop, Dial dial, Opened opened) {
  auto tls = make_client_tls(dial.tls);
  if (!tls) return opened(tl::make_unexpected(std::move(tls).error()));
  auto stream = make_stream(Socket(loop->io.get_executor()), **tls);
  auto executor = loop->io.get_executor();
  auto connection = std::make_shared<WsConnection>(std::move(loop), std::move(stream), std::move(*tls),
                                                   dial.pending_limit_bytes, std::move(opened), nullptr);
  asio::co_spawn(executor, WsConnection::dial(std::move(connection), std::move(dial)), asio::detached);
}

}  // namespace tutti::net
