#pragma once
// HTTP, WebSocket, SSE and TLS behind small types. No domain words, no Beast in any header.
//
// Server: handlers run on the server's I/O threads and must not block. A handler gets the request and a Responder
// and may answer now or later, from any thread; dropping the Responder answers 500. Bodies up to the route's limit
// are gathered before the handler runs; a route that asks for `stream_body` gets them piece by piece.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tutti::net {

struct Request {
  std::string method;                          // "GET"
  std::string target;                          // path and query as sent
  std::string path;                            // decoded, normalised; no segment is ".."
  std::map<std::string, std::string> query;    // decoded; the last of a repeated key
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // empty with stream_body
  std::string remote;                          // "127.0.0.1:4711": for logs, never for trust
  std::string peer_fingerprint;                // mutual TLS: sha256 hex of the peer's public key (SPKI); else empty
  std::string peer_common_name;                // mutual TLS: its certificate's CN
  bool peer_expired = false;                   // mutual TLS: that certificate has expired (TlsFiles::expired_grace)
  std::string header(const std::string& lower_case_name) const {
    auto at = headers.find(lower_case_name);
    return at == headers.end() ? std::string() : at->second;
  }
  std::string query_value(const std::string& name) const {
    auto at = query.find(name);
    return at == query.end() ? std::string() : at->second;
  }
};

struct Response {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string content_type = "application/json";
  std::string file;  // if set: the body is this file's bytes (sent without loading it), from file_offset
  uint64_t file_offset = 0;
  uint64_t file_length = UINT64_MAX;
};

// A body whose length is not known (SSE, logs, lists): chunked. Thread-safe; write() never blocks.
class BodyWriter {
 public:
  virtual ~BodyWriter() = default;
  // False once the peer is gone or if more than the given limit would be waiting to be sent (the bytes are not queued
  // then; one piece above the limit is taken when nothing waits). Dropping the writer without finish() breaks the
  // connection, so that the peer sees an incomplete answer.
  virtual bool write(std::string bytes) = 0;
  virtual size_t pending_bytes() const = 0;
  virtual void finish() = 0;
  // Called once when the peer is gone or after finish(); on an I/O thread.
  virtual void on_close(std::function<void()> closed) = 0;
  // Called whenever something was sent and less than half of the limit waits; on an I/O thread. It may write. Not
  // called any more after the close.
  virtual void on_drained(std::function<void()> drained) = 0;
};

// A WebSocket connection, either side. Thread-safe; callbacks come on one I/O thread, one at a time, in order.
class WebSocket {
 public:
  virtual ~WebSocket() = default;
  struct Callbacks {
    std::function<void(std::string message, bool binary)> message;
    std::function<void(std::string reason)> closed;  // exactly once
    std::function<void()> drained;                   // pending_bytes() fell under half of the limit
  };
  // Starts reading. Until then the peer's messages wait. Dropping the last reference closes the connection.
  // After the end, `closed` is called at once, by this call.
  virtual void start(Callbacks callbacks) = 0;
  // Queues; false if closed or above the limit of waiting bytes (the message is not queued then, and `drained` comes
  // when there is room). One message above the limit is taken when nothing waits. Messages have up to 1 MiB.
  virtual bool send(std::string message, bool binary) = 0;
  virtual size_t pending_bytes() const = 0;
  // Flow control: while paused nothing is read, so TCP holds the peer back.
  virtual void pause_reading(bool paused) = 0;
  // Sends what is queued, then a close frame.
  virtual void close(std::string reason) = 0;
};

// The body of a request as it comes, for stream_body routes. The handler calls read(); on an I/O thread.
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  // `piece` is called once: bytes, or empty at the end, or an error (peer gone, too large).
  virtual void read(std::function<void(Result<std::string> piece)> piece) = 0;
};

// Answers one request, exactly once, by one of its methods. Movable between threads.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void send(Response response) = 0;
  virtual std::shared_ptr<BodyWriter> stream(Response head, size_t pending_limit_bytes) = 0;
  // Upgrades; `opened` gets the socket or an error (not an upgrade request: then 426 was sent).
  virtual void websocket(std::function<void(Result<std::shared_ptr<WebSocket>>)> opened,
                         size_t pending_limit_bytes) = 0;
  virtual BodyReader* body() = 0;  // stream_body routes only
  // The peer has shown who it is: its connection no longer counts among the strangers of its address.
  virtual void known() {}
};

using Handler = std::function<void(std::shared_ptr<const Request>, std::shared_ptr<Responder>)>;

// What the server does before the handler runs. `admit` sees the head alone (no body) and may set limits.
struct Admission {
  size_t body_bytes_max = 4u << 20;
  bool stream_body = false;
};

struct TlsFiles {  // PEM texts, not paths
  std::string
      certificate_chain;  // leaf first, and the authority last: joining workers know only the authority's digest
  std::string private_key;
  std::string client_authority;  // non-empty: peers must present a certificate of this authority
  // A peer's own certificate may have expired so long ago. The handler has to ask Request::peer_expired, and should let
  // such a peer do nothing but renew it.
  Duration expired_grace;
};

struct ServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: any; see port()
  int threads = 1;
  size_t connections_max = 20'000;
  // Of one address (IPv6: of its /64), until Responder::known() or a client's certificate; what is more is cut off
  // unheard, so that one address cannot have all connections.
  size_t strangers_per_address_max = SIZE_MAX;
  // From so many connections of a thread on, what they say within half a millisecond is dealt with together: for
  // servers whose clients hold theirs open and do not wait for answers.
  size_t gather_from = SIZE_MAX;
  size_t header_bytes_max = 32u << 10;
  Duration idle_timeout = seconds(75);
  Duration header_timeout = seconds(20);                // a slow peer cannot hold a connection
  std::function<Admission(const Request& head)> admit;  // optional
};

class Server {
 public:
  virtual ~Server() = default;  // stops: closes listeners and connections, joins threads
  virtual uint16_t port() const = 0;
  // New connections use these from now on (certificate renewal without a restart).
  virtual Status set_tls(const TlsFiles& tls) = 0;
  virtual void stop() = 0;  // not from a handler
};
// Listening when it returns. Errors: io (address in use, with the address), invalid (bad PEM).
Result<std::unique_ptr<Server>> serve(ServerOptions options, const TlsFiles& tls, Handler handler);

// ---- client

struct Endpoint {  // the host without brackets
  std::string host;
  uint16_t port = 0;
};
Result<Endpoint> parse_endpoint(std::string_view text);  // "https://host:port", "host:port", "[::1]:80"

struct ClientTls {
  std::string authority;  // PEM that must have signed the server's certificate; the host name is not compared when set
  std::string authority_sha256;   // or only its digest (join): any chain whose root has this digest
  std::string certificate_chain;  // own, for mutual TLS
  std::string private_key;
};

// Blocking calls for the command line and worker threads: one connection kept alive. Not thread-safe.
class Client {
 public:
  virtual ~Client() = default;
  // Errors: unavailable (cannot connect, with the address and what to check), timeout, io.
  virtual Result<Response> call(const Request& request, Duration timeout) = 0;
  // Streams the answer's body: `each` returns false to stop. The head comes back when it is over. The body of an answer
  // with status 300 or above is not streamed but comes back in the Response: it is the explanation.
  virtual Result<Response> stream(const Request& request, const std::function<bool(std::string_view)>& each,
                                  Duration idle_timeout) = 0;
  // Sends a file as the body.
  virtual Result<Response> upload(const Request& request, const std::string& file, Duration timeout) = 0;
  // Stops a call that is under way, from another thread; it returns `cancelled`. When none is, the next one does, so
  // that an interrupt cannot be missed.
  virtual void interrupt() = 0;
};
Result<std::unique_ptr<Client>> make_client(const Endpoint& endpoint, const ClientTls& tls);

struct Probe;  // net/probe.h
struct ProbeAnswer;
// One thread that runs asynchronous client sockets and timers (the worker's I/O thread, a CLI stream).
class IoThread {
 public:
  virtual ~IoThread() = default;  // as stop()
  // Ends what is open, which tells its owners (they may still call this object), and joins. Not from the thread itself.
  // What is asked for afterwards, from any thread, is never done.
  virtual void stop() = 0;
  virtual void post(std::function<void()> f) = 0;
  virtual void after(Duration d, std::function<void()> f) = 0;
  // Watches an fd for reading until `ready` returns false. The caller owns the fd and must outlive the watch.
  virtual void watch_readable(int fd, std::function<bool()> ready) = 0;
  // Dials; `opened` comes on the thread. `headers` go with the upgrade request.
  virtual void websocket(const Endpoint& endpoint, const ClientTls& tls, const std::string& target,
                         const std::vector<std::pair<std::string, std::string>>& headers, size_t pending_limit_bytes,
                         std::function<void(Result<std::shared_ptr<WebSocket>>)> opened) = 0;
  // Asks; `done` comes on the thread, once. Errors: unavailable (refused, or no such answer), timeout; in words for
  // people.
  virtual void probe(Probe probe, std::function<void(Result<ProbeAnswer>)> done) = 0;
};
std::unique_ptr<IoThread> make_io_thread(std::string name);

// ---- small helpers
std::string percent_encode(std::string_view text);
std::string base64_decode(std::string_view text);  // empty when it is not base64
std::string base64_encode(std::string_view bytes);

}  // namespace tutti::net
