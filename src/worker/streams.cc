#include "worker/streams.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <deque>

#include "base/log.h"
#include "base/text.h"
#include "driver/log_file.h"
#include "model/codec.h"
#include "sys/archive.h"
#include "sys/file.h"
#include "sys/thread_account.h"

namespace tutti::worker {
namespace {

constexpr size_t kInputBytesMax = 1u << 20;
constexpr size_t kInputFrameCost = 64;  // of one that waits, its bytes apart: empty ones must not pile up either
constexpr size_t kControlsMax = 64;     // sizes of a terminal, mostly: the newest count
constexpr size_t kOutputBytesMax = 2u << 20;
enum Channel : char { kStdin = 0, kStdout = 1, kStderr = 2, kControl = 3 };

// As a shell has it: 126 for what is there and cannot be run, 127 for what is not there. The runtime says it in words
// only.
int32_t not_started_code(const std::string& why) {
  const bool refused = why.find("ermission denied") != std::string::npos ||
                       why.find("xec format error") != std::string::npos ||
                       why.find("s a directory") != std::string::npos;
  return refused ? 126 : 127;
}

}  // namespace

// One stream: its socket's callbacks fill `input`, its thread does the work.
struct Streams::Stream {
  std::shared_ptr<net::WebSocket> socket;
  StreamRequest request;
  Executor& executor;
  std::function<bool(InstanceId, const std::string&)> is_over;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::string> input;  // stdin frames; an empty one is the end
  std::deque<StreamControl> controls;
  size_t input_bytes = 0;
  bool closed = false;
  int wake_fd = -1;
  std::atomic<bool> done{false};
  std::thread thread;

  Stream(std::shared_ptr<net::WebSocket> s, StreamRequest r, Executor& e,
         std::function<bool(InstanceId, const std::string&)> over)
      : socket(std::move(s)),
        request(std::move(r)),
        executor(e),
        is_over(std::move(over)),
        wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Stream() {
    if (thread.joinable()) thread.join();
    ::close(wake_fd);
  }

  void poke() {
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(wake_fd, &one, sizeof one);
    changed.notify_all();
  }

  void received(std::string message) {
    if (message.empty()) return;
    const char channel = message[0];
    message.erase(0, 1);
    {
      std::lock_guard lock(mutex);
      if (channel == kStdin) {
        input_bytes += message.size() + kInputFrameCost;
        input.push_back(std::move(message));
        if (input_bytes > kInputBytesMax) socket->pause_reading(true);
      } else if (channel == kControl) {
        if (auto control = from_json<StreamControl>(message, {.allow_unknown = true}))
          controls.push_back(std::move(*control));
        if (controls.size() > kControlsMax) controls.pop_front();
      }
    }
    poke();
  }
  void ended() {
    {
      std::lock_guard lock(mutex);
      closed = true;
    }
    poke();
  }
  bool is_closed() {
    std::lock_guard lock(mutex);
    return closed;
  }

  // Waits until the peer took enough; false once it is gone.
  bool send(char channel, std::string_view bytes) {
    std::unique_lock lock(mutex);
    while (!closed && socket->pending_bytes() > kOutputBytesMax) changed.wait_for(lock, std::chrono::milliseconds(50));
    if (closed) return false;
    lock.unlock();
    return socket->send(std::string(1, channel).append(bytes), true);
  }
  void finish(std::optional<int32_t> exit_code, std::string error = {}) {
    StreamControl control;
    control.exit_code = exit_code;
    control.error = std::move(error);
    send(kControl, to_json(control, {.omit_defaults = true}));
    socket->close("done");
  }

  void run(const StreamTarget& target) {
    switch (request.kind) {
      case StreamKind::logs: logs(target); break;
      case StreamKind::exec:
      case StreamKind::attach: duplex(target); break;
      case StreamKind::signal: signal(target); break;
      case StreamKind::copy_out: copy_out(target); break;
      case StreamKind::copy_in: copy_in(target); break;
      case StreamKind::stats: finish(std::nullopt, "stats are not streamed yet"); break;
    }
  }

  void logs(const StreamTarget& target) {
    driver::LogReader reader(executor.log_dir(target.assignment.instance, target.task.name),
                             {request.since, request.tail, request.out, request.err});
    bool line_begins[2] = {true, true};  // of either stream
    while (!is_closed()) {
      const bool over =
          is_over(target.assignment.instance, target.task.name);  // asked first: what was said before is read below
      auto records = reader.next();
      if (!records) return finish(std::nullopt, records.error().to_string());
      for (driver::LogRecord& record : *records) {
        if (!record.partial) record.text += '\n';
        bool& begins = line_begins[record.stream == driver::LogStream::err ? 1 : 0];
        if (request.timestamps && begins) record.text.insert(0, format_time(record.time) + " ");
        begins = !record.partial;
        if (!send(record.stream == driver::LogStream::err ? kStderr : kStdout, record.text)) return;
      }
      if (!records->empty()) continue;
      if (!request.follow || over) break;
      std::unique_lock lock(mutex);
      changed.wait_for(lock, std::chrono::milliseconds(100));
    }
    finish(std::nullopt);
  }

  struct Running {
    driver::RunContext run;
    driver::Driver* driver = nullptr;
    driver::Handle handle;
  };
  std::optional<Running> find_run(const StreamTarget& target) {
    Running out;
    const Position& at = target.status.position;
    out.run = executor.context(target.assignment, target.spec, target.task, at.generation, at.attempt);
    out.driver = executor.driver_of(target.task);
    if (at.state != TaskState::running || out.driver == nullptr) {
      finish(std::nullopt, "task " + target.task.name + " of " + target.assignment.name + " does not run now");
      return std::nullopt;
    }
    auto handle = out.driver->recover(out.run);
    if (!handle) {
      finish(std::nullopt, handle.error().error.to_string());
      return std::nullopt;
    }
    out.handle = std::move(*handle);
    return out;
  }

  void signal(const StreamTarget& target) {
    auto running = find_run(target);
    if (!running) return;
    driver::SignalDriver* signals = running->driver->as_signal();
    if (signals == nullptr) return finish(std::nullopt, "driver " + target.task.driver + " takes no signals");
    auto sent = signals->signal(running->run, running->handle, request.signal);
    finish(0, sent ? std::string() : sent.error().error.to_string());
  }

  struct Files {
    std::string root;
    std::optional<driver::Account> account;
  };
  std::optional<Files> files_of(const StreamTarget& target) {
    auto running = find_run(target);
    if (!running) return std::nullopt;
    driver::ExecDriver* exec = running->driver->as_exec();
    auto root = exec != nullptr
                    ? exec->root_path(running->run, running->handle)
                    : driver::DriverResult<std::string>(driver::failed(
                          {ErrorCode::unsupported, "driver " + target.task.driver + " has no files to copy", {}, 0}));
    if (!root) {
      finish(std::nullopt, root.error().error.to_string());
      return std::nullopt;
    }
    auto account = exec->file_account(running->run);
    if (!account) {
      finish(std::nullopt, account.error().error.to_string());
      return std::nullopt;
    }
    return Files{*root, *account};
  }
  // What `work` says, done with the rights of the task's account where it has the node's own files before it.
  std::string as_account(const Files& files, const std::function<std::string()>& work) {
    if (!files.account) return work();
    auto account = sys::ThreadAccount::take(files.account->uid, files.account->gid);
    return account ? work() : account.error().to_string();
  }

  void copy_out(const StreamTarget& target) {
    auto files = files_of(target);
    if (!files) return;
    auto sink = [this](std::string_view bytes) -> Status {
      while (!bytes.empty()) {
        const std::string_view piece = bytes.substr(0, 60u << 10);
        if (!send(kStdout, piece)) return fail(ErrorCode::cancelled, "the client went away");
        bytes.remove_prefix(piece.size());
      }
      return {};
    };
    finish(0, as_account(*files, [&] {
             auto packed = sys::pack_path(files->root, request.path, sink);
             return packed ? std::string() : packed.error().to_string();
           }));
  }

  void copy_in(const StreamTarget& target) {
    auto files = files_of(target);
    if (!files) return;
    std::string piece;
    bool end = false;
    auto source = [&](std::span<char> buffer) -> Result<size_t> {
      while (piece.empty() && !end) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return closed || !input.empty(); });
        if (input.empty()) return fail(ErrorCode::cancelled, "the client went away");
        piece = std::move(input.front());
        input.pop_front();
        end = piece.empty();
        input_bytes -= piece.size() + kInputFrameCost;
        if (input_bytes < kInputBytesMax / 2) socket->pause_reading(false);
      }
      const size_t n = std::min(buffer.size(), piece.size());
      piece.copy(buffer.data(), n);
      piece.erase(0, n);
      return n;
    };
    sys::ExtractOptions options;
    if (files->account) {
      options.keep_owner = false;
      options.owner_uid = files->account->uid;
      options.owner_gid = files->account->gid;
    }
    finish(0, as_account(*files, [&] {
             auto unpacked = sys::unpack_into(files->root, request.path, source, options);
             return unpacked ? std::string() : unpacked.error().to_string();
           }));
  }

  void duplex(const StreamTarget& target) {
    auto running = find_run(target);
    if (!running) return;
    driver::ExecDriver* exec = running->driver->as_exec();
    if (exec == nullptr)
      return finish(std::nullopt, "driver " + target.task.driver + " cannot run commands beside a task");
    driver::DriverResult<driver::ExecSession> session = tl::make_unexpected(driver::Failure{});
    if (request.kind == StreamKind::exec) {
      driver::ExecRequest wanted{request.command, request.env,     request.user, request.workdir,
                                 request.tty,     request.columns, request.rows};
      session = exec->exec(running->run, running->handle, wanted);
    } else {
      session = exec->attach(running->run, running->handle);
    }
    if (!session) {
      const std::string why = session.error().error.to_string();
      return finish(request.kind == StreamKind::exec ? std::optional<int32_t>(not_started_code(why)) : std::nullopt,
                    why);
    }
    // Read only now that what comes next comes on the session: nothing falls between the two.
    if (request.replay) replay(target);
    const int code = pump(*session);
    const std::string why =
        session->log.empty() ? std::string() : std::string(trim(sys::read_file(session->log).value_or("")));
    if (!session->log.empty()) ::unlink(session->log.c_str());
    if (!why.empty() && code != 0) return finish(not_started_code(why), why);
    finish(code < 0 ? std::nullopt : std::optional<int32_t>(code));
  }

  void replay(const StreamTarget& target) {
    driver::LogReader reader(executor.log_dir(target.assignment.instance, target.task.name), {});
    for (auto records = reader.next(); records && !records->empty(); records = reader.next()) {
      for (driver::LogRecord& record : *records) {
        if (!record.partial) record.text += '\n';
        if (!send(record.stream == driver::LogStream::err ? kStderr : kStdout, record.text)) return;
      }
    }
  }

  void apply_controls(const driver::ExecSession& session) {
    std::deque<StreamControl> todo;
    {
      std::lock_guard lock(mutex);
      todo.swap(controls);
    }
    for (const StreamControl& control : todo) {
      if (control.columns && control.rows && session.out >= 0) {
        winsize size{};
        size.ws_col = static_cast<unsigned short>(*control.columns);
        size.ws_row = static_cast<unsigned short>(*control.rows);
        // Attached: what comes out is copied to several, and only the input is the terminal itself.
        if (::ioctl(session.out, TIOCSWINSZ, &size) != 0 && session.in >= 0) ::ioctl(session.in, TIOCSWINSZ, &size);
      }
      if (!control.signal.empty() && session.pid > 0)
        ::kill(session.pid, control.signal == "KILL" ? SIGKILL : control.signal == "INT" ? SIGINT : SIGTERM);
    }
  }

  // Copies what is ready of one fd; false at its end.
  bool forward(int fd, char channel) {
    char buffer[32u << 10];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    return n > 0 && send(channel, {buffer, static_cast<size_t>(n)});
  }

  // Moves what waits into the task's input; closes it at the end of input.
  void feed(int& fd, int other) {
    std::unique_lock lock(mutex);
    while (!input.empty() && fd >= 0) {
      std::string& front = input.front();
      if (front.empty()) {
        if (fd != other) ::close(fd);
        fd = -1;
        break;
      }
      const ssize_t n = ::write(fd, front.data(), front.size());
      if (n < 0 && errno == EAGAIN) return;
      if (n < 0) {
        input.clear(), input_bytes = 0;
        break;
      }
      input_bytes -= static_cast<size_t>(n);
      front.erase(0, static_cast<size_t>(n));
      if (!front.empty()) continue;
      input.pop_front();
      input_bytes -= kInputFrameCost;
    }
    if (fd < 0) input.clear(), input_bytes = 0;
    if (input_bytes < kInputBytesMax / 2) socket->pause_reading(false);
  }

  // Until both outputs have ended or the client is gone; the exit code, or −1.
  int pump(driver::ExecSession session) {
    int out = session.out;
    int err = session.err;
    int in = session.in;
    for (int fd : {in, out, err}) {
      if (fd >= 0) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    while ((out >= 0 || err >= 0) && !is_closed()) {
      bool pending = false;
      {
        std::lock_guard lock(mutex);
        pending = !input.empty() && in >= 0;
      }
      pollfd fds[4] = {{wake_fd, POLLIN, 0}, {out, POLLIN, 0}, {err, POLLIN, 0}, {pending ? in : -1, POLLOUT, 0}};
      ::poll(fds, 4, 1000);
      uint64_t drained = 0;
      if ((fds[0].revents & POLLIN) != 0 && ::read(wake_fd, &drained, sizeof drained) < 0) continue;
      apply_controls(session);
      if (pending || (fds[0].revents & POLLIN) != 0) feed(in, session.out);
      if (out >= 0 && fds[1].revents != 0 && !forward(out, kStdout)) out = -1;
      if (err >= 0 && fds[2].revents != 0 && !forward(err, kStderr)) err = -1;
    }
    if (in >= 0 && in != session.out) ::close(in);
    if (session.out >= 0) ::close(session.out);
    if (session.err >= 0) ::close(session.err);
    if (session.pid <= 0) return -1;
    if (is_closed()) ::kill(session.pid, SIGKILL);  // its user has gone: nobody hears it any more
    int status = 0;
    while (::waitpid(session.pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
};

Streams::~Streams() {
  std::vector<std::shared_ptr<Stream>> all;
  {
    std::lock_guard lock(mutex_);
    all.swap(streams_);
  }
  for (auto& stream : all) stream->ended();
}

void Streams::reap() {
  std::erase_if(streams_, [](const auto& stream) { return stream->done.load(); });
}

void Streams::serve(std::shared_ptr<net::WebSocket> socket, StreamRequest request, Result<StreamTarget> target) {
  auto stream = std::make_shared<Stream>(std::move(socket), std::move(request), executor_, is_over_);
  std::weak_ptr<Stream> weak = stream;
  stream->socket->start({[weak](std::string message, bool) {
                           if (auto one = weak.lock()) one->received(std::move(message));
                         },
                         [weak](const std::string&) {
                           if (auto one = weak.lock()) one->ended();
                         },
                         [weak] {
                           if (auto one = weak.lock()) one->poke();
                         }});
  std::lock_guard lock(mutex_);
  reap();
  if (!target) return stream->finish(std::nullopt, target.error().to_string());
  if (streams_.size() >= kStreamsMax)
    return stream->finish(std::nullopt, "too many streams are open on this node (limit kStreamsMax)");
  streams_.push_back(stream);
  // The thread holds no reference: the list does, until the thread says that it is done.
  stream->thread = std::thread([raw = stream.get(), target = std::move(*target)] {
    raw->run(target);
    raw->done = true;
  });
}

}  // namespace tutti::worker
