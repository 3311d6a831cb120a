#include "driver/container/bundle.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/text.h"
#include "driver/container/exec.h"
#include "driver/monitor/seccomp.h"
#include "model/codec.h"
#include "model/security.h"
#include "sys/fd.h"
#include "sys/file.h"

namespace tutti::driver {
namespace {

constexpr const char* kMaskedPaths[] = {"/proc/acpi",
                                        "/proc/asound",
                                        "/proc/kcore",
                                        "/proc/keys",
                                        "/proc/latency_stats",
                                        "/proc/timer_list",
                                        "/proc/timer_stats",
                                        "/proc/sched_debug",
                                        "/proc/scsi",
                                        "/sys/firmware",
                                        "/sys/devices/virtual/powercap"};
constexpr const char* kReadonlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
void strings(std::string& out, const std::vector<std::string>& values) {
  out += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    append_json_string(out, values[i]);
  }
  out += ']';
}

template <size_t N>
std::vector<std::string> list(const char* const (&words)[N]) {
  return {words, words + N};
}

void mount(std::string& out, std::string_view target, std::string_view type, std::string_view source,
           const std::vector<std::string>& options) {
  out += ",{\"destination\":";
  append_json_string(out, target);
  out += ",\"type\":";
  append_json_string(out, type);
  out += ",\"source\":";
  append_json_string(out, source);
  out += ",\"options\":";
  strings(out, options);
  out += '}';
}

std::string mounts_json(const RunContext& run) {
  const bool privileged = run.task.security.privileged;
  std::string out;
  mount(out, "/proc", "proc", "proc", {"nosuid", "noexec", "nodev"});
  mount(out, "/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"});
  mount(out, "/dev/pts", "devpts", "devpts",
        {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"});
  mount(out, "/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"});
  mount(out, "/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"});
  mount(out, "/sys", "sysfs", "sysfs",
        privileged ? std::vector<std::string>{"nosuid", "noexec", "nodev"}
                   : std::vector<std::string>{"nosuid", "noexec", "nodev", "ro"});
  for (const char* file : {"hosts", "hostname", "resolv.conf"}) {
    mount(out, std::string("/etc/") + file, "bind", run.run_dir + "/etc/" + file, {"rbind", "rw"});
  }
  for (const ResolvedMount& m : run.mounts) {
    if (m.source.empty()) {
      std::vector<std::string> options{"nosuid", "nodev", "mode=1777"};
      if (m.size_bytes > 0) options.push_back("size=" + std::to_string(m.size_bytes));
      mount(out, m.target, "tmpfs", "tmpfs", options);
    } else {
      mount(out, m.target, "bind", m.source, {"rbind", m.read_only ? "ro" : "rw", "nosuid", "nodev"});
    }
  }
  return "[" + out.substr(1) + "]";
}

// A file of the image, with links resolved inside of its layer: an image's link never leads to the node's own files.
std::optional<std::string> read_in_layer(const std::string& dir, const char* path) {
  sys::UniqueFd root(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  sys::UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, root.get(), path, &how, sizeof how)));
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > (1 << 20)) return std::nullopt;
  std::string out(static_cast<size_t>(info.st_size), '\0');
  const ssize_t n = ::read(fd.get(), out.data(), out.size());
  out.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return out;
}

// The lines of passwd or group, as fields. The topmost layer that has the file counts.
std::vector<std::vector<std::string>> table_of(const std::vector<std::string>& lower_dirs, const char* path) {
  std::vector<std::vector<std::string>> out;
  for (const std::string& dir : lower_dirs) {
    auto text = read_in_layer(dir, path);
    if (!text) continue;
    for (const std::string& line : split(*text, '\n')) out.push_back(split(line, ':'));
    return out;
  }
  return out;
}

bool numeric(const std::string& word) {
  return !word.empty() && word.size() < 10 && word.find_first_not_of("0123456789") == std::string::npos;
}
uint32_t number(const std::string& word) {
  return static_cast<uint32_t>(std::stoul(word));
}

}  // namespace

std::vector<std::string> oci_capabilities(const Security& security) {
  std::vector<std::string> out;
  for (const std::string& word : capabilities_of(security)) out.push_back("CAP_" + word);
  return out;
}

Result<ContainerUser> resolve_user(const std::string& text, const std::vector<std::string>& lower_dirs) {
  ContainerUser out;
  if (text.empty()) return out;
  const size_t colon = text.find(':');
  const std::string user = text.substr(0, colon);
  bool found = false;
  std::string name = user;
  for (const auto& fields : table_of(lower_dirs, "etc/passwd")) {
    if (fields.size() < 4 || !numeric(fields[2]) || !numeric(fields[3])) continue;
    if (numeric(user) ? fields[2] != user : fields[0] != user) continue;
    out.uid = number(fields[2]);
    out.gid = number(fields[3]);
    name = fields[0];
    found = true;
    break;
  }
  if (!found) {
    if (!numeric(user)) return fail(ErrorCode::invalid, "the image has no user '" + user + "' in its /etc/passwd");
    out.uid = number(user);
  }
  const std::string group = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (numeric(group)) out.gid = number(group);
  bool group_found = group.empty() || numeric(group);
  for (const auto& fields : table_of(lower_dirs, "etc/group")) {
    if (fields.size() < 3 || !numeric(fields[2])) continue;
    if (!group_found && fields[0] == group) {
      out.gid = number(fields[2]);
      group_found = true;
    }
    if (!group.empty() || fields.size() < 4) continue;  // an explicit group is the only one
    const std::vector<std::string> members = split(fields[3], ',');
    if (std::find(members.begin(), members.end(), name) != members.end()) out.groups.push_back(number(fields[2]));
  }
  if (!group_found) return fail(ErrorCode::invalid, "the image has no group '" + group + "' in its /etc/group");
  return out;
}

Result<std::vector<std::string>> command_of(const RunContext& run) {
  const TaskSpec& task = run.task;
  std::vector<std::string> argv = task.entrypoint.empty() ? run.image->entrypoint : task.entrypoint;
  // As Docker does: an entrypoint of the task's own makes the image's command meaningless.
  const std::vector<std::string>& command =
      !task.command.empty() || !task.entrypoint.empty() ? task.command : run.image->command;
  argv.insert(argv.end(), command.begin(), command.end());
  if (argv.empty())
    return fail(ErrorCode::invalid, "neither the image nor the task says what to run: give it a command");
  return argv;
}

std::vector<std::string> environment_of(const RunContext& run) {
  std::map<std::string, std::string> env{{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                                         {"HOSTNAME", run.instance_name}};
  if (run.task.tty) env["TERM"] = "xterm";
  for (const std::string& pair : run.image->env) {
    const size_t at = pair.find('=');
    if (at != std::string::npos) env[pair.substr(0, at)] = pair.substr(at + 1);
  }
  for (const auto* source : {&run.extra_env, &run.task.env}) {
    for (const auto& [key, value] : *source) env[key] = value;
  }
  std::vector<std::string> out;
  for (const auto& [key, value] : env) out.push_back(key + "=" + value);
  return out;
}

std::string workdir_of(const RunContext& run) {
  return run.task.workdir.empty() ? run.image->workdir : run.task.workdir;
}

std::string process_json(const TaskSpec& task, const std::vector<std::string>& argv,
                         const std::vector<std::string>& env, const std::string& workdir, const ContainerUser& user,
                         bool terminal) {
  std::string out = "{\"terminal\":";
  out += terminal ? "true" : "false";
  // As Docker does, the first group is among the others too: what is denied to it stays denied.
  out += ",\"user\":{\"uid\":" + std::to_string(user.uid) + ",\"gid\":" + std::to_string(user.gid) +
         ",\"additionalGids\":[" + std::to_string(user.gid);
  for (uint32_t group : user.groups) {
    if (group != user.gid) out += "," + std::to_string(group);
  }
  out += "]},\"args\":";
  strings(out, argv);
  out += ",\"env\":";
  strings(out, env);
  out += ",\"cwd\":";
  append_json_string(out, workdir.empty() ? "/" : workdir);
  const std::vector<std::string> caps = oci_capabilities(task.security);
  out += ",\"capabilities\":{";
  for (const char* set : {"bounding", "effective", "permitted"}) {
    out += std::string(set == std::string_view("bounding") ? "" : ",") + "\"" + set + "\":";
    strings(out, user.uid != 0 && set != std::string_view("bounding") ? std::vector<std::string>{} : caps);
  }
  out += "}";
  if (task.limits.open_files > 0) {
    // A hard limit above the worker's own is refused by the kernel.
    rlimit own{};
    ::getrlimit(RLIMIT_NOFILE, &own);
    const std::string n = std::to_string(std::min(static_cast<rlim_t>(task.limits.open_files), own.rlim_max));
    out += ",\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":" + n + ",\"soft\":" + n + "}]";
  }
  return out +
         ",\"noNewPrivileges\":" + (task.security.no_new_privileges && !task.security.privileged ? "true" : "false") +
         "}";
}

std::string oci_config(const RunContext& run, const std::vector<std::string>& argv, const ContainerUser& user,
                       const std::string& filter) {
  const TaskSpec& task = run.task;
  const std::vector<std::string> caps = oci_capabilities(task.security);
  std::string out = "{\"ociVersion\":\"1.0.2\",\"process\":" +
                    process_json(task, argv, environment_of(run), workdir_of(run), user, task.tty);
  out += ",\"root\":{\"path\":\"rootfs\",\"readonly\":" + std::string(task.security.read_only_root ? "true" : "false") +
         "},\"hostname\":";
  append_json_string(out, run.instance_name.substr(0, 63));
  out += ",\"mounts\":" + mounts_json(run);
  out += R"(,"linux":{"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"cgroup"}])";
  if (!task.security.privileged) {
    out += ",\"maskedPaths\":";
    strings(out, list(kMaskedPaths));
    out += ",\"readonlyPaths\":";
    strings(out, list(kReadonlyPaths));
  }
  if (!task.security.privileged && filter.empty()) out += ",\"seccomp\":" + seccomp_json({caps.begin(), caps.end()});
  out += '}';
  if (!filter.empty()) out += R"(,"annotations":{"run.oci.seccomp_bpf_data":")" + filter + "\"}";
  return out + "}";
}

Status write_bundle(const RunContext& run, const std::string& filter) {
  TUTTI_TRY(const std::vector<std::string> argv, command_of(run));
  TUTTI_TRY(const ContainerUser user,
            resolve_user(run.task.user.empty() ? run.image->user : run.task.user, run.image->lower_dirs));
  TUTTI_CHECK(save_exec_base(run.run_dir, {environment_of(run), run.image->lower_dirs, workdir_of(run), user}));
  TUTTI_CHECK(sys::make_dirs(run.run_dir + "/bundle/rootfs"));
  TUTTI_CHECK(sys::make_dirs(run.run_dir + "/etc"));
  TUTTI_CHECK(sys::write_file_atomic(run.run_dir + "/etc/hostname", run.instance_name + "\n"));
  TUTTI_CHECK(sys::write_file_atomic(run.run_dir + "/etc/hosts",
                                     "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 " + run.instance_name + "\n"));
  std::string resolv;
  for (const std::string& server : run.dns) resolv += "nameserver " + server + "\n";
  if (run.dns.empty()) resolv = sys::read_file("/etc/resolv.conf").value_or("");
  TUTTI_CHECK(sys::write_file_atomic(run.run_dir + "/etc/resolv.conf", resolv));
  return sys::write_file_atomic(run.run_dir + "/bundle/config.json", oci_config(run, argv, user, filter),
                                {0600, false});
}

}  // namespace tutti::driver
