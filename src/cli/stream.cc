// Logs, exec, attach, copies: frames in, frames out.
#include <sys/ioctl.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "base/random.h"
#include "cli/session.h"
#include "model/codec.h"
#include "model/session.h"

namespace tutti::cli {
namespace {

// Takes whole frames (channel, length, bytes) out of a stream of pieces.
class Frames {
 public:
  template <class F>
  void feed(std::string_view piece, F&& each) {
    rest_ += piece;
    size_t at = 0;
    while (rest_.size() - at >= 5) {
      size_t length = 0;
      for (int i = 1; i <= 4; ++i) length = length << 8 | static_cast<unsigned char>(rest_[at + static_cast<size_t>(i)]);
      if (rest_.size() - at - 5 < length) break;
      each(rest_[at], std::string_view(rest_).substr(at + 5, length));
      at += 5 + length;
    }
    rest_.erase(0, at);
  }

 private:
  std::string rest_;
};

// The terminal in raw mode while this lives.
class RawTerminal {
 public:
  explicit RawTerminal(bool wanted) : active_(wanted && ::tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!active_) return;
    termios raw = before_;
    ::cfmakeraw(&raw);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~RawTerminal() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
  bool active_;
};

void write_out(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

std::string size_control() {
  winsize size{};
  if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0) return {};
  StreamControl control;
  control.columns = size.ws_col;
  control.rows = size.ws_row;
  return std::string(1, '\3') + to_json(control, {.omit_defaults = true});
}

}  // namespace

int logs(Session& s, const std::string& instance, bool follow, int64_t tail) {
  auto http = s.client();
  if (!http) return complain(http.error());
  std::string path = "/v1/instances/" + net::percent_encode(instance) + "/logs?tail=" + std::to_string(tail);
  if (follow) path += "&follow=1";
  if (!s.option("since").empty()) path += "&since=" + net::percent_encode(s.option("since"));
  if (!s.option("task").empty()) path += "&task=" + net::percent_encode(s.option("task"));
  Frames frames;
  std::string error;
  auto over = (*http)->stream(s.request("GET", path), [&](std::string_view piece) {
    frames.feed(piece, [&](char channel, std::string_view bytes) {
      if (channel == 1) write_out(STDOUT_FILENO, bytes);
      if (channel == 2) write_out(STDERR_FILENO, bytes);
      if (channel == 3) {
        auto control = from_json<StreamControl>(bytes, {.allow_unknown = true});
        if (control) error = control->error;
      }
    });
    return true;
  }, seconds(24 * 3600));
  if (!over) return complain(over.error());
  if (over->status >= 400) return complain(problem_of(*over));
  if (!error.empty()) return complain({ErrorCode::unprocessable, error, {}, 0});
  return 0;
}

int interactive(Session& s, const std::string& path, bool tty, bool input) {
  auto endpoint = net::parse_endpoint(s.context.address);
  if (!endpoint) return complain(endpoint.error());
  struct Shared {
    std::mutex mutex;
    std::condition_variable over;
    bool done = false;
    int code = 1;
    std::string error;
    std::shared_ptr<net::WebSocket> socket;
  } shared;
  auto finish = [&](std::string error) {
    std::lock_guard lock(shared.mutex);
    if (shared.done) return;
    shared.done = true;
    if (!error.empty()) shared.error = std::move(error);
    shared.over.notify_all();
  };
  auto io = net::make_io_thread("tutti");
  const RawTerminal raw(tty && ::isatty(STDIN_FILENO) != 0);
  std::atomic<bool> told{false};
  io->websocket(*endpoint, {s.context.authority, {}, {}, {}}, s.request("GET", path).target, {{"authorization", "Bearer " + s.context.token}}, 4u << 20,
                [&](Result<std::shared_ptr<net::WebSocket>> opened) {
                  if (!opened) return finish(opened.error().to_string());
                  auto socket = *opened;
                  {
                    std::lock_guard lock(shared.mutex);
                    shared.socket = socket;
                  }
                  socket->start({[&](std::string message, bool) {
                                   if (message.empty()) return;
                                   const std::string_view bytes = std::string_view(message).substr(1);
                                   if (message[0] == 1) write_out(STDOUT_FILENO, bytes);
                                   if (message[0] == 2) write_out(STDERR_FILENO, bytes);
                                   if (message[0] != 3) return;
                                   auto control = from_json<StreamControl>(bytes, {.allow_unknown = true});
                                   if (!control) return;
                                   told = true;
                                   {
                                     std::lock_guard lock(shared.mutex);
                                     shared.code = control->exit_code.value_or(control->error.empty() ? 0 : 1);
                                   }
                                   finish(control->error);
                                 },
                                 [&](const std::string& reason) { finish(told ? "" : "the stream ended: " + reason); }, [] {}});
                  if (tty) socket->send(size_control(), true);
                  if (!input) {
                    socket->send(std::string(1, '\0'), true);
                    return;
                  }
                  io->watch_readable(STDIN_FILENO, [socket] {
                    char buffer[16u << 10];
                    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
                    socket->send(std::string(1, '\0').append(buffer, n > 0 ? static_cast<size_t>(n) : 0), true);
                    return n > 0;
                  });
                });
  std::unique_lock lock(shared.mutex);
  shared.over.wait(lock, [&] { return shared.done; });
  const std::string error = shared.error;
  const int code = shared.code;
  auto socket = shared.socket;
  lock.unlock();
  if (socket) socket->close("done");
  io.reset();
  if (!error.empty()) std::fprintf(stderr, "tutti: %s\n", error.c_str());
  return code;
}

int copy(Session& s) {
  if (s.words.size() < 2) {
    std::fprintf(stderr, "tutti: usage: tutti instance cp INSTANCE:PATH DIR | tutti instance cp FILE INSTANCE:DIR\n");
    return 2;
  }
  const size_t from = s.words[0].find(':');
  const size_t to = s.words[1].find(':');
  if ((from == std::string::npos) == (to == std::string::npos)) return complain({ErrorCode::invalid, "one side is INSTANCE:PATH, the other a path here", {}, 0});
  auto http = s.client();
  if (!http) return complain(http.error());
  const std::string temporary = "/tmp/tutti-cp-" + secure_random_hex(6) + ".tar";
  // Ours alone, and nobody's link: what is copied may be secret.
  const int made = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (made < 0) return complain(fail_errno("make " + temporary, errno).value());
  auto tar = [&](std::vector<const char*> argv) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      argv.push_back(nullptr);
      ::execvp("tar", const_cast<char**>(argv.data()));
      std::_Exit(127);
    }
    int status = 0;
    return pid > 0 && ::waitpid(pid, &status, 0) == pid && status == 0;
  };
  if (from != std::string::npos) {
    std::FILE* file = ::fdopen(made, "wb");
    Frames frames;
    std::string error;
    const std::string path = "/v1/instances/" + net::percent_encode(s.words[0].substr(0, from)) + "/files?path=" + net::percent_encode(s.words[0].substr(from + 1));
    auto over = (*http)->stream(s.request("GET", path), [&](std::string_view piece) {
      frames.feed(piece, [&](char channel, std::string_view bytes) {
        if (channel == 1) std::fwrite(bytes.data(), 1, bytes.size(), file);
        if (channel == 3) {
          auto control = from_json<StreamControl>(bytes, {.allow_unknown = true});
          if (control) error = control->error;
        }
      });
      return true;
    }, seconds(3600));
    std::fclose(file);
    int code = 0;
    if (!over) code = complain(over.error());
    else if (over->status >= 400) code = complain(problem_of(*over));
    else if (!error.empty()) code = complain({ErrorCode::unprocessable, error, {}, 0});
    // The task says who owns its files and which are set-user-id; here that is not its business.
    else if (!tar({"tar", "-C", s.words[1].c_str(), "--no-same-owner", "--no-same-permissions", "-xf", temporary.c_str()})) code = 1;
    ::unlink(temporary.c_str());
    return code;
  }
  const std::string source = s.words[0];
  const size_t slash = source.rfind('/');
  const std::string dir = slash == std::string::npos ? "." : slash == 0 ? "/" : source.substr(0, slash);
  const std::string name = slash == std::string::npos ? source : source.substr(slash + 1);
  ::close(made);
  if (!tar({"tar", "-C", dir.c_str(), "-cf", temporary.c_str(), "--", name.c_str()})) {
    ::unlink(temporary.c_str());
    return 1;
  }
  net::Request request = s.request("PUT", "/v1/instances/" + net::percent_encode(s.words[1].substr(0, to)) + "/files?path=" + net::percent_encode(s.words[1].substr(to + 1)));
  request.headers["content-type"] = "application/x-tar";
  auto answer = (*http)->upload(request, temporary, seconds(3600));
  ::unlink(temporary.c_str());
  if (!answer) return complain(answer.error());
  return answer->status >= 400 ? complain(problem_of(*answer)) : 0;
}

// J11: one thing, now.
int run(Session& s) {
  if (s.words.empty() && s.option("driver") != "process") {
    std::fprintf(stderr, "tutti: usage: tutti run [-d] [--rm] [-it] [-p HOST:CONTAINER] [-e KEY=VALUE] [-m 256Mi] [--cpus 500m] IMAGE [-- COMMAND]\n");
    return 2;
  }
  const std::string image = s.words.empty() ? "" : s.words[0];
  std::vector<std::string> command = s.command;
  if (command.empty() && s.words.size() > 1) command.assign(s.words.begin() + 1, s.words.end());
  std::string name = s.option("name");
  if (name.empty()) name = "run-" + secure_random_hex(4);
  const bool tty = s.flag("tty");
  const bool input = s.flag("interactive");
  std::string env, ports;
  for (const auto& [key, value] : s.repeated) {
    const size_t at = value.find(key == "env" ? '=' : ':');
    if (key == "env") env += (env.empty() ? "" : ",") + json_text(value.substr(0, at)) + ":" + json_text(at == std::string::npos ? "" : value.substr(at + 1));
    if (key == "port") {
      const std::string host = at == std::string::npos ? "0" : value.substr(0, at);
      ports += (ports.empty() ? "" : ",") + std::string("{\"host\":") + host + ",\"container\":" + (at == std::string::npos ? value : value.substr(at + 1)) + "}";
    }
  }
  std::string argv;
  for (const std::string& word : command) argv += (argv.empty() ? "" : ",") + json_text(word);
  const std::string body = "{\"job\":" + json_text(name) + ",\"type\":\"" + (s.flag("detach") && s.flag("service") ? "service" : "batch") + "\",\"tasks\":[{\"name\":" + json_text(name) + ",\"driver\":" +
                           json_text(s.option("driver", "container")) + ",\"image\":" + json_text(image) + ",\"command\":[" + argv + "],\"env\":{" + env + "},\"ports\":[" + ports +
                           "],\"network\":" + json_text(s.option("network", "bridge")) + ",\"tty\":" + (tty ? "true" : "false") + ",\"stdin_open\":" + (input ? "true" : "false") +
                           ",\"resources\":{\"cpu\":" + json_text(s.option("cpus", "100m")) + ",\"memory\":" + json_text(s.option("memory", "64Mi")) + "},\"restart\":{\"policy\":\"never\"},\"reschedule\":{\"attempts\":0}}]}";
  auto answer = s.call("POST", "/v1/jobs", body);
  if (!answer) return complain(answer.error());
  const std::string instance = name + "-0";
  if (s.flag("detach")) return std::printf("%s\n", instance.c_str()), 0;
  static std::atomic<int> got_signal{0};
  ::signal(SIGINT, [](int number) { got_signal = number; });
  ::signal(SIGTERM, [](int number) { got_signal = number; });
  // Until it runs or has ended.
  std::string state;
  std::string said;
  const SystemClock clock;
  auto refresh = [&]() -> Result<Json> { return s.call("GET", "/v1/instances/" + net::percent_encode(instance)); };
  auto give_up = [&] {
    if (s.flag("rm")) (void)s.call("DELETE", "/v1/jobs/" + net::percent_encode(name));
  };
  const BootTime told_after = clock.boot_now() + seconds(3);
  while (true) {
    auto now = refresh();
    if (now && ((*now)["status.state"].text() == "running" || (*now)["status.finished"].text() == "true")) break;
    if (!now && now.error().code != ErrorCode::not_found) return complain(now.error());
    auto job = s.call("GET", "/v1/jobs/" + net::percent_encode(name));
    if (job && (*job)["status.state"].text() == "failed" && !now) {
      give_up();
      return complain({ErrorCode::unprocessable, (*job)["status.error"].text(), {}, 0});
    }
    if (clock.boot_now() > told_after && said.empty()) {
      said = "waiting for " + instance + " ('tutti explain " + instance + "' says why)";
      std::fprintf(stderr, "%s\n", said.c_str());
    }
    if (got_signal != 0) {
      (void)s.call("POST", "/v1/jobs/" + net::percent_encode(name) + ":stop");
      give_up();
      return 130;
    }
    ::usleep(20'000);
  }
  if (tty || input) {
    interactive(s, "/v1/instances/" + net::percent_encode(instance) + "/attach?request=" + net::percent_encode(std::string("{\"tty\":") + (tty ? "true" : "false") + "}"), tty, input);
  } else {
    // A signal that comes while the logs are followed is passed on by a child of our own: the stream goes on.
    const pid_t forwarder = ::fork();
    if (forwarder == 0) {
      while (true) {
        ::pause();
        const int number = got_signal.exchange(0);
        if (number != 0) (void)s.call("POST", "/v1/instances/" + net::percent_encode(instance) + ":signal", number == SIGINT ? "{\"signal\":\"INT\"}" : "{\"signal\":\"TERM\"}");
      }
    }
    (void)logs(s, instance, true, -1);
    if (forwarder > 0) ::kill(forwarder, SIGKILL), ::waitpid(forwarder, nullptr, 0);
  }
  int code = 1;
  for (int i = 0; i < 500; ++i) {
    auto now = refresh();
    if (!now) break;
    if ((*now)["status.finished"].text() == "true") {
      const std::vector<Json> tasks = (*now)["status.tasks"].items();
      if (!tasks.empty()) {
        code = static_cast<int>(tasks[0]["exit_code"].number());
        const std::string end = tasks[0]["position.state"].text();
        if (end != "completed" && code == 0) code = 1;
        if (end == "rejected") std::fprintf(stderr, "tutti: %s\n", tasks[0]["reason"].text().c_str());
      }
      break;
    }
    ::usleep(20'000);
  }
  give_up();
  return code;
}

}  // namespace tutti::cli
