#include <atomic>
#include <thread>

#include "net/net_test.h"
#include "net/tls_socket.h"

namespace tutti::net::testing {
namespace {

constexpr Duration kWait = seconds(20);

void who(std::shared_ptr<const Request> request, std::shared_ptr<Responder> responder) {
  responder->send({.body = request->peer_common_name + " " + request->peer_fingerprint});
}

TEST_F(NetTest, MutualTlsTellsWhoThePeerIs) {
  serve_with(who, {}, true);
  ClientTls node = pool_.as("node-7");
  auto answer = client(node)->call(get("/"), kWait);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "node-7 " + key_fingerprint_of_certificate(node.certificate_chain).value());
}

TEST_F(NetTest, MutualTlsRefusesNobodyAndStrangers) {
  std::atomic<int> handled{0};
  StopFirst stop{server_};
  serve_with(
      [&](auto request, auto responder) {
        ++handled;
        who(request, responder);
      },
      {}, true);
  EXPECT_FALSE(client()->call(get("/"), kWait));
  Pool other;
  ClientTls stranger = other.as("node-7");
  stranger.authority = pool_.authority.certificate;
  EXPECT_FALSE(client(stranger)->call(get("/"), kWait));
  ClientTls server_key = pool_.trusting();  // a server's certificate is no client's
  server_key.certificate_chain = pool_.server.certificate;
  server_key.private_key = pool_.server.private_key;
  EXPECT_FALSE(client(server_key)->call(get("/"), kWait));
  // Expired: signed as if an hour ago, for a minute.
  SigningRequest request = make_signing_request("node-7").value();
  ClientTls expired = pool_.trusting();
  expired.certificate_chain =
      sign_client(pool_.authority, request.request, "node-7", wall_now() - seconds(3600), seconds(60)).value();
  expired.private_key = request.private_key;
  EXPECT_FALSE(client(expired)->call(get("/"), kWait));
  EXPECT_EQ(handled, 0);
}

TEST_F(NetTest, AnExpiredPeerIsToldApartWithinTheGrace) {
  TlsFiles files = pool_.files(true);
  files.expired_grace = seconds(30 * 24 * 3600);
  auto made = serve({}, files, [](auto request, auto responder) {
    responder->send({.body = request->peer_common_name + (request->peer_expired ? " expired" : " valid")});
  });
  ASSERT_TRUE(made);
  server_ = std::move(*made);
  EXPECT_EQ(client(pool_.as("node-7"))->call(get("/"), kWait)->body, "node-7 valid");
  auto ended = [&](const KeyPair& authority, int64_t days_ago) {
    SigningRequest request = make_signing_request("node-7").value();
    ClientTls out = pool_.trusting();
    out.certificate_chain =
        sign_client(authority, request.request, "node-7", wall_now() - seconds(days_ago * 24 * 3600 + 60), seconds(60))
            .value();
    out.private_key = request.private_key;
    return out;
  };
  auto late = client(ended(pool_.authority, 29))->call(get("/"), kWait);
  ASSERT_TRUE(late) << late.error().message;
  EXPECT_EQ(late->body, "node-7 expired");
  EXPECT_FALSE(client(ended(pool_.authority, 31))->call(get("/"), kWait));
  Pool other;  // a stranger's is refused, expired or not
  EXPECT_FALSE(client(ended(other.authority, 1))->call(get("/"), kWait));
}

TEST_F(NetTest, WithoutMutualTlsNobodyIsNamed) {
  serve_with(who);
  EXPECT_EQ(client(pool_.as("node-7"))->call(get("/"), kWait)->body, " ");
}

TEST_F(NetTest, ClientTrustsItsAuthorityOnly) {
  serve_with(who);
  Pool other;
  auto wrong = client(other.trusting())->call(get("/"), kWait);
  EXPECT_EQ(wrong.error().code, ErrorCode::unavailable);
  EXPECT_NE(wrong.error().message.find("authority"), std::string::npos) << wrong.error().message;
  EXPECT_FALSE(client(ClientTls{})->call(get("/"), kWait));  // the system does not know this authority
}

TEST_F(NetTest, PinnedDigestOfTheAuthority) {
  serve_with(who);
  ClientTls pin;
  pin.authority_sha256 = certificate_sha256(pool_.authority.certificate).value();
  auto good = client(pin)->call(get("/"), kWait);
  ASSERT_TRUE(good) << good.error().message;
  for (char& c : pin.authority_sha256) c = static_cast<char>(c >= 'a' ? c - 32 : c);
  EXPECT_TRUE(client(pin)->call(get("/"), kWait));
  Pool other;
  pin.authority_sha256 = certificate_sha256(other.authority.certificate).value();
  auto bad = client(pin)->call(get("/"), kWait);
  EXPECT_EQ(bad.error().code, ErrorCode::unavailable);
  EXPECT_NE(bad.error().message.find("token"), std::string::npos) << bad.error().message;
  // The digest of the leaf is not enough, and so is a root that is sent along but signed nothing.
  pin.authority_sha256 = certificate_sha256(pool_.server.certificate).value();
  EXPECT_FALSE(client(pin)->call(get("/"), kWait));
  TlsFiles forged = pool_.files();
  std::string leaf_only = other.server.certificate.substr(0, other.server.certificate.find("-----BEGIN", 10));
  forged.certificate_chain = leaf_only + pool_.authority.certificate;
  forged.private_key = other.server.private_key;
  ASSERT_TRUE(server_->set_tls(forged));
  pin.authority_sha256 = certificate_sha256(pool_.authority.certificate).value();
  EXPECT_FALSE(client(pin)->call(get("/"), kWait));
}

TEST_F(NetTest, RenewalIsForNewConnectionsAndOldOnesGoOn) {
  serve_with(who);
  auto old = client();
  ASSERT_TRUE(old->call(get("/"), kWait));
  Pool renewed;
  ASSERT_TRUE(server_->set_tls(renewed.files()));
  EXPECT_TRUE(old->call(get("/"), kWait));
  EXPECT_FALSE(client()->call(get("/"), kWait));
  EXPECT_TRUE(client(renewed.trusting())->call(get("/"), kWait));
  EXPECT_EQ(server_->set_tls({"x", "y", ""}).error().code, ErrorCode::invalid);
  EXPECT_TRUE(client(renewed.trusting())->call(get("/"), kWait));
}

TEST_F(NetTest, SessionsAreResumedWithThePeersIdentity) {
  serve_with(who, {}, true);
  ClientTls node = pool_.as("node-7");
  auto tls = make_client_tls(node).value();
  OpensslPtr<SSL_SESSION, SSL_SESSION_free> session;
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::string answers[2];
  for (auto& answer : answers) {
    auto socket = TlsSocket::connect({"127.0.0.1", server_->port()}, *tls, -1, session.get(), deadline);
    ASSERT_TRUE(socket) << socket.error().message;
    ASSERT_TRUE((*socket)->write("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", deadline));
    char piece[4096];
    for (;;) {
      auto n = (*socket)->read(piece, sizeof piece, deadline);
      ASSERT_TRUE(n) << n.error().message;
      if (*n == 0) break;
      answer.append(piece, *n);
    }
    EXPECT_EQ((*socket)->resumed(), &answer == &answers[1]);
    session = (*socket)->session();
  }
  EXPECT_NE(answers[0].find("node-7 "), std::string::npos);
  EXPECT_EQ(answers[0], answers[1]);
}

}  // namespace
}  // namespace tutti::net::testing
