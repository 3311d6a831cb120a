#pragma once
// ImageStore: the images of one node, unpacked: each layer once, shared between images and instances, kept.
//
// Owner: the worker. Thread-safe and blocking; called from the pool. One fetch at a time per layer: who comes second
// waits for the first. Every digest and size is checked, of what was fetched and of what was unpacked. A layer appears
// whole or not at all: unpacked under tmp/, moved, and valid once its marker is on disk; open() removes the rest.
//
//   <dir>/layers/<24 hex of diff_id>/       the layer, as overlayfs wants it (short: mount options are one page)
//   <dir>/layers/<24 hex of diff_id>.json   its marker
//   <dir>/images/<24 hex of digest>.json    which layers, and how to run it
//   <dir>/tmp/

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "driver/driver.h"
#include "model/oci.h"
#include "net/http.h"

namespace tutti::worker {

// Where images come from. Thread-safe. Errors: not_found, forbidden, unavailable, timeout, cancelled, too_large.
class ImageFetcher {
 public:
  virtual ~ImageFetcher() = default;
  // The text of a manifest or an index; the caller checks the digest.
  virtual Result<std::string> manifest(const std::string& repository, const std::string& digest,
                                       std::stop_token stop) = 0;
  // Into a new file; at most bytes_max.
  virtual Status blob_to_file(const std::string& repository, const std::string& digest, const std::string& path,
                              uint64_t bytes_max, std::stop_token stop) = 0;
};

// From the pool's catalog: the OCI distribution protocol under /v2/ on the workers' port, with the node's certificate.
std::unique_ptr<ImageFetcher> make_http_fetcher(net::Endpoint endpoint, net::ClientTls tls);

// Which of an index's images this machine runs. "linux/amd64".
std::string host_platform();

struct StoredImage {
  std::string reference;  // the first it was asked by
  std::string digest;
  uint64_t bytes = 0;  // of its layers, unpacked; shared ones count in each
  size_t layers = 0;
};

// How long an image that nothing uses is kept, where so much of the disk is free (limits.h).
Duration unused_image_kept(int free_percent);

class ImageStore {
 public:
  // Makes the folders, removes what a killed process left half done.
  static Result<std::unique_ptr<ImageStore>> open(const std::string& directory,
                                                  const std::string& platform = host_platform());

  // "repository@sha256:…" made ready on this node; at once when it is. Errors: invalid (reference, digest or size
  // mismatch, an archive that is refused), unprocessable (no variant for this platform), unsupported (media type), and
  // the fetcher's.
  Result<driver::ImageOnDisk> ensure(const std::string& reference, ImageFetcher& fetcher, std::stop_token stop = {});
  // Whether ensure() would need no fetcher.
  bool has(const std::string& reference);
  Result<std::vector<StoredImage>> list();
  // Removes images that were neither in `in_use` (references as given to ensure; every one that an instance has or
  // waits for) nor asked of ensure() since `before`, then layers of no image. Returns the references; nothing, while an
  // ensure() is under way. `before` in the past by more than a moment: what an instance that has just come was told to
  // be ready stays. The modification time of an image's record is when it was used last.
  Result<std::vector<std::string>> remove_unused(const std::vector<std::string>& in_use, Time before);

 private:
  struct Resolved {
    oci::Manifest manifest;
    oci::ImageConfig config;
  };
  struct Target {
    std::string repository;
    std::string digest;
  };
  ImageStore(std::string directory, std::string platform)
      : dir_(std::move(directory)), platform_(std::move(platform)) {}
  void mark_used(const std::string& digest) const;
  static Result<Target> target_of(const std::string& reference);
  Status sweep();
  Result<driver::ImageOnDisk> load(const std::string& digest);
  Result<Resolved> resolve(const Target& target, ImageFetcher& fetcher, std::stop_token stop);
  Result<std::string> pick(const Target& target, const oci::Index& index) const;
  Result<oci::ImageConfig> fetch_config(const Target& target, const oci::Descriptor& descriptor, ImageFetcher& fetcher,
                                        std::stop_token stop);
  Result<uint64_t> ensure_layer(const Target& target, const oci::Descriptor& descriptor, const std::string& diff_id,
                                ImageFetcher& fetcher, std::stop_token stop);
  Result<uint64_t> fetch_layer(const Target& target, const oci::Descriptor& descriptor, const std::string& diff_id,
                               ImageFetcher& fetcher, std::stop_token stop);
  Result<uint64_t> layer_bytes(const std::string& diff_id) const;  // not_found when it is not (wholly) here
  std::string layer_path(const std::string& diff_id) const;
  std::string image_path(const std::string& digest) const;
  std::string temporary();

  const std::string dir_;
  const std::string platform_;
  std::atomic<uint64_t> temporaries_{0};

  std::shared_mutex removal_;                         // ensure() shares it, remove_unused() has it alone
  std::mutex mutex_;                                  // the two below
  std::map<std::string, driver::ImageOnDisk> ready_;  // by digest, seen whole by this process
  std::set<std::string> under_way_;                   // diff_ids and image digests
  std::condition_variable done_;

  class Turn;
};

}  // namespace tutti::worker
