// Probes of servers that mean harm, and an I/O thread that outlives what goes wrong on it.
#include "net/probe.h"

#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

#include "net/net_test.h"

namespace tutti::net::testing {
namespace {

using ::testing::HasSubstr;

// Says `first` to whoever connects, then `again` and again for as long as it is listened to.
class HostileServer {
 public:
  HostileServer(std::string first, std::string again = {})
      : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    socklen_t size = sizeof at;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    EXPECT_EQ(::listen(listener_, 4), 0);
    thread_ = std::thread([this, first = std::move(first), again = std::move(again)] { serve(first, again); });
  }
  ~HostileServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  uint16_t port() const { return port_; }

 private:
  void serve(const std::string& first, const std::string& again) const {
    for (int peer; (peer = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0; ::close(peer)) {
      bool heard = ::send(peer, first.data(), first.size(), MSG_NOSIGNAL) > 0;
      while (heard && !again.empty()) heard = ::send(peer, again.data(), again.size(), MSG_NOSIGNAL) > 0;
      ::shutdown(peer, SHUT_WR);
      char buffer[4096];
      while (::recv(peer, buffer, sizeof buffer, 0) > 0) {
      }
    }
  }
  const int listener_;
  uint16_t port_ = 0;
  std::thread thread_;
};

class ProbeTest : public ::testing::Test {
 protected:
  // The status and the body, or what is said instead.
  std::string ask(const HostileServer& server, ProbeKind kind) {
    Probe probe;
    probe.kind = kind;
    probe.to = {"127.0.0.1", server.port()};
    probe.timeout = seconds(15);
    probe.wants_body = [](int status) { return status != 200; };
    Promised<std::string> said;
    io_->probe(std::move(probe), [&](Result<ProbeAnswer> answer) {
      said.set(answer ? std::to_string(answer->status) + " " + answer->body : answer.error().message);
    });
    return said.get();
  }
  std::unique_ptr<IoThread> io_ = make_io_thread("probes");
};

TEST_F(ProbeTest, TheLengthThatAnAnswerClaimsIsNotBelieved) {
  const HostileServer huge("HTTP/1.1 500 X\r\nContent-Length: 4000000000000000000\r\n\r\nabc");
  EXPECT_EQ(ask(huge, ProbeKind::http), "500 abc");
  const HostileServer chunked("HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n7ffffffffffffff0\r\nabc");
  EXPECT_EQ(ask(chunked, ProbeKind::http), "500 abc");
}

TEST_F(ProbeTest, OfABodyWithoutEndTheBeginningIsKept) {
  const HostileServer endless("HTTP/1.1 500 X\r\n\r\n", std::string(1000, 'x'));
  EXPECT_EQ(ask(endless, ProbeKind::http), "500 " + std::string(kProbeBodyBytesMax, 'x'));
}

TEST_F(ProbeTest, AHeadWithoutEndIsNoAnswer) {
  const HostileServer endless("HTTP/1.1 500 X\r\n", "A: " + std::string(1000, 'x') + "\r\n");
  EXPECT_THAT(ask(endless, ProbeKind::http), HasSubstr("no answer of 127.0.0.1"));
}

TEST_F(ProbeTest, AGrpcServerThatOnlyPingsIsNotHeardOut) {
  const std::string ping(
      "\0\0\x08\x06\0\0\0\0\0"
      "12345678",
      17);
  const HostileServer pinging(std::string("\0\0\0\x04\0\0\0\0\0", 9), ping);
  EXPECT_THAT(ask(pinging, ProbeKind::grpc_health), HasSubstr("says much, and no health status"));
}

TEST_F(ProbeTest, AnExceptionOnTheThreadEndsNothingElse) {
  io_->post([] { throw std::runtime_error("on purpose"); });
  io_->post([] { throw 7; });
  Promised<bool> after;
  io_->post([&] { after.set(true); });
  EXPECT_TRUE(after.get());
}

}  // namespace
}  // namespace tutti::net::testing
