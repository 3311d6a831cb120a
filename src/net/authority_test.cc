#include "net/authority.h"

#include <gtest/gtest.h>

#include "net/http.h"
#include "net/target.h"

namespace tutti::net {
namespace {

constexpr Time kNow{1'795'000'000'000'000'000};

TEST(Authority, IssuesCertificatesThatEndWithItself) {
  auto authority = make_authority("pool", kNow, seconds(1000));
  ASSERT_TRUE(authority);
  EXPECT_EQ(certificate_expiry(authority->certificate).value(), kNow + seconds(1000));
  auto server = issue_server(*authority, "m1", {"m1.example", "10.0.0.1", "::1"}, kNow, seconds(5000));
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(certificate_expiry(server->certificate).value(), kNow + seconds(1000));
  EXPECT_TRUE(server->certificate.ends_with(authority->certificate));
  EXPECT_FALSE(issue_server(*authority, "m1", {"m1"}, kNow + seconds(1001), seconds(10)));
}

TEST(Authority, TwoAuthoritiesOfOneNameDiffer) {
  auto a = make_authority("pool", kNow, seconds(10)), b = make_authority("pool", kNow, seconds(10));
  EXPECT_NE(certificate_sha256(a->certificate).value(), certificate_sha256(b->certificate).value());
  EXPECT_EQ(certificate_sha256(a->certificate).value().size(), 64u);
  KeyPair mixed{a->certificate, b->private_key};
  EXPECT_EQ(issue_server(mixed, "m", {"m"}, kNow, seconds(5)).error().code, ErrorCode::invalid);
}

TEST(Authority, RefusesNamesThatWouldSmuggleEntries) {
  auto authority = make_authority("pool", kNow, seconds(1000)).value();
  for (const char* bad : {"", "a,DNS:evil", "a b", "a:b", "x\ny", "email:a@b"})
    EXPECT_EQ(issue_server(authority, "m", {bad}, kNow, seconds(5)).error().code, ErrorCode::invalid) << bad;
  EXPECT_FALSE(issue_server(authority, "m", {}, kNow, seconds(5)));
  EXPECT_FALSE(make_authority(std::string(65, 'a'), kNow, seconds(5)));
  EXPECT_FALSE(make_authority("", kNow, seconds(5)));
  EXPECT_FALSE(make_authority("a", kNow, Duration{}));
}

TEST(Authority, SignsRequestsUnderTheNameItChooses) {
  auto authority = make_authority("pool", kNow, seconds(1000)).value();
  auto request = make_signing_request("i-am-root").value();
  auto certificate = sign_client(authority, request.request, "node-1", kNow, seconds(100));
  ASSERT_TRUE(certificate) << certificate.error().message;
  std::string fingerprint = key_fingerprint_of_request(request.request).value();
  EXPECT_EQ(fingerprint, key_fingerprint_of_certificate(*certificate).value());
  auto renewed = signing_request_for(request.private_key, "node-1").value();
  EXPECT_EQ(fingerprint, key_fingerprint_of_request(renewed).value());
  // Signed again: another certificate, the same key.
  auto again = sign_client(authority, renewed, "node-1", kNow, seconds(100)).value();
  EXPECT_NE(again, *certificate);
  EXPECT_EQ(fingerprint, key_fingerprint_of_certificate(again).value());
}

TEST(Authority, RefusesDamagedRequests) {
  auto authority = make_authority("pool", kNow, seconds(1000)).value();
  std::string request = make_signing_request("n").value().request;
  for (size_t at = 40; at + 40 < request.size(); at += 7) {
    std::string damaged = request;
    damaged[at] = damaged[at] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(sign_client(authority, damaged, "n", kNow, seconds(5))) << at;
  }
  EXPECT_FALSE(sign_client(authority, "", "n", kNow, seconds(5)));
  EXPECT_FALSE(sign_client({"x", "y"}, request, "n", kNow, seconds(5)));
  EXPECT_FALSE(certificate_sha256("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
}

TEST(Secrets, CompareAndDigest) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_TRUE(secrets_equal("abc", "abc"));
  EXPECT_FALSE(secrets_equal("abc", "abd"));
  EXPECT_FALSE(secrets_equal("abc", "abcd"));
  EXPECT_TRUE(secrets_equal("", ""));
}

TEST(Encoding, PercentAndBase64) {
  EXPECT_EQ(percent_encode("a b/ü~"), "a%20b%2F%C3%BC~");
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
    bytes += static_cast<char>(i * 7);
  }
  EXPECT_EQ(base64_encode("Man"), "TWFu");
  EXPECT_EQ(base64_encode("M"), "TQ==");
  for (const char* bad : {"A", "AA", "AAA", "A===", "=AAA", "AA=A", "AAA!", "TQ==TQ=="})
    EXPECT_EQ(base64_decode(bad), "") << bad;
}

TEST(Endpoint, Forms) {
  auto is = [](const char* text, const char* host, int port) {
    auto e = parse_endpoint(text);
    ASSERT_TRUE(e) << text << ": " << e.error().message;
    EXPECT_EQ(e->host, host);
    EXPECT_EQ(e->port, port);
  };
  is("https://m1:8443", "m1", 8443);
  is("https://m1", "m1", 443);
  is("https://m1:1/", "m1", 1);
  is("m1:9", "m1", 9);
  is("[::1]:80", "::1", 80);
  is("https://[fe80::1]", "fe80::1", 443);
  for (const char* bad : {"", "m1", ":80", "m1:", "m1:0", "m1:65536", "m1:8o", "http://m1:80", "::1", "[::1",
                          "[::1]x:1", "a/b:1", "https://u@h:1", "h:1/path"})
    EXPECT_FALSE(parse_endpoint(bad)) << bad;
}

TEST(Target, IsDecodedAndNormalised) {
  auto path = [](std::string_view target) {
    Request r;
    auto ok = parse_target(target, r);
    return ok ? r.path : "!" + ok.error().message.substr(0, 0);
  };
  EXPECT_EQ(path("/"), "/");
  EXPECT_EQ(path("/a//b/./c"), "/a/b/c");
  EXPECT_EQ(path("/a/"), "/a/");
  EXPECT_EQ(path("/a%20b?x"), "/a b");
  EXPECT_EQ(path("https://h:1/a?b"), "/a");
  EXPECT_EQ(path("https://h"), "/");
  EXPECT_EQ(path("*"), "*");
  EXPECT_EQ(path("/a/...b"), "/a/...b");
  for (const char* bad :
       {"", "a", "/..", "/a/../b", "/%2e%2e/x", "/a%2f..%2fb", "/%", "/%4", "/%zz", "/%00", "/a\x01", "/a b", "/?a=%"})
    EXPECT_EQ(path(bad), "!") << bad;
}

TEST(Target, QueryIsDecodedAndTheLastWins) {
  Request r;
  ASSERT_TRUE(parse_target("/p?a=1&b=x%26y+z&a=2&flag&=v&&c=d=e#f", r));
  EXPECT_EQ(r.query_value("a"), "2");
  EXPECT_EQ(r.query_value("b"), "x&y z");
  EXPECT_EQ(r.query.count("flag"), 1u);
  EXPECT_EQ(r.query_value("c"), "d=e");
}

}  // namespace
}  // namespace tutti::net
