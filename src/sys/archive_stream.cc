#include "sys/archive_stream.h"

#include <cerrno>

namespace tutti::sys::archive_detail {

la_ssize_t TarStream::read_blob(archive* a, void* self, const void** out) {
  return static_cast<TarStream*>(self)->next_blob(a, out);
}
la_ssize_t TarStream::read_tar(archive* a, void* self, const void** out) {
  return static_cast<TarStream*>(self)->next_tar(a, out);
}

la_ssize_t TarStream::next_blob(archive* a, const void** out) {
  auto n = source_(blob_buffer_);
  if (!n) {
    error_ = std::move(n).error();
    archive_set_error(a, EIO, "%s", error_->message.c_str());
    return -1;
  }
  blob_sum_.update({blob_buffer_.data(), *n});
  blob_bytes_ += *n;
  *out = blob_buffer_.data();
  return static_cast<la_ssize_t>(*n);
}

la_ssize_t TarStream::next_tar(archive* a, const void** out) {
  const void* data = nullptr;
  size_t size = 0;
  la_int64_t offset = 0;
  int status = archive_read_data_block(blob_.get(), &data, &size, &offset);
  if (status == ARCHIVE_EOF) return 0;
  if (status < ARCHIVE_WARN) {
    if (!error_) error_ = Error{ErrorCode::invalid, "archive: cannot uncompress: " + error_text(blob_.get()), {}, 0};
    archive_set_error(a, EIO, "%s", error_->message.c_str());
    return -1;
  }
  tar_bytes_ += size;
  if (tar_bytes_ > stream_bytes_max_) {
    error_ =
        Error{ErrorCode::too_large,
              "archive: unpacks to more than " + std::to_string(stream_bytes_max_) + " bytes of tar, headers counted",
              {},
              0};
    archive_set_error(a, EIO, "%s", error_->message.c_str());
    return -1;
  }
  tar_sum_.update({static_cast<const char*>(data), size});
  *out = data;
  return static_cast<la_ssize_t>(size);
}

Error TarStream::error_of_tar() {
  if (error_) return *error_;
  return Error{ErrorCode::invalid, "archive: " + error_text(tar_.get()), {}, 0};
}

Status TarStream::open() {
  blob_buffer_.resize(128u << 10);
  blob_.reset(archive_read_new());
  tar_.reset(archive_read_new());
  if (!blob_ || !tar_) return fail(ErrorCode::internal, "libarchive: out of memory");
  archive_read_support_filter_none(blob_.get());
  archive_read_support_filter_gzip(blob_.get());
  archive_read_support_filter_zstd(blob_.get());
  archive_read_support_format_raw(blob_.get());
  archive_read_support_format_empty(blob_.get());
  archive_entry* whole = nullptr;
  int status = archive_read_open(blob_.get(), this, nullptr, read_blob, nullptr);
  if (status == ARCHIVE_OK) status = archive_read_next_header(blob_.get(), &whole);
  if (status != ARCHIVE_OK) {
    if (error_) return tl::make_unexpected(*error_);
    return fail(ErrorCode::invalid,
                status == ARCHIVE_EOF ? "archive: it is empty" : "archive: " + error_text(blob_.get()));
  }
  archive_read_support_filter_none(tar_.get());
  archive_read_support_format_tar(tar_.get());
  if (archive_read_open(tar_.get(), this, nullptr, read_tar, nullptr) != ARCHIVE_OK) {
    return tl::make_unexpected(error_of_tar());
  }
  return {};
}

Status TarStream::drain() {
  const void* data = nullptr;
  for (;;) {
    la_ssize_t n = next_tar(tar_.get(), &data);
    if (n == 0) break;
    if (n < 0) return tl::make_unexpected(*error_);
  }
  // The filter may stop before the blob's last bytes; the blob's digest is of all.
  for (;;) {
    TUTTI_TRY(size_t n, source_(blob_buffer_));
    if (n == 0) return {};
    blob_sum_.update({blob_buffer_.data(), n});
    blob_bytes_ += n;
  }
}

}  // namespace tutti::sys::archive_detail
