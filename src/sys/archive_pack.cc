#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <vector>

#include "sys/archive_internal.h"
#include "sys/digest.h"

namespace tutti::sys {
namespace {

using archive_detail::Entry;
using archive_detail::open_beneath;
using archive_detail::Writer;

constexpr int kDepthMax = 200;

class Packer {
 public:
  Packer(const ByteSink& sink, const PackOptions& options) : sink_(sink), options_(options) {}
  // Freed half way, libarchive still writes an end; a broken archive must not look whole.
  ~Packer() { ended_ = true; }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  Status open();
  // `name` inside `parent`, and what is below it, as `stored`. An empty `name` is the folder itself.
  Status add(int parent, const std::string& name, const std::string& stored, int depth);
  Status add_children(int directory, const std::string& stored, int depth);
  Result<Packed> close();

 private:
  static la_ssize_t write_tar(archive* a, void* self, const void* data, size_t size);
  static la_ssize_t write_blob(archive* a, void* self, const void* data, size_t size);
  la_ssize_t take_tar(archive* a, std::string_view bytes);
  la_ssize_t take_blob(std::string_view bytes);
  Status add_file(int parent, const std::string& name, archive_entry* entry, const struct stat& st);
  Status put_header(archive_entry* entry);
  Status put_marker(const std::string& stored);
  void fill(archive_entry* entry, const struct stat& st, const std::string& stored) const;
  Status done(la_ssize_t status, archive* a) const {
    if (error_ || status < ARCHIVE_WARN) return tl::make_unexpected(broken(a));
    return {};
  }
  Error broken(archive* a) const {
    return error_ ? *error_ : Error{ErrorCode::io, "archive: " + archive_detail::error_text(a), {}, 0};
  }

  const ByteSink& sink_;
  const PackOptions& options_;
  // Not told to libarchive, which would not free what it holds after a failed write: calls are checked with done().
  std::optional<Error> error_;
  bool ended_ = false;
  Sha256 tar_sum_;
  Sha256 blob_sum_;
  Packed out_;
  std::map<std::pair<dev_t, ino_t>, std::string> linked_;  // files with more than one name: where the first went
  Writer blob_;                                            // only with gzip
  Writer tar_;                                             // last: it writes through the others
};

la_ssize_t Packer::write_tar(archive* a, void* self, const void* data, size_t size) {
  return static_cast<Packer*>(self)->take_tar(a, {static_cast<const char*>(data), size});
}
la_ssize_t Packer::write_blob(archive*, void* self, const void* data, size_t size) {
  return static_cast<Packer*>(self)->take_blob({static_cast<const char*>(data), size});
}

la_ssize_t Packer::take_tar(archive* a, std::string_view bytes) {
  tar_sum_.update(bytes);
  if (!blob_) return take_blob(bytes);
  la_ssize_t n = archive_write_data(blob_.get(), bytes.data(), bytes.size());
  if (n < 0) archive_set_error(a, EIO, "%s", archive_detail::error_text(blob_.get()).c_str());
  return n;
}

la_ssize_t Packer::take_blob(std::string_view bytes) {
  if (!ended_ && !error_) {
    blob_sum_.update(bytes);
    out_.blob_bytes += bytes.size();
    Status written = sink_(bytes);
    if (!written) error_ = std::move(written).error();
  }
  return static_cast<la_ssize_t>(bytes.size());
}

Status Packer::open() {
  tar_.reset(archive_write_new());
  archive_write_set_format_pax_restricted(tar_.get());
  if (options_.gzip) {
    blob_.reset(archive_write_new());
    archive_write_set_format_raw(blob_.get());
    archive_write_add_filter_gzip(blob_.get());
    // The time of packing in gzip's header would make every archive another one.
    archive_write_set_filter_option(blob_.get(), "gzip", "timestamp", nullptr);
    archive_write_set_bytes_in_last_block(blob_.get(), 1);
    if (archive_write_open(blob_.get(), this, nullptr, write_blob, nullptr) != ARCHIVE_OK) {
      return tl::make_unexpected(broken(blob_.get()));
    }
    Entry whole(archive_entry_new());
    archive_entry_set_filetype(whole.get(), AE_IFREG);
    archive_entry_set_pathname(whole.get(), "data");
    if (archive_write_header(blob_.get(), whole.get()) != ARCHIVE_OK) return tl::make_unexpected(broken(blob_.get()));
  }
  archive_write_set_bytes_in_last_block(tar_.get(), 1);
  if (archive_write_open(tar_.get(), this, nullptr, write_tar, nullptr) != ARCHIVE_OK) {
    return tl::make_unexpected(broken(tar_.get()));
  }
  return {};
}

void Packer::fill(archive_entry* entry, const struct stat& st, const std::string& stored) const {
  archive_entry_set_pathname(entry, stored.c_str());
  archive_entry_set_mode(entry, st.st_mode);
  archive_entry_set_uid(entry, st.st_uid);
  archive_entry_set_gid(entry, st.st_gid);
  archive_entry_set_mtime(entry, options_.keep_times ? st.st_mtim.tv_sec : 0, 0);
  if (S_ISREG(st.st_mode)) archive_entry_set_size(entry, st.st_size);
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
    archive_entry_set_rdevmajor(entry, major(st.st_rdev));
    archive_entry_set_rdevminor(entry, minor(st.st_rdev));
  }
}

Status Packer::put_header(archive_entry* entry) {
  ++out_.entries;
  return done(archive_write_header(tar_.get(), entry), tar_.get());
}

Status Packer::put_marker(const std::string& stored) {
  Entry entry(archive_entry_new());
  archive_entry_set_pathname(entry.get(), stored.c_str());
  archive_entry_set_mode(entry.get(), S_IFREG | 0644);
  archive_entry_set_size(entry.get(), 0);
  archive_entry_set_mtime(entry.get(), 0, 0);
  return put_header(entry.get());
}

Status Packer::add_file(int parent, const std::string& name, archive_entry* entry, const struct stat& st) {
  // Opened before the header goes out, so that what cannot be read does not leave a half entry.
  // Without waiting, and looked at again: whoever owns the folder may have put a pipe into the file's place meanwhile.
  UniqueFd fd = open_beneath(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  struct stat opened{};
  if (!fd || ::fstat(fd.get(), &opened) != 0) return fail_errno("read " + name, errno);
  if (!S_ISREG(opened.st_mode)) return fail(ErrorCode::conflict, name + " was replaced while it was read");
  char capability[256];
  ssize_t length = ::fgetxattr(fd.get(), "security.capability", capability, sizeof capability);
  if (length > 0) archive_entry_xattr_add_entry(entry, "security.capability", capability, static_cast<size_t>(length));
  TUTTI_CHECK(put_header(entry));
  std::vector<char> buffer(128u << 10);
  uint64_t left = static_cast<uint64_t>(st.st_size);
  while (left > 0) {
    ssize_t n = ::read(fd.get(), buffer.data(), std::min<uint64_t>(buffer.size(), left));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read " + name, errno);
    if (n == 0) break;  // shrank meanwhile: libarchive fills up with zeros
    TUTTI_CHECK(done(archive_write_data(tar_.get(), buffer.data(), static_cast<size_t>(n)), tar_.get()));
    left -= static_cast<uint64_t>(n);
    out_.bytes += static_cast<uint64_t>(n);
  }
  return {};
}

Status Packer::add(int parent, const std::string& name, const std::string& stored, int depth) {
  struct stat st{};
  if (::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW | (name.empty() ? AT_EMPTY_PATH : 0)) != 0) {
    return fail_errno(stored, errno);
  }
  if (S_ISSOCK(st.st_mode)) return {};
  if (options_.whiteouts && S_ISCHR(st.st_mode) && st.st_rdev == 0) {
    size_t slash = stored.rfind('/');
    std::string folder = slash == std::string::npos ? "" : stored.substr(0, slash + 1);
    return put_marker(folder + ".wh." + name);
  }
  Entry entry(archive_entry_new());
  fill(entry.get(), st, stored);
  if (S_ISDIR(st.st_mode)) {
    TUTTI_CHECK(put_header(entry.get()));
    UniqueFd fd =
        open_beneath(parent, name.empty() ? "." : name, O_RDONLY | O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (!fd) return fail_errno("open folder " + stored, errno);
    return add_children(fd.get(), stored, depth + 1);
  }
  if (st.st_nlink > 1) {
    auto [at, first] = linked_.try_emplace({st.st_dev, st.st_ino}, stored);
    if (!first) {
      archive_entry_set_hardlink(entry.get(), at->second.c_str());
      archive_entry_set_size(entry.get(), 0);
      return put_header(entry.get());
    }
  }
  if (S_ISLNK(st.st_mode)) {
    std::string target(4096, '\0');
    ssize_t n = ::readlinkat(parent, name.c_str(), target.data(), target.size());
    if (n < 0) return fail_errno("read link " + stored, errno);
    target.resize(static_cast<size_t>(n));
    archive_entry_set_symlink(entry.get(), target.c_str());
    return put_header(entry.get());
  }
  if (S_ISREG(st.st_mode)) return add_file(parent, name, entry.get(), st);
  return put_header(entry.get());
}

Status Packer::add_children(int directory, const std::string& stored, int depth) {
  if (depth > kDepthMax) return fail(ErrorCode::too_large, stored + " is nested deeper than 200 folders");
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(::fcntl(directory, F_DUPFD_CLOEXEC, 0)), ::closedir);
  if (!dir) return fail_errno("list " + stored, errno);
  while (dirent* one = ::readdir(dir.get())) {
    std::string name = one->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  std::string prefix = stored == "." || stored.empty() ? "" : stored + "/";
  char opaque = 0;
  if (options_.whiteouts && ::fgetxattr(directory, "trusted.overlay.opaque", &opaque, 1) == 1 && opaque == 'y') {
    TUTTI_CHECK(put_marker(prefix + ".wh..wh..opq"));
  }
  for (const std::string& name : names) TUTTI_CHECK(add(directory, name, prefix + name, depth));
  return {};
}

Result<Packed> Packer::close() {
  TUTTI_CHECK(done(archive_write_close(tar_.get()), tar_.get()));
  if (blob_) TUTTI_CHECK(done(archive_write_close(blob_.get()), blob_.get()));
  out_.diff_id = tar_sum_.digest();
  out_.blob_digest = blob_sum_.digest();
  return out_;
}

}  // namespace

Result<Packed> pack_directory(const std::string& directory, const ByteSink& sink, const PackOptions& options) {
  archive_detail::Utf8Names names;
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno("open folder " + directory, errno);
  Packer packer(sink, options);
  TUTTI_CHECK(packer.open());
  TUTTI_CHECK(packer.add_children(fd.get(), ".", 0));
  return packer.close();
}

Result<Packed> pack_directory_to_file(const std::string& directory, const std::string& file,
                                      const PackOptions& options) {
  UniqueFd out(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!out) return fail_errno("make " + file, errno);
  ByteSink sink = [&](std::string_view bytes) -> Status {
    while (!bytes.empty()) {
      ssize_t n = ::write(out.get(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_errno("write " + file, errno);
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return {};
  };
  return pack_directory(directory, sink, options);
}

Result<Packed> pack_path(const std::string& root, const std::string& path, const ByteSink& sink) {
  archive_detail::Utf8Names names;
  UniqueFd top(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!top) return fail_errno("open " + root, errno);
  std::string clean = path;
  while (!clean.empty() && clean.back() == '/') clean.pop_back();
  size_t slash = clean.rfind('/');
  std::string parent = slash == std::string::npos ? "/" : clean.substr(0, slash + 1);
  std::string name = slash == std::string::npos ? clean : clean.substr(slash + 1);
  PackOptions options;
  options.keep_times = true;
  Packer packer(sink, options);
  TUTTI_CHECK(packer.open());
  if (name.empty() || name == "." || name == "..") {
    // A folder named by dots: its content, without a name of its own.
    UniqueFd whole = open_beneath(top.get(), clean.empty() ? "/" : clean, O_RDONLY | O_DIRECTORY,
                                  RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (!whole) return fail_errno(path, errno);
    TUTTI_CHECK(packer.add_children(whole.get(), ".", 0));
    return packer.close();
  }
  UniqueFd folder = open_beneath(top.get(), parent, O_RDONLY | O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  if (!folder) return fail_errno(path, errno);
  struct stat st{};
  if (::fstatat(folder.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno(path, errno);
  TUTTI_CHECK(packer.add(folder.get(), name, name, 0));
  return packer.close();
}

}  // namespace tutti::sys
