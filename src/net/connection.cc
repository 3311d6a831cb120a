#include "net/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <charconv>

#include "base/log.h"
#include "net/target.h"

namespace tutti::net {

namespace http = beast::http;

namespace {

constexpr size_t kReadHead = 4u << 10;
constexpr size_t kReadBody = 64u << 10;
constexpr Duration kCloseWait = seconds(2);
constexpr size_t kDrainBytesMax = 4u << 20;
// A body has to come at this pace on average, once header_timeout is over.
constexpr uint64_t kBodyBytesPerSecondMin = 1024;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

}  // namespace

Connection::Connection(std::shared_ptr<ServerShared> shared, std::shared_ptr<Loop> loop,
                       std::shared_ptr<TlsContext> tls, Socket socket, const tcp::endpoint& peer, bool refuse)
    : shared_(std::move(shared)),
      loop_(std::move(loop)),
      tls_(std::move(tls)),
      socket_(std::move(socket)),
      remote_(text_of(peer)),
      address_(neighbourhood_of(peer)),
      refuse_(refuse),
      parking_(loop_->io.get_executor()) {}

Connection::~Connection() = default;

bool Strangers::enter(const std::string& address, size_t most) {
  std::lock_guard lock(mutex_);
  size_t& count = counts_[address];
  if (count >= most) return false;
  ++count;
  return true;
}

void Strangers::leave(const std::string& address) {
  std::lock_guard lock(mutex_);
  const auto at = counts_.find(address);
  if (--at->second == 0) counts_.erase(at);
}

void Connection::known() {
  if (stranger_.exchange(false)) shared_->strangers.leave(address_);
}

Socket* Connection::raw() {
  return stream_ ? &socket_of(*stream_) : socket_ ? &*socket_ : nullptr;
}

void Connection::start(std::shared_ptr<Connection> self) {
  self->loop_->add(self);
  self->expires_in(self->shared_->options.header_timeout);
  auto executor = self->loop_->io.get_executor();
  asio::co_spawn(executor, run(std::move(self)), asio::detached);
}

Co<> Connection::run(std::shared_ptr<Connection> self) {
  try {
    co_await self->serve();
  } catch (const std::exception& e) {
    log_error("connection ended by an exception", {{"remote", self->remote_}, {"what", e.what()}});
  }
  if (Socket* socket = self->raw()) {
    error_code ignored;
    socket->close(ignored);
    while (self->reading_) co_await self->park();
  }
  self->end();
}

void Connection::end() {
  {
    std::lock_guard lock(gate_);
    ended_ = true;
  }
  if (BodyCallback callback = std::exchange(body_wanted_, nullptr))
    callback(fail(ErrorCode::io, "the peer closed the connection"));
  discard(std::exchange(answer_, Answer()));
  loop_->remove(this);
  stream_.reset();
  socket_.reset();
  known();
  buffer_ = beast::flat_buffer();
  if (!upgraded_) --shared_->connections;
}

void Connection::abort(const std::string&) {
  aborted_ = true;
  if (Socket* socket = raw()) {
    error_code ignored;
    socket->close(ignored);
  }
  wake();
}

bool Connection::on_loop(std::function<void()> f) {
  if (loop_->io.get_executor().running_in_this_thread()) {
    if (ended_) return false;
    f();
    return true;
  }
  std::lock_guard lock(gate_);
  if (ended_) return false;
  asio::post(loop_->io, std::move(f));
  return true;
}

void Connection::answer(uint64_t serial, Answer answer) {
  auto kept = std::make_shared<Answer>(std::move(answer));
  bool taken = on_loop([self = shared_from_this(), serial, kept] {
    if (self->ended_ || serial != self->serial_) return discard(std::move(*kept));
    self->answer_ = std::move(*kept);
    self->wake();
  });
  if (!taken) discard(std::move(*kept));
}

void Connection::want_body(uint64_t serial, BodyCallback callback) {
  auto kept = std::make_shared<BodyCallback>(std::move(callback));
  bool taken = on_loop([self = shared_from_this(), serial, kept] {
    if (self->ended_ || serial != self->serial_) return (*kept)(fail(ErrorCode::io, "the request is over"));
    self->body_wanted_ = std::move(*kept);
    self->wake();
  });
  if (!taken) (*kept)(fail(ErrorCode::io, "the peer closed the connection"));
}

void Connection::wake_from_anywhere() {
  on_loop([self = shared_from_this()] { self->wake(); });
}

void Connection::wake() {
  woken_ = true;
  parking_.cancel();
}

Co<> Connection::park() {
  if (!woken_) {
    parking_.expires_at(Steady::time_point::max());
    co_await parking_.async_wait(kAwait);
  }
  woken_ = false;
}

Co<bool> Connection::write(std::string_view bytes, int patience) {
  expires_in(shared_->options.idle_timeout * patience);
  auto [error, n] = co_await asio::async_write(*stream_, asio::buffer(bytes.data(), bytes.size()), kAwait);
  expires_never();
  co_return !error && !aborted_;
}

Co<bool> Connection::read_more(size_t most) {
  if (reading_) {  // watch_peer() reads already: what it gets is what is wanted here
    while (reading_) co_await park();
    co_return !peer_gone_ && !aborted_;
  }
  if (peer_gone_ || aborted_) co_return false;
  auto [error, n] = co_await stream_->async_read_some(buffer_.prepare(most), kAwait);
  if (error || aborted_) co_return false;
  buffer_.commit(n);
  co_return true;
}

// While an answer streams, the one sign that the peer left is the end of its side. What it sends instead is its next
// request: kept, and nothing more is read until that one's turn.
void Connection::watch_peer() {
  if (reading_ || buffer_.size() > 0) return;
  reading_ = true;
  stream_->async_read_some(buffer_.prepare(kReadHead), [self = shared_from_this()](error_code error, size_t n) {
    self->reading_ = false;
    if (error) {
      self->peer_gone_ = true;
    } else {
      self->buffer_.commit(n);
    }
    self->wake();
  });
}

Co<bool> Connection::speaks_tls() {
  Socket& socket = *socket_;
  unsigned char first = 0;
  ssize_t seen = 0;
  do {
    auto [error] = co_await socket.async_wait(Socket::wait_read, kAwait);
    if (error || aborted_) co_return false;
    seen = ::recv(socket.native_handle(), &first, 1, MSG_PEEK | MSG_DONTWAIT);
  } while (seen < 0 && (errno == EAGAIN || errno == EINTR));  // woken for nothing
  if (seen != 1) co_return false;
  if (first == 0x16) co_return true;  // a TLS handshake record
  if (first < 'A' || first > 'Z') co_return false;
  std::string body = "this port speaks HTTPS: use https:// in front of the address\n";
  Response response{400, {}, body, "text/plain", {}, 0, UINT64_MAX};
  std::string bytes = response_head(response, {body.size(), false, false, false}) + body;
  expires_in(kCloseWait);
  auto [failed, n] = co_await asio::async_write(socket, asio::buffer(bytes), kAwait);
  error_code ignored;
  socket.shutdown(Socket::shutdown_send, ignored);
  std::string rest(kReadHead, '\0');
  for (size_t drained = 0; !failed && drained < kDrainBytesMax;) {
    auto [over, got] = co_await socket.async_read_some(asio::buffer(rest), kAwait);
    if (over) break;
    drained += got;
  }
  co_return false;
}

Co<bool> Connection::handshake() {
  stream_ = make_stream(std::move(*socket_), *tls_);
  socket_.reset();
  auto [error] = co_await stream_->async_handshake(asio::ssl::stream_base::server, kAwait);
  if (error || aborted_) {
    log_debug("TLS handshake failed", {{"remote", remote_}, {"why", error.message()}});
    co_return false;
  }
  X509Ptr peer(SSL_get1_peer_certificate(stream_->native_handle()));
  if (peer) {
    peer_fingerprint_ = sha256_hex_of_key(X509_get0_pubkey(peer.get()));
    peer_common_name_ = common_name_of(peer.get());
    known();
    peer_expired_ = has_expired(peer.get());  // also of a resumed session, for which nothing was verified again
  }
  co_return true;
}

Co<> Connection::serve() {
  if (!co_await speaks_tls()) co_return;
  if (!co_await handshake()) co_return;
  if (refuse_) {
    co_await refuse(503, "the server has as many connections as it may have (connections_max): try again later");
    co_await drain_and_shut_down();
    co_return;
  }
  Next next = Next::keep;
  while (next == Next::keep && !aborted_ && !loop_->stopping()) next = co_await one_request();
  if (next == Next::close && !aborted_) co_await drain_and_shut_down();
}

// Lets the peer read the last answer: closing with its bytes unread would make the kernel throw the answer away.
Co<> Connection::drain_and_shut_down() {
  expires_in(kCloseWait);
  if (!peer_gone_) {
    auto [error] = co_await stream_->async_shutdown(kAwait);
    if (!error) co_return;
  }
  // Still sending: the rest is dropped below TLS, until the peer stops or time is up.
  Socket& socket = socket_of(*stream_);
  error_code ignored;
  socket.shutdown(Socket::shutdown_send, ignored);
  std::string rest(kReadBody, '\0');
  for (size_t drained = 0; !aborted_ && drained < kDrainBytesMax;) {
    auto [over, got] = co_await socket.async_read_some(asio::buffer(rest), kAwait);
    if (over) break;
    drained += got;
  }
}

Co<bool> Connection::read_head(Parser& parser) {
  bool waiting = buffer_.size() == 0 && serial_ > 0;
  if (waiting && !reading_) buffer_.shrink_to_fit();  // thousands may idle
  expires_in(waiting ? shared_->options.idle_timeout : shared_->options.header_timeout);
  for (;;) {
    if (buffer_.size() > 0) {
      error_code error;
      buffer_.consume(parser.put(buffer_.data(), error));
      if (error && error != http::error::need_more) {
        if (error == http::error::header_limit) {
          co_await refuse(431, "the request's header is larger than " +
                                   std::to_string(shared_->options.header_bytes_max) + " bytes (header_bytes_max)");
        } else {
          co_await refuse(400, "this is not a request of HTTP/1.1: " + error.message());
        }
        co_return false;
      }
      if (parser.is_header_done()) {
        expires_never();
        co_return true;
      }
      // The parser counts whole lines only; one endless line must not fill the memory either.
      if (buffer_.size() > shared_->options.header_bytes_max) {
        co_await refuse(431, "the request's header is larger than " +
                                 std::to_string(shared_->options.header_bytes_max) + " bytes (header_bytes_max)");
        co_return false;
      }
    }
    if (!co_await read_more(kReadHead)) {
      peer_gone_ = true;
      co_return false;
    }
    if (std::exchange(waiting, false)) expires_in(shared_->options.header_timeout);
  }
}

Result<std::shared_ptr<Request>> Connection::make_request(const Parser& parser) {
  const auto& head = parser.get();
  auto request = std::make_shared<Request>();
  request->method = std::string(head.method_string());
  request->target = std::string(head.target());
  int hosts = 0;
  for (const auto& field : head) {
    std::string name = lower(field.name_string());
    hosts += name == "host";
    auto [at, fresh] = request->headers.try_emplace(std::move(name), field.value());
    if (!fresh) at->second.append(at->first == "cookie" ? "; " : ", ").append(field.value());
  }
  if (hosts > 1 || (hosts == 0 && head.version() == 11))
    return fail(ErrorCode::invalid, "a request needs exactly one Host field");
  if (head.version() != 11 && head.version() != 10) return fail(ErrorCode::invalid, "only HTTP/1.1 is spoken here");
  TUTTI_CHECK(parse_target(request->target, *request));
  request->remote = remote_;
  request->peer_fingerprint = peer_fingerprint_;
  request->peer_common_name = peer_common_name_;
  request->peer_expired = peer_expired_;
  return request;
}

Co<Connection::Next> Connection::one_request() {
  Parser parser;
  parser.header_limit(static_cast<uint32_t>(shared_->options.header_bytes_max));
  parser.body_limit(boost::none);  // counted here: the limit is the route's, known after the head
  if (!co_await read_head(parser)) co_return Next::close;
  auto made = make_request(parser);
  if (!made) co_return co_await refuse(400, made.error().message);
  std::shared_ptr<Request> request = std::move(*made);
  // A coding nobody here undoes would leave the body's end to guesswork.
  if (std::string coding = lower(request->header("transfer-encoding")); !coding.empty() && coding != "chunked")
    co_return co_await refuse(400, "the only transfer encoding known here is chunked");
  std::string expect = lower(request->header("expect"));
  if (!expect.empty() && expect != "100-continue")
    co_return co_await refuse(417, "the only expectation known here is 100-continue");
  Admission admission;
  bool thrown = false;
  try {
    if (shared_->options.admit) admission = shared_->options.admit(*request);
  } catch (const std::exception& e) {
    log_error("admission failed", {{"target", request->target}, {"what", e.what()}});
    thrown = true;
  }
  if (thrown) co_return co_await refuse(500, "the request could not be admitted: a defect of the server, see its log");
  ++serial_;
  http_1_0_ = parser.get().version() == 10;
  answer_ = Answer();
  body_bytes_ = raw_body_bytes_ = 0;
  body_limit_ = admission.body_bytes_max;
  stream_body_ = admission.stream_body;
  expects_continue_ = !expect.empty() && !parser.is_done() && buffer_.size() == 0;
  auto announced = parser.content_length();
  if (announced && *announced > body_limit_)
    co_return co_await refuse(413, "the body has " + std::to_string(*announced) + " bytes, above the limit of " +
                                       std::to_string(body_limit_) + " (body_bytes_max of this route)");
  parser.eager(true);
  if (!stream_body_) {
    auto started = Steady::now();
    while (!parser.is_done()) {
      deadline = started + std::chrono::nanoseconds(shared_->options.header_timeout.ns) +
                 std::chrono::seconds(body_bytes_ / kBodyBytesPerSecondMin);
      auto piece = co_await read_piece(parser);
      if (!piece && piece.error().code == ErrorCode::io) co_return Next::close;
      if (!piece) co_return co_await refuse(http_status(piece.error().code), piece.error().message);
      request->body += *piece;
    }
    expires_never();
  }
  co_return co_await wait_for_answer(parser, std::move(request));
}

Co<Result<std::string>> Connection::read_piece(Parser& parser) {
  if (parser.is_done()) co_return std::string();
  if (std::exchange(expects_continue_, false) && !co_await write("HTTP/1.1 100 Continue\r\n\r\n"))
    co_return fail(ErrorCode::io, "the peer closed the connection");
  auto left = parser.content_length_remaining();
  std::string piece(left ? std::min<uint64_t>(*left, kReadBody) : kReadBody, '\0');
  auto& body = parser.get().body();
  body.data = piece.data();
  body.size = piece.size();
  for (;;) {
    while (buffer_.size() > 0 && !parser.is_done() && body.size > 0) {
      error_code error;
      size_t n = parser.put(buffer_.data(), error);
      buffer_.consume(n);
      raw_body_bytes_ += n;
      if (error == http::error::need_buffer || error == http::error::need_more) break;
      if (error) co_return fail(ErrorCode::invalid, "the body is not well-formed: " + error.message());
      if (n == 0) break;
    }
    size_t got = piece.size() - body.size;
    if (body_bytes_ + got > body_limit_)
      co_return fail(ErrorCode::too_large, "the body is larger than " + std::to_string(body_limit_) +
                                               " bytes (body_bytes_max of this route)");
    // Tiny chunks, endless chunk extensions and trailers: bytes that carry nothing.
    if (raw_body_bytes_ > 8 * (body_bytes_ + got) + kReadBody || buffer_.size() > 2 * kReadBody)
      co_return fail(ErrorCode::invalid, "the body is not well-formed: hardly any of its bytes carry data");
    if (got > 0 || parser.is_done()) {
      piece.resize(got);
      body_bytes_ += got;
      co_return piece;
    }
    if (!co_await read_more(kReadBody)) {
      peer_gone_ = true;
      co_return fail(ErrorCode::io, "the peer closed the connection");
    }
  }
}

Co<Connection::Next> Connection::wait_for_answer(Parser& parser, std::shared_ptr<const Request> request) {
  {
    auto exchange = std::make_shared<Exchange>(shared_from_this(), serial_, stream_body_);
    try {
      shared_->handler(request, std::move(exchange));
    } catch (const std::exception& e) {
      // The Responder went with the handler's arguments: 500 stands already.
      log_error("handler failed", {{"target", request->target}, {"what", e.what()}});
    }
  }
  while (!aborted_) {
    if (body_wanted_) {
      BodyCallback callback = std::exchange(body_wanted_, nullptr);
      expires_in(shared_->options.idle_timeout);
      auto piece = co_await read_piece(parser);
      expires_never();
      callback(std::move(piece));
    } else if (!std::holds_alternative<std::monostate>(answer_)) {
      break;
    } else {
      co_await park();
    }
  }
  if (aborted_) co_return Next::close;
  Answer answer = std::exchange(answer_, Answer());
  bool keep = parser.keep_alive() && !http_1_0_ && parser.is_done() && !loop_->stopping() && !peer_gone_;
  if (auto* response = std::get_if<Response>(&answer))
    co_return co_await send_response(*request, std::move(*response), keep);
  if (auto* stream = std::get_if<StreamAnswer>(&answer))
    co_return co_await send_stream(*request, std::move(*stream), keep);
  co_return co_await upgrade(parser, std::get<WebSocketAnswer>(std::move(answer)));
}

}  // namespace tutti::net
