#include "net/tls_socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tutti::net {

namespace {

// OpenSSL's own socket BIO writes without MSG_NOSIGNAL.
int bio_write(BIO* bio, const char* data, int length) {
  int fd = static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
  ssize_t n = ::send(fd, data, static_cast<size_t>(length), MSG_NOSIGNAL);
  BIO_clear_retry_flags(bio);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int bio_read(BIO* bio, char* data, int length) {
  int fd = static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
  ssize_t n = ::recv(fd, data, static_cast<size_t>(length), 0);
  BIO_clear_retry_flags(bio);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(n);
}

long bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

std::string shown_of(const Endpoint& e) {
  return (e.host.find(':') == std::string::npos ? e.host : "[" + e.host + "]") + ":" + std::to_string(e.port);
}

}  // namespace

TlsSocket::~TlsSocket() {
  if (ssl_ && SSL_is_init_finished(ssl_.get())) {
    SSL_shutdown(ssl_.get());  // says goodbye if there is room; nothing is waited for
    ERR_clear_error();
  }
  ssl_.reset();
  ::close(fd_);
}

Status TlsSocket::wait(short events, Deadline deadline) {
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd fds[2] = {{fd_, events, 0}, {interrupt_fd_, POLLIN, 0}};
    int n = ::poll(fds, 2, static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000'000)));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("poll", errno);
    if (fds[1].revents != 0) return fail(ErrorCode::cancelled, "interrupted");
    if (fds[0].revents != 0) return {};
    if (n == 0 && left <= 0) return fail(ErrorCode::timeout, "timed out");
  }
}

Status TlsSocket::wait_for(int result, Deadline deadline, std::string& why) {
  int saved = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ: return wait(POLLIN, deadline);
    case SSL_ERROR_WANT_WRITE: return wait(POLLOUT, deadline);
    case SSL_ERROR_ZERO_RETURN: why = "the server closed the connection"; break;
    case SSL_ERROR_SYSCALL:
      why = result == 0 || saved == 0 ? "the server closed the connection" : std::strerror(saved);
      ERR_clear_error();
      break;
    default:
      why = openssl_error("");
      why.erase(0, std::min<size_t>(2, why.size()));
      if (why == "unexpected eof while reading") why = "the server closed the connection";
      break;
  }
  return fail(ErrorCode::io, why);
}

Status TlsSocket::handshake(const TlsContext& tls, const std::string& shown, Deadline deadline) {
  for (;;) {
    ERR_clear_error();
    errno = 0;
    int result = SSL_connect(ssl_.get());
    if (result == 1) return {};
    std::string why;
    Status waited = wait_for(result, deadline, why);
    if (waited) continue;
    if (waited.error().code == ErrorCode::io)
      return fail(ErrorCode::unavailable, shown + ": " + handshake_error(ssl_.get(), tls, why));
    if (waited.error().code == ErrorCode::timeout)
      return fail(ErrorCode::timeout, shown + " accepted the connection but does not answer the TLS handshake");
    return waited;
  }
}

Result<std::unique_ptr<TlsSocket>> TlsSocket::connect(const Endpoint& endpoint, const TlsContext& tls, int interrupt_fd,
                                                      SSL_SESSION* resume, Deadline deadline) {
  const std::string shown = shown_of(endpoint);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int failed = ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
  if (failed != 0)
    return fail(ErrorCode::unavailable,
                "cannot find the host '" + endpoint.host + "': " + ::gai_strerror(failed) + "; check the address");
  std::string why = "no address";
  for (addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    int fd = ::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) continue;
    std::unique_ptr<TlsSocket> out(new TlsSocket(fd, interrupt_fd));
    if (::connect(fd, at->ai_addr, at->ai_addrlen) != 0 && errno != EINPROGRESS) {
      why = std::strerror(errno);
      continue;
    }
    if (Status waited = out->wait(POLLOUT, deadline); !waited) {
      if (waited.error().code != ErrorCode::timeout) return tl::make_unexpected(std::move(waited).error());
      return fail(ErrorCode::timeout, "cannot connect to " + shown + ": no answer; check the address and the firewall");
    }
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      why = std::strerror(error);
      continue;
    }
    int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    out->method_.reset(BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "socket"));
    BIO_meth_set_write(out->method_.get(), bio_write);
    BIO_meth_set_read(out->method_.get(), bio_read);
    BIO_meth_set_ctrl(out->method_.get(), bio_control);
    out->ssl_.reset(SSL_new(tls.context.get()));
    BIO* bio = BIO_new(out->method_.get());
    if (!out->ssl_ || bio == nullptr) return fail(ErrorCode::internal, openssl_error("TLS cannot be set up"));
    BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
    BIO_set_init(bio, 1);
    SSL_set_bio(out->ssl_.get(), bio, bio);
    TUTTI_CHECK(prepare_client_ssl(tls, out->ssl_.get(), endpoint.host));
    if (resume != nullptr) SSL_set_session(out->ssl_.get(), resume);
    TUTTI_CHECK(out->handshake(tls, shown, deadline));
    return out;
  }
  return fail(ErrorCode::unavailable,
              "cannot connect to " + shown + ": " + why + "; check the address and that the manager runs");
}

Status TlsSocket::write(std::string_view bytes, Deadline deadline) {
  while (!bytes.empty()) {
    ERR_clear_error();
    errno = 0;
    int result = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(std::min<size_t>(bytes.size(), 1u << 20)));
    if (result > 0) {
      bytes.remove_prefix(static_cast<size_t>(result));
      continue;
    }
    std::string why;
    TUTTI_CHECK(wait_for(result, deadline, why));
  }
  return {};
}

Result<size_t> TlsSocket::read(char* to, size_t size, Deadline deadline) {
  // Interrupted also while the peer sends without a pause.
  pollfd interrupted{interrupt_fd_, POLLIN, 0};
  if (::poll(&interrupted, 1, 0) > 0) return fail(ErrorCode::cancelled, "interrupted");
  for (;;) {
    ERR_clear_error();
    errno = 0;
    int result = SSL_read(ssl_.get(), to, static_cast<int>(std::min<size_t>(size, 1u << 20)));
    if (result > 0) return static_cast<size_t>(result);
    std::string why;
    Status waited = wait_for(result, deadline, why);
    if (waited) continue;
    if (waited.error().code == ErrorCode::io &&
        (why == "the server closed the connection" || why == std::strerror(ECONNRESET)))
      return 0;
    return tl::make_unexpected(std::move(waited).error());
  }
}

bool TlsSocket::readable() {
  char byte = 0;
  ERR_clear_error();
  errno = 0;
  int result = SSL_peek(ssl_.get(), &byte, 1);
  if (result > 0) return true;
  int error = SSL_get_error(ssl_.get(), result);
  ERR_clear_error();
  return error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
}

}  // namespace tutti::net
