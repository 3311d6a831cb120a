#pragma once
// Private to net: where a TLS stream becomes a WebSocket, on either side. Implemented in websocket.cc, the only file
// that instantiates Beast's WebSocket.

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "net/http.h"
#include "net/transport.h"

namespace tutti::net {

using Opened = std::function<void(Result<std::shared_ptr<WebSocket>>)>;
using UpgradeRequest = beast::http::request<beast::http::empty_body>;

bool is_upgrade(const UpgradeRequest& request);
// On the loop's thread. Answers the upgrade and calls `opened`; `ended` comes once, when the connection is over.
void accept_websocket(std::shared_ptr<Loop> loop, std::unique_ptr<TlsStream> stream, UpgradeRequest request,
                      size_t pending_limit_bytes, Opened opened, std::function<void()> ended);

struct Dial {
  Endpoint endpoint;
  ClientTls tls;
  std::string target;
  std::vector<std::pair<std::string, std::string>> headers;
  size_t pending_limit_bytes = 0;
};
// On the loop's thread. Resolves, connects, verifies, upgrades; all of it within 15 s. An answer that is no upgrade is
// an error with the code of its status, and its body as the detail `answer`.
void dial_websocket(std::shared_ptr<Loop> loop, Dial dial, Opened opened);

}  // namespace tutti::net
