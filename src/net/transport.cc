#include "net/transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace tutti::net {

void set_socket_options(int fd) {
  auto set = [fd](int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  // No TCP_USER_TIMEOUT: it would also end a connection whose reader is paused (its window is closed on purpose).
}

bool peer_silent(int fd) {
  constexpr uint32_t kSilentMs = 60'000;
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
  return info.tcpi_retransmits > 0 && info.tcpi_last_ack_recv > kSilentMs;
}

std::unique_ptr<TlsStream> make_stream(Socket socket, const TlsContext& tls) {
  SSL_CTX_up_ref(tls.context.get());
  asio::ssl::context context(tls.context.get());
  return std::make_unique<TlsStream>(std::move(socket), context);
}

std::string text_of(const tcp::endpoint& endpoint) {
  std::string address = endpoint.address().to_string();
  if (endpoint.address().is_v6()) address = "[" + address + "]";
  return address + ":" + std::to_string(endpoint.port());
}

}  // namespace tutti::net
