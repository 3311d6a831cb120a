#include "sys/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>

namespace tutti::sys {
namespace {

std::string parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status remove_at(int parent_fd, const char* name, const std::string& shown, dev_t device);

Status remove_children(UniqueFd folder, const std::string& shown, dev_t device) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(fdopendir(folder.get()), closedir);
  if (!dir) return fail_errno("open folder " + shown, errno);
  int fd = folder.release();
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(dir.get());
    if (entry == nullptr) break;
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    TUTTI_CHECK(remove_at(fd, entry->d_name, shown + "/" + entry->d_name, device));
  }
  if (errno != 0) return fail_errno("read folder " + shown, errno);
  return {};
}

Status remove_at(int parent_fd, const char* name, const std::string& shown, dev_t device) {
  if (unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return fail_errno("remove " + shown, errno);
  UniqueFd folder(openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return errno == ENOENT ? Status() : fail_errno("open folder " + shown, errno);
  struct stat info{};
  if (fstat(folder.get(), &info) != 0) return fail_errno("stat " + shown, errno);
  if (info.st_dev != device) return fail_errno("remove " + shown + " (something is mounted there)", EBUSY);
  TUTTI_CHECK(remove_children(std::move(folder), shown, device));
  if (unlinkat(parent_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
    return fail_errno("remove folder " + shown, errno);
  return {};
}

}  // namespace

Result<std::string> read_file(const std::string& path, size_t max_bytes) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("open " + path, errno);
  std::string out;
  struct stat info{};
  if (fstat(fd.get(), &info) == 0 && info.st_size > 0) out.reserve(static_cast<size_t>(info.st_size) + 1);
  char buffer[16384];
  for (;;) {
    ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read " + path, errno);
    if (n == 0) return out;
    if (out.size() + static_cast<size_t>(n) > max_bytes) {
      return fail(ErrorCode::too_large, path + " is larger than " + std::to_string(max_bytes) + " bytes");
    }
    out.append(buffer, static_cast<size_t>(n));
  }
}

Status write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t n = write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("write", errno);
    data.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Status write_file_atomic(const std::string& path, std::string_view data, WriteOptions options) {
  static std::atomic<uint64_t> counter{0};
  std::string temporary = path + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(counter.fetch_add(1));
  UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, options.mode));
  if (!fd) return fail_errno("create " + temporary, errno);
  Status written = write_all(fd.get(), data);
  if (written && fchmod(fd.get(), options.mode) != 0) written = fail_errno("chmod", errno);
  if (written && options.sync && fsync(fd.get()) != 0) written = fail_errno("fsync", errno);
  fd.reset();
  if (written && rename(temporary.c_str(), path.c_str()) != 0) written = fail_errno("rename", errno);
  if (!written) {
    unlink(temporary.c_str());
    return tl::make_unexpected(std::move(written).error().in("write " + path));
  }
  if (options.sync) {
    std::string folder = parent_of(path);
    UniqueFd dir(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir || fsync(dir.get()) != 0) return fail_errno("fsync " + folder, errno);
  }
  return {};
}

Status write_existing(const std::string& path, std::string_view data) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno("open " + path, errno);
  ssize_t n = write(fd.get(), data.data(), data.size());
  if (n != static_cast<ssize_t>(data.size()))
    return fail_errno("write '" + std::string(data) + "' to " + path, n < 0 ? errno : EIO);
  return {};
}

Status make_dirs(const std::string& path, unsigned mode) {
  if (mkdir(path.c_str(), mode) == 0) return {};
  if (errno == EEXIST) {
    struct stat info{};
    if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
    return fail_errno("make folder " + path, ENOTDIR);
  }
  if (errno != ENOENT || path.empty() || path == "/") return fail_errno("make folder " + path, errno);
  TUTTI_CHECK(make_dirs(parent_of(path), mode));
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return fail_errno("make folder " + path, errno);
  return {};
}

Status remove_tree(const std::string& path) {
  std::string folder = parent_of(path);
  size_t slash = path.rfind('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") return fail(ErrorCode::invalid, "refusing to remove '" + path + "'");
  UniqueFd parent(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent) return errno == ENOENT || errno == ENOTDIR ? Status() : fail_errno("open folder " + folder, errno);
  struct stat info{};
  if (fstatat(parent.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? Status() : fail_errno("stat " + path, errno);
  }
  return remove_at(parent.get(), name.c_str(), path, info.st_dev);
}

bool leads_through_link(const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_SYMLINKS;
  const UniqueFd fd(static_cast<int>(syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
  return !fd && errno == ELOOP;
}

Result<int> free_percent(const std::string& path) {
  struct statvfs disk{};
  if (::statvfs(path.c_str(), &disk) != 0) return fail_errno("look at the disk of " + path, errno);
  if (disk.f_blocks == 0) return 100;  // a file system without a size
  return static_cast<int>(uint64_t{disk.f_bavail} * 100 / disk.f_blocks);
}

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

Result<UniqueFd> take_lock(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return fail_errno("open lock " + path, errno);
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
    if (errno == EAGAIN || errno == EACCES) return fail(ErrorCode::conflict, path + " is held by a living process");
    return fail_errno("lock " + path, errno);
  }
  return fd;
}

bool lock_is_held(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return false;
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

}  // namespace tutti::sys
