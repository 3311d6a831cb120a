#include "driver/process/process_driver.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <set>

#include "base/text.h"
#include "driver/monitor/monitored.h"
#include "driver/monitor/seccomp.h"
#include "model/security.h"

namespace tutti::driver {
namespace {

// "uid[:gid]" or a name of this machine.
Result<Account> find_account(const std::string& text) {
  Account out;
  const std::vector<std::string> parts = split(text, ':');
  if (!parts[0].empty() && parts[0].find_first_not_of("0123456789") == std::string::npos) {
    auto number = [](const std::string& word, uint32_t& into) {
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), into);
      return error == std::errc{} && end == word.data() + word.size() &&
             into != ~0u;  // -1 means "leave it" to the kernel
    };
    const bool read = number(parts[0], out.uid) && parts.size() <= 2 && number(parts.back(), out.gid);
    if (!read) return fail(ErrorCode::invalid, "'" + text + "' is not uid[:gid]");
    return out;
  }
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (::getpwnam_r(parts[0].c_str(), &entry, buffer, sizeof buffer, &found) != 0 || found == nullptr) {
    return fail(ErrorCode::invalid, "there is no user '" + parts[0] + "' on this node");
  }
  return Account{found->pw_uid, found->pw_gid};
}

// Somebody of this node, whose files and programs are no task's business. `nobody` is made for this.
bool is_of_the_node(const Account& account) {
  char buffer[4096];
  passwd user{};
  passwd* user_found = nullptr;
  group set{};
  group* group_found = nullptr;
  const bool user_known =
      ::getpwuid_r(account.uid, &user, buffer, sizeof buffer, &user_found) == 0 && user_found != nullptr;
  if (user_known && std::string_view(user_found->pw_name) != "nobody") return true;
  if (user_known && user_found->pw_gid == account.gid) return false;
  const int asked = ::getgrgid_r(account.gid, &set, buffer, sizeof buffer, &group_found);
  return account.uid == 0 || account.gid == 0 || group_found != nullptr || asked == ERANGE;
}

// Whom a command of this task runs as; without a name an account of the job's own, or root where it is privileged.
DriverResult<Account> account_of(const RunContext& run, const std::string& user) {
  const bool privileged = run.task.security.privileged;
  if (user.empty()) {
    if (privileged) return Account{};
    const uint32_t own = own_account_of(run.job.value);
    return Account{own, own};
  }
  auto account = find_account(user);
  if (!account) return rejected(std::move(account).error());
  if (!privileged && is_of_the_node(*account)) {
    return rejected(
        {ErrorCode::forbidden,
         "a process as " + user +
             " is an account of this node, which needs security.privileged: leave user out for an account of its own",
         {},
         0});
  }
  return *account;
}

std::string hex_mask(const std::set<std::string>& capabilities) {
  uint64_t mask = 0;
  const auto names = capability_names();
  for (size_t i = 0; i < names.size(); ++i) {
    if (capabilities.contains(std::string(names[i]))) mask |= uint64_t{1} << i;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(mask));
  return text;
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
    if (auto confined = confine(run, request.user.empty() ? run.task.user : request.user, config); !confined)
      return tl::make_unexpected(std::move(confined).error());
    return enter(config, request);
  }
  DriverResult<std::optional<Account>> file_account(const RunContext& run) override {
    auto account = account_of(run, run.task.user);
    if (!account) return tl::make_unexpected(std::move(account).error());
    if (account->uid == 0) return std::optional<Account>();
    return std::optional<Account>(*account);
  }

 protected:
  DriverStatus configure(const RunContext& run, MonitorConfig& config) override {
    std::vector<std::string> argv = run.task.entrypoint;
    argv.insert(argv.end(), run.task.command.begin(), run.task.command.end());
    if (argv.empty()) return rejected({ErrorCode::invalid, "a process needs a command", {}, 0});
    config.flag("process", true);
    config.flag("pid_namespace", true);
    for (const std::string& word : argv) config.add("argv", word);
    add_environment(run, {}, config);
    config.add("cwd", run.task.workdir.empty() ? run.disk_dir : run.task.workdir);
    if (run.task.limits.open_files > 0) config.add("open_files", run.task.limits.open_files);
    for (const ResolvedMount& mount : run.mounts) {
      if (!mount.source.empty())
        config.add("bind", mount.source + "\x1f" + mount.target + "\x1f" + (mount.read_only ? "ro" : "rw"));
    }
    if (auto confined = confine(run, run.task.user, config); !confined)
      return tl::make_unexpected(std::move(confined).error());
    return own_disk(run);
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
  // Its account, and what that account may do: as in a container, though the file system is the node's.
  DriverStatus confine(const RunContext& run, const std::string& user, MonitorConfig& config) {
    auto account = account_of(run, user);
    if (!account) return tl::make_unexpected(std::move(account).error());
    config.add("uid", account->uid);
    config.add("gid", account->gid);
    config.flag("no_new_privileges", run.task.security.no_new_privileges);
    if (run.task.security.privileged) return {};
    const std::set<std::string> capabilities = capabilities_of(run.task.security);
    config.add("capabilities", hex_mask(capabilities));
    std::set<std::string> long_names;
    for (const std::string& name : capabilities) long_names.insert("CAP_" + name);
    auto filter = filters_.base64_program(long_names);
    if (!filter) return retryable(std::move(filter).error());
    config.add("seccomp", *filter);
    return {};
  }
  // The folder that it starts in and that HOME names.
  static DriverStatus own_disk(const RunContext& run) {
    auto account = account_of(run, run.task.user);
    if (!account) return tl::make_unexpected(std::move(account).error());
    sys::UniqueFd disk(::open(run.disk_dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!disk || ::fchown(disk.get(), account->uid, account->gid) != 0) {
      return retryable(fail_errno("give " + run.disk_dir + " to the task's user", errno).value());
    }
    return {};
  }

  SeccompCache filters_;
};

}  // namespace

std::unique_ptr<Driver> make_process_driver(std::string monitor, std::shared_ptr<sys::Cgroups> cgroups,
                                            std::shared_ptr<sys::Reaper> reaper) {
  return std::make_unique<ProcessDriver>(std::move(monitor), std::move(cgroups), std::move(reaper));
}

}  // namespace tutti::driver
