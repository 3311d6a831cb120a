#pragma once
// Content by digest, in one directory: what the registry, imports and fetches keep, manifests included.
//
//   <dir>/blobs/sha256/ab/abcdef…   complete and verified, never changed, only removed
//   <dir>/uploads/<id>              what is still coming in; may be resumed, also after a restart
//   <dir>/arrivals/<scope>-<digest> which scope was given what lately (content_arrivals.cc)
//
// A blob appears by rename, after its digest was verified and its bytes were fsynced, so nobody sees half of one and
// none is lost to a power cut once commit() has returned. Path names are made of verified digests and our own upload
// ids alone. One process owns the directory. Thread-safe; every call may block on the disk (keep off I/O threads).
// Limits: limits::kBlobBytesMax per blob, kUploadsMax sessions open at a time.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "base/time.h"
#include "sys/digest.h"

namespace tutti::catalog {

using sys::digest_of;
using sys::Sha256;

inline constexpr size_t kUploadsMax = 4'096;

struct BlobInfo {
  std::string digest;
  uint64_t size = 0;
  Time used;  // last time it was written or asked for by a pusher: what `grace` counts from
};

struct CollectReport {
  size_t kept = 0;
  size_t removed = 0;
  uint64_t removed_bytes = 0;
  size_t young = 0;                  // unreferenced, but within the grace
  std::vector<std::string> missing;  // digests that roots refer to and that are not here
};

class ContentStore;

// One upload session, held by one caller at a time. Dropping it keeps what came in for a later resume, unless
// discard() was called. Not thread-safe by itself.
class Upload {
 public:
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  const std::string& id() const { return id_; }
  uint64_t offset() const { return offset_; }
  // too_large above the limit; io when the disk refuses (the session then ends before these bytes).
  Status append(std::string_view bytes);
  // Makes it a blob. With `expected`: `invalid` when the bytes have another digest, and the session is gone then.
  Result<BlobInfo> commit(std::string_view expected = {});
  void discard();

 private:
  friend class ContentStore;
  Upload(ContentStore& store, std::string id, int fd, uint64_t offset, Sha256 hash);

  ContentStore& store_;
  std::string id_;
  int fd_;
  uint64_t offset_;
  Sha256 hash_;
  bool done_ = false;
};

class ContentStore {
 public:
  struct Options {
    uint64_t blob_bytes_max = limits::kBlobBytesMax;
    Duration upload_keep = seconds(24 * 3600);  // sessions that nobody touched for so long are swept by open()
  };
  // Makes the directory where it is missing, and sweeps stale uploads.
  static Result<std::unique_ptr<ContentStore>> open(const std::string& dir, Options options);
  static Result<std::unique_ptr<ContentStore>> open(const std::string& dir) { return open(dir, Options{}); }
  ~ContentStore();

  // not_found; `invalid` for what is no digest.
  Result<BlobInfo> stat(std::string_view digest) const;
  // The same, and the blob counts as used now: collect() spares it for another grace. What pushers are told exists.
  Result<BlobInfo> touch(std::string_view digest);
  // Where its bytes are, for sending and reading; not checked for existence. `invalid` for what is no digest.
  Result<std::string> path(std::string_view digest) const;
  Result<std::string> read(std::string_view digest, size_t bytes_max) const;
  Result<BlobInfo> put(std::string_view bytes);
  Status remove(std::string_view digest);
  Result<std::vector<BlobInfo>> list() const;

  // A new session bound to `scope` (a repository): resuming it under another one is not_found.
  Result<std::unique_ptr<Upload>> start_upload(std::string_view scope);
  // conflict while somebody else holds it; not_found for unknown ids and other scopes.
  Result<std::unique_ptr<Upload>> resume_upload(std::string_view id, std::string_view scope);
  Result<uint64_t> upload_offset(std::string_view id, std::string_view scope) const;
  Status abort_upload(std::string_view id, std::string_view scope);
  // Removes sessions nobody has touched for `older`; returns how many.
  Result<size_t> sweep_uploads(Duration older);

  // That the scope was given this content just now: a blob, or a manifest of which all that it refers to was checked to
  // be the scope's. Known for collect()'s grace, also after a restart.
  enum class Arrived : uint8_t { blob, manifest };
  Status note_arrival(std::string_view scope, std::string_view digest, Arrived as);
  bool has_arrived(std::string_view scope, std::string_view digest) const;
  std::vector<std::string> arrived_manifests(std::string_view scope) const;
  void forget_arrival(std::string_view scope, std::string_view digest);

  // Removes what no root leads to (through manifests, indexes, subjects) and nobody used for `grace`. `roots` are
  // digests of manifests: those of tags and those that jobs pin. A grace must be longer than any push takes between
  // a blob and its manifest. A root that cannot be read stops nothing but is named in `missing`.
  Result<CollectReport> collect(const std::set<std::string>& roots, Duration grace);
  // Everything that `root` leads to, itself included; what is not here goes to `missing`.
  Result<std::vector<std::string>> reachable(const std::string& root, std::vector<std::string>* missing) const;

 private:
  friend class Upload;
  ContentStore(std::string dir, Options options) : dir_(std::move(dir)), options_(options) {}
  Status prepare();
  std::string blob_path(std::string_view digest) const;
  std::string upload_path(std::string_view id) const;
  std::string arrival_path(std::string_view scope, std::string_view digest, Arrived as) const;
  void sweep_arrivals(Time before);
  Status publish(const std::string& upload_id, int fd, const std::string& digest);
  void release(const std::string& id, bool remove_file, const Sha256* hash, uint64_t offset);
  Status remove_if_unused(const std::string& digest, Time before, bool& removed, uint64_t& bytes);

  struct Paused {  // a session nobody holds, with its running digest
    Sha256 hash;
    uint64_t offset = 0;
  };

  const std::string dir_;
  const Options options_;
  mutable std::mutex mutex_;    // held for renames, removals and touches; never while bytes move
  std::set<std::string> held_;  // uploads in somebody's hands
  std::map<std::string, Paused> paused_;
};

}  // namespace tutti::catalog
