// One-layer images from a folder or a tar.

#include <archive_entry.h>
#include <sys/utsname.h>
#include <zlib.h>

#include "base/limits.h"
#include "catalog/distribution_internal.h"
#include "catalog/import_internal.h"
#include "model/oci.h"
#include "sys/archive.h"

namespace tutti::catalog {
namespace {

// Tar bytes in, a gzip blob in the store out; hashes both. Level 6, no time in the header: the same bytes each time.
class LayerWriter {
 public:
  explicit LayerWriter(std::unique_ptr<Upload> upload) : upload_(std::move(upload)) {
    TUTTI_INVARIANT(deflateInit2(&stream_, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK,
                    "zlib refuses to start");
  }
  ~LayerWriter() {
    deflateEnd(&stream_);
    if (upload_) upload_->discard();
  }
  LayerWriter(const LayerWriter&) = delete;
  LayerWriter& operator=(const LayerWriter&) = delete;

  Status write(std::string_view bytes) {
    plain_bytes_ += bytes.size();
    if (plain_bytes_ > limits::kUnpackedLayerBytesMax)
      return fail(ErrorCode::too_large, "the layer is above the limit of kUnpackedLayerBytesMax");
    plain_.update(bytes);
    while (!bytes.empty()) {  // zlib counts in 32 bits
      std::string_view part = bytes.substr(0, 1u << 30);
      TUTTI_CHECK(deflate_part(part, Z_NO_FLUSH));
      bytes.remove_prefix(part.size());
    }
    return {};
  }
  Result<BlobInfo> finish() {
    TUTTI_CHECK(deflate_part({}, Z_FINISH));
    return upload_->commit();
  }
  std::string diff_id() const { return plain_.digest(); }

 private:
  Status deflate_part(std::string_view part, int flush) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
    stream_.avail_in = static_cast<uInt>(part.size());
    int rc = Z_OK;
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(buffer_.data());
      stream_.avail_out = static_cast<uInt>(buffer_.size());
      rc = deflate(&stream_, flush);
      if (rc == Z_STREAM_ERROR) return fail(ErrorCode::internal, "zlib failed");
      TUTTI_CHECK(upload_->append({buffer_.data(), buffer_.size() - stream_.avail_out}));
    } while (stream_.avail_out == 0 || (flush == Z_FINISH && rc != Z_STREAM_END));
    return {};
  }

  std::unique_ptr<Upload> upload_;
  z_stream stream_{};
  Sha256 plain_;
  uint64_t plain_bytes_ = 0;
  std::string buffer_ = std::string(256u << 10, '\0');
};

std::string text_list(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) out += (out.size() > 1 ? "," : "") + json_text(text);
  return out + "]";
}

Result<Imported> finish_image(ContentStore& store, const BlobInfo& layer, const std::string& diff_id,
                              const RootfsConfig& config) {
  std::string process;
  auto add = [&](const char* key, const std::string& json) {
    process += (process.empty() ? "\"" : ",\"") + std::string(key) + "\":" + json;
  };
  if (!config.entrypoint.empty()) add("Entrypoint", text_list(config.entrypoint));
  if (!config.cmd.empty()) add("Cmd", text_list(config.cmd));
  if (!config.env.empty()) add("Env", text_list(config.env));
  if (!config.working_dir.empty()) add("WorkingDir", json_text(config.working_dir));
  if (!config.user.empty()) add("User", json_text(config.user));
  std::string architecture = config.architecture.empty() ? machine_architecture() : config.architecture;
  TUTTI_TRY(BlobInfo document,
            store.put("{\"created\":\"1970-01-01T00:00:00Z\",\"architecture\":" + json_text(architecture) +
                      ",\"os\":\"linux\",\"config\":{" + process + "},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" +
                      json_text(diff_id) + "]}}"));
  auto descriptor = [](std::string_view type, const BlobInfo& info) {
    return "{\"mediaType\":" + json_text(type) + ",\"digest\":" + json_text(info.digest) +
           ",\"size\":" + std::to_string(info.size) + "}";
  };
  TUTTI_TRY(BlobInfo manifest, store.put("{\"schemaVersion\":2,\"mediaType\":" + json_text(oci::kManifestType) +
                                         ",\"config\":" + descriptor(oci::kConfigType, document) + ",\"layers\":[" +
                                         descriptor(oci::kLayerGzipType, layer) + "]}"));
  return imported(store, manifest.digest, "");
}

}  // namespace

std::string machine_architecture() {
  utsname name{};
  uname(&name);
  std::string machine = name.machine;
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return machine;
}

Result<Imported> make_rootfs_image(ContentStore& store, const std::string& dir, const RootfsConfig& config,
                                   std::stop_token stop) {
  TUTTI_TRY(std::unique_ptr<Upload> upload, store.start_upload(""));
  sys::PackOptions options;
  options.gzip = true;
  auto packed = sys::pack_directory(
      dir,
      [&](std::string_view bytes) -> Status {
        if (stop.stop_requested()) return fail(ErrorCode::cancelled, "the import was cancelled");
        return upload->append(bytes);
      },
      options);
  if (!packed) {
    upload->discard();
    return tl::make_unexpected(std::move(packed).error());
  }
  auto blob = upload->commit(packed->blob_digest);
  if (!blob) {
    upload->discard();
    return tl::make_unexpected(std::move(blob).error());
  }
  return finish_image(store, *blob, packed->diff_id, config);
}

Result<Imported> make_rootfs_image_from_tar(ContentStore& store, const std::string& file, const RootfsConfig& config,
                                            std::stop_token stop) {
  {  // that it is a tar at all; its members are checked where they are unpacked
    TUTTI_TRY(ArchiveReader probe, open_archive(file, false));
    archive_entry* entry = nullptr;
    if (int rc = archive_read_next_header(probe.get(), &entry); rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
      return archive_error(probe.get(), file);
  }
  TUTTI_TRY(ArchiveReader reader, open_archive(file, true));
  archive_entry* entry = nullptr;
  if (archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK) return archive_error(reader.get(), file);
  TUTTI_TRY(std::unique_ptr<Upload> upload, store.start_upload(""));
  LayerWriter layer(std::move(upload));
  std::string buffer(256u << 10, '\0');
  while (true) {
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "the import was cancelled");
    la_ssize_t n = archive_read_data(reader.get(), buffer.data(), buffer.size());
    if (n < 0) return archive_error(reader.get(), file);
    if (n == 0) break;
    TUTTI_CHECK(layer.write({buffer.data(), static_cast<size_t>(n)}));
  }
  TUTTI_TRY(BlobInfo blob, layer.finish());
  return finish_image(store, blob, layer.diff_id(), config);
}

}  // namespace tutti::catalog
