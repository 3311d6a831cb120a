#pragma once
// Private to net: one connection of the server, from the accepted socket to its end, as one coroutine on one loop.
//
//   accepted → first byte → (plain HTTP? explain, close) → handshake → { head → admit → body → handler → answer } … →
//   close
//
// The coroutine alone touches the stream. Handlers hold an Exchange (the Responder), which only ever sets `answer_` and
// wakes the coroutine; it never keeps a dead connection's loop busy: after `ended_` nothing is posted.

#include <atomic>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>

#include "net/http.h"
#include "net/transport.h"
#include "net/websocket.h"

namespace tutti::net {

// Connections of peers that have not shown who they are, by address. Thread-safe.
class Strangers {
 public:
  // False: there are so many of that address already.
  bool enter(const std::string& address, size_t most);
  void leave(const std::string& address);

 private:
  std::mutex mutex_;
  std::map<std::string, size_t> counts_;
};

// What all connections of a server share; read-only but for the counts.
struct ServerShared {
  ServerOptions options;
  Handler handler;
  std::atomic<size_t> connections{0};
  Strangers strangers;
};

// Bytes of a streamed answer on their way from any thread to the connection.
class StreamState {
 public:
  explicit StreamState(size_t limit) : limit_(limit) {}
  bool write(std::string bytes, const std::function<void()>& wake);
  size_t pending_bytes() const;
  void finish(bool complete, const std::function<void()>& wake);
  void on_close(std::function<void()> closed);
  void on_drained(std::function<void()> drained);
  // By the connection. take() gives up to `most` bytes; they count as pending until sent().
  struct Taken {
    std::string bytes;
    bool finished = false;
    bool complete = false;  // finish() was called; else its writer was dropped
  };
  Taken take(size_t most);
  void sent();
  void close();  // calls on_close's function, once

 private:
  mutable std::mutex mutex_;
  const size_t limit_;
  std::string waiting_;
  size_t in_flight_ = 0;
  bool finished_ = false;
  bool complete_ = false;
  bool closed_ = false;
  std::function<void()> on_close_;
  std::function<void()> on_drained_;
};

struct StreamAnswer {
  Response head;
  std::shared_ptr<StreamState> state;
};
struct WebSocketAnswer {
  Opened opened;
  size_t pending_limit_bytes = 0;
};
using Answer = std::variant<std::monostate, Response, StreamAnswer, WebSocketAnswer>;
using BodyCallback = std::function<void(Result<std::string>)>;

class Connection final : public Tracked, public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ServerShared> shared, std::shared_ptr<Loop> loop, std::shared_ptr<TlsContext> tls,
             Socket socket, const tcp::endpoint& peer, bool refuse);
  ~Connection() override;
  // On the loop's thread.
  static void start(std::shared_ptr<Connection> self);
  void abort(const std::string& reason) override;

  // From any thread, by the Exchange of the request in progress.
  // `serial` names the request: what comes late for an earlier one is dropped.
  void answer(uint64_t serial, Answer answer);
  void want_body(uint64_t serial, BodyCallback callback);
  void wake_from_anywhere();
  void known();

 private:
  using Parser = beast::http::request_parser<beast::http::buffer_body>;
  enum class Next { keep, close, upgraded };

  static Co<> run(std::shared_ptr<Connection> self);
  Co<> serve();
  void end();
  Co<bool> speaks_tls();
  Socket* raw();
  Co<bool> handshake();
  Co<Next> one_request();
  Co<bool> read_head(Parser& parser);
  Result<std::shared_ptr<Request>> make_request(const Parser& parser);
  Co<bool> gather_body(Parser& parser, Request& request, size_t limit);
  Co<Result<std::string>> read_piece(Parser& parser);
  Co<bool> send_continue();
  Co<Next> wait_for_answer(Parser& parser, std::shared_ptr<const Request> request);
  Co<Next> send_response(const Request& request, Response response, bool keep);
  Co<bool> send_file(int fd, uint64_t offset, uint64_t length);
  Co<Next> send_stream(const Request& request, StreamAnswer answer, bool keep);
  Co<bool> send_pieces(StreamState& state, bool chunked);
  Co<Next> upgrade(Parser& parser, WebSocketAnswer answer);
  Co<Next> refuse(int status, std::string message);
  Co<bool> read_more(size_t most);
  // The peer has to take the bytes within idle_timeout, `patience` times.
  Co<bool> write(std::string_view bytes, int patience = 1);
  Co<> park();
  Co<> drain_and_shut_down();
  void watch_peer();
  void wake();
  // Runs f on the loop's thread: now, or posted; false, and not at all, once the connection has ended.
  bool on_loop(std::function<void()> f);

  const std::shared_ptr<ServerShared> shared_;
  const std::shared_ptr<Loop> loop_;
  std::shared_ptr<TlsContext> tls_;
  // A silent peer is to cost little: the stream, of some 70 KB, is made when the first byte has come.
  std::optional<Socket> socket_;
  std::unique_ptr<TlsStream> stream_;
  const std::string remote_;
  const std::string address_;
  std::atomic<bool> stranger_{true};
  const bool refuse_;
  Timer parking_;
  beast::flat_buffer buffer_;
  std::string peer_fingerprint_;
  std::string peer_common_name_;
  bool peer_expired_ = false;
  uint64_t serial_ = 0;
  bool upgraded_ = false;

  // The request in progress.
  Answer answer_;
  BodyCallback body_wanted_;
  size_t body_limit_ = 0;
  uint64_t body_bytes_ = 0;
  uint64_t raw_body_bytes_ = 0;
  bool stream_body_ = false;
  bool http_1_0_ = false;
  bool expects_continue_ = false;
  bool reading_ = false;  // watch_peer()'s read is under way
  bool peer_gone_ = false;
  bool woken_ = false;
  bool aborted_ = false;

  std::mutex gate_;
  bool ended_ = false;  // under gate_
};

// One request's Responder.
class Exchange final : public Responder, public BodyReader {
 public:
  Exchange(std::shared_ptr<Connection> connection, uint64_t serial, bool stream_body)
      : connection_(std::move(connection)), serial_(serial), stream_body_(stream_body) {}
  ~Exchange() override;
  void send(Response response) override;
  std::shared_ptr<BodyWriter> stream(Response head, size_t pending_limit_bytes) override;
  void websocket(Opened opened, size_t pending_limit_bytes) override;
  BodyReader* body() override { return stream_body_ ? this : nullptr; }
  void read(std::function<void(Result<std::string>)> piece) override;
  void known() override { connection_->known(); }

 private:
  const std::shared_ptr<Connection> connection_;
  const uint64_t serial_;
  const bool stream_body_;
  std::atomic<bool> answered_{false};
};

// For an answer that reaches no one any more: tells those who wait for it.
void discard(Answer answer);
// The answer of an error as a JSON document, in the form of the API.
Response error_response(int status, std::string_view message);
// Status line and header fields. Line breaks in values become spaces.
struct HeadInfo {
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool head_request = false;
};
std::string response_head(const Response& response, const HeadInfo& info);

}  // namespace tutti::net
