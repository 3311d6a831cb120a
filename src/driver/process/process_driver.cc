#include "driver/process/process_driver.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "base/text.h"
#include "driver/monitor/monitored.h"

namespace tutti::driver {
namespace {

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
};

// "uid[:gid]" or a name of this machine.
Result<User> find_user(const std::string& text) {
  User out;
  if (text.empty()) return out;
  const std::vector<std::string> parts = split(text, ':');
  if (parts[0].find_first_not_of("0123456789") == std::string::npos) {
    out.uid = static_cast<uid_t>(std::atoi(parts[0].c_str()));
    out.gid = parts.size() > 1 ? static_cast<gid_t>(std::atoi(parts[1].c_str())) : out.uid;
    return out;
  }
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (::getpwnam_r(parts[0].c_str(), &entry, buffer, sizeof buffer, &found) != 0 || found == nullptr) {
    return fail(ErrorCode::invalid, "there is no user '" + parts[0] + "' on this node");
  }
  return User{found->pw_uid, found->pw_gid};
}

class ProcessDriver final : public MonitoredDriver {
 public:
  ProcessDriver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups, std::shared_ptr<sys::Reaper> reaper)
      : MonitoredDriver(std::move(monitor), std::move(cgroups), std::move(reaper)) {}
  std::string name() const override { return "process"; }
  Capabilities capabilities() const override { return {.images = false, .network = false, .keeps_running = true}; }
  DriverInfo fingerprint() override { return {"process", "1", true, ""}; }

  DriverResult<ExecSession> exec(const RunContext& run, const Handle& handle, const ExecRequest& request) override {
    if (auto task = task_of(run, handle); !task) return tl::make_unexpected(std::move(task).error());
    auto pid = pid_of(handle);
    if (!pid) return failed(std::move(pid).error());
    MonitorConfig config;
    config.flag("process", true);
    config.add("enter_pid", *pid);
    add_groups(run, config);
    for (const std::string& word : request.command) config.add("argv", word);
    add_environment(run, request.env, config);
    if (!request.workdir.empty()) config.add("cwd", request.workdir);
    if (auto user = add_user(request.user.empty() ? run.task.user : request.user, config); !user)
      return tl::make_unexpected(std::move(user).error());
    return enter(config, request);
  }

 protected:
  DriverStatus configure(const RunContext& run, MonitorConfig& config) override {
    std::vector<std::string> argv = run.task.entrypoint;
    argv.insert(argv.end(), run.task.command.begin(), run.task.command.end());
    if (argv.empty()) return rejected({ErrorCode::invalid, "a process needs a command", {}, 0});
    config.flag("process", true);
    config.flag("pid_namespace", true);
    config.flag("no_new_privileges", run.task.security.no_new_privileges);
    for (const std::string& word : argv) config.add("argv", word);
    add_environment(run, {}, config);
    config.add("cwd", run.task.workdir.empty() ? run.disk_dir : run.task.workdir);
    if (run.task.limits.open_files > 0) config.add("open_files", run.task.limits.open_files);
    for (const ResolvedMount& mount : run.mounts) {
      if (!mount.source.empty())
        config.add("bind", mount.source + "\x1f" + mount.target + "\x1f" + (mount.read_only ? "ro" : "rw"));
    }
    return add_user(run.task.user, config);
  }

 private:
  static void add_environment(const RunContext& run, const std::map<std::string, std::string>& more,
                              MonitorConfig& config) {
    std::map<std::string, std::string> env{{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                                           {"HOME", run.disk_dir}};
    for (const auto* source : {&run.extra_env, &run.task.env, &more}) {
      for (const auto& [key, value] : *source) env[key] = value;
    }
    for (const auto& [key, value] : env) config.add("env", key + "=" + value);
  }
  static DriverStatus add_user(const std::string& text, MonitorConfig& config) {
    auto user = find_user(text);
    if (!user) return rejected(std::move(user).error());
    config.add("uid", user->uid);
    config.add("gid", user->gid);
    return {};
  }
};

}  // namespace

std::unique_ptr<Driver> make_process_driver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups,
                                            std::shared_ptr<sys::Reaper> reaper) {
  return std::make_unique<ProcessDriver>(std::move(monitor), std::move(cgroups), std::move(reaper));
}

}  // namespace tutti::driver
