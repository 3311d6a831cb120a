// The gRPC health call: what is sent, and every way an answer may come.
#include "net/grpc_health.h"

#include <gmock/gmock.h>

namespace tutti::net {
namespace {

using testing::HasSubstr;

std::string frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload) {
  std::string out;
  for (const int shift : {16, 8, 0}) out += static_cast<char>(payload.size() >> shift & 0xff);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(stream >> shift & 0xff);
  return out + payload;
}
const std::string kSettings = frame(4, 0, 0, "");
const std::string kHeaders = frame(1, 4, 1, "\x88");
std::string message(const std::string& body) {
  return std::string("\0\0\0\0", 4) + static_cast<char>(body.size()) + body;
}
std::string trailers() {
  return frame(1, 5, 1, "x");
}

// What is said of it; "well" where it serves, "open" where more is waited for.
std::string verdict(const std::string& bytes, size_t piece = 1'000'000) {
  GrpcHealthReader reader;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    if (auto over = reader.feed(std::string_view(bytes).substr(at, piece)))
      return *over ? "well" : over->error().message;
  }
  return "open";
}

TEST(GrpcHealth, TheRequestIsAWholeCall) {
  const std::string request = grpc_health_request("10.0.0.2:50051", "shop.Cart");
  EXPECT_TRUE(request.starts_with("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  EXPECT_THAT(request, HasSubstr("/grpc.health.v1.Health/Check"));
  EXPECT_TRUE(request.ends_with(frame(0, 1, 1, message("\x0a\x09shop.Cart"))));
  EXPECT_TRUE(grpc_health_request("a:1", "").ends_with(frame(0, 1, 1, message(""))));
}

TEST(GrpcHealth, ServingIsWellInWhateverPiecesItComes) {
  const std::string answer =
      kSettings + frame(4, 1, 0, "") + kHeaders + frame(0, 0, 1, message("\x08\x01")) + trailers();
  for (const size_t piece : {1u, 2u, 7u, 1000u}) EXPECT_EQ(verdict(answer, piece), "well") << piece;
  EXPECT_EQ(verdict(kSettings + kHeaders + frame(0, 8, 1, std::string("\x03") + message("\x08\x01") + "pad")), "well");
  EXPECT_EQ(verdict(kSettings + kHeaders + frame(0, 0, 1, message("\x08\x01").substr(0, 3)) +
                    frame(0, 1, 1, message("\x08\x01").substr(3))),
            "well");
}

TEST(GrpcHealth, EverythingElseIsToldInWords) {
  EXPECT_THAT(verdict(kSettings + kHeaders + frame(0, 0, 1, message("\x08\x02"))), HasSubstr("NOT_SERVING"));
  EXPECT_THAT(verdict(kSettings + kHeaders + frame(0, 0, 1, message("\x08\x03"))), HasSubstr("SERVICE_UNKNOWN"));
  EXPECT_THAT(verdict(kSettings + kHeaders + frame(0, 0, 1, message(""))), HasSubstr("UNKNOWN"));
  EXPECT_THAT(verdict(kSettings + trailers()), HasSubstr("no grpc.health.v1.Health"));
  EXPECT_THAT(verdict(kSettings + frame(3, 0, 1, std::string("\0\0\0\x07", 4))), HasSubstr("error 7"));
  EXPECT_THAT(verdict(kSettings + frame(7, 0, 0, std::string(8, '\0'))), HasSubstr("takes no calls"));
  EXPECT_THAT(verdict("HTTP/1.1 400 Bad Request\r\n\r\n"), HasSubstr("does not speak HTTP/2"));
  EXPECT_THAT(verdict(kSettings + std::string(9, '\xff')), HasSubstr("not HTTP/2"));
  EXPECT_THAT(verdict(kSettings + kHeaders + frame(0, 0, 1, std::string(2000, '\0'))), HasSubstr("too long"));
  EXPECT_THAT(verdict(kSettings + kHeaders + frame(0, 0, 1, message("\x0a\x01x"))), HasSubstr("no health status"));
  EXPECT_THAT(verdict(kSettings + kHeaders + frame(0, 8, 1, "\x09x")), HasSubstr("not HTTP/2"));
  EXPECT_THAT(verdict(kSettings + frame(6, 0, 0, "1234567")), HasSubstr("not HTTP/2"));
  EXPECT_THAT(verdict(kSettings + frame(6, 1, 0, "")), HasSubstr("not HTTP/2"));
  EXPECT_EQ(verdict(kSettings + kHeaders), "open");
}

TEST(GrpcHealth, SettingsAndPingsAreAcknowledged) {
  GrpcHealthReader reader;
  EXPECT_FALSE(reader.feed(kSettings));
  EXPECT_EQ(reader.take_output(), frame(4, 1, 0, ""));
  EXPECT_FALSE(reader.feed(frame(6, 0, 0, "12345678")));
  EXPECT_EQ(reader.take_output(), frame(6, 1, 0, "12345678"));
}

}  // namespace
}  // namespace tutti::net
