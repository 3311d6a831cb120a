#include "driver/monitor/seccomp.h"

#include <seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string_view>
#include <vector>

#include "base/text.h"

namespace tutti::driver {
namespace {

// By what they are for; words of other architectures are ignored where they mean nothing.
constexpr std::string_view kAllowed[] = {
    // files
    "read write open close stat fstat lstat poll lseek pread64 pwrite64 readv writev access select dup dup2 dup3 "
    "sendfile "
    "fcntl flock fsync fdatasync truncate ftruncate getdents getdents64 getcwd chdir fchdir rename mkdir rmdir creat "
    "link "
    "unlink symlink readlink chmod fchmod chown fchown lchown umask utime utimes mknod statfs fstatfs sync syncfs "
    "readahead "
    "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr "
    "lremovexattr "
    "fremovexattr openat openat2 mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat renameat2 linkat "
    "symlinkat "
    "readlinkat fchmodat fchmodat2 faccessat faccessat2 utimensat fallocate fadvise64 statx splice tee vmsplice "
    "sync_file_range copy_file_range preadv pwritev preadv2 pwritev2 name_to_handle_at close_range cachestat ioctl "
    "stat64 lstat64 fstat64 fstatat64 statfs64 fstatfs64 fcntl64 truncate64 ftruncate64 sendfile64 fadvise64_64 "
    "_llseek "
    "_newselect chown32 fchown32 lchown32 utimensat_time64",
    // memory
    "mmap mmap2 mprotect munmap brk mremap msync mincore madvise mlock mlock2 munlock mlockall munlockall "
    "remap_file_pages "
    "mbind set_mempolicy get_mempolicy set_mempolicy_home_node membarrier memfd_create memfd_secret pkey_mprotect "
    "pkey_alloc "
    "pkey_free process_mrelease map_shadow_stack",
    // processes and threads
    "fork vfork execve execveat exit exit_group wait4 waitid waitpid kill tkill tgkill getpid getppid gettid setpgid "
    "getpgid "
    "getpgrp setsid getsid set_tid_address set_robust_list get_robust_list futex futex_time64 futex_waitv futex_wake "
    "futex_wait futex_requeue rseq restart_syscall prctl arch_prctl set_thread_area get_thread_area modify_ldt seccomp "
    "sched_yield sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max "
    "sched_get_priority_min sched_rr_get_interval sched_setaffinity sched_getaffinity sched_setattr sched_getattr "
    "getpriority setpriority ioprio_set ioprio_get getrlimit setrlimit prlimit64 ugetrlimit getrusage times getcpu "
    "pidfd_open pidfd_send_signal sched_rr_get_interval_time64",
    // signals
    "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend "
    "rt_tgsigqueueinfo "
    "sigaltstack pause alarm getitimer setitimer signalfd signalfd4 sigaction sigprocmask sigreturn sigpending "
    "sigsuspend "
    "signal rt_sigtimedwait_time64",
    // identity
    "getuid getgid geteuid getegid setuid setgid setreuid setregid getgroups setgroups setresuid getresuid setresgid "
    "getresgid setfsuid setfsgid capget capset getuid32 getgid32 geteuid32 getegid32 setuid32 setgid32 setreuid32 "
    "setregid32 getgroups32 setgroups32 setresuid32 getresuid32 setresgid32 getresgid32 setfsuid32 setfsgid32",
    // sockets and pipes
    "socket connect accept accept4 sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown bind listen getsockname "
    "getpeername socketpair setsockopt getsockopt pipe pipe2 socketcall send recv recvmmsg_time64",
    // waiting and time
    "nanosleep gettimeofday time clock_gettime clock_getres clock_nanosleep timer_create timer_settime timer_gettime "
    "timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_gettime epoll_create epoll_create1 epoll_ctl "
    "epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 pselect6 ppoll inotify_init inotify_init1 inotify_add_watch "
    "inotify_rm_watch adjtimex clock_gettime64 clock_getres_time64 clock_nanosleep_time64 timer_gettime64 "
    "timer_settime64 "
    "timerfd_gettime64 timerfd_settime64 pselect6_time64 ppoll_time64",
    // System V and POSIX queues, asynchronous I/O
    "shmget shmat shmctl shmdt semget semop semctl semtimedop semtimedop_time64 msgget msgsnd msgrcv msgctl ipc "
    "mq_open "
    "mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr mq_timedsend_time64 mq_timedreceive_time64 "
    "io_setup "
    "io_destroy io_getevents io_submit io_cancel io_pgetevents",
    // the rest
    "uname sysinfo getrandom landlock_create_ruleset landlock_add_rule landlock_restrict_self"};

struct ForCapability {
  std::string_view capability;
  std::string_view calls;
};
constexpr ForCapability kWithCapability[] = {
    {"CAP_SYS_ADMIN",
     "mount umount umount2 move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr pivot_root setns unshare "
     "clone "
     "clone3 bpf perf_event_open fanotify_init fanotify_mark lookup_dcookie quotactl quotactl_fd sethostname "
     "setdomainname syslog"},
    {"CAP_SYS_PTRACE", "ptrace process_vm_readv process_vm_writev kcmp process_madvise pidfd_getfd"},
    {"CAP_SYS_CHROOT", "chroot"},
    {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
    {"CAP_SYS_MODULE", "init_module finit_module delete_module"},
    {"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64 clock_adjtime clock_adjtime64"},
    {"CAP_SYS_BOOT", "reboot kexec_load kexec_file_load"},
    {"CAP_SYS_PACCT", "acct"},
    {"CAP_SYS_RAWIO", "iopl ioperm"},
    {"CAP_SYS_TTY_CONFIG", "vhangup"},
    {"CAP_SYSLOG", "syslog"},
    {"CAP_SYS_NICE", "move_pages migrate_pages"}};

// Known, and refused with EPERM to whoever has no capability for them.
constexpr std::string_view kNever =
    "add_key request_key keyctl io_uring_setup io_uring_enter io_uring_register userfaultfd nfsservctl uselib ustat "
    "sysfs "
    "_sysctl vm86 vm86old swapon swapoff create_module get_kernel_syms query_module";

void add_words(std::set<std::string>& out, std::string_view words) {
  for (std::string& word : split(std::string(words), ' ')) {
    if (!word.empty()) out.insert(std::move(word));
  }
}

std::string names_json(const std::set<std::string>& names) {
  std::string out = "[";
  for (const std::string& name : names) out += (out.size() > 1 ? ",\"" : "\"") + name + "\"";
  return out + "]";
}

}  // namespace

namespace {

std::string base64(std::string_view bytes) {
  static constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j) out += i + j > bytes.size() ? '=' : kLetters[group >> (18 - 6 * j) & 63];
  }
  return out;
}

struct Profile {
  std::set<std::string> allowed;
  std::set<std::string> refused;  // with EPERM
  bool new_namespaces = false;
};

// No new namespaces: a user namespace would give every capability back, inside it. clone3 hides its flags behind a
// pointer; without it everybody uses clone.
constexpr uint64_t kNamespaceFlags = 0x7e020000;
// personality: only those that are questions or harmless.
constexpr uint64_t kPersonalities[] = {0, 8, 0x20000, 0x20008, 0xffffffff};

Profile profile_of(const std::set<std::string>& capabilities) {
  Profile out;
  for (std::string_view words : kAllowed) add_words(out.allowed, words);
  add_words(out.refused, kNever);
  for (const ForCapability& group : kWithCapability) {
    add_words(capabilities.contains(std::string(group.capability)) ? out.allowed : out.refused, group.calls);
  }
  for (const std::string& name : out.allowed) out.refused.erase(name);
  out.refused.erase("clone");
  out.refused.erase("clone3");
  out.new_namespaces = out.allowed.contains("clone");
  return out;
}

}  // namespace

std::string seccomp_json(const std::set<std::string>& capabilities) {
  const Profile profile = profile_of(capabilities);
  std::string out = R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":)";
#if defined(__aarch64__)
  out += R"(["SCMP_ARCH_AARCH64","SCMP_ARCH_ARM"])";
#else
  out += R"(["SCMP_ARCH_X86_64","SCMP_ARCH_X86"])";
#endif
  out += R"(,"syscalls":[{"names":)" + names_json(profile.allowed) + R"(,"action":"SCMP_ACT_ALLOW"})";
  out += R"(,{"names":)" + names_json(profile.refused) + R"(,"action":"SCMP_ACT_ERRNO","errnoRet":1})";
  if (!profile.new_namespaces) {
    out += R"(,{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":)" +
           std::to_string(kNamespaceFlags) + R"(,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]})";
  }
  for (uint64_t value : kPersonalities) {
    out += R"(,{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":)" +
           std::to_string(value) + R"(,"op":"SCMP_CMP_EQ"}]})";
  }
  return out + "]}";
}

Result<std::string> seccomp_program(const std::set<std::string>& capabilities) {
  const Profile profile = profile_of(capabilities);
  std::unique_ptr<void, void (*)(void*)> filter(seccomp_init(SCMP_ACT_ERRNO(ENOSYS)), seccomp_release);
  if (!filter) return fail(ErrorCode::internal, "seccomp_init failed");
#if defined(__aarch64__)
  seccomp_arch_add(filter.get(), SCMP_ARCH_ARM);
#else
  seccomp_arch_add(filter.get(), SCMP_ARCH_X86);
#endif
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree: every call of the task goes through it
  int error = 0;
  auto rule = [&](const std::string& name, uint32_t action, std::vector<scmp_arg_cmp> args) {
    const int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) return;  // newer than this library
    const int result =
        seccomp_rule_add_array(filter.get(), action, number, static_cast<unsigned>(args.size()), args.data());
    if (result != 0 && result != -EDOM && error == 0) error = result;  // EDOM: no such call on one of the architectures
  };
  for (const std::string& name : profile.allowed) rule(name, SCMP_ACT_ALLOW, {});
  for (const std::string& name : profile.refused) rule(name, SCMP_ACT_ERRNO(EPERM), {});
  if (!profile.new_namespaces) rule("clone", SCMP_ACT_ALLOW, {{0, SCMP_CMP_MASKED_EQ, kNamespaceFlags, 0}});
  for (uint64_t value : kPersonalities) rule("personality", SCMP_ACT_ALLOW, {{0, SCMP_CMP_EQ, value, 0}});
  if (error != 0) return fail_errno("build the filter of system calls", -error);
  const int fd = static_cast<int>(::syscall(SYS_memfd_create, "seccomp", 1u /* MFD_CLOEXEC */));
  if (fd < 0) return fail_errno("memfd_create", errno);
  error = seccomp_export_bpf(filter.get(), fd);
  std::string out(error == 0 ? static_cast<size_t>(::lseek(fd, 0, SEEK_END)) : 0, '\0');
  const ssize_t n = ::pread(fd, out.data(), out.size(), 0);
  ::close(fd);
  if (error != 0) return fail_errno("export the filter of system calls", -error);
  if (n != static_cast<ssize_t>(out.size()))
    return fail(ErrorCode::io, "the filter of system calls could not be read back");
  return out;
}

Result<std::string> SeccompCache::base64_program(const std::set<std::string>& capabilities) {
  std::lock_guard lock(mutex_);
  if (auto found = programs_.find(capabilities); found != programs_.end()) return found->second;
  TUTTI_TRY(const std::string program, seccomp_program(capabilities));
  return programs_[capabilities] = base64(program);
}

}  // namespace tutti::driver
