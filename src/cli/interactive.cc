// Exec and attach: our terminal, or our standard input and outputs, on one WebSocket.
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <mutex>

#include "cli/frames.h"
#include "cli/requests.h"
#include "cli/say.h"
#include "cli/session.h"
#include "model/problem.h"
#include "model/session.h"

namespace tutti::cli {
namespace {

// What the socket's thread and the waiting one share.
class Conversation {
 public:
  void opened(std::shared_ptr<net::WebSocket> socket) {
    std::lock_guard lock(mutex_);
    socket_ = std::move(socket);
  }
  void received(const std::string& message) {
    if (message.empty()) return;
    const std::string_view bytes = std::string_view(message).substr(1);
    if (message[0] == kStdout) write_out(STDOUT_FILENO, bytes);
    if (message[0] == kStderr) write_out(STDERR_FILENO, bytes);
    if (message[0] != kControl) return;
    auto control = from_json<StreamControl>(bytes, {.allow_unknown = true});
    if (!control) return;
    const int code = control->exit_code.value_or(control->error.empty() ? 0 : 1);
    end(control->error, code);
  }
  void end(std::string error, int code) {
    std::lock_guard lock(mutex_);
    if (done_) return;
    done_ = true;
    error_ = std::move(error);
    code_ = code;
    over_.notify_all();
  }
  // The exit code, once it is over; `error` gets what went wrong.
  int wait(std::string& error) {
    std::unique_lock lock(mutex_);
    over_.wait(lock, [&] { return done_; });
    error = error_;
    auto socket = socket_;
    const int code = code_;
    lock.unlock();
    if (socket) socket->close("done");
    return code;
  }

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool done_ = false;
  int code_ = 1;
  std::string error_;
  std::shared_ptr<net::WebSocket> socket_;
};

void send_input(net::IoThread& io, const std::shared_ptr<net::WebSocket>& socket) {
  io.watch_readable(STDIN_FILENO, [socket] {
    char buffer[16u << 10];
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    socket->send(std::string(1, kStdin).append(buffer, n > 0 ? static_cast<size_t>(n) : 0), true);
    return n > 0;
  });
}

sigset_t size_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGWINCH);
  return set;
}

// Readable when the terminal has another size.
int size_changes() {
  const sigset_t set = size_signal();
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void send_sizes(net::IoThread& io, const std::shared_ptr<net::WebSocket>& socket, int changes) {
  socket->send(size_control(), true);
  io.watch_readable(changes, [socket, changes] {
    signalfd_siginfo info{};
    if (::read(changes, &info, sizeof info) != sizeof info) return errno == EAGAIN || errno == EINTR;
    return socket->send(size_control(), true);
  });
}

}  // namespace

void keep_size_changes() {
  const sigset_t set = size_signal();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Status check_terminal(bool tty, bool input) {
  if (!tty || !input || ::isatty(STDIN_FILENO) != 0) return {};
  return fail(ErrorCode::unprocessable,
              "our standard input is not a terminal: leave out -t (with -i alone its bytes are passed on as they are)");
}

namespace {

// The pool's own words, where it answered.
void refused(Conversation& talk, Error error) {
  if (error.details.size() == 1 && error.details[0].path == "answer")
    error = tutti::problem_of(http_status(error.code), error.details[0].message);
  talk.end(error.to_string(), exit_code_of(error.code));
}

}  // namespace

int interactive(Session& s, const std::string& path, const StreamQuery& query, bool input) {
  if (Status terminal = check_terminal(query.tty, input); !terminal) return complain(terminal.error());
  auto endpoint = net::parse_endpoint(s.context.address);
  if (!endpoint) return complain(endpoint.error());
  Conversation talk;
  const int resized = query.tty ? size_changes() : -1;
  auto io = net::make_io_thread("tutti");
  RawTerminal raw(query.tty && ::isatty(STDIN_FILENO) != 0);
  const std::string target = path + "?request=" + net::percent_encode(to_json(query, {.omit_defaults = true}));
  io->websocket(
      *endpoint, {s.context.authority, {}, {}, {}}, s.request("GET", target).target,
      {{"authorization", "Bearer " + s.context.token}}, 4u << 20, [&](Result<std::shared_ptr<net::WebSocket>> opened) {
        if (!opened) return refused(talk, opened.error());
        auto socket = *opened;
        talk.opened(socket);
        socket->start({[&](std::string message, bool) { talk.received(message); },
                       [&](const std::string& reason) { talk.end("the stream ended: " + reason, 1); }, [] {}});
        if (query.tty) send_sizes(*io, socket, resized);
        if (input) return send_input(*io, socket);
        socket->send(std::string(1, kStdin), true);
      });
  std::string error;
  const int code = talk.wait(error);
  io.reset();
  if (resized >= 0) ::close(resized);
  raw.restore();
  if (!error.empty()) say(stderr, "tutti: %s\n", error.c_str());
  return code;
}

}  // namespace tutti::cli
