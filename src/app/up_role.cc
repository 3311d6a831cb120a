#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "app/checked_settings.h"
#include "app/roles.h"
#include "app/up_hosts.h"
#include "app/up_network.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/context.h"
#include "net/http.h"
#include "sys/file.h"

namespace tutti::app {

std::vector<Setting> up_settings() {
  return {
      {"data", "/var/lib/tutti", "where everything of this pool is kept"},
      {"workers", "1",
       "how many; 0: a manager alone; more than one: each in a network namespace of its own, as if it were a machine"},
      {"name", "tutti", "the pool's name"},
      {"context", "local", "the command line's context that is written for it"},
      {"api-port", "7171", "port of the API; 0: any, the same again at the next start"},
      {"worker-port", "7172", "port that workers dial; 0: any, the same again at the next start"},
      {"network", "",
       "prefix that instances get addresses from, like 10.86.0.0/16; empty: at the first start one that nothing on "
       "this "
       "machine overlaps"},
      {"worker-cpu", "", "given out by each worker at most"},
      {"worker-memory", "", "given out by each worker at most"},
      {"reserve-cpu", "", "of each worker, kept for the system"},
      {"reserve-memory", "", "of each worker, kept for the system"},
      {"node-limits", "", "of each worker: licence=2,encoder=1"},
      {"threads", "", "of each worker: operations at a time"},
      {"container-runtime", "", "of each worker: crun or runc"},
      {"respawn", "true", "start a manager or worker again that ended"},
      {"rm", "false", "when it stops: end everything that runs and take away what the workers made"},
      {"log-level", "warning", "of manager and workers"}};
}

namespace {

struct Child {
  std::string title;
  std::vector<std::string> arguments;
  int netns = -1;  // entered before exec
  pid_t pid = 0;
  int64_t started_ms = 0;
};

int64_t now_ms() {
  return SystemClock().boot_now().ns / 1'000'000;
}

// Starts one of our own roles; it ends when we do, however that happens.
void spawn(Child& child) {
  child.started_ms = now_ms();
  const pid_t parent = ::getpid();
  child.pid = ::fork();
  if (child.pid != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) std::_Exit(1);
  ::setpgid(0, 0);  // Ctrl-C goes to us, and we stop them in order
  if (child.netns >= 0 && ::setns(child.netns, CLONE_NEWNET) != 0) std::_Exit(126);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  std::vector<char*> argv;
  std::string self = "tutti";
  argv.push_back(self.data());
  for (std::string& argument : child.arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execv("/proc/self/exe", argv.data());
  std::_Exit(127);
}

class Up {
 public:
  explicit Up(const Settings& settings)
      : settings_(settings), data_(settings.get("data")), run_(default_run_dir(data_)) {}

  Status start() {
    TUTTI_TRY(const int64_t workers, settings_.number("workers", 0, 200));
    TUTTI_CHECK(check());
    TUTTI_CHECK(make_folders(workers > 0));
    auto lock = sys::take_lock(run_ + "/up.lock");
    if (!lock)
      return fail(ErrorCode::conflict, "a pool is up in " + data_ + " already: stop it, or say another --data");
    lock_ = std::move(*lock);
    host_address_ = "127.0.0.1";
    if (workers > 1) {
      TUTTI_TRY(hosts_, UpHosts::make(data_, run_, static_cast<int>(workers)));
      host_address_ = hosts_->host_address();
    }
    TUTTI_CHECK(start_manager());
    TUTTI_TRY(cli::Context context, log_in());
    for (int i = 0; i < workers; ++i) TUTTI_CHECK(start_worker(i, context));
    return {};
  }

  // Until a signal; starts again what ended.
  void supervise() {
    while (wait_for_signal(200) == 0) {
      int status = 0;
      pid_t pid = 0;
      while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
        for (Child& child : children_) {
          if (child.pid == pid)
            child.pid = 0, std::fprintf(stderr, "tutti: %s ended (%s)\n", child.title.c_str(),
                                        WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exited");
        }
      }
      for (Child& child : children_) {
        if (child.pid == 0 && settings_.flag("respawn") && now_ms() - child.started_ms > 1000) spawn(child);
      }
    }
  }

  // Workers first: what they run goes on, unless --rm says otherwise; the manager last, so that statuses arrive.
  void stop() {
    for (auto child = children_.rbegin(); child != children_.rend(); ++child) end(*child);
    if (settings_.flag("rm") && lock_) remove();  // else it is the folder of another one that is up
  }

  std::string address() const { return host_address_ + ":" + std::to_string(api_port_); }

 private:
  // What manager and workers would refuse, before anything is made or started.
  Status check() const {
    const auto right = [](const auto& setting) { return setting ? Status() : tl::make_unexpected(setting.error()); };
    TUTTI_CHECK(check_log_level(settings_));
    TUTTI_CHECK(right(settings_.number("api-port", 0, 65535)));
    TUTTI_CHECK(right(settings_.number("worker-port", 0, 65535)));
    TUTTI_CHECK(right(cpu_setting(settings_, "worker-cpu", 1)));
    TUTTI_CHECK(right(cpu_setting(settings_, "reserve-cpu", 0)));
    TUTTI_CHECK(right(memory_setting(settings_, "worker-memory", 1)));
    TUTTI_CHECK(right(memory_setting(settings_, "reserve-memory", 0)));
    TUTTI_CHECK(right(node_limits_setting(settings_)));
    TUTTI_CHECK(check_runtime_setting(settings_));
    if (!settings_.get("threads").empty()) TUTTI_CHECK(right(settings_.number("threads", 1, 64)));
    TUTTI_TRY(const std::string network, network_setting(settings_));
    const std::string before(trim(sys::read_file(data_ + "/network").value_or("")));
    if (!network.empty() && !before.empty() && network != before) {
      return fail(ErrorCode::invalid, settings_.origin("network") + ": the pool in " + data_ + " has had the network " +
                                          before + " since its first start: leave it out, or say another --data");
    }
    return {};
  }

  Status make_folders(bool workers) const {
    const char* as_root =
        "'tutti up' needs root, for control groups, network and file systems of what it runs: sudo tutti up";
    if (workers && ::geteuid() != 0) return fail(ErrorCode::forbidden, as_root);
    for (const std::string& folder : {data_, run_}) {  // a process has a home below the first
      Status made = sys::make_dirs(folder, 0711);
      if (!made && ::geteuid() != 0) return fail(ErrorCode::forbidden, made.error().message + ": " + as_root);
      TUTTI_CHECK(made);
    }
    return {};
  }

  // The pool keeps what it had at its first start.
  Result<std::string> network_for_manager() const {
    if (!settings_.get("network").empty()) return settings_.get("network");
    if (sys::exists(data_ + "/manager/state.db")) return std::string();
    return choose_network(fnv1a(data_));
  }

  // Asks, and kills what has not gone 5 s later. A child that was waited for is forgotten: its number may be another's
  // by then.
  static void end(Child& child) {
    if (child.pid <= 0) return;
    ::kill(child.pid, SIGTERM);
    bool gone = false;
    for (int i = 0; i < 100 && !gone; ++i) {
      gone = ::waitpid(child.pid, nullptr, WNOHANG) != 0;
      if (!gone) ::usleep(50'000);
    }
    if (!gone) ::kill(child.pid, SIGKILL), ::waitpid(child.pid, nullptr, 0);
    child.pid = 0;
  }

  // A port that was left to us stays what it was at the last start: contexts and certificates know it. Unless it is
  // taken.
  std::string port_for(const std::string& setting) const {
    const std::string& wanted = settings_.get(setting);
    if (wanted != "0") return wanted;
    const std::string before(trim(sys::read_file(data_ + "/" + setting).value_or("")));
    const int number = std::atoi(before.c_str());
    return number > 0 && number < 65536 && is_free(number) ? before : wanted;
  }
  bool is_free(int port) const {
    const sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    ::inet_pton(AF_INET, host_address_.c_str(), &address.sin_addr);
    return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }

  std::string worker_data(int i) const { return data_ + "/worker-" + std::to_string(i + 1); }
  std::string worker_run(int i) const { return run_ + "/worker-" + std::to_string(i + 1); }

  Status start_manager() {
    const std::string ready = run_ + "/manager.ready";
    (void)sys::remove_tree(ready);
    TUTTI_TRY(const std::string network, network_for_manager());
    Child manager;
    manager.title = "manager";
    manager.arguments = {"manager",
                         "--data",
                         data_ + "/manager",
                         "--name",
                         settings_.get("name"),
                         "--listen",
                         host_address_,
                         "--worker-listen",
                         host_address_,
                         "--names",
                         host_address_,
                         "--api-port",
                         port_for("api-port"),
                         "--worker-port",
                         port_for("worker-port"),
                         "--ready-file",
                         ready,
                         "--log-level",
                         settings_.get("log-level")};
    if (!network.empty()) manager.arguments.insert(manager.arguments.end(), {"--network", network});
    spawn(manager);
    children_.push_back(manager);
    for (int i = 0; i < 600; ++i) {
      if (auto ports = sys::read_file(ready)) {
        int api = 0;
        int workers = 0;
        if (std::sscanf(ports->c_str(), "%d %d", &api, &workers) == 2) {
          api_port_ = api;
          worker_port_ = workers;
          TUTTI_CHECK(sys::write_file_atomic(data_ + "/api-port", std::to_string(api), {0600, true}));
          TUTTI_CHECK(sys::write_file_atomic(data_ + "/worker-port", std::to_string(workers), {0600, true}));
          if (!network.empty()) TUTTI_CHECK(sys::write_file_atomic(data_ + "/network", network, {0600, true}));
          // Started again, it must be found where it was.
          for (Child& child : children_) {
            for (size_t a = 0; a + 1 < child.arguments.size(); ++a) {
              if (child.arguments[a] == "--api-port") child.arguments[a + 1] = std::to_string(api);
              if (child.arguments[a] == "--worker-port") child.arguments[a + 1] = std::to_string(workers);
            }
          }
          return {};
        }
      }
      int status = 0;
      if (::waitpid(manager.pid, &status, WNOHANG) == manager.pid) {
        children_.clear();
        return fail(ErrorCode::unavailable, "the manager did not start: see above");
      }
      ::usleep(50'000);
    }
    return fail(ErrorCode::timeout, "the manager was not ready within 30 s");
  }

  // A new pool's bootstrap credential becomes a token, which is kept; later starts write the context again with that
  // one.
  Result<cli::Context> log_in() {
    TUTTI_TRY(const std::string authority, sys::read_file(data_ + "/manager/authority.pem"));
    if (auto credential = sys::read_file(data_ + "/manager/bootstrap-credential")) {
      TUTTI_TRY(cli::Context context,
                cli::login(address(), authority, std::string(trim(*credential)), settings_.get("context")));
      TUTTI_CHECK(sys::write_file_atomic(data_ + "/admin-token", context.token, {0600, true}));
      return context;
    }
    TUTTI_TRY(const std::string token, sys::read_file(data_ + "/admin-token"));
    TUTTI_CHECK(cli::save_context(settings_.get("context"), address(), authority, token, true));
    return cli::Context{settings_.get("context"), address(), authority, token, ""};
  }

  Result<std::string> join_token(const cli::Context& context, int i) {
    TUTTI_TRY(const net::Endpoint endpoint, net::parse_endpoint(context.address));
    TUTTI_TRY(auto client, net::make_client(endpoint, {context.authority, {}, {}, {}}));
    net::Request request;
    request.method = "POST";
    request.target = request.path = "/v1/join-tokens";
    request.headers = {{"authorization", "Bearer " + context.token}, {"content-type", "application/json"}};
    request.body = "{\"name\":\"up\",\"node_name\":\"node-" + std::to_string(i + 1) + "\"}";
    TUTTI_TRY(const net::Response answer, client->call(request, seconds(30)));
    const size_t at = answer.body.find("\"token\":\"");
    if (answer.status != 201 || at == std::string::npos)
      return fail(ErrorCode::unavailable, "no join token: " + answer.body);
    return answer.body.substr(at + 9, answer.body.find('"', at + 9) - at - 9);
  }

  Status start_worker(int i, const cli::Context& context) {
    Child worker;
    worker.title = "worker node-" + std::to_string(i + 1);
    worker.arguments = {
        "worker", "--data", worker_data(i), "--run", worker_run(i), "--log-level", settings_.get("log-level")};
    // Where the manager is now: a node that joined before may know an address that is no longer right.
    worker.arguments.insert(worker.arguments.end(),
                            {"--worker-address", host_address_ + ":" + std::to_string(worker_port_)});
    if (!sys::exists(worker_data(i) + "/identity/node.json")) {
      TUTTI_TRY(const std::string token, join_token(context, i));
      worker.arguments.insert(worker.arguments.end(),
                              {"--manager", address(), "--token", token, "--name", "node-" + std::to_string(i + 1)});
    }
    using Names = std::initializer_list<std::pair<const char*, const char*>>;
    for (const auto& [from, to] : Names{{"worker-cpu", "cpu"},
                                        {"worker-memory", "memory"},
                                        {"reserve-cpu", "reserve-cpu"},
                                        {"reserve-memory", "reserve-memory"},
                                        {"node-limits", "node-limits"},
                                        {"threads", "threads"},
                                        {"container-runtime", "container-runtime"}}) {
      if (!settings_.get(from).empty())
        worker.arguments.insert(worker.arguments.end(), {std::string("--") + to, settings_.get(from)});
    }
    if (hosts_) {
      worker.netns = hosts_->netns(static_cast<size_t>(i));
      worker.arguments.insert(worker.arguments.end(), {"--address", hosts_->address(static_cast<size_t>(i))});
    }
    spawn(worker);
    children_.push_back(worker);
    return {};
  }

  void remove() {
    for (Child& child : children_) {
      if (child.arguments[0] != "worker") continue;
      child.arguments.insert(child.arguments.end(), {"--purge", "true"});
      spawn(child);
      ::waitpid(child.pid, nullptr, 0);
    }
    if (hosts_) hosts_->remove();
    (void)sys::remove_tree(run_);
  }

  const Settings& settings_;
  const std::string data_;
  const std::string run_;
  sys::UniqueFd lock_;
  std::optional<UpHosts> hosts_;  // more than one worker
  std::string host_address_;
  int api_port_ = 0;
  int worker_port_ = 0;
  std::vector<Child> children_;
};

}  // namespace

int run_up(const std::vector<std::string>& arguments) {
  Settings settings(up_settings());
  if (Status loaded = settings.load(arguments); !loaded) return complain(loaded.error());
  if (settings.help_wanted()) {
    std::printf(
        "Example: tutti up --workers 2\n\nA whole pool on this machine: manager, scheduler, workers. Ends with "
        "Ctrl-C.\n\n%s",
        settings.help_text().c_str());
    return 0;
  }
  block_signals();
  Up up(settings);
  if (Status started = up.start(); !started) {
    up.stop();
    return complain(started.error());
  }
  std::printf("pool '%s' is up: API at https://%s, context '%s'. Try: tutti node list\n", settings.get("name").c_str(),
              up.address().c_str(), settings.get("context").c_str());
  std::fflush(stdout);
  up.supervise();
  std::printf("stopping\n");
  up.stop();
  return 0;
}

}  // namespace tutti::app
