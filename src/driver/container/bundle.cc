#include "driver/container/bundle.h"

#include <algorithm>
#include <set>

#include "base/text.h"
#include "model/codec.h"
#include "sys/file.h"

namespace tutti::driver {
namespace {

constexpr const char* kDefaultCapabilities[] = {"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID",
                                                "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"};
// What the kernel knows; a container that is privileged gets those that the worker itself has.
constexpr const char* kAllCapabilities[] = {
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
    "AUDIT_CONTROL", "SETFCAP", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ"};
constexpr const char* kMaskedPaths[] = {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                                        "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"};
constexpr const char* kReadonlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
// System calls that a container has no business with: kernel modules, clocks, namespaces, tracing, keyrings, raw I/O.
constexpr const char* kDeniedCalls[] = {
    "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module", "finit_module", "get_kernel_syms",
    "init_module", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mount", "move_mount", "open_tree",
    "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "move_pages", "nfsservctl", "open_by_handle_at", "perf_event_open",
    "pivot_root", "process_vm_readv", "process_vm_writev", "ptrace", "query_module", "quotactl", "quotactl_fd", "reboot", "request_key",
    "setns", "settimeofday", "stime", "swapoff", "swapon", "sysfs", "_sysctl", "syslog", "umount", "umount2", "unshare", "uselib",
    "userfaultfd", "ustat", "vm86", "vm86old", "io_uring_setup", "io_uring_enter", "io_uring_register", "fanotify_init", "vhangup"};

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

std::vector<std::string> capabilities_of(const Security& security) {
  std::set<std::string> names;
  if (security.privileged) {
    for (const char* word : kAllCapabilities) names.insert(word);
  } else {
    for (const char* word : kDefaultCapabilities) names.insert(word);
  }
  auto plain = [](std::string word) {
    std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return word.starts_with("CAP_") ? word.substr(4) : word;
  };
  for (const std::string& word : security.cap_drop) {
    if (plain(word) == "ALL") names.clear();
    else names.erase(plain(word));
  }
  for (const std::string& word : security.cap_add) names.insert(plain(word));
  std::vector<std::string> out;
  for (const std::string& word : names) out.push_back("CAP_" + word);
  return out;
}

void mount(std::string& out, std::string_view target, std::string_view type, std::string_view source, const std::vector<std::string>& options) {
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
  mount(out, "/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"});
  mount(out, "/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"});
  mount(out, "/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"});
  mount(out, "/sys", "sysfs", "sysfs", privileged ? std::vector<std::string>{"nosuid", "noexec", "nodev"} : std::vector<std::string>{"nosuid", "noexec", "nodev", "ro"});
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

std::string seccomp_json(const Security& security) {
  if (security.privileged) return {};
  std::vector<std::string> denied = list(kDeniedCalls);
  const std::vector<std::string> have = capabilities_of(security);
  const bool admin = std::find(have.begin(), have.end(), "CAP_SYS_ADMIN") != have.end();
  const bool trace = std::find(have.begin(), have.end(), "CAP_SYS_PTRACE") != have.end();
  std::erase_if(denied, [&](const std::string& call) {
    const bool mounting = call.find("mount") != std::string::npos || call == "unshare" || call == "setns" || call == "pivot_root" || call.starts_with("fs");
    return (admin && mounting) || (trace && (call == "ptrace" || call.starts_with("process_vm")));
  });
  std::string out = R"(,"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[{"names":)";
#if defined(__aarch64__)
  out = R"(,"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_AARCH64","SCMP_ARCH_ARM"],"syscalls":[{"names":)";
#endif
  strings(out, denied);
  out += R"(,"action":"SCMP_ACT_ERRNO","errnoRet":1})";
  if (!admin) {
    // A new user namespace would give every capability back, inside it.
    out += R"(,{"names":["clone"],"action":"SCMP_ACT_ERRNO","errnoRet":1,"args":[{"index":0,"value":268435456,"valueTwo":268435456,"op":"SCMP_CMP_MASKED_EQ"}]})";
    out += R"(,{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38})";
  }
  return out + "]}";
}

// A line of passwd or group whose first field is `name`: its fields.
std::vector<std::string> lookup(const std::vector<std::string>& lower_dirs, const std::string& file, const std::string& name) {
  for (const std::string& dir : lower_dirs) {
    auto text = sys::read_file(dir + file, 1u << 20);
    if (!text) continue;
    for (const std::string& line : split(*text, '\n')) {
      std::vector<std::string> fields = split(line, ':');
      if (fields.size() >= 4 && fields[0] == name) return fields;
      if (fields.size() >= 3 && file == "/etc/group" && fields[0] == name) return fields;
    }
    return {};  // the topmost file is the one that counts
  }
  return {};
}

}  // namespace

Result<ContainerUser> resolve_user(const std::string& text, const std::vector<std::string>& lower_dirs) {
  ContainerUser out;
  if (text.empty()) return out;
  const size_t colon = text.find(':');
  const std::string user = text.substr(0, colon);
  auto numeric = [](const std::string& word) { return !word.empty() && word.find_first_not_of("0123456789") == std::string::npos && word.size() < 10; };
  if (numeric(user)) {
    out.uid = static_cast<uint32_t>(std::stoul(user));
  } else {
    const std::vector<std::string> fields = lookup(lower_dirs, "/etc/passwd", user);
    if (fields.empty() || !numeric(fields[2]) || !numeric(fields[3])) return fail(ErrorCode::invalid, "the image has no user '" + user + "' in its /etc/passwd");
    out.uid = static_cast<uint32_t>(std::stoul(fields[2]));
    out.gid = static_cast<uint32_t>(std::stoul(fields[3]));
  }
  if (colon == std::string::npos) return out;
  const std::string group = text.substr(colon + 1);
  if (numeric(group)) {
    out.gid = static_cast<uint32_t>(std::stoul(group));
  } else {
    const std::vector<std::string> fields = lookup(lower_dirs, "/etc/group", group);
    if (fields.empty() || !numeric(fields[2])) return fail(ErrorCode::invalid, "the image has no group '" + group + "' in its /etc/group");
    out.gid = static_cast<uint32_t>(std::stoul(fields[2]));
  }
  return out;
}

Result<std::vector<std::string>> command_of(const RunContext& run) {
  const TaskSpec& task = run.task;
  std::vector<std::string> argv = task.entrypoint.empty() ? run.image->entrypoint : task.entrypoint;
  // As Docker does: an entrypoint of the task's own makes the image's command meaningless.
  const std::vector<std::string>& command = !task.command.empty() || !task.entrypoint.empty() ? task.command : run.image->command;
  argv.insert(argv.end(), command.begin(), command.end());
  if (argv.empty()) return fail(ErrorCode::invalid, "neither the image nor the task says what to run: give it a command");
  return argv;
}

std::vector<std::string> environment_of(const RunContext& run) {
  std::map<std::string, std::string> env{{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {"HOSTNAME", run.instance_name}};
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

std::string oci_config(const RunContext& run, const std::vector<std::string>& argv, ContainerUser user) {
  const TaskSpec& task = run.task;
  std::string workdir = task.workdir.empty() ? run.image->workdir : task.workdir;
  if (workdir.empty()) workdir = "/";
  std::string out = "{\"ociVersion\":\"1.0.2\",\"process\":{\"terminal\":";
  out += task.tty ? "true" : "false";
  out += ",\"user\":{\"uid\":" + std::to_string(user.uid) + ",\"gid\":" + std::to_string(user.gid) + "},\"args\":";
  strings(out, argv);
  out += ",\"env\":";
  strings(out, environment_of(run));
  out += ",\"cwd\":";
  append_json_string(out, workdir);
  const std::vector<std::string> caps = capabilities_of(task.security);
  out += ",\"capabilities\":{";
  for (const char* set : {"bounding", "effective", "permitted"}) {
    out += std::string(set == std::string_view("bounding") ? "" : ",") + "\"" + set + "\":";
    strings(out, user.uid != 0 && set != std::string_view("bounding") ? std::vector<std::string>{} : caps);
  }
  out += "}";
  if (task.limits.open_files > 0) {
    const std::string n = std::to_string(task.limits.open_files);
    out += ",\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":" + n + ",\"soft\":" + n + "}]";
  }
  out += std::string(",\"noNewPrivileges\":") + (task.security.no_new_privileges && !task.security.privileged ? "true" : "false") + "}";
  out += ",\"root\":{\"path\":\"rootfs\",\"readonly\":" + std::string(task.security.read_only_root ? "true" : "false") + "},\"hostname\":";
  append_json_string(out, run.instance_name.substr(0, 63));
  out += ",\"mounts\":" + mounts_json(run);
  out += R"(,"linux":{"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"cgroup"}])";
  if (!task.security.privileged) {
    out += ",\"maskedPaths\":";
    strings(out, list(kMaskedPaths));
    out += ",\"readonlyPaths\":";
    strings(out, list(kReadonlyPaths));
  }
  out += seccomp_json(task.security);
  return out + "}}";
}

Status write_bundle(const RunContext& run) {
  TUTTI_TRY(const std::vector<std::string> argv, command_of(run));
  TUTTI_TRY(const ContainerUser user, resolve_user(run.task.user.empty() ? run.image->user : run.task.user, run.image->lower_dirs));
  TUTTI_CHECK(sys::make_dirs(run.run_dir + "/bundle/rootfs"));
  TUTTI_CHECK(sys::make_dirs(run.run_dir + "/etc"));
  TUTTI_CHECK(sys::write_file_atomic(run.run_dir + "/etc/hostname", run.instance_name + "\n"));
  TUTTI_CHECK(sys::write_file_atomic(run.run_dir + "/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 " + run.instance_name + "\n"));
  std::string resolv;
  for (const std::string& server : run.dns) resolv += "nameserver " + server + "\n";
  if (run.dns.empty()) resolv = sys::read_file("/etc/resolv.conf").value_or("");
  TUTTI_CHECK(sys::write_file_atomic(run.run_dir + "/etc/resolv.conf", resolv));
  return sys::write_file_atomic(run.run_dir + "/bundle/config.json", oci_config(run, argv, user), {0600, false});
}

}  // namespace tutti::driver
