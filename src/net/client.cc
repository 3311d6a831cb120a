// The blocking client: Beast parses, TlsSocket moves the bytes.

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cerrno>
#include <mutex>

#include "net/tls_socket.h"

namespace tutti::net {

namespace beast = boost::beast;
namespace http = beast::http;

namespace {

constexpr size_t kAnswerBytesMax = 256u << 20;  // what call() gathers; stream() has no limit
constexpr size_t kErrorBytesMax = 1u << 20;     // of a refused stream() or upload()
constexpr size_t kHeadBytesMax = 64u << 10;
constexpr size_t kPiece = 64u << 10;
constexpr Duration kConnectWait = seconds(10);

Deadline after(Duration d) {
  // Far enough for "for ever", and near enough for arithmetic.
  return std::chrono::steady_clock::now() + std::chrono::nanoseconds(std::min(d.ns, seconds(86'400 * 365).ns));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

bool has_line_break(std::string_view text) {
  return text.find_first_of("\r\n") != std::string_view::npos;
}

struct OwnedFd {
  int fd = -1;
  explicit OwnedFd(int f) : fd(f) {}
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  ~OwnedFd() {
    if (fd >= 0) ::close(fd);
  }
};

using Each = std::function<bool(std::string_view)>;

// What a request sends after its head.
struct Body {
  std::string_view text;
  int fd = -1;
  uint64_t length = 0;
};

class TlsClient final : public Client {
 public:
  TlsClient(Endpoint endpoint, std::shared_ptr<TlsContext> tls, int event)
      : endpoint_(std::move(endpoint)), tls_(std::move(tls)), event_(event) {}

  Result<Response> call(const Request& request, Duration timeout) override {
    Deadline deadline = after(timeout);
    return exchange(request, {request.body, -1, request.body.size()}, nullptr, [deadline] { return deadline; });
  }

  Result<Response> stream(const Request& request, const Each& each, Duration idle_timeout) override {
    return exchange(request, {request.body, -1, request.body.size()}, &each,
                    [idle_timeout] { return after(idle_timeout); });
  }

  Result<Response> upload(const Request& request, const std::string& file, Duration timeout) override {
    OwnedFd source(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (source.fd < 0) return fail_errno("open " + file, errno);
    struct stat info{};
    if (::fstat(source.fd, &info) != 0) return fail_errno("stat " + file, errno);
    if (!S_ISREG(info.st_mode)) return fail(ErrorCode::invalid, file + " is not a regular file");
    Deadline deadline = after(timeout);
    return exchange(request, {{}, source.fd, static_cast<uint64_t>(info.st_size)}, nullptr,
                    [deadline] { return deadline; });
  }

  void interrupt() override {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(event_.fd, &one, sizeof one);
  }

 private:
  using Deadlines = std::function<Deadline()>;  // for the next wait
  using Parser = http::response_parser<http::buffer_body>;

  Result<Response> exchange(const Request& request, const Body& body, const Each* each, const Deadlines& deadline);
  Result<std::string> head_of(const Request& request, const Body& body) const;
  Status connect(Deadline deadline);
  Status send(const std::string& head, const Body& body, const Deadlines& deadline);
  Result<Response> receive(bool head_only, const Each* each, const Deadlines& deadline);
  Status read_more(const Deadlines& deadline);
  Status receive_body(Parser& parser, Response& response, const Each* each, const Deadlines& deadline);
  void disconnect();
  std::string where() const;

  const Endpoint endpoint_;
  const std::shared_ptr<TlsContext> tls_;
  const OwnedFd event_;
  std::unique_ptr<TlsSocket> socket_;
  OpensslPtr<SSL_SESSION, SSL_SESSION_free> session_;
  beast::flat_buffer buffer_;
  bool answer_begun_ = false;
  bool eof_ = false;
  bool stopped_ = false;  // `each` wants no more
};

std::string TlsClient::where() const {
  std::string host = endpoint_.host.find(':') == std::string::npos ? endpoint_.host : "[" + endpoint_.host + "]";
  return host + ":" + std::to_string(endpoint_.port);
}

void TlsClient::disconnect() {
  if (socket_) session_ = socket_->session();
  socket_.reset();
  buffer_.consume(buffer_.size());
}

Status TlsClient::connect(Deadline deadline) {
  buffer_.consume(buffer_.size());
  TUTTI_TRY(socket_,
            TlsSocket::connect(endpoint_, *tls_, event_.fd, session_.get(), std::min(deadline, after(kConnectWait))));
  return {};
}

Result<std::string> TlsClient::head_of(const Request& request, const Body& body) const {
  std::string target = request.target;
  if (target.empty()) {
    for (size_t at = 0; at <= request.path.size();) {  // each segment by itself: '/' stays
      size_t end = std::min(request.path.find('/', at), request.path.size());
      target += percent_encode(std::string_view(request.path).substr(at, end - at));
      if (end < request.path.size()) target += '/';
      at = end + 1;
    }
    char separator = '?';
    for (const auto& [key, value] : request.query) {
      target += separator + percent_encode(key) + "=" + percent_encode(value);
      separator = '&';
    }
  }
  if (!target.starts_with('/') || has_line_break(target) || target.find(' ') != std::string::npos)
    return fail(ErrorCode::invalid, "'" + target + "' is not a path to ask for");
  std::string method = request.method.empty() ? "GET" : request.method;
  std::string out = method + " " + target + " HTTP/1.1\r\nHost: " + where() + "\r\n";
  for (const auto& [name, value] : request.headers) {
    std::string key = lower(name);
    if (key == "host" || key == "content-length" || key == "transfer-encoding" || key == "connection") continue;
    if (has_line_break(name) || has_line_break(value) || name.empty())
      return fail(ErrorCode::invalid, "the header field '" + name + "' holds a line break");
    out.append(name).append(": ").append(value).append("\r\n");
  }
  if (body.length > 0 || (method != "GET" && method != "HEAD" && method != "DELETE"))
    out += "Content-Length: " + std::to_string(body.length) + "\r\n";
  return out + "\r\n";
}

Result<Response> TlsClient::exchange(const Request& request, const Body& body, const Each* each,
                                     const Deadlines& deadline) {
  TUTTI_TRY(std::string head, head_of(request, body));
  Result<Response> answer = fail(ErrorCode::internal, "nothing was tried");
  for (bool again = true; again;) {
    again = false;
    // What arrives between calls is the end of the connection: the server let it go.
    if (socket_ && (buffer_.size() > 0 || socket_->readable())) disconnect();
    bool reused = socket_ != nullptr;
    if (!reused) {
      if (Status connected = connect(deadline()); !connected) {
        answer = tl::make_unexpected(std::move(connected).error());
        break;
      }
    }
    answer_begun_ = false;
    eof_ = false;
    stopped_ = false;
    Status sent = send(head, body, deadline);
    // A server that refuses a body answers before it has read it: its answer is worth more than the broken pipe.
    if (sent || sent.error().code == ErrorCode::io) {
      answer = receive(request.method == "HEAD", each, deadline);
    } else {
      answer = tl::make_unexpected(std::move(sent).error());
    }
    bool lost = !answer && answer.error().code == ErrorCode::io && !answer_begun_;
    again = reused && lost;
    if (!answer || stopped_ || !sent) disconnect();
  }
  uint64_t taken = 0;
  if (!answer && answer.error().code == ErrorCode::cancelled) {
    [[maybe_unused]] ssize_t n = ::read(event_.fd, &taken, sizeof taken);
  }
  if (!answer && answer.error().code == ErrorCode::timeout && answer.error().message == "timed out")
    answer.error().message = where() + " did not answer in time";
  if (!answer && answer.error().code == ErrorCode::io) answer.error().message = where() + ": " + answer.error().message;
  return answer;
}

Status TlsClient::send(const std::string& head, const Body& body, const Deadlines& deadline) {
  if (body.fd < 0 && body.text.size() <= kPiece) return socket_->write(head + std::string(body.text), deadline());
  TUTTI_CHECK(socket_->write(head, deadline()));
  std::string piece(body.fd < 0 ? 0 : kPiece, '\0');
  for (uint64_t at = 0; at < body.length;) {
    if (socket_->readable()) return fail(ErrorCode::io, "the server answered before it had the whole body");
    std::string_view next = body.text.substr(std::min<uint64_t>(at, body.text.size()), kPiece);
    if (body.fd >= 0) {
      ssize_t n =
          ::pread(body.fd, piece.data(), std::min<uint64_t>(piece.size(), body.length - at), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_errno("read the file to upload", errno);
      if (n == 0) return fail(ErrorCode::conflict, "the file to upload became shorter while it was sent");
      next = std::string_view(piece.data(), static_cast<size_t>(n));
    }
    TUTTI_CHECK(socket_->write(next, deadline()));
    at += next.size();
  }
  return {};
}

Status TlsClient::read_more(const Deadlines& deadline) {
  if (buffer_.size() > 16 * kPiece) return fail(ErrorCode::io, "the answer is not HTTP: an endless line");
  auto room = buffer_.prepare(kPiece);
  TUTTI_TRY(size_t n, socket_->read(static_cast<char*>(room.data()), room.size(), deadline()));
  buffer_.commit(n);
  if (n > 0) answer_begun_ = true;
  eof_ = n == 0;
  return {};
}

Result<Response> TlsClient::receive(bool head_only, const Each* each, const Deadlines& deadline) {
  for (;;) {
    Parser parser;
    parser.header_limit(kHeadBytesMax);
    parser.body_limit(boost::none);
    parser.skip(head_only);
    while (!parser.is_header_done()) {
      if (buffer_.size() > 0) {
        beast::error_code error;
        buffer_.consume(parser.put(buffer_.data(), error));
        if (error && error != http::error::need_more)
          return fail(ErrorCode::io, "the answer is not HTTP: " + error.message());
        if (parser.is_header_done()) break;
        if (buffer_.size() > kHeadBytesMax) return fail(ErrorCode::io, "the answer is not HTTP: endless header");
      }
      TUTTI_CHECK(read_more(deadline));
      if (eof_) return fail(ErrorCode::io, "the server closed the connection without an answer");
    }
    const auto& head = parser.get();
    if (head.result_int() >= 100 && head.result_int() < 200 && head.result_int() != 101) continue;
    Response response;
    response.status = static_cast<int>(head.result_int());
    response.content_type.clear();
    for (const auto& field : head) {
      std::string name = lower(std::string_view(field.name_string().data(), field.name_string().size()));
      std::string value(field.value());
      if (name == "content-type") response.content_type = value;
      response.headers.emplace_back(std::move(name), std::move(value));
    }
    TUTTI_CHECK(receive_body(parser, response, each, deadline));
    if (!parser.keep_alive()) disconnect();
    return response;
  }
}

Status TlsClient::receive_body(Parser& parser, Response& response, const Each* each, const Deadlines& deadline) {
  // The body of a refusal is its explanation: it belongs to the caller, not to the stream.
  const bool gather = each == nullptr || response.status >= 300;
  const size_t limit = each == nullptr ? kAnswerBytesMax : kErrorBytesMax;
  std::string piece(kPiece, '\0');
  parser.eager(true);
  while (!parser.is_done()) {
    auto& body = parser.get().body();
    body.data = piece.data();
    body.size = piece.size();
    beast::error_code error;
    size_t n = 0;
    if (buffer_.size() > 0) n = parser.put(buffer_.data(), error);
    buffer_.consume(n);
    size_t got = piece.size() - body.size;
    if (error && error != http::error::need_buffer && error != http::error::need_more)
      return fail(ErrorCode::io, "the answer is not HTTP: " + error.message());
    if (gather) {
      response.body.append(piece, 0, got);
      if (response.body.size() > limit)
        return fail(ErrorCode::too_large, "the answer is larger than " + std::to_string(limit) + " bytes");
    } else if (got > 0 && !(*each)(std::string_view(piece.data(), got))) {
      stopped_ = true;
      return {};
    }
    if (parser.is_done() || n > 0 || got > 0) continue;
    TUTTI_CHECK(read_more(deadline));
    if (!eof_) continue;
    parser.put_eof(error);
    if (error || !parser.is_done())
      return fail(ErrorCode::io, "the server closed the connection in the middle of its answer");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Client>> make_client(const Endpoint& endpoint, const ClientTls& tls) {
  if (endpoint.host.empty() || endpoint.port == 0) return fail(ErrorCode::invalid, "the server's address is missing");
  TUTTI_TRY(auto context, make_client_tls(tls));
  int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) return fail_errno("eventfd", errno);
  return std::make_unique<TlsClient>(endpoint, std::move(context), event);
}

}  // namespace tutti::net
