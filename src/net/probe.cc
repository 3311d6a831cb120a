#include "net/probe.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>

#include "net/grpc_health.h"
#include "net/probe_run.h"
#include "net/transport.h"

namespace tutti::net {

namespace http = beast::http;

namespace {

constexpr size_t kHeadBytesMax = 16u << 10;
constexpr size_t kGrpcBytesMax = 64u << 10;  // of everything that a gRPC server says before its verdict

class ProbeRun final : public Tracked, public std::enable_shared_from_this<ProbeRun> {
 public:
  ProbeRun(std::shared_ptr<Loop> loop, Probe probe, ProbeDone done)
      : loop_(std::move(loop)),
        probe_(std::move(probe)),
        done_(std::move(done)),
        socket_(loop_->io.get_executor()),
        timer_(loop_->io.get_executor()) {}

  void start() {
    loop_->add(shared_from_this());
    timer_.expires_after(std::chrono::nanoseconds(probe_.timeout.ns));
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->late();
    });
    asio::co_spawn(loop_->io.get_executor(), run(shared_from_this()), asio::detached);
  }
  // The thread ends: nobody hears the answer.
  void abort(const std::string&) override {
    done_ = nullptr;
    finish(ProbeAnswer{});
  }

 private:
  static Co<> run(std::shared_ptr<ProbeRun> self) {
    error_code error;
    const auto address = asio::ip::make_address(self->probe_.to.host, error);
    if (error) co_return self->refuse("not an address: '" + self->probe_.to.host + "'");
    const tcp::endpoint to(address, self->probe_.to.port);
    self->step_ = "connect to " + text_of(to);
    auto [unconnected] = co_await self->socket_.async_connect(to, kAwait);
    if (unconnected) co_return self->refuse("cannot connect to " + text_of(to) + ": " + unconnected.message());
    switch (self->probe_.kind) {
      case ProbeKind::connect: co_return self->finish(ProbeAnswer{});
      case ProbeKind::http: co_return co_await ask_http(self, text_of(to));
      case ProbeKind::grpc_health: co_return co_await ask_grpc(self, text_of(to));
    }
  }

  static Co<> ask_http(std::shared_ptr<ProbeRun> self, std::string authority) {
    const Probe& probe = self->probe_;
    self->step_ = "answer of " + authority;
    http::request<http::empty_body> request;
    request.method_string(probe.method);
    request.target(probe.target);
    request.version(11);
    request.set(http::field::host, authority);
    request.set(http::field::user_agent, "tutti-health");
    request.set(http::field::connection, "close");
    for (const auto& [name, value] : probe.headers) request.set(name, value);
    auto [unsent, sent] = co_await http::async_write(self->socket_, request, kAwait);
    if (unsent) co_return self->refuse("the request to " + authority + " was not taken: " + unsent.message());
    beast::flat_buffer buffer(kHeadBytesMax);
    // Into a piece of ours: the length that the answer claims is nothing that room is made for.
    http::response_parser<http::buffer_body> parser;
    std::array<char, kProbeBodyBytesMax> body;
    parser.header_limit(static_cast<uint32_t>(kHeadBytesMax));
    parser.body_limit(boost::none);
    parser.skip(probe.method == "HEAD");
    auto [unread, read] = co_await http::async_read_header(self->socket_, buffer, parser, kAwait);
    if (unread) co_return self->refuse("no answer of " + authority + ": " + unread.message());
    self->answer_.status = parser.get().result_int();
    const bool wanted = probe.wants_body && probe.wants_body(self->answer_.status);
    parser.get().body().data = body.data();
    parser.get().body().size = body.size();
    while (wanted && !self->over_ && !parser.is_done() && parser.get().body().size > 0) {
      auto [failed, more] = co_await http::async_read_some(self->socket_, buffer, parser, kAwait);
      self->answer_.body.assign(body.data(), body.size() - parser.get().body().size);
      if (failed) break;  // the status has come: that was the question
    }
    self->finish(self->answer_);
  }

  static Co<> ask_grpc(std::shared_ptr<ProbeRun> self, std::string authority) {
    self->step_ = "answer of " + authority;
    std::string out = grpc_health_request(authority, self->probe_.service);
    GrpcHealthReader reader;
    std::array<char, 4096> piece;
    size_t heard = 0;
    while (!self->over_) {
      if (!out.empty()) {
        auto [unsent, sent] = co_await asio::async_write(self->socket_, asio::buffer(out), kAwait);
        if (unsent) co_return self->refuse("the call to " + authority + " was not taken: " + unsent.message());
      }
      auto [ended, count] = co_await self->socket_.async_read_some(asio::buffer(piece), kAwait);
      heard += count;
      if (heard > kGrpcBytesMax) co_return self->refuse(authority + " says much, and no health status");
      const std::optional<Status> verdict =
          ended ? std::optional<Status>(reader.ended()) : reader.feed({piece.data(), count});
      if (verdict && *verdict) co_return self->finish(ProbeAnswer{});
      if (verdict) co_return self->refuse(verdict->error().message);
      out = reader.take_output();
    }
  }

  void late() {
    if (answer_.status != 0) return finish(answer_);  // only its body is late
    finish(fail(ErrorCode::timeout, "no " + step_ + " within " + format_duration(probe_.timeout)));
  }
  void refuse(std::string why) { finish(fail(ErrorCode::unavailable, std::move(why))); }
  void finish(Result<ProbeAnswer> answer) {
    if (std::exchange(over_, true)) return;
    timer_.cancel();
    error_code ignored;
    socket_.close(ignored);
    loop_->remove(this);
    if (auto done = std::exchange(done_, nullptr)) done(std::move(answer));
  }

  const std::shared_ptr<Loop> loop_;
  const Probe probe_;
  ProbeDone done_;
  Socket socket_;
  Timer timer_;
  std::string step_;  // what is waited for
  ProbeAnswer answer_;
  bool over_ = false;
};

}  // namespace

void start_probe(std::shared_ptr<Loop> loop, Probe probe, ProbeDone done) {
  std::make_shared<ProbeRun>(std::move(loop), std::move(probe), std::move(done))->start();
}

}  // namespace tutti::net
