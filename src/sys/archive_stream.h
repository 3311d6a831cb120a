#pragma once
// The two stages under extraction: the compressed bytes (hashed) become the tar's bytes (hashed, counted), which a
// second libarchive reader takes apart. Two stages, because the uncompressed stream has a digest of its own (diff_id).

#include <memory>
#include <optional>
#include <vector>

#include "sys/archive_internal.h"
#include "sys/digest.h"

namespace tutti::sys::archive_detail {

class TarStream {
 public:
  // At most `stream_bytes_max` uncompressed bytes are let through.
  TarStream(const ByteSource& source, uint64_t stream_bytes_max)
      : source_(source), stream_bytes_max_(stream_bytes_max) {}

  Status open();
  archive* tar() { return tar_.get(); }
  // Why the tar reader failed: the error of a stage below, if there is one, else its own.
  Error error_of_tar();
  // Reads what follows the tar's end, so that the digests are of everything. Then they may be asked for.
  Status drain();
  std::string blob_digest() { return blob_sum_.digest(); }
  std::string diff_id() { return tar_sum_.digest(); }
  uint64_t blob_bytes() const { return blob_bytes_; }

 private:
  static la_ssize_t read_blob(archive*, void* self, const void** out);
  static la_ssize_t read_tar(archive*, void* self, const void** out);
  la_ssize_t next_blob(archive* a, const void** out);
  la_ssize_t next_tar(archive* a, const void** out);

  const ByteSource& source_;
  const uint64_t stream_bytes_max_;
  Reader blob_;
  Reader tar_;
  std::vector<char> blob_buffer_;
  std::optional<Error> error_;
  Sha256 blob_sum_;
  Sha256 tar_sum_;
  uint64_t blob_bytes_ = 0;
  uint64_t tar_bytes_ = 0;
};

}  // namespace tutti::sys::archive_detail
