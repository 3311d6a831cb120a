#pragma once
// One call of grpc.health.v1.Health/Check over HTTP/2 without TLS, as bytes: what to send, and what the answer says.
//
// Private to net (probe.h makes the connection). Pure. A connection carries this call and nothing else, so what the
// server puts into headers is never needed: the verdict is the message in its DATA frames, and their absence. Sources:
// RFC 9113, RFC 7541 (literals without Huffman codes), gRPC over HTTP/2, gRPC health checking protocol. Limits: a frame
// 16 KiB, an answer kAnswerBytesMax; how much is fed, and for how
// long, is the caller's.

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tutti::net {

// Preface, settings and the whole request. `authority`: "10.0.0.2:50051"; both at most 127 bytes.
std::string grpc_health_request(std::string_view authority, std::string_view service);

class GrpcHealthReader {
 public:
  // Bytes of the server, in any pieces. A value once it is over: nothing (it serves), or an error that says what else.
  // Nothing may be fed after that.
  std::optional<Status> feed(std::string_view bytes);
  // The connection has ended; what that means.
  Status ended() const;
  // Acknowledgements to be sent now.
  std::string take_output() { return std::exchange(output_, {}); }

 private:
  struct Frame {
    uint8_t type = 0;
    uint8_t flags = 0;
    uint32_t stream = 0;
    std::string_view payload;
  };
  std::optional<Status> handle(const Frame& frame);
  std::optional<Status> handle_data(const Frame& frame);
  std::optional<Status> verdict() const;

  std::string input_;
  std::string body_;
  std::string output_;
  bool settled_ = false;  // the server's settings have come: it speaks HTTP/2
};

}  // namespace tutti::net
