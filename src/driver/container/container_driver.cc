#include "driver/container/container_driver.h"

#include <mutex>

#include "base/text.h"
#include "driver/container/bundle.h"
#include "driver/container/seccomp.h"
#include "driver/monitor/monitored.h"
#include "sys/file.h"
#include "sys/process.h"

namespace tutti::driver {
namespace {

struct Runtime {
  std::string path;
  std::string version;
  bool crun = true;
};

class ContainerDriver final : public MonitoredDriver {
 public:
  ContainerDriver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups, std::shared_ptr<sys::Reaper> reaper)
      : MonitoredDriver(std::move(monitor), std::move(cgroups), std::move(reaper)), runtime_(find_runtime()) {}

  std::string name() const override { return "container"; }
  Capabilities capabilities() const override { return {.images = true, .network = true, .keeps_running = true}; }
  DriverInfo fingerprint() override {
    if (runtime_.path.empty())
      return {"container", "", false, "neither crun nor runc is installed: apt-get install crun"};
    return {"container", runtime_.version, true, ""};
  }

  DriverResult<ExecSession> exec(const RunContext& run, const Handle& handle, const ExecRequest& request) override {
    if (auto task = task_of(run, handle); !task) return tl::make_unexpected(std::move(task).error());
    MonitorConfig config;
    add_unmounts(config);
    config.flag("process", false);
    add_groups(run, config);
    std::vector<std::string> argv = runtime_argv(run);
    argv.push_back("exec");
    if (request.tty) argv.push_back("--tty");
    if (!request.workdir.empty()) argv.insert(argv.end(), {"--cwd", request.workdir});
    if (!request.user.empty()) {
      auto user = resolve_user(request.user, run.image ? run.image->lower_dirs : std::vector<std::string>{});
      if (!user) return rejected(std::move(user).error());
      argv.insert(argv.end(), {"--user", std::to_string(user->uid) + ":" + std::to_string(user->gid)});
    }
    for (const auto& [key, value] : request.env) argv.insert(argv.end(), {"--env", key + "=" + value});
    argv.push_back(container_id(run));
    argv.insert(argv.end(), request.command.begin(), request.command.end());
    for (const std::string& word : argv) config.add("argv", word);
    config.add("env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    return enter(config, request);
  }

 protected:
  DriverStatus configure(const RunContext& run, MonitorConfig& config) override {
    if (runtime_.path.empty()) return rejected({ErrorCode::unsupported, fingerprint().reason, {}, 0});
    if (!run.image || run.image->lower_dirs.empty())
      return rejected({ErrorCode::invalid, "a container needs an image with at least one layer", {}, 0});
    std::string filter;  // crun takes it ready-made
    if (runtime_.crun && !run.task.security.privileged) {
      const std::vector<std::string> caps = capabilities_of(run.task.security);
      auto program = filters_.base64_program({caps.begin(), caps.end()});
      if (!program) return retryable(std::move(program).error());
      filter = std::move(*program);
    }
    if (Status written = write_bundle(run, filter); !written) {
      Error error = std::move(written).error();
      if (error.code == ErrorCode::invalid) return rejected(std::move(error));
      return retryable(std::move(error));
    }
    for (const char* dir : {"/upper", "/work"}) {
      if (Status made = sys::make_dirs(run.disk_dir + dir); !made) return retryable(std::move(made).error());
    }
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

 private:
  static Runtime find_runtime() {
    for (const char* name : {"crun", "runc"}) {
      Runtime out;
      out.path = sys::find_program(name);
      if (out.path.empty()) continue;
      out.crun = std::string_view(name) == "crun";
      sys::SpawnOptions spawn;
      spawn.argv = {out.path, "--version"};
      spawn.inherit_env = true;
      auto said = sys::run_program(spawn, seconds(5));
      if (!said || said->exit_code != 0) continue;
      out.version = std::string(trim(said->output.substr(0, said->output.find('\n'))));
      return out;
    }
    return {};
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
};

}  // namespace

std::unique_ptr<Driver> make_container_driver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups,
                                              std::shared_ptr<sys::Reaper> reaper) {
  return std::make_unique<ContainerDriver>(std::move(monitor), std::move(cgroups), std::move(reaper));
}

}  // namespace tutti::driver
