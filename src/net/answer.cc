// The answering half of a connection: heads, files, streams, upgrades, and the Responder the handlers hold.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/beast/http/status.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/log.h"
#include "net/connection.h"

namespace tutti::net {

namespace http = beast::http;

namespace {

constexpr size_t kFilePiece = 128u << 10;
constexpr size_t kStreamPiece = 64u << 10;
constexpr int kStreamPatience = 8;            // `logs --follow` into a pager that waits for its user
constexpr size_t kJoinedBodyMax = 64u << 10;  // head and body go out in one write up to this

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    auto low = [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
    return low(x) == low(y);
  });
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  for (char c : value) out += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  out += "\r\n";
}

std::string json_text(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += ' ';
    } else {
      out += c;
    }
  }
  return out;
}

struct OpenFile {
  int fd = -1;
  OpenFile() = default;
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() {
    if (fd >= 0) ::close(fd);
  }
};

class Writer final : public BodyWriter {
 public:
  Writer(std::shared_ptr<StreamState> state, std::shared_ptr<Connection> connection)
      : state_(std::move(state)), connection_(std::move(connection)) {}
  // Without finish() the answer is incomplete, and the peer has to see that.
  ~Writer() override { state_->finish(false, waker()); }
  bool write(std::string bytes) override { return state_->write(std::move(bytes), waker()); }
  size_t pending_bytes() const override { return state_->pending_bytes(); }
  void finish() override { state_->finish(true, waker()); }
  void on_close(std::function<void()> closed) override { state_->on_close(std::move(closed)); }
  void on_drained(std::function<void()> drained) override { state_->on_drained(std::move(drained)); }

 private:
  std::function<void()> waker() const {
    return [connection = connection_] { connection->wake_from_anywhere(); };
  }
  const std::shared_ptr<StreamState> state_;
  const std::shared_ptr<Connection> connection_;
};

}  // namespace

Response error_response(int status, std::string_view message) {
  Response response;
  response.status = status;
  response.content_type = "application/problem+json";
  std::string title(http::obsolete_reason(static_cast<http::status>(status)));
  response.body = "{\"type\":\"about:blank\",\"title\":\"" + title + "\",\"status\":" + std::to_string(status) +
                  ",\"detail\":\"" + json_text(message) + "\"}\n";
  return response;
}

std::string response_head(const Response& response, const HeadInfo& info) {
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " ";
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  out.append(reason.data(), reason.size()).append("\r\n");
  bool has_type = false, has_length = false;
  for (const auto& [name, value] : response.headers) {
    bool length = equals_ignoring_case(name, "content-length");
    // The framing is ours; only an answer to HEAD may name a length it does not carry.
    if (length && !(info.head_request && info.content_length == 0u)) continue;
    if (equals_ignoring_case(name, "transfer-encoding") || equals_ignoring_case(name, "connection")) continue;
    if (name.find_first_of("\r\n: ") != std::string::npos) continue;
    has_type |= equals_ignoring_case(name, "content-type");
    has_length |= length;
    append_field(out, name, value);
  }
  bool bodyless = response.status == 204 || response.status == 304 || response.status < 200;
  if (!bodyless) {
    if (!has_type && !response.content_type.empty()) append_field(out, "Content-Type", response.content_type);
    if (info.chunked) out += "Transfer-Encoding: chunked\r\n";
    if (info.content_length && !has_length) append_field(out, "Content-Length", std::to_string(*info.content_length));
  }
  out += info.keep_alive ? "" : "Connection: close\r\n";
  out += "\r\n";
  return out;
}

Co<Connection::Next> Connection::refuse(int status, std::string message) {
  Response response = error_response(status, message);
  std::string bytes = response_head(response, {response.body.size(), false, false, false}) + response.body;
  co_await write(bytes);
  co_return Next::close;
}

Co<Connection::Next> Connection::send_response(const Request& request, Response response, bool keep) {
  const bool head_only = request.method == "HEAD" || response.status == 204 || response.status == 304;
  OpenFile file;
  uint64_t length = response.body.size();
  if (!response.file.empty()) {
    file.fd = ::open(response.file.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat info{};
    if (file.fd < 0 || ::fstat(file.fd, &info) != 0 || !S_ISREG(info.st_mode)) {
      log_error("file of an answer cannot be opened", {{"file", response.file}, {"why", std::strerror(errno)}});
      response = error_response(errno == ENOENT ? 404 : 500, "what was asked for cannot be read");
      length = response.body.size();
    } else {
      auto size = static_cast<uint64_t>(info.st_size);
      length = std::min(response.file_length, size - std::min(size, response.file_offset));
    }
  }
  std::string bytes = response_head(response, {length, false, keep, request.method == "HEAD"});
  if (head_only) {
    if (!co_await write(bytes)) co_return Next::close;
  } else if (!response.file.empty()) {
    if (!co_await write(bytes)) co_return Next::close;
    if (!co_await send_file(file.fd, response.file_offset, length)) {
      aborted_ = true;  // the announced length was not reached: no clean end
      co_return Next::close;
    }
  } else if (length <= kJoinedBodyMax) {
    bytes += response.body;
    if (!co_await write(bytes)) co_return Next::close;
  } else {
    if (!co_await write(bytes) || !co_await write(response.body)) co_return Next::close;
  }
  co_return keep ? Next::keep : Next::close;
}

Co<bool> Connection::send_file(int fd, uint64_t offset, uint64_t length) {
  std::string piece(std::min<uint64_t>(length, kFilePiece), '\0');
  while (length > 0) {
    ssize_t n = ::pread(fd, piece.data(), std::min<uint64_t>(length, piece.size()), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) co_return false;  // shorter than it was, or unreadable
    if (!co_await write(std::string_view(piece.data(), static_cast<size_t>(n)))) co_return false;
    offset += static_cast<uint64_t>(n);
    length -= static_cast<uint64_t>(n);
  }
  co_return true;
}

Co<Connection::Next> Connection::send_stream(const Request& request, StreamAnswer answer, bool keep) {
  // on_close has to come however this ends, also by an exception.
  struct Closer {
    StreamState& state;
    ~Closer() { state.close(); }
  } closer{*answer.state};
  const bool chunked = !http_1_0_;  // an old client reads to the end of the connection
  if (http_1_0_) keep = false;
  std::string bytes = response_head(answer.head, {std::nullopt, chunked, keep, request.method == "HEAD"});
  if (!co_await write(bytes)) co_return Next::close;
  if (request.method == "HEAD") co_return keep ? Next::keep : Next::close;
  watch_peer();
  if (!co_await send_pieces(*answer.state, chunked)) {
    aborted_ = true;
    co_return Next::close;
  }
  co_return keep && !peer_gone_ ? Next::keep : Next::close;
}

Co<bool> Connection::send_pieces(StreamState& state, bool chunked) {
  for (;;) {
    if (aborted_ || peer_gone_) co_return false;
    StreamState::Taken taken = state.take(kStreamPiece);
    if (taken.bytes.empty() && !taken.finished) {
      co_await park();
      continue;
    }
    const size_t size = taken.bytes.size();
    std::string bytes;
    if (chunked && size > 0) {
      char line[24];
      std::snprintf(line, sizeof line, "%zx\r\n", size);
      bytes = line + taken.bytes + "\r\n";
    } else {
      bytes = std::move(taken.bytes);
    }
    bool last = taken.finished && taken.complete;
    if (last && chunked) bytes += "0\r\n\r\n";
    if (!bytes.empty() && !co_await write(bytes, kStreamPatience)) co_return false;
    state.sent();
    if (taken.finished) co_return taken.complete;
  }
}

Co<Connection::Next> Connection::upgrade(Parser& parser, WebSocketAnswer answer) {
  UpgradeRequest head(std::move(parser.get().base()));
  if (!is_upgrade(head)) {
    Response response = error_response(426, "this address is a WebSocket: connect with an upgrade request");
    response.headers = {{"Upgrade", "websocket"}};
    bool keep = parser.is_done();
    std::string bytes = response_head(response, {response.body.size(), false, keep, false}) + response.body;
    bool written = co_await write(bytes);
    answer.opened(fail(ErrorCode::invalid, "the request from " + remote_ + " did not ask for a WebSocket"));
    co_return written&& keep ? Next::keep : Next::close;
  }
  if (!parser.is_done() || buffer_.size() > 0) {
    co_await refuse(400, "an upgrade request has no body, and nothing may follow it before the answer");
    answer.opened(fail(ErrorCode::invalid, "the upgrade request from " + remote_ + " has a body"));
    co_return Next::close;
  }
  upgraded_ = true;
  accept_websocket(loop_, std::move(stream_), std::move(head), answer.pending_limit_bytes, std::move(answer.opened),
                   [shared = shared_] { --shared->connections; });
  co_return Next::upgraded;
}

// ---- StreamState

bool StreamState::write(std::string bytes, const std::function<void()>& wake) {
  {
    std::lock_guard lock(mutex_);
    if (closed_ || finished_) return false;
    size_t pending = waiting_.size() + in_flight_;
    if (pending > 0 && pending + bytes.size() > limit_) return false;
    bool was_empty = waiting_.empty();
    if (was_empty) {
      waiting_ = std::move(bytes);
    } else {
      waiting_ += bytes;
    }
    if (!was_empty || waiting_.empty()) return true;
  }
  wake();
  return true;
}

size_t StreamState::pending_bytes() const {
  std::lock_guard lock(mutex_);
  return waiting_.size() + in_flight_;
}

void StreamState::finish(bool complete, const std::function<void()>& wake) {
  {
    std::lock_guard lock(mutex_);
    if (closed_ || finished_) return;
    finished_ = true;
    complete_ = complete;
  }
  wake();
}

void StreamState::on_close(std::function<void()> closed) {
  {
    std::lock_guard lock(mutex_);
    if (!closed_) {
      on_close_ = std::move(closed);
      return;
    }
  }
  closed();
}

StreamState::Taken StreamState::take(size_t most) {
  std::lock_guard lock(mutex_);
  Taken taken;
  if (waiting_.size() <= most) {
    taken.bytes = std::exchange(waiting_, std::string());
  } else {
    taken.bytes = waiting_.substr(0, most);
    waiting_.erase(0, most);
  }
  in_flight_ = taken.bytes.size();
  taken.finished = finished_ && waiting_.empty();
  taken.complete = complete_;
  return taken;
}

void StreamState::on_drained(std::function<void()> drained) {
  std::lock_guard lock(mutex_);
  if (!closed_) on_drained_ = std::move(drained);
}

void StreamState::sent() {
  std::function<void()> drained;
  {
    std::lock_guard lock(mutex_);
    in_flight_ = 0;
    if (!finished_ && waiting_.size() < limit_ / 2) drained = on_drained_;
  }
  if (drained) drained();
}

void StreamState::close() {
  std::function<void()> callback;
  std::function<void()> drained;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    waiting_.clear();
    in_flight_ = 0;
    callback = std::exchange(on_close_, nullptr);
    drained = std::exchange(on_drained_, nullptr);  // what it holds goes outside of the lock
  }
  if (callback) callback();
}

// ---- Exchange

void discard(Answer answer) {
  if (auto* stream = std::get_if<StreamAnswer>(&answer)) stream->state->close();
  if (auto* socket = std::get_if<WebSocketAnswer>(&answer))
    socket->opened(fail(ErrorCode::io, "the peer closed the connection"));
}

Exchange::~Exchange() {
  if (answered_.exchange(true)) return;
  connection_->answer(serial_,
                      error_response(500, "the request was dropped without an answer: a defect of the server"));
}

void Exchange::send(Response response) {
  if (answered_.exchange(true)) return;
  connection_->answer(serial_, std::move(response));
}

std::shared_ptr<BodyWriter> Exchange::stream(Response head, size_t pending_limit_bytes) {
  auto state = std::make_shared<StreamState>(pending_limit_bytes);
  auto writer = std::make_shared<Writer>(state, connection_);
  if (answered_.exchange(true)) {
    state->close();
    return writer;
  }
  connection_->answer(serial_, StreamAnswer{std::move(head), std::move(state)});
  return writer;
}

void Exchange::websocket(Opened opened, size_t pending_limit_bytes) {
  if (answered_.exchange(true)) return opened(fail(ErrorCode::internal, "the request is answered already"));
  connection_->answer(serial_, WebSocketAnswer{std::move(opened), pending_limit_bytes});
}

void Exchange::read(std::function<void(Result<std::string>)> piece) {
  if (!stream_body_ || answered_) return piece(fail(ErrorCode::internal, "the request's body is not read any more"));
  connection_->want_body(serial_, std::move(piece));
}

}  // namespace tutti::net
