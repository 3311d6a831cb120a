#include "sys/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>

#include "sys/file.h"

namespace tutti::sys {
namespace {

constexpr const char* kOwn = "/proc/thread-self/ns/net";

bool is_nsfs(int fd) {
  struct statfs fs{};
  return ::fstatfs(fd, &fs) == 0 && static_cast<unsigned long>(fs.f_type) == NSFS_MAGIC;
}

Status denied(std::string_view what, int error_number) {
  if (error_number == EPERM) {
    return fail(ErrorCode::io, std::string(what) + ": not permitted; network namespaces need root (CAP_SYS_ADMIN)");
  }
  return fail_errno(what, error_number);
}

}  // namespace

Result<NetNs> NetNs::create() {
  UniqueFd fd;
  Status status;
  // A thread of its own: unshare moves the calling thread, and there is no way to make one from outside.
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      status = denied("make a network namespace", errno);
      return;
    }
    fd.reset(::open(kOwn, O_RDONLY | O_CLOEXEC));
    if (!fd) status = fail_errno(kOwn, errno);
  }).join();
  TUTTI_CHECK(status);
  return NetNs(std::move(fd));
}

Result<NetNs> NetNs::open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("open network namespace " + path, errno);
  if (!is_nsfs(fd.get()) || ::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return fail(ErrorCode::invalid, path + " is not a network namespace");
  }
  return NetNs(std::move(fd));
}

Result<NetNs> NetNs::current() {
  return open(kOwn);
}

Result<uint64_t> NetNs::inode() const {
  struct stat st{};
  if (::fstat(fd_.get(), &st) != 0) return fail_errno("stat of a network namespace", errno);
  return static_cast<uint64_t>(st.st_ino);
}

Status NetNs::pin(const std::string& path) const {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0444));
  if (!file) return fail_errno("make " + path, errno);
  file.reset();
  std::string source = "/proc/self/fd/" + std::to_string(fd_.get());
  if (::mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return denied("pin a network namespace on " + path, errno);
  }
  return {};
}

Status NetNs::unpin(const std::string& path) {
  // Pinned twice (a crash between two pins) means mounted twice: take all away.
  while (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
  }
  if (errno != EINVAL && errno != ENOENT) return fail_errno("unpin " + path, errno);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("remove " + path, errno);
  return {};
}

bool NetNs::is_pinned(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd && is_nsfs(fd.get());
}

Status NetNs::run_in(const std::function<Status()>& f) const {
  Status status;
  std::thread([&] {
    if (::setns(fd_.get(), CLONE_NEWNET) != 0) {
      status = denied("enter a network namespace", errno);
      return;
    }
    status = f();
  }).join();
  return status;
}

Status set_net_sysctl(const std::string& name, const std::string& value) {
  std::string path = "/proc/sys/net/" + name;
  auto now = read_file(path, 4096);
  if (now && *now == value + "\n") return {};
  return write_existing(path, value);
}

}  // namespace tutti::sys
