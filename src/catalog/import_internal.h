#pragma once
// What the import's parts share. Not for others.

#include <archive.h>

#include <memory>
#include <string>

#include "catalog/import.h"

namespace tutti::catalog {

struct ArchiveReadEnd {
  void operator()(archive* a) const { archive_read_free(a); }
};
struct ArchiveWriteEnd {
  void operator()(archive* a) const { archive_write_free(a); }
};
using ArchiveReader = std::unique_ptr<archive, ArchiveReadEnd>;
using ArchiveWriter = std::unique_ptr<archive, ArchiveWriteEnd>;

tl::unexpected<Error> archive_error(archive* a, const std::string& where);
// A tar, with any compression libarchive knows. With `raw` only the compression is taken off.
Result<ArchiveReader> open_archive(const std::string& file, bool raw);
// A member's name without "./" and "/" in front or behind; `invalid` when it is absolute or has "..".
Result<std::string> member_name(const char* name);

// What is in the store under this manifest, as an import's answer.
Result<Imported> imported(const ContentStore& store, const std::string& digest, const std::string& reference);

// The import of an OCI layout, wherever its parts come from.
class LayoutSource {
 public:
  virtual ~LayoutSource() = default;
  // Makes sure that the store has it; not_found when the source has it not either.
  virtual Result<BlobInfo> bring(const std::string& digest) = 0;
};
Result<std::vector<Imported>> import_layout(ContentStore& store, const std::string& index_json, LayoutSource& source);
Result<std::vector<Imported>> import_layout_directory(ContentStore& store, const std::string& dir,
                                                      std::stop_token stop);
// Finds out by its members whether a tar is a docker-archive, an OCI archive or a root file system.
Result<std::vector<Imported>> import_archive(ContentStore& store, const std::string& file,
                                             const ImportOptions& options);

}  // namespace tutti::catalog
