#pragma once
// Private to net: a blocking TLS connection with a deadline on every wait and a descriptor that interrupts it. One
// thread uses it; another may make `interrupt_fd` readable. Never raises SIGPIPE.

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http.h"
#include "net/tls.h"

namespace tutti::net {

using Deadline = std::chrono::steady_clock::time_point;

class TlsSocket {
 public:
  // Resolves, connects, verifies. `resume` may be an earlier session of the same context. Errors: unavailable, timeout,
  // cancelled. Finding a host's address is the one thing that cannot be interrupted.
  static Result<std::unique_ptr<TlsSocket>> connect(const Endpoint& endpoint, const TlsContext& tls, int interrupt_fd,
                                                    SSL_SESSION* resume, Deadline deadline);
  ~TlsSocket();
  TlsSocket(const TlsSocket&) = delete;
  TlsSocket& operator=(const TlsSocket&) = delete;

  Status write(std::string_view bytes, Deadline deadline);
  // Bytes read; 0 at the end, clean or not.
  Result<size_t> read(char* to, size_t size, Deadline deadline);
  // Whether bytes of the peer are there now (or its end): nothing is waited for.
  bool readable();
  OpensslPtr<SSL_SESSION, SSL_SESSION_free> session() {
    return OpensslPtr<SSL_SESSION, SSL_SESSION_free>(SSL_get1_session(ssl_.get()));
  }

  bool resumed() const { return SSL_session_reused(ssl_.get()) == 1; }

 private:
  TlsSocket(int fd, int interrupt_fd) : fd_(fd), interrupt_fd_(interrupt_fd) {}
  Status wait(short events, Deadline deadline);
  Status handshake(const TlsContext& tls, const std::string& shown, Deadline deadline);
  // After an operation of OpenSSL gave `result`: waits for what it needs, or says why it failed.
  Status wait_for(int result, Deadline deadline, std::string& why);

  const int fd_;
  const int interrupt_fd_;
  OpensslPtr<BIO_METHOD, BIO_meth_free> method_;
  OpensslPtr<SSL, SSL_free> ssl_;
};

}  // namespace tutti::net
