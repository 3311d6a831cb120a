#include <dirent.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "sys/archive_stream.h"

namespace tutti::sys {
namespace archive_detail {
namespace {

constexpr uint64_t kStrict = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr const char* kOpaqueAttribute = "trusted.overlay.opaque";

Status remove_at(int parent, const std::string& name, int depth = 0) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return fail_errno("replace " + name, errno);
  if (depth > 200) return fail(ErrorCode::invalid, "archive: folders nested deeper than 200 at " + name);
  UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return fail_errno("replace " + name, errno);
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(::dup(fd.get())), ::closedir);
  if (!dir) return fail_errno("replace " + name, errno);
  while (dirent* one = ::readdir(dir.get())) {
    std::string inner = one->d_name;
    if (inner == "." || inner == "..") continue;
    TUTTI_CHECK(remove_at(fd.get(), inner, depth + 1));
  }
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0) return fail_errno("replace " + name, errno);
  return {};
}

// One name of an entry, taken apart: where it goes and what it is called there.
struct Place {
  std::string parent;  // "." for the root
  std::string name;    // empty: the root itself
  std::string full() const { return parent == "." ? name : parent + "/" + name; }
};

Result<Place> place_of(const char* raw, const char* what, const std::string& rename) {
  if (!raw || !*raw) return fail(ErrorCode::invalid, std::string("archive: an entry has no ") + what);
  std::string_view text(raw);
  auto refuse = [&](const char* why) {
    return fail(ErrorCode::invalid,
                "archive: " + std::string(what) + " '" + std::string(text.substr(0, 200)) + "' " + why);
  };
  if (text.front() == '/') return refuse("is absolute; names must stay inside the archive's folder");
  if (text.size() > 4096) return refuse("is longer than 4096 bytes");
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    size_t slash = std::min(text.find('/', at), text.size());
    std::string_view part = text.substr(at, slash - at);
    at = slash + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") return refuse("climbs out of the archive's folder");
    parts.emplace_back(part);
  }
  if (parts.size() > 200) return refuse("is nested deeper than 200 folders");
  if (!rename.empty()) {
    const bool below = text == "." || text.starts_with("./");
    if (below)
      parts.insert(parts.begin(), rename);
    else if (!parts.empty())
      parts[0] = rename;
  }
  Place place{".", {}};
  if (parts.empty()) return place;
  place.name = std::move(parts.back());
  parts.pop_back();
  if (!parts.empty()) place.parent.clear();
  for (const std::string& part : parts) place.parent += (place.parent.empty() ? "" : "/") + part;
  return place;
}

class Extractor {
 public:
  Extractor(TarStream& stream, int root, const ExtractOptions& options)
      : stream_(stream), root_(root), options_(options) {}
  Result<Extracted> run();

 private:
  Status one(archive_entry* entry);
  Status whiteout(int parent, const Place& place);
  Status directory(archive_entry* entry, int parent, const Place& place);
  Status regular(archive_entry* entry, int parent, const Place& place);
  Status contents(archive_entry* entry, int fd, const Place& place);
  Status hard_link(archive_entry* entry, int parent, const Place& place);
  Status special(archive_entry* entry, int parent, const Place& place);
  Status metadata(archive_entry* entry, int fd, const Place& place);
  Status owner_and_time(archive_entry* entry, int parent, const Place& place);
  Result<UniqueFd> parent_of(const Place& place);
  Status clear_place(int parent, const Place& place, bool* was_whiteout = nullptr);
  Status too_big() const {
    return fail(ErrorCode::too_large, "archive: its files hold more than the limit of " +
                                          std::to_string(options_.bytes_max) + " bytes unpacked");
  }

  TarStream& stream_;
  const int root_;
  const ExtractOptions& options_;
  Extracted out_;
  struct DirectoryTime {
    std::string path;
    timespec time;
  };
  std::vector<DirectoryTime> directory_times_;  // set last: writing into a folder changes its time
};

timespec time_of(archive_entry* entry) {
  if (!archive_entry_mtime_is_set(entry)) return {0, 0};
  return {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)};
}

Result<UniqueFd> Extractor::parent_of(const Place& place) {
  UniqueFd fd = open_beneath(root_, place.parent, O_RDONLY | O_DIRECTORY, kStrict);
  if (fd) return fd;
  if (errno != ENOENT) {
    if (errno == ELOOP || errno == ENOTDIR || errno == EXDEV) {
      return fail(ErrorCode::invalid, "archive: '" + place.full() + "' leads through a link or a file, not a folder");
    }
    return fail_errno("open folder of '" + place.full() + "'", errno);
  }
  // Archives may leave parents out. Made from the top, each under an open folder.
  UniqueFd at = open_beneath(root_, ".", O_RDONLY | O_DIRECTORY, kStrict);
  size_t begin = 0;
  while (at && begin < place.parent.size()) {
    size_t slash = std::min(place.parent.find('/', begin), place.parent.size());
    std::string part = place.parent.substr(begin, slash - begin);
    begin = slash + 1;
    if (::mkdirat(at.get(), part.c_str(), 0755) == 0) {
      (void)::fchmodat(at.get(), part.c_str(), 0755, 0);  // whatever the umask
      if (++out_.entries > options_.entries_max) return fail(ErrorCode::too_large, "archive: too many entries");
    } else if (errno != EEXIST) {
      return fail_errno("make folder '" + place.parent + "'", errno);
    }
    UniqueFd next = open_beneath(at.get(), part, O_RDONLY | O_DIRECTORY, kStrict);
    at = std::move(next);
  }
  if (!at)
    return fail(ErrorCode::invalid, "archive: '" + place.full() + "' leads through a link or a file, not a folder");
  return at;
}

// What an earlier entry (or, in copies, the destination) has there makes room.
Status Extractor::clear_place(int parent, const Place& place, bool* was_whiteout) {
  struct stat st{};
  if (::fstatat(parent, place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return {};
  if (was_whiteout) *was_whiteout = S_ISCHR(st.st_mode) && st.st_rdev == 0;
  if (S_ISDIR(st.st_mode) && !options_.whiteouts) {
    return fail(ErrorCode::conflict,
                "'" + place.full() + "' is a folder there; a copy does not replace it by something else");
  }
  return remove_at(parent, place.name);
}

Status Extractor::whiteout(int parent, const Place& place) {
  if (place.name == kOpaque) {
    if (::fsetxattr(parent, kOpaqueAttribute, "y", 1, 0) != 0)
      return fail_errno("mark '" + place.parent + "' opaque", errno);
    return {};
  }
  std::string hidden = place.name.substr(kWhiteout.size());
  if (hidden.starts_with(kWhiteout)) return {};  // aufs' own books
  if (hidden.empty() || hidden == "." || hidden == "..") {
    return fail(ErrorCode::invalid, "archive: '" + place.full() + "' is not a whiteout of any name");
  }
  struct stat st{};
  if (::fstatat(parent, hidden.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    // It hides what lower layers have, never what this layer brings.
    if (!S_ISDIR(st.st_mode)) return {};
    UniqueFd fd = open_beneath(parent, hidden, O_RDONLY | O_DIRECTORY, kStrict);
    if (!fd || ::fsetxattr(fd.get(), kOpaqueAttribute, "y", 1, 0) != 0)
      return fail_errno("mark '" + hidden + "' opaque", errno);
    return {};
  }
  if (::mknodat(parent, hidden.c_str(), S_IFCHR, 0) != 0) return fail_errno("make whiteout of '" + hidden + "'", errno);
  return {};
}

Status Extractor::metadata(archive_entry* entry, int fd, const Place& place) {
  uid_t uid = options_.keep_owner ? static_cast<uid_t>(archive_entry_uid(entry)) : options_.owner_uid;
  gid_t gid = options_.keep_owner ? static_cast<gid_t>(archive_entry_gid(entry)) : options_.owner_gid;
  if (::fchown(fd, uid, gid) != 0) return fail_errno("set the owner of '" + place.full() + "'", errno);
  // After the owner: changing that takes the set-user-id bits away.
  if (::fchmod(fd, archive_entry_perm(entry) & 07777) != 0)
    return fail_errno("set the mode of '" + place.full() + "'", errno);
  archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    // trusted.overlay.* would let a layer redirect overlayfs to files outside of it.
    std::string_view key(name ? name : "");
    if (!key.starts_with("user.") && key != "security.capability") continue;
    if (::fsetxattr(fd, name, value, size, 0) != 0 && errno != EOPNOTSUPP) {
      return fail_errno("set " + std::string(key) + " of '" + place.full() + "'", errno);
    }
  }
  return {};
}

Status Extractor::owner_and_time(archive_entry* entry, int parent, const Place& place) {
  uid_t uid = options_.keep_owner ? static_cast<uid_t>(archive_entry_uid(entry)) : options_.owner_uid;
  gid_t gid = options_.keep_owner ? static_cast<gid_t>(archive_entry_gid(entry)) : options_.owner_gid;
  if (::fchownat(parent, place.name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail_errno("set the owner of '" + place.full() + "'", errno);
  }
  timespec times[2] = {time_of(entry), time_of(entry)};
  if (::utimensat(parent, place.name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail_errno("set the time of '" + place.full() + "'", errno);
  }
  return {};
}

Status Extractor::directory(archive_entry* entry, int parent, const Place& place) {
  UniqueFd fd;
  if (place.name.empty()) {
    fd = open_beneath(root_, ".", O_RDONLY | O_DIRECTORY, kStrict);
    if (!options_.whiteouts) return {};  // a copy leaves the folder it goes into as it is
  } else {
    struct stat st{};
    bool exists = ::fstatat(parent, place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
    bool there = exists && S_ISDIR(st.st_mode);
    if (exists && !there && !options_.rename.empty())
      return fail(ErrorCode::conflict, place.full() + " is a file: a folder cannot take its name");
    bool was_whiteout = false;
    if (!there) {
      TUTTI_CHECK(clear_place(parent, place, &was_whiteout));
      if (::mkdirat(parent, place.name.c_str(), 0700) != 0)
        return fail_errno("make folder '" + place.full() + "'", errno);
    }
    fd = open_beneath(parent, place.name, O_RDONLY | O_DIRECTORY, kStrict);
    if (fd && was_whiteout && options_.whiteouts && ::fsetxattr(fd.get(), kOpaqueAttribute, "y", 1, 0) != 0) {
      return fail_errno("mark '" + place.full() + "' opaque", errno);
    }
  }
  if (!fd) return fail_errno("open folder '" + place.full() + "'", errno);
  TUTTI_CHECK(metadata(entry, fd.get(), place));
  directory_times_.push_back({place.name.empty() ? "." : place.full(), time_of(entry)});
  return {};
}

Status Extractor::contents(archive_entry* entry, int fd, const Place& place) {
  int64_t declared = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
  if (declared < 0) return fail(ErrorCode::invalid, "archive: '" + place.full() + "' has a negative size");
  if (static_cast<uint64_t>(declared) > options_.bytes_max - out_.bytes) return too_big();
  uint64_t end = 0;
  for (;;) {
    const void* data = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    int status = archive_read_data_block(stream_.tar(), &data, &size, &offset);
    if (status == ARCHIVE_EOF) break;
    if (status < ARCHIVE_WARN) return tl::make_unexpected(stream_.error_of_tar());
    if (offset < 0 || static_cast<uint64_t>(offset) + size > options_.bytes_max - out_.bytes) return too_big();
    const char* at = static_cast<const char*>(data);
    for (size_t left = size; left > 0;) {
      ssize_t n = ::pwrite(fd, at, left, offset);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_errno("write '" + place.full() + "'", errno);
      at += n;
      offset += n;
      left -= static_cast<size_t>(n);
    }
    end = std::max(end, static_cast<uint64_t>(offset));
  }
  if (static_cast<uint64_t>(declared) > end) {
    if (::ftruncate(fd, declared) != 0) return fail_errno("size '" + place.full() + "'", errno);
    end = static_cast<uint64_t>(declared);
  }
  out_.bytes += end;
  return {};
}

Status Extractor::regular(archive_entry* entry, int parent, const Place& place) {
  TUTTI_CHECK(clear_place(parent, place));
  UniqueFd fd(::openat(parent, place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno("make '" + place.full() + "'", errno);
  TUTTI_CHECK(contents(entry, fd.get(), place));
  TUTTI_CHECK(metadata(entry, fd.get(), place));
  timespec times[2] = {time_of(entry), time_of(entry)};
  if (::futimens(fd.get(), times) != 0) return fail_errno("set the time of '" + place.full() + "'", errno);
  return {};
}

Status Extractor::hard_link(archive_entry* entry, int parent, const Place& place) {
  TUTTI_TRY(Place target, place_of(archive_entry_hardlink(entry), "hard link target", options_.rename));
  if (target.name.empty()) return fail(ErrorCode::invalid, "archive: hard link '" + place.full() + "' to a folder");
  if (target.full() == place.full()) return {};
  UniqueFd from = open_beneath(root_, target.parent, O_RDONLY | O_DIRECTORY, kStrict);
  struct stat st{};
  if (!from || ::fstatat(from.get(), target.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail(ErrorCode::invalid, "archive: hard link '" + place.full() + "' to '" + target.full() +
                                        "', which is not a file of this archive");
  }
  if (S_ISDIR(st.st_mode)) return fail(ErrorCode::invalid, "archive: hard link '" + place.full() + "' to a folder");
  TUTTI_CHECK(clear_place(parent, place));
  // Without AT_SYMLINK_FOLLOW a link to a symbolic link links the link itself.
  if (::linkat(from.get(), target.name.c_str(), parent, place.name.c_str(), 0) != 0) {
    return fail_errno("link '" + place.full() + "'", errno);
  }
  return {};
}

Status Extractor::special(archive_entry* entry, int parent, const Place& place) {
  mode_t type = archive_entry_filetype(entry);
  dev_t device = 0;
  if (type == AE_IFCHR || type == AE_IFBLK) {
    device = ::makedev(static_cast<unsigned>(archive_entry_rdevmajor(entry)),
                       static_cast<unsigned>(archive_entry_rdevminor(entry)));
    bool overlay_whiteout = type == AE_IFCHR && device == 0;
    if (!overlay_whiteout && !options_.devices) {
      ++out_.skipped;
      return {};
    }
  } else if (type != AE_IFIFO) {
    ++out_.skipped;  // sockets: nothing that a file system brings back to life
    return {};
  }
  TUTTI_CHECK(clear_place(parent, place));
  if (::mknodat(parent, place.name.c_str(), type | (archive_entry_perm(entry) & 0777), device) != 0) {
    return fail_errno("make node '" + place.full() + "'", errno);
  }
  return owner_and_time(entry, parent, place);
}

Status Extractor::one(archive_entry* entry) {
  const char* raw = archive_entry_pathname(entry);
  if (!raw) raw = archive_entry_pathname_utf8(entry);
  TUTTI_TRY(Place place, place_of(raw, "name", options_.rename));
  mode_t type = archive_entry_filetype(entry);
  if (place.name.empty() && type != AE_IFDIR)
    return fail(ErrorCode::invalid, "archive: an entry replaces its own root");
  TUTTI_TRY(UniqueFd parent, parent_of(place));
  if (options_.whiteouts && place.name.starts_with(kWhiteout)) return whiteout(parent.get(), place);
  if (archive_entry_hardlink(entry)) return hard_link(entry, parent.get(), place);
  if (type == AE_IFDIR) return directory(entry, parent.get(), place);
  if (type == AE_IFREG) return regular(entry, parent.get(), place);
  if (type == AE_IFLNK) {
    const char* target = archive_entry_symlink(entry);
    if (!target) target = archive_entry_symlink_utf8(entry);
    if (!target || !*target) return fail(ErrorCode::invalid, "archive: link '" + place.full() + "' has no target");
    TUTTI_CHECK(clear_place(parent.get(), place));
    // Any target is fine: it is never followed here, and inside the container it starts at the container's root.
    if (::symlinkat(target, parent.get(), place.name.c_str()) != 0)
      return fail_errno("make link '" + place.full() + "'", errno);
    return owner_and_time(entry, parent.get(), place);
  }
  return special(entry, parent.get(), place);
}

Result<Extracted> Extractor::run() {
  TUTTI_CHECK(stream_.open());
  for (;;) {
    archive_entry* entry = nullptr;
    int status = archive_read_next_header(stream_.tar(), &entry);
    if (status == ARCHIVE_EOF) break;
    if (status < ARCHIVE_WARN) return tl::make_unexpected(stream_.error_of_tar());
    if (++out_.entries > options_.entries_max) {
      return fail(ErrorCode::too_large,
                  "archive: more than the limit of " + std::to_string(options_.entries_max) + " entries");
    }
    TUTTI_CHECK(one(entry));
  }
  for (const DirectoryTime& folder : directory_times_) {
    UniqueFd fd = open_beneath(root_, folder.path, O_RDONLY | O_DIRECTORY, kStrict);
    timespec times[2] = {folder.time, folder.time};
    if (fd) (void)::futimens(fd.get(), times);  // a later entry may have replaced it
  }
  TUTTI_CHECK(stream_.drain());
  out_.blob_digest = stream_.blob_digest();
  out_.diff_id = stream_.diff_id();
  out_.blob_bytes = stream_.blob_bytes();
  return out_;
}

}  // namespace

UniqueFd open_beneath(int directory, const std::string& path, uint64_t flags, uint64_t resolve) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = resolve;
  for (int tries = 0;; ++tries) {
    long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
    // EAGAIN: something was renamed meanwhile and the kernel could not prove that the path stays inside.
    if (fd < 0 && errno == EAGAIN && tries < 100) continue;
    return UniqueFd(static_cast<int>(fd));
  }
}

Result<Extracted> extract_to(const ByteSource& source, int directory, const ExtractOptions& options) {
  Utf8Names names;
  // Each entry costs at most a few headers; what is beyond is padding made to fill memory or time.
  uint64_t headers = options.entries_max > (uint64_t{1} << 40) ? uint64_t{1} << 52 : options.entries_max * 4096;
  TarStream stream(source, options.bytes_max + headers + (1u << 20));
  return Extractor(stream, directory, options).run();
}

}  // namespace archive_detail

Result<Extracted> extract_tar(const ByteSource& source, const std::string& directory, const ExtractOptions& options) {
  UniqueFd root(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_errno("open folder " + directory, errno);
  return archive_detail::extract_to(source, root.get(), options);
}

Result<Extracted> extract_tar_file(const std::string& archive, const std::string& directory,
                                   const ExtractOptions& options) {
  UniqueFd file(::open(archive.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("open archive " + archive, errno);
  ByteSource source = [&](std::span<char> buffer) -> Result<size_t> {
    for (;;) {
      ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_errno("read " + archive, errno);
      return static_cast<size_t>(n);
    }
  };
  return extract_tar(source, directory, options);
}

Result<Extracted> unpack_into(const std::string& root, const std::string& path, const ByteSource& source,
                              const ExtractOptions& wanted) {
  ExtractOptions options = wanted;
  UniqueFd top(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!top) return fail_errno("open " + root, errno);
  UniqueFd directory = archive_detail::open_beneath(top.get(), path.empty() ? "/" : path, O_RDONLY | O_DIRECTORY,
                                                    RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const bool names = !name.empty() && name != "." && name != "..";
  if (!directory && names && (errno == ENOTDIR || errno == ENOENT)) {
    options.rename = name;
    const std::string parent = slash == std::string::npos ? "/" : path.substr(0, slash + 1);
    directory = archive_detail::open_beneath(top.get(), parent, O_RDONLY | O_DIRECTORY,
                                             RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (!directory) return fail_errno(parent, errno);
  }
  if (!directory) {
    if (errno == ENOTDIR) return fail(ErrorCode::invalid, path + " is not a folder");
    return fail_errno(path, errno);
  }
  return archive_detail::extract_to(source, directory.get(), options);
}

}  // namespace tutti::sys
