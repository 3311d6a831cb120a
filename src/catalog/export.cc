// OCI layouts out of the store, as a tar or a folder.

#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>

#include "base/limits.h"
#include "base/random.h"
#include "catalog/distribution_internal.h"
#include "catalog/import_internal.h"
#include "catalog/manifest.h"
#include "sys/fd.h"
#include "sys/file.h"

namespace tutti::catalog {
namespace {

constexpr std::string_view kLayoutMark = "{\"imageLayoutVersion\":\"1.0.0\"}";

struct Layout {
  std::string index_json;
  std::vector<std::string> digests;  // in order
};

Result<Layout> layout_of(const ContentStore& store, const std::string& digest, const std::string& reference) {
  std::vector<std::string> missing;
  TUTTI_TRY(std::vector<std::string> found, store.reachable(digest, &missing));
  TUTTI_TRY(std::string bytes, store.read(digest, limits::kManifestBytesMax));
  TUTTI_TRY(ManifestFacts facts, read_manifest(bytes));
  // An index may have been imported with some of its architectures only.
  std::set<std::string> optional;
  for (const oci::Descriptor& child : facts.manifests) optional.insert(child.digest);
  for (const std::string& absent : missing) {
    if (!optional.contains(absent))
      return fail(ErrorCode::not_found, "cannot export " + digest + ": its part " + absent + " is not in the catalog");
  }
  std::string name =
      reference.empty() ? "" : ",\"annotations\":{\"org.opencontainers.image.ref.name\":" + json_text(reference) + "}";
  Layout layout;
  layout.index_json = "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":" + json_text(facts.media_type) +
                      ",\"digest\":" + json_text(digest) + ",\"size\":" + std::to_string(bytes.size()) + name + "}]}";
  std::sort(found.begin(), found.end());
  layout.digests = std::move(found);
  return layout;
}

// The pieces of a blob.
Status pieces_of(const ContentStore& store, const std::string& digest,
                 const std::function<Status(std::string_view)>& each) {
  TUTTI_TRY(std::string path, store.path(digest));
  sys::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno("open " + path, errno);
  std::string buffer(256u << 10, '\0');
  while (true) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read " + path, errno);
    if (n == 0) return {};
    TUTTI_CHECK(each({buffer.data(), static_cast<size_t>(n)}));
  }
}

Status add_header(archive* a, const std::string& name, uint64_t size) {
  archive_entry* entry = archive_entry_new();
  archive_entry_set_pathname(entry, name.c_str());
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0644);
  archive_entry_set_size(entry, static_cast<la_int64_t>(size));
  archive_entry_set_mtime(entry, 0, 0);
  int rc = archive_write_header(a, entry);
  archive_entry_free(entry);
  if (rc != ARCHIVE_OK) return archive_error(a, name);
  return {};
}

Status add_bytes(archive* a, std::string_view bytes) {
  if (archive_write_data(a, bytes.data(), bytes.size()) < 0) return archive_error(a, "write the archive");
  return {};
}

Status write_archive(const ContentStore& store, const Layout& layout, const std::string& file) {
  ArchiveWriter writer(archive_write_new());
  if (!writer) return fail(ErrorCode::internal, "out of memory");
  archive_write_set_format_pax_restricted(writer.get());
  if (archive_write_open_filename(writer.get(), file.c_str()) != ARCHIVE_OK) return archive_error(writer.get(), file);
  TUTTI_CHECK(add_header(writer.get(), "oci-layout", kLayoutMark.size()));
  TUTTI_CHECK(add_bytes(writer.get(), kLayoutMark));
  TUTTI_CHECK(add_header(writer.get(), "index.json", layout.index_json.size()));
  TUTTI_CHECK(add_bytes(writer.get(), layout.index_json));
  for (const std::string& digest : layout.digests) {
    TUTTI_TRY(BlobInfo info, store.stat(digest));
    TUTTI_CHECK(add_header(writer.get(), "blobs/sha256/" + digest.substr(7), info.size));
    TUTTI_CHECK(pieces_of(store, digest, [&](std::string_view piece) { return add_bytes(writer.get(), piece); }));
  }
  if (archive_write_close(writer.get()) != ARCHIVE_OK) return archive_error(writer.get(), file);
  return {};
}

}  // namespace

Status export_oci_archive(const ContentStore& store, const std::string& digest, const std::string& reference,
                          const std::string& file) {
  TUTTI_TRY(Layout layout, layout_of(store, digest, reference));
  std::string part = file + ".part-" + secure_random_hex(4);
  Status written = write_archive(store, layout, part);
  if (written && rename(part.c_str(), file.c_str()) != 0) written = fail_errno("rename to " + file, errno);
  if (!written) unlink(part.c_str());
  return written;
}

Status export_oci_layout(const ContentStore& store, const std::string& digest, const std::string& reference,
                         const std::string& dir) {
  TUTTI_TRY(Layout layout, layout_of(store, digest, reference));
  if (rmdir(dir.c_str()) != 0 && errno != ENOENT)
    return fail_errno("export into " + dir + " (it must not exist or be empty)", errno);
  TUTTI_CHECK(sys::make_dirs(dir + "/blobs/sha256"));
  for (const std::string& blob : layout.digests) {
    std::string path = dir + "/blobs/sha256/" + blob.substr(7);
    sys::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd) return fail_errno("create " + path, errno);
    TUTTI_CHECK(pieces_of(store, blob, [&](std::string_view piece) { return sys::write_all(fd.get(), piece); }));
  }
  TUTTI_CHECK(sys::write_file_atomic(dir + "/oci-layout", kLayoutMark));
  return sys::write_file_atomic(dir + "/index.json", layout.index_json);
}

}  // namespace tutti::catalog
