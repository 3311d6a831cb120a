// The server over a real connection: bytes of anybody who can open one, after the TLS handshake. The server must
// neither break nor take more time for one connection than its limits say, and answers a well-formed request
// afterwards.
#include <memory>

#include "base/log.h"
#include "base/time.h"
#include "fuzz.h"
#include "net/authority.h"
#include "net/http.h"
#include "net/tls_socket.h"

using namespace tutti;

namespace {

struct Bench {
  std::unique_ptr<net::Server> server;
  std::shared_ptr<net::TlsContext> tls;
  net::Endpoint endpoint{"127.0.0.1", 0};
  uint64_t inputs = 0;

  Bench() {
    configure_logging(LogLevel::off, LogFormat::text, "fuzz");
    const Time now = SystemClock().now();
    auto authority = net::make_authority("fuzz", now, seconds(86'400)).value();
    auto own = net::issue_server(authority, "fuzz", {"127.0.0.1"}, now, seconds(86'400)).value();
    net::ServerOptions options;
    options.header_timeout = options.idle_timeout = seconds(10);  // handshakes are slow under the sanitizers
    options.admit = [](const net::Request& head) {
      return net::Admission{.body_bytes_max = 4096, .stream_body = head.path == "/stream"};
    };
    server = net::serve(options, {own.certificate + authority.certificate, own.private_key, {}}, handle).value();
    endpoint.port = server->port();
    tls = net::make_client_tls({.authority = authority.certificate}).value();
  }

  static void handle(std::shared_ptr<const net::Request> request, std::shared_ptr<net::Responder> responder) {
    if ((request->path + "/").find("/../") != std::string::npos) fuzz::broken("a path that climbs: " + request->path);
    if (request->body.size() > 4096) fuzz::broken("a body above its limit");
    if (request->path == "/ws") {
      responder->websocket(
          [](Result<std::shared_ptr<net::WebSocket>> socket) {
            if (!socket) return;
            auto held = *socket;
            held->start(
                {.message = [held](std::string message, bool binary) { held->send(std::move(message), binary); },
                 .closed = [](const std::string&) {},
                 .drained = [] {}});
          },
          1 << 16);
    } else if (request->path == "/chunks") {
      auto writer = responder->stream({}, 1 << 16);
      writer->write("piece");
      writer->finish();
    } else if (request->path == "/stream") {
      read_on(responder);
    } else {
      responder->send({.body = "{}"});
    }
  }
  static void read_on(const std::shared_ptr<net::Responder>& responder) {
    responder->body()->read([responder](Result<std::string> piece) {
      if (piece && !piece->empty()) return read_on(responder);
      responder->send({.body = "{}"});
    });
  }

  // Everything that comes back, up to the end or a pause.
  std::string talk(std::string_view bytes, Duration patience) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(patience.ns);
    // Twice: on a machine that others load too a handshake may outlast its time. A server that takes none stays broken.
    auto dial = [&] {
      return net::TlsSocket::connect(endpoint, *tls, -1, nullptr,
                                     std::chrono::steady_clock::now() + std::chrono::seconds(10));
    };
    auto socket = dial();
    if (!socket) socket = dial();
    if (!socket) fuzz::broken("the server takes no connection: " + socket.error().to_string());
    (void)(*socket)->write(bytes, deadline);
    std::string out;
    char buffer[4096];
    while (out.size() < 1 << 16) {
      auto got = (*socket)->read(buffer, sizeof buffer, deadline);
      if (!got || *got == 0) break;
      out.append(buffer, *got);
    }
    return out;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Bench bench;
  (void)bench.talk(fuzz::text(data, size), milliseconds(5));
  if (++bench.inputs % 64 == 0) {
    const std::string answer = bench.talk("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", seconds(10));
    if (!answer.starts_with("HTTP/1.1 200")) fuzz::broken("no answer to a plain request any more: " + answer);
  }
  return 0;
}
