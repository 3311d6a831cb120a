// The client's I/O thread: timers, watched descriptors and dialled WebSockets on one loop.

#include <unistd.h>

#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "net/probe_run.h"
#include "net/websocket.h"

namespace tutti::net {

namespace {

class Delay final : public Tracked, public std::enable_shared_from_this<Delay> {
 public:
  explicit Delay(std::shared_ptr<Loop> loop) : loop_(std::move(loop)), timer_(loop_->io.get_executor()) {}
  void start(Steady::time_point at, std::function<void()> f) {
    loop_->add(shared_from_this());
    timer_.expires_at(at);
    timer_.async_wait([self = shared_from_this(), f = std::move(f)](error_code error) {
      self->loop_->remove(self.get());
      if (!error && !self->loop_->stopping()) f();
    });
  }
  void abort(const std::string&) override { timer_.cancel(); }

 private:
  const std::shared_ptr<Loop> loop_;
  Timer timer_;
};

// Watches a duplicate: the caller's descriptor stays its own.
class Watch final : public Tracked, public std::enable_shared_from_this<Watch> {
 public:
  Watch(std::shared_ptr<Loop> loop, std::function<bool()> ready)
      : loop_(std::move(loop)), ready_(std::move(ready)), descriptor_(loop_->io.get_executor()) {}
  void start(int duplicate) {
    error_code error;
    descriptor_.assign(duplicate, error);
    if (error) {
      ::close(duplicate);
      log_error("a descriptor cannot be watched", {{"why", error.message()}});
      return;
    }
    loop_->add(shared_from_this());
    wait();
  }
  void abort(const std::string&) override {
    error_code ignored;
    descriptor_.close(ignored);
  }

 private:
  using Descriptor = asio::posix::basic_stream_descriptor<Executor>;
  void wait() {
    descriptor_.async_wait(Descriptor::wait_read, [self = shared_from_this()](error_code error) {
      if (!error && self->descriptor_.is_open() && !self->loop_->stopping() && self->ready_()) return self->wait();
      self->loop_->remove(self.get());
      self->abort({});
    });
  }
  const std::shared_ptr<Loop> loop_;
  const std::function<bool()> ready_;
  Descriptor descriptor_;
};

class AsioIoThread final : public IoThread {
 public:
  explicit AsioIoThread(std::string name) { loop_->start(std::move(name)); }
  ~AsioIoThread() override { stop(); }
  void stop() override { loop_->stop(); }

  // Nothing that waits in the loop may own it: what is never run would keep it for ever.
  void post(std::function<void()> f) override { asio::post(loop_->io, std::move(f)); }

  void after(Duration d, std::function<void()> f) override {
    auto at = Steady::now() + std::chrono::nanoseconds(d.ns);
    asio::post(loop_->io, [loop = loop_.get(), at, f = std::move(f)]() mutable {
      std::make_shared<Delay>(loop->shared_from_this())->start(at, std::move(f));
    });
  }

  void watch_readable(int fd, std::function<bool()> ready) override {
    int duplicate = ::dup(fd);
    if (duplicate < 0) {
      log_error("a descriptor cannot be watched", {{"why", std::strerror(errno)}});
      return;
    }
    asio::post(loop_->io, [loop = loop_.get(), duplicate, ready = std::move(ready)]() mutable {
      std::make_shared<Watch>(loop->shared_from_this(), std::move(ready))->start(duplicate);
    });
  }

  void websocket(const Endpoint& endpoint, const ClientTls& tls, const std::string& target,
                 const std::vector<std::pair<std::string, std::string>>& headers, size_t pending_limit_bytes,
                 std::function<void(Result<std::shared_ptr<WebSocket>>)> opened) override {
    Dial dial{endpoint, tls, target, headers, pending_limit_bytes};
    asio::post(loop_->io, [loop = loop_.get(), dial = std::move(dial), opened = std::move(opened)]() mutable {
      dial_websocket(loop->shared_from_this(), std::move(dial), std::move(opened));
    });
  }

  void probe(Probe probe, std::function<void(Result<ProbeAnswer>)> done) override {
    asio::post(loop_->io, [loop = loop_.get(), probe = std::move(probe), done = std::move(done)]() mutable {
      start_probe(loop->shared_from_this(), std::move(probe), std::move(done));
    });
  }

 private:
  const std::shared_ptr<Loop> loop_ = std::make_shared<Loop>();
};

}  // namespace

std::unique_ptr<IoThread> make_io_thread(std::string name) {
  return std::make_unique<AsioIoThread>(std::move(name));
}

}  // namespace tutti::net
