// Which import is meant, and OCI layouts.

#include "catalog/import.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/limits.h"
#include "catalog/distribution.h"
#include "catalog/import_internal.h"
#include "catalog/manifest.h"
#include "sys/fd.h"

namespace tutti::catalog {
namespace {

constexpr int kIndexDepthMax = 4;

// A regular file beneath `dir`; links anywhere on the way are refused.
Result<sys::UniqueFd> open_beneath(int dir, const std::string& name) {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a fifo in the way must not hang us
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  sys::UniqueFd fd(static_cast<int>(syscall(SYS_openat2, dir, name.c_str(), &how, sizeof how)));
  if (!fd && errno == ELOOP) return fail(ErrorCode::invalid, name + " is or goes through a symbolic link: refused");
  if (!fd) return fail_errno("open " + name, errno);
  struct stat st{};
  if (fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode))
    return fail(ErrorCode::invalid, name + " is not a regular file");
  return fd;
}

// Pieces of the file until `each` fails.
template <class Each>
Status read_pieces(int fd, const std::string& name, std::stop_token stop, Each each) {
  std::string buffer(256u << 10, '\0');
  while (true) {
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "the import was cancelled");
    ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read " + name, errno);
    if (n == 0) return {};
    TUTTI_CHECK(each(std::string_view(buffer.data(), static_cast<size_t>(n))));
  }
}

class DirectorySource final : public LayoutSource {
 public:
  DirectorySource(ContentStore& store, int dir, std::stop_token stop)
      : store_(store), dir_(dir), stop_(std::move(stop)) {}

  Result<BlobInfo> bring(const std::string& digest) override {
    if (auto here = store_.touch(digest)) return here;
    std::string name = "blobs/sha256/" + digest.substr(7);  // a verified digest: hex digits only
    TUTTI_TRY(sys::UniqueFd fd, open_beneath(dir_, name));
    TUTTI_TRY(std::unique_ptr<Upload> upload, store_.start_upload(""));
    Status read = read_pieces(fd.get(), name, stop_, [&](std::string_view piece) { return upload->append(piece); });
    if (!read) {
      upload->discard();
      return tl::make_unexpected(std::move(read).error());
    }
    auto info = upload->commit(digest);
    if (!info) upload->discard();
    return info;
  }

 private:
  ContentStore& store_;
  int dir_;
  std::stop_token stop_;
};

// Brings a manifest and all below it. A child of an index may be missing (archives of one architecture keep the
// whole index), as long as another is there.
Status bring_all(ContentStore& store, LayoutSource& source, const oci::Descriptor& root, int depth,
                 std::set<std::string>& seen) {
  if (depth > kIndexDepthMax)
    return fail(ErrorCode::invalid, "indexes within indexes, more than " + std::to_string(kIndexDepthMax) + " deep");
  auto bring_one = [&](const oci::Descriptor& what) -> Status {
    TUTTI_TRY(BlobInfo info, source.bring(what.digest));
    if (info.size == static_cast<uint64_t>(what.size)) return {};
    return fail(ErrorCode::invalid, what.digest + " has " + std::to_string(info.size) + " bytes where " +
                                        std::to_string(what.size) + " are named");
  };
  TUTTI_CHECK(bring_one(root));
  TUTTI_TRY(std::string bytes, store.read(root.digest, limits::kManifestBytesMax));
  TUTTI_TRY(ManifestFacts facts, read_manifest(bytes));
  std::set<std::string> needed(facts.blobs.begin(), facts.blobs.end());
  if (facts.config) TUTTI_CHECK(bring_one(*facts.config));
  for (const oci::Descriptor& layer : facts.layers) {
    if (needed.contains(layer.digest)) TUTTI_CHECK(bring_one(layer));
  }
  size_t present = 0;
  for (const oci::Descriptor& child : facts.manifests) {
    // Once each: an index may name the same child thousands of times, at every level.
    if (!seen.insert(child.digest).second) {
      ++present;
      continue;
    }
    Status brought = bring_all(store, source, child, depth + 1, seen);
    if (!brought && brought.error().code != ErrorCode::not_found) return brought;
    if (brought) ++present;
  }
  if (!facts.manifests.empty() && present == 0)
    return fail(ErrorCode::not_found, "none of the images of index " + root.digest + " is there");
  return {};
}

std::string name_of(const oci::Descriptor& entry) {
  for (const char* key : {"io.containerd.image.name", "org.opencontainers.image.ref.name"}) {
    if (auto at = entry.annotations.find(key); at != entry.annotations.end()) return at->second.substr(0, 512);
  }
  return {};
}

// Several entries that are one image for several platforms, rather than several images.
bool is_one_image(const std::vector<oci::Descriptor>& entries) {
  return std::all_of(entries.begin(), entries.end(), [&](const oci::Descriptor& entry) {
    return entry.platform.has_value() && name_of(entry) == name_of(entries.front());
  });
}

}  // namespace

Result<Imported> imported(const ContentStore& store, const std::string& digest, const std::string& reference) {
  TUTTI_TRY(TagRow row, describe_manifest(store, digest));
  return Imported{row.digest, row.media_type, row.size, row.architectures, reference};
}

Result<std::vector<Imported>> import_layout(ContentStore& store, const std::string& index_json, LayoutSource& source) {
  auto read = read_manifest(index_json);
  if (!read) return tl::make_unexpected(std::move(read).error().in("index.json"));
  const ManifestFacts& index = *read;
  if (!index.index || index.manifests.empty()) return fail(ErrorCode::invalid, "index.json names no image");
  for (const oci::Descriptor& entry : index.manifests) {
    std::set<std::string> seen{entry.digest};
    Status brought = bring_all(store, source, entry, 0, seen);
    if (!brought) return tl::make_unexpected(std::move(brought).error().in("layout"));
  }
  std::vector<Imported> images;
  if (index.manifests.size() > 1 && is_one_image(index.manifests)) {
    TUTTI_TRY(BlobInfo info, store.put(index_json));
    TUTTI_TRY(Imported image, imported(store, info.digest, name_of(index.manifests.front())));
    images.push_back(std::move(image));
    return images;
  }
  for (const oci::Descriptor& entry : index.manifests) {
    TUTTI_TRY(Imported image, imported(store, entry.digest, name_of(entry)));
    images.push_back(std::move(image));
  }
  return images;
}

Result<std::vector<Imported>> import_layout_directory(ContentStore& store, const std::string& dir,
                                                      std::stop_token stop) {
  sys::UniqueFd fd(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno("open " + dir, errno);
  TUTTI_TRY(sys::UniqueFd file, open_beneath(fd.get(), "index.json"));
  std::string index_json;
  TUTTI_CHECK(read_pieces(file.get(), "index.json", stop, [&](std::string_view piece) -> Status {
    if (index_json.size() + piece.size() > limits::kManifestBytesMax)
      return fail(ErrorCode::too_large, "index.json is above the limit of kManifestBytesMax");
    index_json += piece;
    return {};
  }));
  DirectorySource source(store, fd.get(), stop);
  return import_layout(store, index_json, source);
}

Result<std::vector<Imported>> import_image(ContentStore& store, const std::string& path, const ImportOptions& options) {
  struct stat st{};
  if (stat(path.c_str(), &st) != 0) return fail_errno(path, errno);
  bool directory = S_ISDIR(st.st_mode);
  ImportKind kind = options.kind;
  if (kind == ImportKind::find_out && directory) {
    struct stat mark{};
    bool layout =
        lstat((path + "/oci-layout").c_str(), &mark) == 0 && lstat((path + "/index.json").c_str(), &mark) == 0;
    kind = layout ? ImportKind::oci_layout : ImportKind::rootfs_directory;
  }
  bool wants_directory = kind == ImportKind::oci_layout || kind == ImportKind::rootfs_directory;
  if (wants_directory != directory)
    return fail(ErrorCode::invalid, path + (directory ? " is a folder, an archive was asked for" : " is no folder"));
  auto one = [](Result<Imported> image) -> Result<std::vector<Imported>> {
    if (!image) return tl::make_unexpected(std::move(image).error());
    return std::vector<Imported>{std::move(*image)};
  };
  Result<std::vector<Imported>> found;
  switch (kind) {
    case ImportKind::oci_layout: found = import_layout_directory(store, path, options.stop); break;
    case ImportKind::rootfs_directory: found = one(make_rootfs_image(store, path, options.rootfs, options.stop)); break;
    case ImportKind::rootfs_tar:
      found = one(make_rootfs_image_from_tar(store, path, options.rootfs, options.stop));
      break;
    case ImportKind::find_out:
    case ImportKind::docker_archive:
    case ImportKind::oci_archive: found = import_archive(store, path, options); break;
  }
  if (!found) return tl::make_unexpected(std::move(found).error().in("import " + path));
  return found;
}

}  // namespace tutti::catalog
