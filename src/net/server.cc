// The listener: accepts on the first loop, hands connections to the loops in turn.

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <mutex>

#include "base/log.h"
#include "net/connection.h"

namespace tutti::net {

namespace {

using Acceptor = asio::basic_socket_acceptor<tcp, Executor>;
constexpr auto kAcceptRetry = std::chrono::milliseconds(50);  // after "too many open files"
constexpr auto kTellEvery = std::chrono::seconds(10);
constexpr size_t kRefusedMax = 64;  // above the cap, this many get an answer; the rest is cut

// Accepting, as an object of the first loop.
class Listener final : public Tracked, public std::enable_shared_from_this<Listener> {
 public:
  Listener(std::shared_ptr<ServerShared> shared, std::vector<std::shared_ptr<Loop>> loops,
           std::shared_ptr<TlsContext> tls)
      : shared_(std::move(shared)),
        loops_(std::move(loops)),
        tls_(std::move(tls)),
        acceptor_(loops_.front()->io.get_executor()),
        retry_(loops_.front()->io.get_executor()) {}

  Status open() {
    const ServerOptions& options = shared_->options;
    std::string shown = options.address + ":" + std::to_string(options.port);
    error_code error;
    auto address = asio::ip::make_address(options.address, error);
    if (error) return fail(ErrorCode::invalid, "'" + options.address + "' is not an IP address to listen on");
    tcp::endpoint endpoint(address, options.port);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(Acceptor::reuse_address(true), error);
    if (!error && address.is_v6()) acceptor_.set_option(asio::ip::v6_only(!address.is_unspecified()), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(1024, error);
    if (!error) port_ = acceptor_.local_endpoint(error).port();
    if (error == boost::system::errc::address_in_use)
      return fail(ErrorCode::io, "cannot listen on " + shown +
                                     ": the address is in use; stop what listens there or choose another port");
    if (error) return fail(ErrorCode::io, "cannot listen on " + shown + ": " + error.message());
    return {};
  }

  void start() {
    loops_.front()->add(shared_from_this());
    accept();
  }

  void abort(const std::string&) override {
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  }

  uint16_t port() const { return port_; }

  void set_tls(std::shared_ptr<TlsContext> tls) {
    std::lock_guard lock(mutex_);
    tls_ = std::move(tls);
  }

 private:
  void accept() {
    if (loops_.front()->stopping() || !acceptor_.is_open()) return loops_.front()->remove(this);
    next_ = (next_ + 1) % loops_.size();
    auto loop = loops_[next_];
    acceptor_.async_accept(loop->io.get_executor(), [self = shared_from_this(), loop](error_code error, Socket socket) {
      self->accepted(error, loop, std::move(socket));
    });
  }

  void accepted(error_code error, const std::shared_ptr<Loop>& loop, Socket socket) {
    if (!error) {
      welcome(loop, std::move(socket));
      return accept();
    }
    if (!acceptor_.is_open()) return accept();
    log_warning("a connection could not be accepted", {{"why", error.message()}});
    retry_.expires_after(kAcceptRetry);
    retry_.async_wait([self = shared_from_this()](error_code) { self->accept(); });
  }

  void welcome(const std::shared_ptr<Loop>& loop, Socket socket) {
    size_t count = ++shared_->connections;
    bool refuse = count > shared_->options.connections_max;
    error_code error;
    auto peer = socket.remote_endpoint(error);
    if (error || count > shared_->options.connections_max + kRefusedMax) {
      --shared_->connections;
      return;
    }
    if (!shared_->strangers.enter(neighbourhood_of(peer), shared_->options.strangers_per_address_max)) {
      --shared_->connections;
      return tell_cut(peer);
    }
    set_socket_options(socket.native_handle());
    std::shared_ptr<TlsContext> tls;
    {
      std::lock_guard lock(mutex_);
      tls = tls_;
    }
    auto connection = std::make_shared<Connection>(shared_, loop, std::move(tls), std::move(socket), peer, refuse);
    if (loop == loops_.front()) return Connection::start(std::move(connection));
    asio::post(loop->io, [connection] { Connection::start(connection); });
  }

  // Now and then: a line for each would be a flood of its own.
  void tell_cut(const tcp::endpoint& peer) {
    const auto now = Steady::now();
    if (now - told_ < kTellEvery) return;
    told_ = now;
    log_warning("connections of one address are cut off: so many of it have not shown who they are",
                {{"remote", text_of(peer)},
                 {"strangers_per_address_max", std::to_string(shared_->options.strangers_per_address_max)}});
  }

  const std::shared_ptr<ServerShared> shared_;
  const std::vector<std::shared_ptr<Loop>> loops_;
  Steady::time_point told_{};
  std::mutex mutex_;
  std::shared_ptr<TlsContext> tls_;  // under mutex_
  Acceptor acceptor_;
  Timer retry_;
  uint16_t port_ = 0;
  size_t next_ = 0;
};

class TlsServer final : public Server {
 public:
  TlsServer(std::shared_ptr<Listener> listener, std::vector<std::shared_ptr<Loop>> loops, size_t gather_from)
      : listener_(std::move(listener)), loops_(std::move(loops)) {
    for (size_t i = 0; i < loops_.size(); ++i) loops_[i]->start("https-" + std::to_string(i), gather_from);
    asio::post(loops_.front()->io, [listener = listener_] { listener->start(); });
  }
  ~TlsServer() override { stop(); }

  uint16_t port() const override { return listener_->port(); }

  Status set_tls(const TlsFiles& files) override {
    TUTTI_TRY(auto tls, make_server_tls(files));
    listener_->set_tls(std::move(tls));
    return {};
  }

  // The first loop accepts for the others: it goes first, so that nothing reaches a loop that has ended.
  void stop() override {
    for (auto& loop : loops_) loop->stop();
  }

 private:
  const std::shared_ptr<Listener> listener_;
  const std::vector<std::shared_ptr<Loop>> loops_;
};

}  // namespace

Result<std::unique_ptr<Server>> serve(ServerOptions options, const TlsFiles& tls, Handler handler) {
  TUTTI_TRY(auto context, make_server_tls(tls));
  if (!handler) return fail(ErrorCode::invalid, "a server needs a handler");
  try {
    auto shared = std::make_shared<ServerShared>();
    shared->options = std::move(options);
    shared->handler = std::move(handler);
    std::vector<std::shared_ptr<Loop>> loops;
    for (int i = 0; i < std::max(1, shared->options.threads); ++i) loops.push_back(std::make_shared<Loop>());
    auto listener = std::make_shared<Listener>(shared, loops, std::move(context));
    TUTTI_CHECK(listener->open());
    return std::make_unique<TlsServer>(std::move(listener), std::move(loops), shared->options.gather_from);
  } catch (const std::exception& e) {
    return fail(ErrorCode::io, std::string("the server cannot be started: ") + e.what());
  }
}

}  // namespace tutti::net
