#include "driver/container/container_driver.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

#include "base/text.h"
#include "driver/container/bundle.h"
#include "driver/container/exec.h"
#include "driver/monitor/monitored.h"
#include "driver/monitor/seccomp.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::driver {
namespace {

struct Runtime {
  std::string path;
  std::string version;
  bool crun = true;
  std::string refused;  // why there is none
};

class ContainerDriver final : public MonitoredDriver {
 public:
  ContainerDriver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups, std::shared_ptr<sys::Reaper> reaper,
                  const std::string& runtime)
      : MonitoredDriver(std::move(monitor), std::move(cgroups), std::move(reaper)), runtime_(find_runtime(runtime)) {}

  std::string name() const override { return "container"; }
  Capabilities capabilities() const override { return {.images = true, .network = true, .keeps_running = true}; }
  DriverInfo fingerprint() override {
    if (runtime_.path.empty()) return {"container", "", false, runtime_.refused};
    return {"container", runtime_.version, true, ""};
  }

  DriverResult<ExecSession> exec(const RunContext& run, const Handle& handle, const ExecRequest& request) override {
    if (auto task = task_of(run, handle); !task) return tl::make_unexpected(std::move(task).error());
    auto base = load_exec_base(run.run_dir);
    if (!base) return failed(std::move(base).error());
    auto process = exec_process_json(*base, run.task, request);
    if (!process) return rejected(std::move(process).error());
    MonitorConfig config;
    add_unmounts(config);
    config.flag("process", false);
    add_groups(run, config);
    const std::string socket =
        run.run_dir + "/exec-" + std::to_string(execs_.fetch_add(1)) + "-" + std::to_string(::getpid());
    const std::string log = socket + ".log";
    std::vector<std::string> argv = runtime_argv(run);
    argv.insert(argv.end(), {"--log", log, "exec", "--process", "/proc/self/fd/" + std::to_string(kInputFd)});
    const bool own_terminal = request.tty && runtime_.crun;  // runc copies between two terminals instead
    if (own_terminal) argv.insert(argv.end(), {"--tty", "--console-socket", socket});
    argv.push_back(container_id(run));
    for (const std::string& word : argv) config.add("argv", word);
    config.add("env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    auto session = own_terminal ? exec_on_terminal(std::move(config), request, *process, socket, log)
                                : enter(std::move(config), request, *process);
    if (session) session->log = log;
    return session;
  }

 protected:
  DriverStatus configure(const RunContext& run, MonitorConfig& config) override {
    if (runtime_.path.empty()) return rejected({ErrorCode::unsupported, fingerprint().reason, {}, 0});
    if (!run.image || run.image->lower_dirs.empty())
      return rejected({ErrorCode::invalid, "a container needs an image with at least one layer", {}, 0});
    std::string filter;  // crun takes it ready-made
    if (runtime_.crun && !run.task.security.privileged) {
      const std::vector<std::string> caps = oci_capabilities(run.task.security);
      auto program = filters_.base64_program({caps.begin(), caps.end()});
      if (!program) return retryable(std::move(program).error());
      filter = std::move(*program);
    }
    if (Status written = write_bundle(run, filter); !written) {
      Error error = std::move(written).error();
      if (error.code == ErrorCode::invalid) return rejected(std::move(error));
      return retryable(std::move(error));
    }
    // Of a start before this one that was given up on its way: the runtime would refuse the name.
    if (Status removed = sys::remove_tree(run.run_dir + "/runtime"); !removed)
      return retryable(std::move(removed).error());
    for (const char* dir : {"/upper", "/work"}) {
      if (Status made = sys::make_dirs(run.disk_dir + dir); !made) return retryable(std::move(made).error());
    }
    // Its set-user-id programs are for inside only: nobody but root passes here.
    if (::chmod(run.disk_dir.c_str(), 0700) != 0) return retryable(fail_errno("close " + run.disk_dir, errno).value());
    for (const std::string& dir : run.image->lower_dirs) config.add("lower", dir);
    config.add("upper", run.disk_dir + "/upper");
    config.add("work", run.disk_dir + "/work");
    config.add("target", run.run_dir + "/bundle/rootfs");
    add_unmounts(config);
    std::vector<std::string> argv = runtime_argv(run);
    argv.insert(argv.end(), {"--log", run.run_dir + "/runtime.log", "run", "--detach", "--bundle",
                             run.run_dir + "/bundle", "--pid-file", run.run_dir + "/task.pid"});
    if (run.task.tty) argv.insert(argv.end(), {"--console-socket", run.run_dir + "/console.sock"});
    argv.push_back(container_id(run));
    for (const std::string& word : argv) config.add("argv", word);
    config.add("env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    return {};
  }
  bool needs_tun() const override { return !runtime_.crun; }

 private:
  // One terminal, made by the runtime and sent to us: a resize takes effect with the call.
  DriverResult<ExecSession> exec_on_terminal(MonitorConfig config, const ExecRequest& request,
                                             const std::string& process, const std::string& path,
                                             const std::string& log) {
    auto listener = listen_for_terminal(path);
    if (!listener) return failed(std::move(listener).error());
    ExecRequest plain = request;
    plain.tty = false;
    auto session = enter(std::move(config), plain, process);
    if (!session) return session;
    sys::UniqueFd in(session->in), out(session->out), err(session->err);
    auto master = receive_terminal(listener->get(), session->pid);
    ::unlink(path.c_str());
    if (!master) {
      if (auto pidfd = sys::pidfd_open(session->pid)) (void)sys::pidfd_signal(pidfd->get(), SIGKILL);
      (void)sys::reap(session->pid);
      const std::string said = sys::read_file(log).value_or("");
      ::unlink(log.c_str());
      return failed(Error{master.error().code, said.empty() ? master.error().message : std::string(trim(said)), {}, 0});
    }
    winsize size{};
    size.ws_col = static_cast<unsigned short>(request.columns);
    size.ws_row = static_cast<unsigned short>(request.rows);
    ::ioctl(master->get(), TIOCSWINSZ, &size);
    const int second = ::fcntl(master->get(), F_DUPFD_CLOEXEC, 3);
    return ExecSession{master->release(), second, -1, session->pid, {}};
  }

  // The first that answers; why the others do not is told when none does.
  static Runtime find_runtime(const std::string& wanted) {
    std::string refused;
    for (const char* name : {"crun", "runc"}) {
      if (!wanted.empty() && wanted != name) continue;
      Runtime out;
      out.path = sys::find_program(name);
      if (out.path.empty()) {
        refused += std::string(name) + " is not installed (apt-get install " + name + "); ";
        continue;
      }
      out.crun = std::string_view(name) == "crun";
      sys::SpawnOptions spawn;
      spawn.argv = {out.path, "--version"};
      spawn.inherit_env = true;
      auto said = sys::run_program(spawn, seconds(5));
      if (!said || said->exit_code != 0) {
        refused += out.path +
                   " --version: " + (said ? "exit code " + std::to_string(said->exit_code) : said.error().to_string()) +
                   "; ";
        continue;
      }
      out.version = std::string(trim(said->output.substr(0, said->output.find('\n'))));
      return out;
    }
    if (refused.empty()) refused = "no container runtime '" + wanted + "': crun and runc are those there are";
    return {{}, {}, true, refused.ends_with("; ") ? refused.substr(0, refused.size() - 2) : refused};
  }

  std::vector<std::string> runtime_argv(const RunContext& run) const {
    std::vector<std::string> argv{runtime_.path, "--root", run.run_dir + "/runtime"};
    // The monitor has put itself into the groups: the runtime leaves them alone.
    if (runtime_.crun) argv.push_back("--cgroup-manager=disabled");
    return argv;
  }
  static std::string container_id(const RunContext& run) {
    return to_text(run.instance) + "." + std::to_string(run.generation) + "." + std::to_string(run.attempt) + "." +
           run.task_name;
  }
  // crun refuses the hybrid layout while it sees the v2 tree.
  void add_unmounts(MonitorConfig& config) const {
    if (cgroups_->layout() == sys::CgroupLayout::hybrid) config.add("unmount", "/sys/fs/cgroup/unified");
  }

  const Runtime runtime_;
  SeccompCache filters_;
  std::atomic<uint64_t> execs_{0};
};

}  // namespace

std::unique_ptr<Driver> make_container_driver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups,
                                              std::shared_ptr<sys::Reaper> reaper, std::string runtime) {
  return std::make_unique<ContainerDriver>(std::move(monitor), std::move(cgroups), std::move(reaper), runtime);
}

}  // namespace tutti::driver
