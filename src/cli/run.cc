// J11: one thing, now.
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/random.h"
#include "cli/requests.h"
#include "cli/run_spec.h"
#include "cli/say.h"
#include "cli/session.h"
#include "cli/signals.h"
#include "model/codec.h"
#include "model/session.h"

namespace tutti::cli {
namespace {

constexpr Duration kSaySoAfter = seconds(3);
constexpr Duration kPoolGoneFor = seconds(60);

// Between two questions: soon at first, for what starts in milliseconds, and seldom once it takes its time.
class Patience {
 public:
  void sleep() {
    ::usleep(static_cast<useconds_t>(wait_ms_ * 1000));
    wait_ms_ = std::min<int64_t>(wait_ms_ * 5 / 4 + 1, 500);
  }

 private:
  int64_t wait_ms_ = 10;
};

// A job of one instance that this command stays with until it has ended.
class Attached {
 public:
  Attached(Session& s, const JobSpec& spec)
      : s_(s),
        task_(spec.tasks[0]),
        removed_(spec.ttl.has_value()),
        job_path_(path_of("/v1/jobs", spec.job)),
        instance_(spec.job + "-0"),
        instance_path_(path_of("/v1/instances", instance_)) {
    has_terminal_ = ::tcgetattr(STDIN_FILENO, &terminal_) == 0;
  }

  int run() {
    SignalRelay relay([this](int signal, int count) { signalled(signal, count); });
    if (const int code = wait_until_started(); code >= 0) return remove(), code;
    started_ = true;
    if ((task_.tty || task_.stdin_open) && !ended_) {
      StreamQuery query;
      query.tty = task_.tty;
      query.replay = true;
      interactive(s_, instance_path_ + "/attach", query, task_.stdin_open);
    } else {
      (void)logs(s_, instance_, true, -1);
    }
    const int code = wait_until_ended();
    remove();
    return code;
  }

 private:
  // −1: it runs, or has run.
  int wait_until_started() {
    Patience patience;
    bool said = false;
    const BootTime say_so = clock_.boot_now() + kSaySoAfter;
    while (true) {
      auto now = s_.call("GET", instance_path_);
      if (now) {
        ended_ = (*now)["status.finished"].text() == "true";
        if (ended_ || (*now)["status.state"].text() == "running") return -1;
      } else if (now.error().code != ErrorCode::not_found) {
        return complain(now.error());
      } else if (auto job = s_.call("GET", job_path_); !job) {
        return complain(job.error());
      } else if ((*job)["status.state"].text() == "failed") {
        return complain({ErrorCode::unprocessable, (*job)["status.error"].text(), {}, 0});
      }
      if (const int signal = interrupted_; signal != 0) {
        (void)s_.call("POST", job_path_ + ":stop");
        return 128 + signal;
      }
      if (!said && clock_.boot_now() > say_so) {
        said = true;
        say(stderr, "waiting for %s ('tutti explain %s' says why)\n", instance_.c_str(), instance_.c_str());
      }
      patience.sleep();
    }
  }

  // Its exit code. A manager that is away for a moment comes back; the task knows nothing of that.
  int wait_until_ended() {
    Patience patience;
    BootTime heard = clock_.boot_now();
    while (true) {
      auto now = s_.call("GET", instance_path_);
      if (now) heard = clock_.boot_now();
      if (now && (*now)["status.finished"].text() == "true") return code_of(*now);
      const bool away = !now && (now.error().code == ErrorCode::unavailable || now.error().code == ErrorCode::io ||
                                 now.error().code == ErrorCode::timeout);
      if (!now && (!away || clock_.boot_now() - heard > kPoolGoneFor)) return complain(now.error());
      patience.sleep();
    }
  }

  static int code_of(const Json& instance) {
    const std::vector<Json> tasks = instance["status.tasks"].items();
    if (tasks.empty()) return complain({ErrorCode::unprocessable, instance["status.reason"].text(), {}, 0});
    const std::string end = tasks[0]["position.state"].text();
    const std::string reason = tasks[0]["reason"].text();
    const int code = static_cast<int>(tasks[0]["exit_code"].number());
    if (end != "completed" && !reason.empty() && !reason.starts_with("exit code"))
      say(stderr, "tutti: %s\n", reason.c_str());
    return code == 0 && end != "completed" ? 1 : code;
  }

  // Should we not come to it, its ttl does it.
  void remove() {
    if (removed_) (void)s_.call("DELETE", job_path_);
  }

  // The first goes to what runs, the second says what to do, the third ends it and us.
  void signalled(int signal, int count) {
    if (!started_) {
      interrupted_ = signal;
      if (count > 2) leave(signal);
      return;
    }
    if (count == 2)
      std::fprintf(stderr, "\r\ntutti: %s was told and still runs; once more kills it\r\n", instance_.c_str());
    if (count > 2) leave(signal);
    tell(signal == SIGINT ? "INT" : "TERM");
  }
  void tell(const std::string& signal) {
    Session own = s_.for_another_thread();
    auto told = own.call("POST", instance_path_ + ":signal", to_json(SignalBody{signal, {}}, {.omit_defaults = true}));
    if (!told && told.error().code != ErrorCode::conflict)
      say(stderr, "tutti: %s was not passed on: %s\n", signal.c_str(), told.error().message.c_str());
  }
  [[noreturn]] void leave(int signal) {
    tell("KILL");
    if (removed_) (void)s_.for_another_thread().call("DELETE", job_path_);
    if (has_terminal_) ::tcsetattr(STDIN_FILENO, TCSANOW, &terminal_);
    std::_Exit(128 + signal);
  }

  Session& s_;
  const TaskSpec task_;
  const bool removed_;
  const std::string job_path_;
  const std::string instance_;
  const std::string instance_path_;
  const SystemClock clock_;
  termios terminal_{};
  bool has_terminal_ = false;
  bool ended_ = false;
  std::atomic<bool> started_{false};
  std::atomic<int> interrupted_{0};
};

}  // namespace

int run(Session& s) {
  auto spec = run_spec(s.invocation, "run-" + secure_random_hex(4),
                       [](const char* name) { return static_cast<const char*>(std::getenv(name)); });
  if (!spec) return complain(spec.error());
  const bool attached = !s.flag("detach");
  if (Status terminal = check_terminal(attached && spec->tasks[0].tty, spec->tasks[0].stdin_open); !terminal)
    return complain(terminal.error());
  auto answer = s.call("POST", "/v1/jobs", to_json(*spec, {.omit_defaults = true}), "application/json",
                       "\"0\"");  // a new one, never a version of another
  if (!answer && answer.error().message.find(" is at version ") != std::string::npos)
    return complain({ErrorCode::conflict,
                     "there is a job '" + spec->job +
                         "' already: take another --name, or end that one with 'tutti job delete " + spec->job + "'",
                     {},
                     0});
  if (!answer) return complain(answer.error());
  if (!attached) return say(stdout, "%s\n", (spec->job + "-0").c_str()), 0;
  return Attached(s, *spec).run();
}

}  // namespace tutti::cli
