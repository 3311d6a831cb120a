#pragma once
// Probe: one question to somebody who may or may not answer: a connection, an HTTP request, a gRPC health call. No TLS.
//
// IoThread::probe() makes it, on its thread, without blocking; everything is over by the timeout. Nothing is kept
// alive. Who answers is believed nothing: an answer takes a head of 16 KiB and kProbeBodyBytesMax of its body, a gRPC
// answer 64 KiB in all.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "net/http.h"

namespace tutti::net {

inline constexpr size_t kProbeBodyBytesMax = 256;

enum class ProbeKind { connect, http, grpc_health };

struct Probe {
  ProbeKind kind = ProbeKind::connect;
  Endpoint to;  // an address, no name
  Duration timeout;
  std::string method = "GET";  // http, and the following
  std::string target = "/";
  std::vector<std::pair<std::string, std::string>> headers;
  std::function<bool(int status)> wants_body;  // whether the beginning of the body is worth waiting for
  std::string service;                         // grpc_health; at most 127 bytes
};

struct ProbeAnswer {
  int status = 0;    // http
  std::string body;  // http: its beginning, where it was wanted
};

}  // namespace tutti::net
