#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "app/roles.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/context.h"
#include "net/http.h"
#include "sys/file.h"
#include "sys/netlink.h"
#include "sys/netns.h"

namespace tutti::app {

std::vector<Setting> up_settings() {
  return {{"data", "/var/lib/tutti", "where everything of this pool is kept"},
          {"workers", "1", "how many; 0: a manager alone; more than one: each in a network namespace of its own, as if it were a machine"},
          {"name", "tutti", "the pool's name"},
          {"context", "local", "the command line's context that is written for it"},
          {"api-port", "7171", "port of the API; 0: any"},
          {"worker-port", "7172", "port that workers dial; 0: any"},
          {"worker-cpu", "", "given out by each worker at most"},
          {"worker-memory", "", "given out by each worker at most"},
          {"respawn", "true", "start a manager or worker again that ended"},
          {"rm", "false", "when it stops: end everything that runs and take away what the workers made"},
          {"log-level", "warning", "of manager and workers"}};
}

namespace {

struct Child {
  std::string title;
  std::vector<std::string> arguments;
  int netns = -1;          // entered before exec
  pid_t pid = 0;
  int64_t started_ms = 0;
};

int64_t now_ms() { return SystemClock().boot_now().ns / 1'000'000; }

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
  explicit Up(const Settings& settings) : settings_(settings), data_(settings.get("data")), run_(default_run_dir(data_)) {}

  Status start() {
    TUTTI_TRY(const int64_t workers, settings_.number("workers", 0, 200));
    TUTTI_CHECK(sys::make_dirs(data_, 0711));  // a process has a home below it
    TUTTI_CHECK(sys::make_dirs(run_, 0711));
    auto lock = sys::take_lock(run_ + "/up.lock");
    if (!lock) return fail(ErrorCode::conflict, "a pool is up in " + data_ + " already: stop it, or say another --data");
    lock_ = std::move(*lock);
    host_address_ = "127.0.0.1";
    if (workers > 1) TUTTI_CHECK(make_hosts(static_cast<int>(workers)));
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
          if (child.pid == pid) child.pid = 0, std::fprintf(stderr, "tutti: %s ended (%s)\n", child.title.c_str(), WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exited");
        }
      }
      for (Child& child : children_) {
        if (child.pid == 0 && settings_.flag("respawn") && now_ms() - child.started_ms > 1000) spawn(child);
      }
    }
  }

  void stop() {
    // Workers first: what they run goes on, unless --rm says otherwise; the manager last, so that statuses arrive.
    for (auto child = children_.rbegin(); child != children_.rend(); ++child) {
      if (child->pid <= 0) continue;
      ::kill(child->pid, SIGTERM);
      for (int i = 0; i < 100 && ::waitpid(child->pid, nullptr, WNOHANG) == 0; ++i) ::usleep(50'000);
      ::kill(child->pid, SIGKILL);
      child->pid = 0;
    }
    if (settings_.flag("rm")) remove();
  }

  std::string address() const { return host_address_ + ":" + std::to_string(api_port_); }

 private:
  std::string worker_data(int i) const { return data_ + "/worker-" + std::to_string(i + 1); }
  std::string worker_run(int i) const { return run_ + "/worker-" + std::to_string(i + 1); }

  // A bridge in this namespace and, per worker, a namespace with an address on it: so many hosts on one machine.
  Status make_hosts(int count) {
    const uint64_t hash = fnv1a(data_);
    bridge_ = "ttup" + id_text(hash & ((uint64_t{1} << 60) - 1)).substr(0, 6);
    const std::string prefix = "172." + std::to_string(18 + hash % 12) + "." + std::to_string(hash / 12 % 256) + ".";
    host_address_ = prefix + "1";
    TUTTI_TRY(sys::Netlink netlink, sys::Netlink::open());
    for (const sys::Link& old : netlink.links(bridge_ + "v").value_or(std::vector<sys::Link>{})) (void)netlink.delete_link(old.index);
    if (!netlink.link(bridge_)) TUTTI_CHECK(netlink.create_bridge(bridge_));
    TUTTI_TRY(const sys::Link bridge, netlink.link(bridge_));
    TUTTI_CHECK(netlink.add_address(bridge.index, ipv4(host_address_), 24));
    TUTTI_CHECK(netlink.set_up(bridge.index));
    TUTTI_CHECK(sys::make_dirs(run_ + "/netns", 0755));
    for (int i = 0; i < count; ++i) {
      const std::string pin = run_ + "/netns/worker-" + std::to_string(i + 1);
      (void)sys::NetNs::unpin(pin);
      TUTTI_TRY(sys::NetNs netns, sys::NetNs::create());
      TUTTI_CHECK(netns.pin(pin));
      const std::string address = prefix + std::to_string(10 + i);
      TUTTI_CHECK(netlink.create_veth({bridge_ + "v" + std::to_string(i + 1), "eth0", netns.fd(), bridge.index}));
      TUTTI_CHECK(netns.run_in([&]() -> Status {
        TUTTI_TRY(sys::Netlink inside, sys::Netlink::open());
        TUTTI_TRY(const sys::Link eth0, inside.link("eth0"));
        TUTTI_TRY(const sys::Link lo, inside.link("lo"));
        TUTTI_CHECK(inside.set_up(lo.index));
        TUTTI_CHECK(inside.add_address(eth0.index, ipv4(address), 24));
        TUTTI_CHECK(inside.set_up(eth0.index));
        return inside.add_default_route(ipv4(host_address_));
      }));
      namespaces_.push_back(std::move(netns));
      addresses_.push_back(address);
    }
    return {};
  }
  static sys::Ipv4 ipv4(const std::string& text) {
    in_addr address{};
    ::inet_pton(AF_INET, text.c_str(), &address);
    return sys::Ipv4{ntohl(address.s_addr)};
  }

  Status start_manager() {
    const std::string ready = run_ + "/manager.ready";
    (void)sys::remove_tree(ready);
    Child manager;
    manager.title = "manager";
    manager.arguments = {"manager", "--data", data_ + "/manager", "--name", settings_.get("name"), "--listen", host_address_, "--worker-listen", host_address_,
                         "--names", host_address_, "--api-port", settings_.get("api-port"), "--worker-port", settings_.get("worker-port"),
                         "--ready-file", ready, "--log-level", settings_.get("log-level")};
    spawn(manager);
    children_.push_back(manager);
    for (int i = 0; i < 600; ++i) {
      if (auto ports = sys::read_file(ready)) {
        int api = 0;
        int workers = 0;
        if (std::sscanf(ports->c_str(), "%d %d", &api, &workers) == 2) {
          api_port_ = api;
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
      if (::waitpid(manager.pid, &status, WNOHANG) == manager.pid) return fail(ErrorCode::unavailable, "the manager did not start: see above");
      ::usleep(50'000);
    }
    return fail(ErrorCode::timeout, "the manager was not ready within 30 s");
  }

  // The context that exists is kept while it works; else the bootstrap credential makes one.
  Result<cli::Context> log_in() {
    TUTTI_TRY(const std::string authority, sys::read_file(data_ + "/manager/authority.pem"));
    if (auto credential = sys::read_file(data_ + "/manager/bootstrap-credential")) {
      TUTTI_TRY(cli::Context context, cli::login(address(), authority, std::string(trim(*credential)), settings_.get("context")));
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
    if (answer.status != 201 || at == std::string::npos) return fail(ErrorCode::unavailable, "no join token: " + answer.body);
    return answer.body.substr(at + 9, answer.body.find('"', at + 9) - at - 9);
  }

  Status start_worker(int i, const cli::Context& context) {
    Child worker;
    worker.title = "worker node-" + std::to_string(i + 1);
    worker.arguments = {"worker", "--data", worker_data(i), "--run", worker_run(i), "--log-level", settings_.get("log-level")};
    // Workers that share one address give out ports of their own.
    if (!sys::exists(worker_data(i) + "/identity/node.json")) {
      TUTTI_TRY(const std::string token, join_token(context, i));
      worker.arguments.insert(worker.arguments.end(), {"--manager", address(), "--token", token, "--name", "node-" + std::to_string(i + 1)});
    }
    for (const auto& [from, to] : {std::pair{"worker-cpu", "--cpu"}, std::pair{"worker-memory", "--memory"}}) {
      if (!settings_.get(from).empty()) worker.arguments.insert(worker.arguments.end(), {to, settings_.get(from)});
    }
    if (!namespaces_.empty()) {
      worker.netns = namespaces_[static_cast<size_t>(i)].fd();
      worker.arguments.insert(worker.arguments.end(), {"--address", addresses_[static_cast<size_t>(i)]});
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
    for (size_t i = 0; i < namespaces_.size(); ++i) (void)sys::NetNs::unpin(run_ + "/netns/worker-" + std::to_string(i + 1));
    namespaces_.clear();
    if (!bridge_.empty()) {
      auto netlink = sys::Netlink::open();
      if (!netlink) return;
      for (const sys::Link& link : netlink->links(bridge_).value_or(std::vector<sys::Link>{})) (void)netlink->delete_link(link.index);
    }
    (void)sys::remove_tree(run_);
  }

  const Settings& settings_;
  const std::string data_;
  const std::string run_;
  sys::UniqueFd lock_;
  std::string bridge_;
  std::string host_address_;
  int api_port_ = 0;
  std::vector<sys::NetNs> namespaces_;
  std::vector<std::string> addresses_;
  std::vector<Child> children_;
};

}  // namespace

int run_up(const std::vector<std::string>& arguments) {
  Settings settings(up_settings());
  if (Status loaded = settings.load(arguments); !loaded) return complain(loaded.error());
  if (settings.help_wanted()) {
    std::printf("Example: tutti up --workers 2\n\nA whole pool on this machine: manager, scheduler, workers. Ends with Ctrl-C.\n\n%s", settings.help_text().c_str());
    return 0;
  }
  block_signals();
  Up up(settings);
  if (Status started = up.start(); !started) {
    up.stop();
    return complain(started.error());
  }
  std::printf("pool '%s' is up: API at https://%s, context '%s'. Try: tutti node list\n", settings.get("name").c_str(), up.address().c_str(), settings.get("context").c_str());
  std::fflush(stdout);
  up.supervise();
  std::printf("stopping\n");
  up.stop();
  return 0;
}

}  // namespace tutti::app
