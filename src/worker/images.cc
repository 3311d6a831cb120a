#include "worker/images.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "sys/archive.h"
#include "sys/digest.h"
#include "sys/file.h"
#include "worker/images_record.h"

namespace tutti::worker {
namespace {

constexpr size_t kLayersMax = 500;  // of one overlay mount, as the kernel has it
constexpr uint64_t kConfigBytesMax = limits::kManifestBytesMax;

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  if (!dir) return names;
  while (dirent* one = ::readdir(dir.get())) {
    std::string name = one->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  return names;
}

// 96 bits name a folder; the whole digest is in the record beside it and compared.
std::string short_name(const std::string& digest) {
  return digest.substr(std::string_view("sha256:").size(), 24);
}

std::string platform_text(const oci::Platform& p) {
  return p.os + "/" + p.architecture + (p.variant.empty() ? "" : "/" + p.variant);
}

bool is_tar_layer(const std::string& type) {
  return type == "application/vnd.oci.image.layer.v1.tar" || type == "application/vnd.oci.image.layer.v1.tar+gzip" ||
         type == "application/vnd.oci.image.layer.v1.tar+zstd" ||
         type == "application/vnd.docker.image.rootfs.diff.tar.gzip" ||
         type == "application/vnd.docker.image.rootfs.diff.tar" || type.empty();
}

// When a record was written or marked last.
Time used_at(const std::string& path) {
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) return {};
  return {int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec};
}

Error mismatch(const std::string& what, const std::string& expected, const std::string& got) {
  return {ErrorCode::invalid,
          what + " is not what its digest says: expected " + expected + ", got " + got +
              "; the copy in the registry is damaged or was changed",
          {},
          0};
}

struct RemoveAtEnd {
  const std::string path;
  ~RemoveAtEnd() { (void)sys::remove_tree(path); }
};

}  // namespace

std::string host_platform() {
  utsname name{};
  ::uname(&name);
  std::string machine = name.machine;
  if (machine == "x86_64") return "linux/amd64";
  if (machine == "aarch64") return "linux/arm64";
  if (machine == "armv7l" || machine == "armv6l") return "linux/arm";
  if (machine == "i686" || machine == "i386") return "linux/386";
  return "linux/" + machine;  // riscv64, ppc64le, s390x are called the same in both worlds
}

// One worker of a key at a time. Waiting ends early when the caller is stopped.
class ImageStore::Turn {
 public:
  Turn(ImageStore& store, std::string key, std::stop_token stop) : store_(store), key_(std::move(key)) {
    std::unique_lock lock(store_.mutex_);
    std::stop_callback wake(stop, [&] { store_.done_.notify_all(); });
    while (!stop.stop_requested() && store_.under_way_.contains(key_)) {
      store_.done_.wait_for(lock, std::chrono::milliseconds(200));  // a stop can come between the check and the wait
    }
    mine_ = !stop.stop_requested();
    if (mine_) store_.under_way_.insert(key_);
  }
  ~Turn() {
    if (!mine_) return;
    {
      std::lock_guard lock(store_.mutex_);
      store_.under_way_.erase(key_);
    }
    store_.done_.notify_all();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  bool mine() const { return mine_; }

 private:
  ImageStore& store_;
  const std::string key_;
  bool mine_ = false;
};

std::string ImageStore::layer_path(const std::string& diff_id) const {
  return dir_ + "/layers/" + short_name(diff_id);
}
std::string ImageStore::image_path(const std::string& digest) const {
  return dir_ + "/images/" + short_name(digest) + ".json";
}
std::string ImageStore::temporary() {
  return dir_ + "/tmp/" + std::to_string(temporaries_++);
}

Result<ImageStore::Target> ImageStore::target_of(const std::string& reference) {
  size_t at = reference.find('@');
  if (at == std::string::npos || !oci::is_digest(std::string_view(reference).substr(at + 1))) {
    return fail(ErrorCode::invalid, "image '" + reference + "' has no digest; write repository@sha256:…");
  }
  TUTTI_TRY(oci::Reference parsed, oci::parse_reference(reference));
  std::string repository = parsed.registry.empty() ? parsed.repository : parsed.registry + "/" + parsed.repository;
  return Target{std::move(repository), parsed.digest};
}

// ---- start

Result<std::unique_ptr<ImageStore>> ImageStore::open(const std::string& directory, const std::string& platform) {
  std::unique_ptr<ImageStore> store(new ImageStore(directory, platform));
  for (const char* part : {"", "/layers", "/images", "/tmp"}) TUTTI_CHECK(sys::make_dirs(directory + part, 0755));
  // Set-user-id programs of images are for containers only: nobody but root passes here.
  if (::chmod(directory.c_str(), 0700) != 0) return fail_errno("close " + directory, errno);
  TUTTI_CHECK(sys::make_dirs(directory + "/empty", 0755));  // the lowest folder of an image without layers
  TUTTI_CHECK(store->sweep());
  return store;
}

Status ImageStore::sweep() {
  for (const std::string& name : names_in(dir_ + "/tmp")) TUTTI_CHECK(sys::remove_tree(dir_ + "/tmp/" + name));
  for (const std::string& name : names_in(dir_ + "/layers")) {
    std::string path = dir_ + "/layers/" + name;
    if (name.ends_with(".json")) {
      if (!sys::exists(path.substr(0, path.size() - 5))) TUTTI_CHECK(sys::remove_tree(path));
    } else if (!sys::exists(path + ".json")) {
      TUTTI_CHECK(sys::remove_tree(path));  // its marker was not written any more
    }
  }
  return {};
}

// ---- what is here

Result<uint64_t> ImageStore::layer_bytes(const std::string& diff_id) const {
  std::string path = layer_path(diff_id);
  TUTTI_TRY(std::string text, sys::read_file(path + ".json"));
  TUTTI_TRY(LayerMarker marker, parse_layer_marker(text));
  if (marker.diff_id != diff_id || !sys::exists(path))
    return fail(ErrorCode::not_found, "layer " + diff_id + " is not here");
  return marker.bytes;
}

Result<driver::ImageOnDisk> ImageStore::load(const std::string& digest) {
  {
    std::lock_guard lock(mutex_);
    auto at = ready_.find(digest);
    if (at != ready_.end()) return at->second;
  }
  TUTTI_TRY(std::string text, sys::read_file(image_path(digest)));
  TUTTI_TRY(ImageRecord record, parse_image_record(text));
  if (record.digest != digest) return fail(ErrorCode::not_found, "image " + digest + " is not here");
  driver::ImageOnDisk image;
  // A layer named twice counts where it is highest: overlayfs refuses the same folder twice, and what the lower one
  // brings is all in the higher one.
  for (auto layer = record.layers.rbegin(); layer != record.layers.rend(); ++layer) {
    TUTTI_CHECK(layer_bytes(*layer).map([](uint64_t) {}));
    std::string path = layer_path(*layer);
    if (std::find(image.lower_dirs.begin(), image.lower_dirs.end(), path) == image.lower_dirs.end()) {
      image.lower_dirs.push_back(std::move(path));
    }
  }
  if (image.lower_dirs.empty()) image.lower_dirs.push_back(dir_ + "/empty");
  image.env = std::move(record.config.Env);
  image.entrypoint = std::move(record.config.Entrypoint);
  image.command = std::move(record.config.Cmd);
  image.user = std::move(record.config.User);
  image.workdir = std::move(record.config.WorkingDir);
  image.stop_signal = std::move(record.config.StopSignal);
  std::lock_guard lock(mutex_);
  return ready_.insert_or_assign(digest, std::move(image)).first->second;
}

bool ImageStore::has(const std::string& reference) {
  auto target = target_of(reference);
  std::shared_lock shared(removal_);
  return target && load(target->digest);
}

Result<driver::ImageOnDisk> ImageStore::ensure(const std::string& reference, ImageFetcher& fetcher,
                                               std::stop_token stop) {
  TUTTI_TRY(Target target, target_of(reference));
  std::shared_lock shared(removal_);
  if (auto here = load(target.digest)) {
    mark_used(target.digest);
    return here;
  }
  Turn turn(*this, target.digest, stop);
  if (!turn.mine()) return fail(ErrorCode::cancelled, "image " + reference + ": stopped");
  if (auto here = load(target.digest)) return here;
  auto resolved = resolve(target, fetcher, stop);
  if (!resolved) return tl::make_unexpected(std::move(resolved).error().in("image " + reference));
  ImageRecord record{reference, target.digest, {}, {}};
  if (resolved->config.config) record.config = *resolved->config.config;
  if (resolved->config.rootfs) record.layers = resolved->config.rootfs->diff_ids;
  const auto& layers = resolved->manifest.layers;
  if (layers.size() != record.layers.size()) {
    return fail(ErrorCode::invalid, "image " + reference + ": its manifest has " + std::to_string(layers.size()) +
                                        " layers, its config " + std::to_string(record.layers.size()));
  }
  if (layers.size() > kLayersMax) {
    return fail(ErrorCode::unsupported, "image " + reference + " has " + std::to_string(layers.size()) +
                                            " layers; overlayfs takes " + std::to_string(kLayersMax));
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    auto layer = ensure_layer(target, layers[i], record.layers[i], fetcher, stop);
    if (!layer) return tl::make_unexpected(std::move(layer).error().in("image " + reference));
  }
  TUTTI_CHECK(sys::write_file_atomic(image_path(target.digest), format(record), {.sync = true}));
  return load(target.digest);
}

// ---- bringing it here

Result<std::string> ImageStore::pick(const Target& target, const oci::Index& index) const {
  std::string found;
  std::string others;
  for (const oci::Descriptor& one : index.manifests) {
    if (!one.platform) continue;
    std::string text = platform_text(*one.platform);
    // "linux/arm64/v8" serves "linux/arm64"; one without a variant is the more general.
    if (text == platform_) return one.digest;
    if (found.empty() && text.starts_with(platform_ + "/")) found = one.digest;
    if (one.platform->os != "unknown") others += (others.empty() ? "" : ", ") + text;
  }
  if (!found.empty()) return found;
  if (index.manifests.size() == 1 && !index.manifests.front().platform) return index.manifests.front().digest;
  return fail(ErrorCode::unprocessable,
              target.digest + " has no variant for " + platform_ + "; it has " + (others.empty() ? "none" : others));
}

Result<ImageStore::Resolved> ImageStore::resolve(const Target& target, ImageFetcher& fetcher, std::stop_token stop) {
  std::string digest = target.digest;
  for (int depth = 0; depth < 3; ++depth) {
    TUTTI_TRY(std::string text, fetcher.manifest(target.repository, digest, stop));
    std::string got = sys::digest_of(text);
    if (got != digest) return tl::make_unexpected(mismatch("manifest", digest, got));
    auto index = oci::parse_index(text);
    bool is_index = index && (index->mediaType == oci::kIndexType || index->mediaType == oci::kDockerListType ||
                              (index->mediaType.empty() && !index->manifests.empty()));
    if (is_index) {
      TUTTI_TRY(digest, pick(target, *index));
      continue;
    }
    Resolved resolved;
    TUTTI_TRY(resolved.manifest, oci::parse_manifest(text));
    TUTTI_TRY(resolved.config, fetch_config(target, *resolved.manifest.config, fetcher, stop));
    return resolved;
  }
  return fail(ErrorCode::invalid, target.digest + " is an index of indexes of indexes");
}

Result<oci::ImageConfig> ImageStore::fetch_config(const Target& target, const oci::Descriptor& descriptor,
                                                  ImageFetcher& fetcher, std::stop_token stop) {
  if (descriptor.size < 0 || static_cast<uint64_t>(descriptor.size) > kConfigBytesMax) {
    return fail(ErrorCode::too_large,
                "config " + descriptor.digest + " is larger than " + std::to_string(kConfigBytesMax) + " bytes");
  }
  RemoveAtEnd file{temporary()};
  TUTTI_CHECK(fetcher.blob_to_file(target.repository, descriptor.digest, file.path,
                                   static_cast<uint64_t>(descriptor.size), stop));
  TUTTI_TRY(std::string text, sys::read_file(file.path, kConfigBytesMax));
  std::string got = sys::digest_of(text);
  if (got != descriptor.digest) return tl::make_unexpected(mismatch("config", descriptor.digest, got));
  return oci::parse_image_config(text);
}

Result<uint64_t> ImageStore::ensure_layer(const Target& target, const oci::Descriptor& descriptor,
                                          const std::string& diff_id, ImageFetcher& fetcher, std::stop_token stop) {
  if (auto here = layer_bytes(diff_id)) return here;
  Turn turn(*this, diff_id, stop);
  if (!turn.mine()) return fail(ErrorCode::cancelled, "stopped");
  if (auto here = layer_bytes(diff_id)) return here;
  return fetch_layer(target, descriptor, diff_id, fetcher, stop);
}

Result<uint64_t> ImageStore::fetch_layer(const Target& target, const oci::Descriptor& descriptor,
                                         const std::string& diff_id, ImageFetcher& fetcher, std::stop_token stop) {
  if (!is_tar_layer(descriptor.mediaType)) {
    return fail(ErrorCode::unsupported, "layer " + descriptor.digest + " has media type " + descriptor.mediaType +
                                            "; tar, tar+gzip and tar+zstd can be unpacked");
  }
  if (descriptor.size < 0 || static_cast<uint64_t>(descriptor.size) > limits::kBlobBytesMax) {
    return fail(ErrorCode::too_large, "layer " + descriptor.digest + " is larger than the limit of " +
                                          std::to_string(limits::kBlobBytesMax) + " bytes");
  }
  RemoveAtEnd blob{temporary()};
  TUTTI_CHECK(fetcher.blob_to_file(target.repository, descriptor.digest, blob.path,
                                   static_cast<uint64_t>(descriptor.size), stop));
  struct stat st{};
  if (::stat(blob.path.c_str(), &st) != 0) return fail_errno("stat " + blob.path, errno);
  if (st.st_size != descriptor.size) {
    return fail(ErrorCode::invalid, "layer " + descriptor.digest + " has " + std::to_string(st.st_size) +
                                        " bytes, its manifest says " + std::to_string(descriptor.size));
  }
  RemoveAtEnd folder{temporary()};
  TUTTI_CHECK(sys::make_dirs(folder.path, 0755));
  (void)::chmod(folder.path.c_str(), 0755);  // whatever the umask: it becomes the root of containers
  sys::ExtractOptions options;
  options.whiteouts = true;
  auto extracted = sys::extract_tar_file(blob.path, folder.path, options);
  // A damaged blob often cannot be unpacked: then its digest says more than the archive's reader.
  if (!extracted && extracted.error().code == ErrorCode::invalid) {
    TUTTI_TRY(std::string got, sys::digest_of_file(blob.path));
    if (got != descriptor.digest) return tl::make_unexpected(mismatch("layer", descriptor.digest, got));
  }
  if (!extracted) return tl::make_unexpected(std::move(extracted).error().in("layer " + descriptor.digest));
  if (extracted->blob_digest != descriptor.digest) {
    return tl::make_unexpected(mismatch("layer", descriptor.digest, extracted->blob_digest));
  }
  if (extracted->diff_id != diff_id)
    return tl::make_unexpected(mismatch("unpacked layer", diff_id, extracted->diff_id));

  // The marker says that all of it is on disk, so all of it has to be there first, also after a power cut.
  std::string path = layer_path(diff_id);
  TUTTI_CHECK(sys::remove_tree(path + ".json"));
  TUTTI_CHECK(sys::remove_tree(path));
  if (::rename(folder.path.c_str(), path.c_str()) != 0) return fail_errno("move layer to " + path, errno);
  sys::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::syncfs(fd.get()) != 0) return fail_errno("write layer " + path + " to disk", errno);
  LayerMarker marker{diff_id, descriptor.digest, extracted->bytes, extracted->entries};
  TUTTI_CHECK(sys::write_file_atomic(path + ".json", format(marker), {.sync = true}));
  return marker.bytes;
}

// ---- all of them

Result<std::vector<StoredImage>> ImageStore::list() {
  std::shared_lock shared(removal_);
  std::vector<StoredImage> images;
  for (const std::string& name : names_in(dir_ + "/images")) {
    auto text = sys::read_file(dir_ + "/images/" + name);
    auto record = text ? parse_image_record(*text) : Result<ImageRecord>(tl::make_unexpected(text.error()));
    if (!record) continue;  // being written, or of another version: it will be fetched again
    StoredImage image{record->reference, record->digest, 0, record->layers.size()};
    for (const std::string& layer : record->layers) image.bytes += layer_bytes(layer).value_or(0);
    images.push_back(std::move(image));
  }
  std::sort(images.begin(), images.end(), [](const auto& a, const auto& b) { return a.reference < b.reference; });
  return images;
}

Duration unused_image_kept(int free_percent) {
  return seconds(free_percent < limits::kDiskLowPercent ? limits::kImageUnusedLowSeconds : limits::kImageUnusedSeconds);
}

void ImageStore::mark_used(const std::string& digest) const {
  (void)::utimensat(AT_FDCWD, image_path(digest).c_str(), nullptr,
                    0);  // where it fails, it may go early, and come again
}

Result<std::vector<std::string>> ImageStore::remove_unused(const std::vector<std::string>& in_use, Time before) {
  std::vector<std::string> removed;
  std::unique_lock alone(removal_, std::try_to_lock);
  if (!alone) return removed;
  std::set<std::string> keep;
  for (const std::string& reference : in_use) {
    auto target = target_of(reference);
    if (target) keep.insert(target->digest);
  }
  std::set<std::string> kept_layers;
  for (const std::string& name : names_in(dir_ + "/images")) {
    std::string path = dir_ + "/images/" + name;
    auto text = sys::read_file(path);
    auto record = text ? parse_image_record(*text) : Result<ImageRecord>(tl::make_unexpected(text.error()));
    const bool used = record && keep.contains(record->digest);
    if (used) mark_used(record->digest);
    if (used || (record && used_at(path) >= before)) {
      for (const std::string& layer : record->layers) kept_layers.insert(short_name(layer));
      continue;
    }
    if (record) {
      removed.push_back(record->reference);
      std::lock_guard lock(mutex_);
      ready_.erase(record->digest);
    }
    TUTTI_CHECK(sys::remove_tree(path));  // before its layers: a record never names what is not there
  }
  for (const std::string& name : names_in(dir_ + "/layers")) {
    if (name.ends_with(".json") || kept_layers.contains(name)) continue;
    // Marker first: what is left without one after a crash is removed by the next open().
    TUTTI_CHECK(sys::remove_tree(dir_ + "/layers/" + name + ".json"));
    TUTTI_CHECK(sys::remove_tree(dir_ + "/layers/" + name));
  }
  return removed;
}

}  // namespace tutti::worker
