#include "model/security.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"

namespace tutti {
namespace {

constexpr std::array<std::string_view, 41> kCapabilities{"CHOWN",
                                                         "DAC_OVERRIDE",
                                                         "DAC_READ_SEARCH",
                                                         "FOWNER",
                                                         "FSETID",
                                                         "KILL",
                                                         "SETGID",
                                                         "SETUID",
                                                         "SETPCAP",
                                                         "LINUX_IMMUTABLE",
                                                         "NET_BIND_SERVICE",
                                                         "NET_BROADCAST",
                                                         "NET_ADMIN",
                                                         "NET_RAW",
                                                         "IPC_LOCK",
                                                         "IPC_OWNER",
                                                         "SYS_MODULE",
                                                         "SYS_RAWIO",
                                                         "SYS_CHROOT",
                                                         "SYS_PTRACE",
                                                         "SYS_PACCT",
                                                         "SYS_ADMIN",
                                                         "SYS_BOOT",
                                                         "SYS_NICE",
                                                         "SYS_RESOURCE",
                                                         "SYS_TIME",
                                                         "SYS_TTY_CONFIG",
                                                         "MKNOD",
                                                         "LEASE",
                                                         "AUDIT_WRITE",
                                                         "AUDIT_CONTROL",
                                                         "SETFCAP",
                                                         "MAC_OVERRIDE",
                                                         "MAC_ADMIN",
                                                         "SYSLOG",
                                                         "WAKE_ALARM",
                                                         "BLOCK_SUSPEND",
                                                         "AUDIT_READ",
                                                         "PERFMON",
                                                         "BPF",
                                                         "CHECKPOINT_RESTORE"};
constexpr std::array<std::string_view, 14> kDefaults{
    "CHOWN",  "DAC_OVERRIDE", "FSETID",  "FOWNER",           "MKNOD",      "NET_RAW", "SETGID",
    "SETUID", "SETFCAP",      "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL",    "AUDIT_WRITE"};

// Often taken from the worker itself, or too new for the runtimes: a task that needs one adds it by name.
constexpr std::array<std::string_view, 6> kNotEvenPrivileged{"SYS_RESOURCE", "MAC_OVERRIDE", "MAC_ADMIN",
                                                             "PERFMON",      "BPF",          "CHECKPOINT_RESTORE"};

// systemd and the shadow tools leave this range alone, and it is below 2^31, as some programs want.
constexpr uint32_t kAccountsFirst = 1'900'000'000;
constexpr uint32_t kAccounts = 200'000'000;

constexpr const char* kHint = "an admin can allow it: 'tutti project set NAME --privileged'";

void of_process(const TaskSpec& task, const std::string& path, std::vector<ErrorDetail>& out) {
  if (task.security.privileged) return;
  const std::string user = task.user.substr(0, task.user.find(':'));
  const bool number = !user.empty() && user.find_first_not_of("0123456789") == std::string::npos;
  if (!user.empty() && user != "nobody" && (!number || user.find_first_not_of('0') == std::string::npos)) {
    out.push_back({path + ".user", "a process as " + task.user + " is that account of the node",
                   "leave user out (an account of its own), or set security.privileged"});
  }
  if (!task.security.no_new_privileges) {
    out.push_back({path + ".security.no_new_privileges", "a process could use the node's set-user-id programs",
                   "leave it on, or set security.privileged"});
  }
}

}  // namespace

std::span<const std::string_view> capability_names() {
  return kCapabilities;
}
std::span<const std::string_view> default_capabilities() {
  return kDefaults;
}

std::string plain_capability(std::string_view word) {
  std::string out(word);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return out.starts_with("CAP_") ? out.substr(4) : out;
}

std::set<std::string> capabilities_of(const Security& security) {
  std::set<std::string> out;
  if (security.privileged) {
    out.insert(kCapabilities.begin(), kCapabilities.end());
    for (std::string_view name : kNotEvenPrivileged) out.erase(std::string(name));
  } else {
    out.insert(kDefaults.begin(), kDefaults.end());
  }
  for (const std::string& word : security.cap_drop) {
    if (plain_capability(word) == "ALL")
      out.clear();
    else
      out.erase(plain_capability(word));
  }
  for (const std::string& word : security.cap_add) out.insert(plain_capability(word));
  return out;
}

uint32_t own_account_of(uint64_t job) {
  return kAccountsFirst + static_cast<uint32_t>(job % kAccounts);
}

std::vector<ErrorDetail> needs_consent(const TaskSpec& task, const std::string& path) {
  std::vector<ErrorDetail> out;
  if (task.security.privileged)
    out.push_back({path + ".security.privileged", "a privileged task can do everything to its node", kHint});
  for (size_t i = 0; i < task.security.cap_add.size(); ++i) {
    const std::string name = plain_capability(task.security.cap_add[i]);
    if (std::ranges::find(kDefaults, name) != kDefaults.end()) continue;
    out.push_back({path + ".security.cap_add[" + std::to_string(i) + "]",
                   name + " is not among those that every task may have", kHint});
  }
  if (task.driver == "process") of_process(task, path, out);
  return out;
}

Status allowed_in(const Project& project, const JobSpec& spec) {
  std::vector<ErrorDetail> details;
  for (size_t i = 0; i < spec.tasks.size(); ++i) {
    const TaskSpec& task = spec.tasks[i];
    const std::string path = "tasks[" + std::to_string(i) + "]";
    if (!project.allow_privileged) {
      for (ErrorDetail& wish : needs_consent(task, path)) {
        wish.message += ", and project " + project.name + " does not allow that";
        details.push_back(std::move(wish));
      }
    }
    for (size_t v = 0; v < task.volumes.size(); ++v) {
      const VolumeMount& mount = task.volumes[v];
      if (mount.kind != VolumeKind::host) continue;
      const bool listed =
          std::any_of(project.host_paths.begin(), project.host_paths.end(), [&](const std::string& prefix) {
            return mount.source == prefix || mount.source.starts_with(prefix.ends_with('/') ? prefix : prefix + "/");
          });
      if (!listed || mount.source.find("..") != std::string::npos) {
        details.push_back({path + ".volumes[" + std::to_string(v) + "].source",
                           mount.source + " is not on the allow list of project " + project.name,
                           "use a local volume, or ask an admin to list the path"});
      }
    }
  }
  if (details.empty()) return {};
  return fail(ErrorCode::forbidden, "project " + project.name + " does not allow job " + spec.job, std::move(details));
}

}  // namespace tutti
