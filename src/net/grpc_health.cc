#include "net/grpc_health.h"

#include <utility>

namespace tutti::net {
namespace {

constexpr size_t kFrameHeadBytes = 9;
constexpr size_t kFrameBytesMax = 16u << 10;  // what we allow by our settings, which are the default ones
constexpr size_t kAnswerBytesMax = 1024;
constexpr size_t kMessageHeadBytes = 5;  // of gRPC: compressed or not, and the length
constexpr size_t kPingBytes = 8;
constexpr uint32_t kOurStream = 1;
constexpr uint8_t kEndStream = 0x1, kAck = 0x1, kEndHeaders = 0x4, kPadded = 0x8;
enum FrameType : uint8_t { kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kPing = 6, kGoaway = 7 };

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}
void append_big_endian(std::string& out, uint32_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i) & 0xff);
}
std::string frame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string out;
  append_big_endian(out, static_cast<uint32_t>(payload.size()), 3);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  append_big_endian(out, stream, 4);
  return out.append(payload);
}
// A length below 128 needs one byte, in HPACK and in protocol buffers.
void append_text(std::string& out, std::string_view text) {
  out += static_cast<char>(text.size());
  out += text;
}

std::optional<uint64_t> varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

// ServingStatus of a HealthCheckResponse: its field 1; one that is not there is 0.
std::optional<uint64_t> serving_status(std::string_view message) {
  uint64_t status = 0;
  while (!message.empty()) {
    const auto tag = varint(message);
    if (!tag || (*tag & 7) != 0) return std::nullopt;  // the message has numbers only
    const auto value = varint(message);
    if (!value) return std::nullopt;
    if (*tag >> 3 == 1) status = *value;
  }
  return status;
}

Status refused(std::string why) {
  return fail(ErrorCode::unavailable, std::move(why));
}

}  // namespace

std::string grpc_health_request(std::string_view authority, std::string_view service) {
  std::string headers;
  headers += "\x83\x86";  // :method POST, :scheme http
  headers += '\x04';      // :path
  append_text(headers, "/grpc.health.v1.Health/Check");
  headers += '\x01';  // :authority
  append_text(headers, authority);
  headers += "\x0f\x10";  // content-type
  append_text(headers, "application/grpc");
  headers += '\0';
  append_text(headers, "te");
  append_text(headers, "trailers");

  std::string request;
  if (!service.empty()) {
    request += '\x0a';  // field 1, text
    append_text(request, service);
  }
  std::string message(1, '\0');  // not compressed
  append_big_endian(message, static_cast<uint32_t>(request.size()), 4);
  message += request;
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(kSettings, 0, 0, {}) +
         frame(kHeaders, kEndHeaders, kOurStream, headers) + frame(kData, kEndStream, kOurStream, message);
}

std::optional<Status> GrpcHealthReader::feed(std::string_view bytes) {
  input_ += bytes;
  size_t at = 0;
  std::optional<Status> over;
  while (!over && input_.size() - at >= kFrameHeadBytes) {
    const std::string_view head = std::string_view(input_).substr(at, kFrameHeadBytes);
    const size_t length = big_endian(head.substr(0, 3));
    Frame next{
        static_cast<uint8_t>(head[3]), static_cast<uint8_t>(head[4]), big_endian(head.substr(5, 4)) & 0x7fffffff, {}};
    const bool sound = length <= kFrameBytesMax && (settled_ || (next.type == kSettings && next.stream == 0));
    if (!sound)
      return refused(settled_ ? "what the server sends is not HTTP/2"
                              : "the server does not speak HTTP/2 without TLS, as gRPC does");
    if (input_.size() - at - kFrameHeadBytes < length) break;
    next.payload = std::string_view(input_).substr(at + kFrameHeadBytes, length);
    over = handle(next);
    at += kFrameHeadBytes + length;
  }
  input_.erase(0, at);
  return over;
}

std::optional<Status> GrpcHealthReader::handle(const Frame& frame) {
  const bool ours = frame.stream == kOurStream;
  switch (frame.type) {
    case kData: return ours ? handle_data(frame) : std::nullopt;
    case kHeaders:
      if (ours && (frame.flags & kEndStream) != 0) return ended();
      return std::nullopt;
    case kReset:
      if (ours)
        return refused("the server broke the call off (HTTP/2 error " +
                       std::to_string(big_endian(frame.payload.substr(0, 4))) + ")");
      return std::nullopt;
    case kSettings:
      settled_ = true;
      if ((frame.flags & kAck) == 0) output_ += net::frame(kSettings, kAck, 0, {});
      return std::nullopt;
    case kPing:
      if (frame.payload.size() != kPingBytes) return refused("what the server sends is not HTTP/2");
      if ((frame.flags & kAck) == 0) output_ += net::frame(kPing, kAck, 0, frame.payload);
      return std::nullopt;
    case kGoaway:
      // Calls up to the one it names are still answered.
      if (frame.payload.size() >= 4 && (big_endian(frame.payload.substr(0, 4)) & 0x7fffffff) < kOurStream)
        return refused("the server takes no calls");
      return std::nullopt;
    default: return std::nullopt;
  }
}

std::optional<Status> GrpcHealthReader::handle_data(const Frame& frame) {
  std::string_view data = frame.payload;
  if ((frame.flags & kPadded) != 0) {
    const size_t padding = data.empty() ? 0 : static_cast<uint8_t>(data.front());
    if (data.size() < padding + 1) return refused("what the server sends is not HTTP/2");
    data = data.substr(1, data.size() - 1 - padding);
  }
  if (body_.size() + data.size() > kAnswerBytesMax) return refused("the answer is too long for a health status");
  body_ += data;
  if (auto over = verdict()) return over;
  if ((frame.flags & kEndStream) != 0) return ended();
  return std::nullopt;
}

// Once the whole message is there.
std::optional<Status> GrpcHealthReader::verdict() const {
  if (body_.size() < kMessageHeadBytes) return std::nullopt;
  const size_t length = big_endian(std::string_view(body_).substr(1, 4));
  if (body_[0] != 0 || length > kAnswerBytesMax) return refused("the answer is no health status");
  if (body_.size() - kMessageHeadBytes < length) return std::nullopt;
  const auto status = serving_status(std::string_view(body_).substr(kMessageHeadBytes, length));
  if (!status) return refused("the answer is no health status");
  switch (*status) {
    case 0: return refused("the server says UNKNOWN");
    case 1: return Status{};
    case 2: return refused("the server says NOT_SERVING");
    case 3: return refused("the server says SERVICE_UNKNOWN");
    default: return refused("the server says status " + std::to_string(*status));
  }
}

Status GrpcHealthReader::ended() const {
  if (!settled_) return refused("the server ended the connection without an answer");
  return refused("the server gave no health status: it has no grpc.health.v1.Health, or does not know the service");
}

}  // namespace tutti::net
