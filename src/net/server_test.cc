#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/random.h"
#include "net/net_test.h"
#include "net/tls_socket.h"

namespace tutti::net::testing {
namespace {

constexpr Duration kWait = seconds(20);

Deadline soon() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(20);
}

// Bytes as they are, over TLS.
class Raw {
 public:
  Raw(const Pool& pool, uint16_t port) : tls_(make_client_tls(pool.trusting()).value()) {
    auto made = TlsSocket::connect({"127.0.0.1", port}, *tls_, -1, nullptr, soon());
    if (made) socket_ = std::move(*made);
    EXPECT_TRUE(made) << made.error().message;
  }
  bool write(std::string_view bytes) { return socket_->write(bytes, soon()).has_value(); }
  // Up to the end of the connection, or until `until` is in it.
  std::string read(std::string_view until = {}) {
    std::string out;
    char piece[4096];
    for (;;) {
      auto n = socket_->read(piece, sizeof piece, soon());
      if (!n) ADD_FAILURE() << n.error().message;
      if (!n || *n == 0) return out;
      out.append(piece, *n);
      if (!until.empty() && out.find(until) != std::string::npos) return out;
    }
  }
  TlsSocket& socket() { return *socket_; }

 private:
  std::shared_ptr<TlsContext> tls_;
  std::unique_ptr<TlsSocket> socket_;
};

int plain_socket(uint16_t port) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  timeval limit{20, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return fd;
}

std::string read_all(int fd) {
  std::string out;
  char piece[4096];
  for (ssize_t n; (n = ::recv(fd, piece, sizeof piece, 0)) > 0;) out.append(piece, static_cast<size_t>(n));
  return out;
}

void echo(std::shared_ptr<const Request> request, std::shared_ptr<Responder> responder) {
  Response response;
  response.content_type = "text/plain";
  response.headers = {{"X-Remote", request->remote}, {"X-Evil", "a\r\nInjected: 1"}};
  response.body = request->method + " " + request->path + " " + request->query_value("q") + " " + request->body;
  responder->send(std::move(response));
}

std::string field(const Response& response, const std::string& name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

TEST_F(NetTest, AnswersAndKeepsTheConnection) {
  serve_with(echo);
  auto c = client();
  auto first = c->call(get("/a%20b?q=x%2By"), kWait);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->status, 200);
  EXPECT_EQ(first->body, "GET /a b x+y ");
  EXPECT_EQ(first->content_type, "text/plain");
  EXPECT_EQ(field(*first, "injected"), "");
  auto second = c->call(post("/p", "hello"), kWait);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->body, "POST /p  hello");
  EXPECT_EQ(field(*first, "x-remote"), field(*second, "x-remote"));
  Request head = get("/h");
  head.method = "HEAD";
  auto third = c->call(head, kWait);
  ASSERT_TRUE(third) << third.error().message;
  EXPECT_EQ(third->body, "");
  EXPECT_EQ(field(*third, "content-length"), "9");
  EXPECT_EQ(field(*third, "x-remote"), field(*first, "x-remote"));
}

TEST_F(NetTest, BuildsTargetsFromPathAndQuery) {
  serve_with(echo);
  Request request;
  request.method = "GET";
  request.path = "/a b/c%";
  request.query = {{"q", "1&2"}};
  EXPECT_EQ(client()->call(request, kWait)->body, "GET /a b/c% 1&2 ");
  request.target = "/x\r\nEvil: 1";
  EXPECT_EQ(client()->call(request, kWait).error().code, ErrorCode::invalid);
}

TEST_F(NetTest, LargeBodiesBothWaysAndTheLimit) {
  ServerOptions options;
  options.admit = [](const Request& head) { return Admission{head.path == "/big" ? 8u << 20 : 1000u, false}; };
  serve_with(echo, options);
  auto c = client();
  std::string big(5 << 20, 'x');
  auto answer = c->call(post("/big", big), kWait);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "POST /big  " + big);
  auto refused = c->call(post("/small", big), kWait);
  ASSERT_TRUE(refused) << refused.error().message;
  EXPECT_EQ(refused->status, 413);
  EXPECT_NE(refused->body.find("body_bytes_max"), std::string::npos);
  EXPECT_EQ(c->call(post("/small", std::string(1000, 'y')), kWait)->status, 200);
  EXPECT_EQ(c->call(post("/small", std::string(1001, 'y')), kWait)->status, 413);
  Raw raw(pool_, server_->port());
  raw.write("POST /small HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'z') +
            "\r\n0\r\n\r\n");
  EXPECT_TRUE(raw.read().starts_with("HTTP/1.1 413 "));
}

TEST_F(NetTest, ChunkedRequestsPipeliningAndContinue) {
  serve_with(echo);
  Raw raw(pool_, server_->port());
  raw.write(
      "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: "
      "x\r\n\r\n"
      "GET /2 HTTP/1.1\r\nHost: h\r\n\r\nPOST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
  std::string all = raw.read("POST /3  hi");
  EXPECT_LT(all.find("POST /1  abcde"), all.find("GET /2 "));
  EXPECT_LT(all.find("GET /2 "), all.find("POST /3  hi"));
  raw.write("POST /4 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(raw.read("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  raw.write("ok");
  EXPECT_NE(raw.read("POST /4  ok").find("200 OK"), std::string::npos);
  raw.write("GET /5 HTTP/1.0\r\n\r\n");
  std::string last = raw.read();
  EXPECT_NE(last.find("GET /5"), std::string::npos);
  EXPECT_NE(last.find("Connection: close"), std::string::npos);
}

struct Malformed {
  const char* name;
  std::string bytes;
  const char* status;  // "" : closed without an answer
};

TEST_F(NetTest, MalformedRequestsAreRefused) {
  std::atomic<int> handled{0};
  StopFirst stop{server_};
  serve_with([&](auto request, auto responder) {
    ++handled;
    echo(request, responder);
  });
  const std::string h = "Host: h\r\n";
  const std::vector<Malformed> table = {
      {"garbage", "\x01\x02\x03\x04\r\n\r\n", "400"},
      {"no version", "GET /\r\n\r\n", "400"},
      {"version 2", "GET / HTTP/2.0\r\n" + h + "\r\n", "400"},
      {"version 0.9", "GET / HTTP/0.9\r\n" + h + "\r\n", "400"},
      {"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
      {"no host", "GET / HTTP/1.1\r\n\r\n", "400"},
      {"two hosts", "GET / HTTP/1.1\r\n" + h + h + "\r\n", "400"},
      {"dot dot", "GET /../etc/passwd HTTP/1.1\r\n" + h + "\r\n", "400"},
      {"encoded dot dot", "GET /a/%2e%2e/b HTTP/1.1\r\n" + h + "\r\n", "400"},
      {"bad percent", "GET /%zz HTTP/1.1\r\n" + h + "\r\n", "400"},
      {"encoded nul", "GET /%00 HTTP/1.1\r\n" + h + "\r\n", "400"},
      {"authority form", "CONNECT h:443 HTTP/1.1\r\n" + h + "\r\n", "400"},
      {"space before colon", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", "400"},
      {"no colon", "GET / HTTP/1.1\r\n" + h + "novalue\r\n\r\n", "400"},
      {"control in a value",
       "GET / HTTP/1.1\r\n" + h +
           "X: a\x01"
           "b\r\n\r\n",
       "400"},
      {"bare line feeds", "GET / HTTP/1.1\nHost: h\n\n", "400"},
      {"length and chunked",
       "POST / HTTP/1.1\r\n" + h + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
      {"chunked and length",
       "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "400"},
      {"two lengths", "POST / HTTP/1.1\r\n" + h + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "400"},
      {"negative length", "POST / HTTP/1.1\r\n" + h + "Content-Length: -1\r\n\r\n", "400"},
      {"huge length", "POST / HTTP/1.1\r\n" + h + "Content-Length: 99999999999999999999999\r\n\r\n", "400"},
      {"length above the limit", "POST / HTTP/1.1\r\n" + h + "Content-Length: 9999999999\r\n\r\n", "413"},
      {"bad chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
      {"huge chunk size", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400"},
      {"chunk without end", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "400"},
      {"unknown coding", "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: gzip\r\n\r\n", "4"},
      {"unknown expectation", "POST / HTTP/1.1\r\n" + h + "Expect: wonders\r\nContent-Length: 1\r\n\r\n", "417"},
      {"endless target", "GET /" + std::string(40'000, 'a'), "431"},
      {"endless field", "GET / HTTP/1.1\r\nX: " + std::string(40'000, 'a'), "431"},
      {"too many fields",
       "GET / HTTP/1.1\r\n" +
           [] {
             std::string many;
             for (int i = 0; i < 4000; ++i) many += "X-" + std::to_string(i) + ": 1\r\n";
             return many;
           }(),
       "431"},
      {"endless chunk extension",
       "POST / HTTP/1.1\r\n" + h + "Transfer-Encoding: chunked\r\n\r\n1;" + std::string(200'000, 'e'), "400"},
  };
  for (const Malformed& m : table) {
    Raw raw(pool_, server_->port());
    raw.write(m.bytes);
    EXPECT_TRUE(raw.read().starts_with(std::string("HTTP/1.1 ") + m.status)) << m.name;
  }
  EXPECT_EQ(handled, 0);
  EXPECT_EQ(client()->call(get("/still-there"), kWait)->status, 200);
}

TEST_F(NetTest, DamagedRequestsNeverHurt) {
  ServerOptions options;
  options.header_timeout = milliseconds(250);
  options.idle_timeout = milliseconds(250);
  serve_with(echo, options);
  const std::string good =
      "POST /a%20b?q=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX-Y: z\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
      "PUT /c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
  SeededRandom random(7);
  for (int round = 0; round < 4; ++round) {
    std::vector<std::unique_ptr<Raw>> raws;
    for (int i = 0; i < 40; ++i) {
      std::string bytes = good;
      for (uint64_t n = 1 + random.below(4); n > 0; --n) {
        size_t at = random.below(bytes.size());
        switch (random.below(3)) {
          case 0: bytes[at] = static_cast<char>(random.below(256)); break;
          case 1: bytes.erase(at, 1 + random.below(8)); break;
          default: bytes.insert(at, bytes.substr(random.below(bytes.size()), random.below(20))); break;
        }
      }
      raws.push_back(std::make_unique<Raw>(pool_, server_->port()));
      raws.back()->write(bytes);
    }
    for (auto& raw : raws) raw->read();  // each comes to its end
  }
  EXPECT_EQ(client()->call(get("/still-there"), kWait)->status, 200);
}

TEST_F(NetTest, SlowHeadersAndIdleConnectionsAreClosed) {
  ServerOptions options;
  options.header_timeout = milliseconds(300);
  options.idle_timeout = milliseconds(300);
  serve_with(echo, options);
  Raw slow(pool_, server_->port());
  slow.write("GET / HTTP/1.1\r\nHo");
  EXPECT_EQ(slow.read(), "");
  Raw idle(pool_, server_->port());
  idle.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_NE(idle.read().find("200 OK"), std::string::npos);  // up to the end: the server closed it
  Raw body(pool_, server_->port());
  body.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc");
  EXPECT_EQ(body.read(), "");
  int silent = plain_socket(server_->port());
  EXPECT_EQ(read_all(silent), "");
  ::close(silent);
  // The client finds out, and connects again without a word.
  auto c = client();
  ASSERT_TRUE(c->call(get("/1"), kWait));
  Raw watch(pool_, server_->port());
  watch.read();  // older than c's connection would be if it lived
  EXPECT_TRUE(c->call(get("/2"), kWait));
}

TEST_F(NetTest, PlainHttpIsToldToUseHttps) {
  serve_with(echo);
  int fd = plain_socket(server_->port());
  std::string request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  ASSERT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  std::string answer = read_all(fd);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer;
  EXPECT_NE(answer.find("this port speaks HTTPS"), std::string::npos);
  ::close(fd);
  fd = plain_socket(server_->port());
  ASSERT_EQ(::send(fd, "\x05\x01\x00", 3, MSG_NOSIGNAL), 3);
  EXPECT_EQ(read_all(fd), "");
  ::close(fd);
}

TEST_F(NetTest, PortInUseNamesTheAddress) {
  serve_with(echo);
  ServerOptions options;
  options.port = server_->port();
  auto second = serve(options, pool_.files(), echo);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::io);
  EXPECT_NE(second.error().message.find("127.0.0.1:" + std::to_string(options.port)), std::string::npos);
  EXPECT_EQ(serve({}, {"x", "y", ""}, echo).error().code, ErrorCode::invalid);
  TlsFiles mixed = pool_.files();
  mixed.private_key = pool_.authority.private_key;
  EXPECT_EQ(serve({}, mixed, echo).error().code, ErrorCode::invalid);
  options.address = "nonsense";
  EXPECT_EQ(serve(options, pool_.files(), echo).error().code, ErrorCode::invalid);
}

TEST_F(NetTest, DroppedResponderAndThrowingHandlerAnswer500) {
  ServerOptions options;
  options.admit = [](const Request& head) {
    if (head.path == "/admit") throw std::runtime_error("no");
    return Admission{};
  };
  serve_with(
      [](std::shared_ptr<const Request> request, std::shared_ptr<Responder> responder) {
        if (request->path == "/throw") throw std::runtime_error("oops");
        if (request->path == "/twice") {
          responder->send({.body = "1"});
          responder->send({.body = "2"});
        }
      },
      options);
  auto c = client();
  EXPECT_EQ(c->call(get("/throw"), kWait)->status, 500);
  EXPECT_EQ(c->call(get("/drop"), kWait)->status, 500);
  EXPECT_EQ(c->call(get("/admit"), kWait)->status, 500);
  EXPECT_EQ(c->call(get("/twice"), kWait)->body, "1");
  EXPECT_EQ(c->call(get("/twice"), kWait)->body, "1");
}

TEST_F(NetTest, AnswersLaterFromAnotherThread) {
  std::vector<std::thread> threads;
  std::mutex mutex;
  ServerOptions options;
  options.threads = 2;
  StopFirst stop{server_};
  serve_with(
      [&](std::shared_ptr<const Request> request, std::shared_ptr<Responder> responder) {
        std::lock_guard lock(mutex);
        threads.emplace_back([request, responder = std::move(responder)]() mutable {
          if (request->path != "/drop") responder->send({.body = request->path});
          responder.reset();
        });
      },
      options);
  for (int i = 0; i < 20; ++i) {
    auto c = client();
    EXPECT_EQ(c->call(get("/" + std::to_string(i)), kWait)->body, "/" + std::to_string(i));
    EXPECT_EQ(c->call(get("/drop"), kWait)->status, 500);
  }
  for (auto& t : threads) t.join();
}

TEST_F(NetTest, StopWithARequestInTheHandlersHands) {
  Promised<std::shared_ptr<Responder>> held;
  StopFirst stop{server_};
  serve_with([&](auto, auto responder) { held.set(responder); });
  Promised<Result<Response>> answer;
  std::thread asking([&, c = std::shared_ptr<Client>(client())] { answer.set(c->call(get("/"), kWait)); });
  auto responder = held.get();
  server_->stop();
  EXPECT_EQ(answer.get().error().code, ErrorCode::io);
  asking.join();
  responder->send({});  // nobody is there; nothing happens
  server_.reset();
}

TEST_F(NetTest, ConnectionsAboveTheCapAreTold) {
  ServerOptions options;
  options.connections_max = 2;
  serve_with(echo, options);
  auto a = client(), b = client(), c = client();
  EXPECT_EQ(a->call(get("/"), kWait)->status, 200);
  EXPECT_EQ(b->call(get("/"), kWait)->status, 200);
  auto refused = c->call(get("/"), kWait);
  ASSERT_TRUE(refused) << refused.error().message;
  EXPECT_EQ(refused->status, 503);
  EXPECT_NE(refused->body.find("connections_max"), std::string::npos);
  a.reset();
  EXPECT_TRUE(eventually([&] {
    auto r = c->call(get("/"), kWait);
    return r && r->status == 200;
  }));
}

TEST_F(NetTest, StrangersOfOneAddressAreBoundedAndThoseWhoAreKnownAreNot) {
  ServerOptions options;
  options.strangers_per_address_max = 4;
  serve_with(
      [](auto request, auto responder) {
        if (request->path == "/known") responder->known();
        responder->send({});
      },
      options);
  std::vector<std::unique_ptr<Client>> known;
  for (int i = 0; i < 8; ++i) {
    known.push_back(client());
    auto answer = known.back()->call(get("/known"), kWait);
    ASSERT_TRUE(answer) << i << answer.error().message;
  }
  std::vector<int> silent;
  for (int i = 0; i < 4; ++i) silent.push_back(plain_socket(server_->port()));
  const int cut = plain_socket(server_->port());
  char byte = 0;
  EXPECT_LE(::recv(cut, &byte, 1, 0), 0);
  EXPECT_NE(errno, EAGAIN) << "not cut off in 20 s";
  ::close(cut);
  EXPECT_FALSE(client()->call(get("/"), kWait));
  for (auto& each : known) EXPECT_TRUE(each->call(get("/"), kWait));
  ::close(silent.back());
  silent.pop_back();
  EXPECT_TRUE(eventually([&] { return client()->call(get("/"), kWait).has_value(); })) << "room again";
  for (const int fd : silent) ::close(fd);
}

TEST_F(NetTest, AClientWithACertificateIsNoStranger) {
  ServerOptions options;
  options.strangers_per_address_max = 2;
  serve_with(echo, options, true);
  std::vector<std::unique_ptr<Client>> all;
  const ClientTls node = pool_.as("node");
  for (int i = 0; i < 5; ++i) {
    all.push_back(client(node));
    auto answer = all.back()->call(get("/"), kWait);
    EXPECT_TRUE(answer) << i << answer.error().message;
  }
}

TEST_F(NetTest, TwoHundredConnectionsAtOnce) {
  ServerOptions options;
  options.threads = 2;
  options.gather_from = 50;  // of a thread: the last ones come while it gathers
  StopFirst stop{server_};
  serve_with(echo, options);
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::unique_ptr<Client>> mine;
      for (int i = 0; i < 25; ++i) mine.push_back(client());
      for (int round = 0; round < 3; ++round)
        for (auto& c : mine) {
          auto r = c->call(post("/x", std::to_string(t)), kWait);
          good += r && r->body == "POST /x  " + std::to_string(t);
        }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(good, 600);
}

TEST_F(NetTest, FilesWithOffsetAndLength) {
  std::string path = ::testing::TempDir() + "net_test_" + std::to_string(::getpid());
  std::string bytes;
  for (int i = 0; i < 400'000; ++i) bytes += static_cast<char>(i * 31 >> 3);
  std::ofstream(path, std::ios::binary) << bytes;
  serve_with([path](auto request, auto responder) {
    Response r{.content_type = "application/octet-stream", .file = path};
    if (request->path == "/part") {
      r.status = 206;
      r.file_offset = 100'000;
      r.file_length = 150'000;
    }
    if (request->path == "/beyond") r.file_offset = 500'000;
    if (request->path == "/missing") r.file += "-not";
    responder->send(std::move(r));
  });
  auto c = client();
  EXPECT_EQ(c->call(get("/all"), kWait)->body, bytes);
  EXPECT_EQ(c->call(get("/part"), kWait)->body, bytes.substr(100'000, 150'000));
  EXPECT_EQ(c->call(get("/beyond"), kWait)->body, "");
  EXPECT_EQ(c->call(get("/missing"), kWait)->status, 404);
  ::unlink(path.c_str());
}

// Reads the whole body of a request piece by piece, then answers its size and digest.
struct Gather : std::enable_shared_from_this<Gather> {
  std::shared_ptr<Responder> responder;
  std::string all;
  void next() {
    responder->body()->read([self = shared_from_this()](Result<std::string> piece) {
      if (!piece)
        return self->responder->send({.status = http_status(piece.error().code), .body = piece.error().message});
      if (piece->empty())
        return self->responder->send({.body = std::to_string(self->all.size()) + " " + sha256_hex(self->all)});
      self->all += *piece;
      self->next();
    });
  }
};

TEST_F(NetTest, StreamedBodiesAndUpload) {
  std::string path = ::testing::TempDir() + "net_upload_" + std::to_string(::getpid());
  std::string bytes(6 << 20, 'u');
  bytes[12345] = 'v';
  std::ofstream(path, std::ios::binary) << bytes;
  ServerOptions options;
  options.admit = [](const Request& head) { return Admission{head.path == "/small" ? 1000u : 64u << 20, true}; };
  serve_with(
      [](auto request, auto responder) {
        if (request->path == "/refuse") return responder->send({.status = 403, .body = "no"});
        auto gather = std::make_shared<Gather>();
        gather->responder = std::move(responder);
        gather->next();
      },
      options);
  auto c = client();
  Request put = get("/blob");
  put.method = "PUT";
  auto answer = c->upload(put, path, kWait);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, std::to_string(bytes.size()) + " " + sha256_hex(bytes));
  put.target = "/refuse";
  auto refused = c->upload(put, path, kWait);
  ASSERT_TRUE(refused) << refused.error().message;
  EXPECT_EQ(refused->status, 403);
  put.target = "/small";
  EXPECT_EQ(c->upload(put, path, kWait)->status, 413);
  EXPECT_EQ(c->call(post("/blob", ""), kWait)->body, "0 " + sha256_hex(""));
  EXPECT_EQ(c->upload(put, path + "-not", kWait).error().code, ErrorCode::not_found);
  ::unlink(path.c_str());
}

TEST_F(NetTest, StreamsAndNoticesASlowReader) {
  Promised<std::shared_ptr<BodyWriter>> opened;
  Promised<bool> closed;
  StopFirst stop{server_};
  serve_with([&](auto, auto responder) {
    auto writer = responder->stream({.content_type = "text/event-stream"}, 100'000);
    writer->on_close([&] { closed.set(true); });
    opened.set(writer);
  });
  Raw raw(pool_, server_->port());
  raw.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  auto writer = opened.get();
  // The peer reads nothing: the kernel's buffers fill, then the limit is reached.
  std::string piece(50'000, 'p');
  uint64_t accepted = 0;
  ASSERT_TRUE(eventually([&] {
    while (writer->write(piece)) accepted += piece.size();
    return accepted > 200'000 && writer->pending_bytes() + piece.size() > 100'000;
  }));
  EXPECT_FALSE(closed.is_set());
  std::string got;
  std::thread reading([&] { got = raw.read("the end"); });
  ASSERT_TRUE(eventually([&] { return writer->write("the end"); }));
  writer->finish();
  EXPECT_FALSE(writer->write("too late"));
  EXPECT_TRUE(closed.get());
  reading.join();
  EXPECT_EQ(writer->pending_bytes(), 0u);
  // The connection goes on.
  raw.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  got += raw.read("event-stream");
  EXPECT_NE(got.find("the end\r\n0\r\n\r\nHTTP/1.1 200"), std::string::npos);
}

TEST_F(NetTest, StreamEndsWhenThePeerLeavesOrTheWriterIsDropped) {
  Promised<std::shared_ptr<BodyWriter>> opened;
  Promised<bool> closed;
  StopFirst stop{server_};
  serve_with([&](auto request, auto responder) {
    auto writer = responder->stream({}, 1000);
    writer->write("begun");
    if (request->path == "/dropped") return;
    writer->on_close([&] { closed.set(true); });
    opened.set(writer);
  });
  {
    Raw raw(pool_, server_->port());
    raw.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    raw.read("begun");
  }
  EXPECT_TRUE(closed.get());  // nobody wrote: the end itself was seen
  EXPECT_FALSE(opened.get()->write("x"));
  std::string got;
  auto broken = client()->stream(get("/dropped"), [&](std::string_view p) { return got += p, true; }, kWait);
  EXPECT_EQ(got, "begun");
  EXPECT_EQ(broken.error().code, ErrorCode::io);
}

TEST_F(NetTest, ClientStreamsStopsAndIsInterrupted) {
  std::atomic<int> closed{0};
  Promised<std::shared_ptr<BodyWriter>> held;
  StopFirst stop{server_};
  serve_with([&](auto request, auto responder) {
    if (request->path == "/no") return responder->send({.status = 403, .body = "why"});
    auto writer = responder->stream({}, 1 << 20);
    writer->on_close([&] { ++closed; });
    for (int i = 0; i < 3; ++i) writer->write("line\n");
    if (request->path == "/hold") {
      held.set(writer);
    } else {
      writer->finish();
    }
  });
  auto c = client();
  std::string got;
  auto whole = c->stream(get("/"), [&](std::string_view p) { return got += p, true; }, kWait);
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(got, "line\nline\nline\n");
  auto refused = c->stream(get("/no"), [&](std::string_view) { return ADD_FAILURE(), true; }, kWait);
  EXPECT_EQ(refused->status, 403);
  EXPECT_EQ(refused->body, "why");
  EXPECT_TRUE(c->stream(get("/"), [&](std::string_view) { return false; }, kWait));
  Promised<Result<Response>> result;
  std::thread streaming(
      [&] { result.set(c->stream(get("/hold"), [](std::string_view) { return true; }, seconds(60))); });
  held.get();
  c->interrupt();
  EXPECT_EQ(result.get().error().code, ErrorCode::cancelled);
  streaming.join();
  EXPECT_TRUE(eventually([&] { return closed == 3; }));
  EXPECT_TRUE(c->stream(get("/"), [](std::string_view) { return true; }, kWait));  // usable afterwards
  EXPECT_EQ(c->stream(
                 get("/hold"), [](std::string_view) { return true; }, milliseconds(200))
                .error()
                .code,
            ErrorCode::timeout);
}

TEST_F(NetTest, ClientErrorsSayWhatToCheck) {
  serve_with([](auto, auto responder) { static_cast<void>(responder); });
  uint16_t port = server_->port();
  auto c = client();
  ASSERT_TRUE(c->call(get("/"), kWait));
  server_.reset();
  auto gone = c->call(get("/"), kWait);
  EXPECT_EQ(gone.error().code, ErrorCode::unavailable);
  EXPECT_NE(gone.error().message.find("127.0.0.1:" + std::to_string(port)), std::string::npos);
  // A port that accepts and then says nothing.
  int silent = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  ASSERT_EQ(::bind(silent, reinterpret_cast<sockaddr*>(&at), size), 0);
  ASSERT_EQ(::listen(silent, 8), 0);
  ASSERT_EQ(::getsockname(silent, reinterpret_cast<sockaddr*>(&at), &size), 0);
  auto mute = make_client({"127.0.0.1", ntohs(at.sin_port)}, pool_.trusting()).value();
  EXPECT_EQ(mute->call(get("/"), milliseconds(200)).error().code, ErrorCode::timeout);
  ::close(silent);
  EXPECT_FALSE(make_client({"", 1}, {}));
  EXPECT_FALSE(make_client({"h", 1}, {.authority = "nonsense"}));
  EXPECT_FALSE(make_client({"h", 1}, {.authority_sha256 = "abc"}));
}

}  // namespace
}  // namespace tutti::net::testing
