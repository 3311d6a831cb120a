#include "worker/check_command.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>

#include "base/limits.h"
#include "base/text.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::worker {
namespace {

using Steady = std::chrono::steady_clock;
constexpr size_t kSaidBytesMax = limits::kCheckOutputBytesMax - 48;  // its exit code stands before it
constexpr size_t kDescendantsMax = 10'000;
constexpr int kLastReadsMax = 64;  // 256 KiB: four pipes full

// The end of what was said.
void keep_end(std::string& text, std::string_view more) {
  text += more;
  if (text.size() > kSaidBytesMax) text.erase(0, text.size() - kSaidBytesMax);
}

// Reads what is there; false at the end.
bool read_some(int fd, std::string& text) {
  char buffer[4096];
  const ssize_t n = ::read(fd, buffer, sizeof buffer);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n > 0) keep_end(text, {buffer, static_cast<size_t>(n)});
  return n > 0;
}

// What is left when nobody is waited for any more; a child that lives on may write for ever.
void read_rest(int fd, std::string& text) {
  char buffer[4096];
  for (int i = 0; i < kLastReadsMax; ++i) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n <= 0) return;
    keep_end(text, {buffer, static_cast<size_t>(n)});
  }
}

// The runtime's own process would die alone: the command inside is a child of it. Stopped first, so that none is born
// while they are counted.
void kill_tree(int root) {
  std::vector<int> found{root};
  for (size_t i = 0; i < found.size() && found.size() < kDescendantsMax; ++i) {
    ::kill(found[i], SIGSTOP);
    const std::string pid = std::to_string(found[i]);
    std::ifstream children("/proc/" + pid + "/task/" + pid + "/children");
    for (int child = 0; children >> child;) found.push_back(child);
  }
  for (auto pid = found.rbegin(); pid != found.rend(); ++pid) ::kill(*pid, SIGKILL);
}

}  // namespace

CheckCommands::CheckCommands() : stop_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

CheckCommands::~CheckCommands() {
  stop();
  ::close(stop_event_);
}

void CheckCommands::run(Job job, std::function<void(CheckResult)> done) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  const JobId of = job.run.job;
  waiting_[of].push_back({std::move(job), std::move(done)});
  ++waiting_count_;
  if (idle_ < waiting_count_ && threads_.size() < limits::kCheckCommandsAtOnceMax)
    threads_.emplace_back([this] { work(); });
  wake_.notify_one();
}

void CheckCommands::stop() {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
    threads.swap(threads_);
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_event_, &one, sizeof one);
  wake_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

std::optional<CheckCommands::Waiting> CheckCommands::take() {
  auto at = waiting_.upper_bound(turn_);
  for (size_t i = 0; i < waiting_.size(); ++i, ++at) {
    if (at == waiting_.end()) at = waiting_.begin();
    auto& [job, queue] = *at;
    if (of_job_[job] >= limits::kCheckCommandsPerJobMax) continue;
    const auto next = std::ranges::find_if(queue, [&](const Waiting& each) {
      return of_instance_[each.job.run.instance] < limits::kCheckCommandsPerInstanceMax;
    });
    if (next == queue.end()) continue;
    Waiting taken = std::move(*next);
    turn_ = job;
    ++of_job_[job];
    ++of_instance_[taken.job.run.instance];
    --waiting_count_;
    queue.erase(next);
    if (queue.empty()) waiting_.erase(at);
    return taken;
  }
  return std::nullopt;
}

void CheckCommands::ended(const Job& job) {
  if (--of_job_[job.run.job] == 0) of_job_.erase(job.run.job);
  if (--of_instance_[job.run.instance] == 0) of_instance_.erase(job.run.instance);
}

// What ends makes room for one that was held back, if any was: the thread that ran it looks itself.
void CheckCommands::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    std::optional<Waiting> next = take();
    if (!next) {
      ++idle_;
      wake_.wait(lock);
      --idle_;
      continue;
    }
    lock.unlock();
    CheckResult result = perform(next->job);
    lock.lock();
    if (stopping_) return;
    ended(next->job);
    lock.unlock();
    next->done(std::move(result));
    lock.lock();
  }
}

CheckResult CheckCommands::perform(const Job& job) const {
  driver::ExecDriver* exec = job.driver == nullptr ? nullptr : job.driver->as_exec();
  if (exec == nullptr) return {false, "its driver cannot run commands beside a task"};
  auto handle = job.driver->recover(job.run);
  if (!handle) return {false, handle.error().error.to_string()};
  driver::ExecRequest request;
  request.command = job.command;
  auto session = exec->exec(job.run, *handle, request);
  if (!session) return {false, session.error().error.to_string()};
  CheckResult result = follow(*session, job.timeout);
  if (!session->log.empty()) {
    const std::string said(trim(sys::read_file(session->log).value_or("")));
    if (!result.well && !said.empty()) result.output = said;
    ::unlink(session->log.c_str());
  }
  return result;
}

// Until the command has ended, whoever still holds its output; killed when it is late.
CheckResult CheckCommands::follow(const driver::ExecSession& session, Duration timeout) const {
  sys::UniqueFd in(session.in), out(session.out), err(session.err);
  in.reset();
  for (const sys::UniqueFd* fd : {&out, &err})
    if (*fd) ::fcntl(fd->get(), F_SETFL, ::fcntl(fd->get(), F_GETFL) | O_NONBLOCK);
  auto ended = sys::pidfd_open(session.pid);
  const auto deadline = Steady::now() + std::chrono::nanoseconds(timeout.ns);
  std::string said;
  // Without a way to wait for its end nobody could say when it is late.
  bool late = !ended;
  bool over = !ended;
  while (!over) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Steady::now()).count() + 1;
    pollfd fds[4] = {{ended->get(), POLLIN, 0},
                     {stop_event_, POLLIN, 0},
                     {out ? out.get() : -1, POLLIN, 0},
                     {err ? err.get() : -1, POLLIN, 0}};
    const int ready = left > 0 ? ::poll(fds, 4, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    late = ready <= 0 || (fds[1].revents & POLLIN) != 0;
    over = late || (fds[0].revents & POLLIN) != 0;
    if (out && fds[2].revents != 0 && !read_some(out.get(), said)) out.reset();
    if (err && fds[3].revents != 0 && !read_some(err.get(), said)) err.reset();
  }
  if (late) kill_tree(session.pid);
  if (out) read_rest(out.get(), said);
  if (err) read_rest(err.get(), said);
  const int code = sys::reap(session.pid).value_or(-1);
  if (!ended) return {false, "it cannot be waited for: " + ended.error().to_string()};
  const std::string words(trim(said));
  if (late) return {false, "no end within " + format_duration(timeout) + (words.empty() ? "" : ": " + words)};
  if (code == 0) return {true, {}};
  return {false, "exit code " + std::to_string(code) + (words.empty() ? "" : ": " + words)};
}

}  // namespace tutti::worker
