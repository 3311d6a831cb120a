#pragma once
// Tar archives, both ways: layers of images, copies in and out, images made from folders. Over libarchive.
//
// Reading trusts nothing of the archive. Every name is walked from an open directory with openat2 (beneath it, no
// symbolic link followed), so that neither "..", nor an absolute name, nor a link that an earlier entry made, nor a
// link swapped in meanwhile leads outside. What is refused is refused with the entry's name, and what was written up to
// then stays for the caller to remove. Stateless; calls block; one call per destination at a time.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/result.h"

namespace tutti::sys {

// Fills the buffer and says how much; 0 at the end.
using ByteSource = std::function<Result<size_t>(std::span<char> buffer)>;
using ByteSink = std::function<Status(std::string_view bytes)>;

struct ExtractOptions {
  bool whiteouts = false;  // ".wh.x" becomes overlayfs' whiteout, ".wh..wh..opq" its opaque mark
  bool devices = false;    // else device nodes are left out (0:0, overlayfs' own whiteout, is always made)
  bool keep_owner = true;  // else everything belongs to `owner`
  uint32_t owner_uid = 0;
  uint32_t owner_gid = 0;
  std::string rename;  // not empty: the first part of every name becomes this; it stands in front of "./x"
  uint64_t bytes_max = limits::kUnpackedLayerBytesMax;
  uint64_t entries_max = limits::kUnpackedLayerEntriesMax;
};

struct Extracted {
  std::string blob_digest;  // of the bytes as they came, all of them
  std::string diff_id;      // of the uncompressed tar
  uint64_t blob_bytes = 0;
  uint64_t entries = 0;
  uint64_t bytes = 0;    // of file contents
  uint64_t skipped = 0;  // devices left out
};

// tar, tar+gzip, tar+zstd into an existing directory. Errors: invalid (not such an archive, or a name or link that
// climbs out), too_large (with the limit), io.
Result<Extracted> extract_tar(const ByteSource& source, const std::string& directory, const ExtractOptions& options);
Result<Extracted> extract_tar_file(const std::string& archive, const std::string& directory,
                                   const ExtractOptions& options);

struct PackOptions {
  bool gzip = false;
  bool keep_times = false;  // else every time is 0, so that equal content gives equal bytes
  bool whiteouts = false;   // overlayfs' whiteouts and opaque marks become ".wh." entries
};
struct Packed {
  std::string blob_digest;
  std::string diff_id;
  uint64_t blob_bytes = 0;
  uint64_t bytes = 0;
  uint64_t entries = 0;
};
// The content of a directory, names sorted; the same content gives the same archive. Sockets are left out.
Result<Packed> pack_directory(const std::string& directory, const ByteSink& sink, const PackOptions& options);
Result<Packed> pack_directory_to_file(const std::string& directory, const std::string& file,
                                      const PackOptions& options);

// Copy out: `path` seen from the root directory `root` (links are followed, but never out of it) as a tar whose first
// entry has the path's last name. not_found, with the path.
Result<Packed> pack_path(const std::string& root, const std::string& path, const ByteSink& sink);
// Copy in: unpacks into the directory `path` of `root`. What is no directory is a name for the copy, whose directory
// must be there: the archive's first part of every name becomes that one.
Result<Extracted> unpack_into(const std::string& root, const std::string& path, const ByteSource& source,
                              const ExtractOptions& options);

}  // namespace tutti::sys
