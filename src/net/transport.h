#pragma once
// Private to net: the one TLS stream type over Asio, and coroutines on a loop. Included by few .cc files: it is heavy.

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <memory>
#include <string>

#include "net/loop.h"
#include "net/tls.h"

namespace tutti::net {

namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using error_code = boost::system::error_code;
using Socket = asio::basic_stream_socket<tcp, Executor>;
using TlsStream = beast::ssl_stream<Socket>;
template <class T = void>
using Co = asio::awaitable<T, Executor>;
// co_await op(..., kAwait) gives a tuple (error, values...); nothing throws.
inline constexpr auto kAwait = asio::as_tuple(asio::use_awaitable_t<Executor>{});

// TCP_NODELAY, and the kernel finds out about peers that vanished without a word.
void set_socket_options(int fd);
// Whether bytes were sent and not even the peer's kernel has acknowledged anything for a minute. A peer that merely
// does not read (flow control) is not silent.
bool peer_silent(int fd);
// A stream over this socket with the shared context (Asio's wrapper holds its own reference).
std::unique_ptr<TlsStream> make_stream(Socket socket, const TlsContext& tls);
inline Socket& socket_of(TlsStream& stream) {
  return beast::get_lowest_layer(stream);
}
std::string text_of(const tcp::endpoint& endpoint);
// What one peer may have all of: an IPv4 address, or the /64 of an IPv6 one.
std::string neighbourhood_of(const tcp::endpoint& endpoint);

}  // namespace tutti::net
