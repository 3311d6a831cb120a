#include "catalog/content_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "base/log.h"
#include "base/random.h"
#include "catalog/manifest.h"
#include "model/oci.h"

namespace tutti::catalog {
namespace {

constexpr size_t kIdLetters = 32 + 1 + 16;  // random hex, '-', the scope's digest

Time now() {
  timespec ts{};
  clock_gettime(CLOCK_REALTIME, &ts);
  return {ts.tv_sec * 1'000'000'000 + ts.tv_nsec};
}

Time time_of(const timespec& ts) {
  return {ts.tv_sec * 1'000'000'000 + ts.tv_nsec};
}

Status make_dir(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno("mkdir " + path, errno);
  return {};
}

Status sync_dir(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail_errno("open " + path, errno);
  int rc = fsync(fd);
  int error = errno;
  close(fd);
  if (rc != 0) return fail_errno("fsync " + path, error);
  return {};
}

Status write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("write to the content store", errno);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

std::string scope_mark(std::string_view scope) {
  return digest_of(scope).substr(7, 16);
}

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_upload_id(std::string_view id) {
  return id.size() == kIdLetters && id[32] == '-' && is_hex(id.substr(0, 32)) && is_hex(id.substr(33));
}

tl::unexpected<Error> no_upload() {
  return fail(ErrorCode::not_found,
              "no such upload: it ended, expired, or belongs to another repository; start a new one");
}

// Names in a directory, without "." and "..".
Result<std::vector<std::string>> names_in(const std::string& path) {
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return fail_errno("open " + path, errno);
  std::vector<std::string> names;
  while (dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  closedir(dir);
  return names;
}

}  // namespace

// ---- Upload

Upload::Upload(ContentStore& store, std::string id, int fd, uint64_t offset, Sha256 hash)
    : store_(store), id_(std::move(id)), fd_(fd), offset_(offset), hash_(std::move(hash)) {}

Upload::~Upload() {
  if (!done_) store_.release(id_, false, &hash_, offset_);
  close(fd_);
}

Status Upload::append(std::string_view bytes) {
  TUTTI_INVARIANT(!done_, "append to an upload that ended");
  if (bytes.size() > store_.options_.blob_bytes_max - offset_) {
    return fail(ErrorCode::too_large,
                "blob above the limit of " + std::to_string(store_.options_.blob_bytes_max) + " bytes");
  }
  if (Status written = write_all(fd_, bytes); !written) {
    // Half a piece may be in the file: cut it off, so that the offset stays the truth.
    if (ftruncate(fd_, static_cast<off_t>(offset_)) == 0) lseek(fd_, static_cast<off_t>(offset_), SEEK_SET);
    return written;
  }
  hash_.update(bytes);
  offset_ += bytes.size();
  return {};
}

Result<BlobInfo> Upload::commit(std::string_view expected) {
  TUTTI_INVARIANT(!done_, "commit of an upload that ended");
  std::string digest = hash_.digest();
  if (!expected.empty() && digest != expected) {
    discard();
    return fail(ErrorCode::invalid, "the content's digest is " + digest + ", not " + std::string(expected));
  }
  TUTTI_CHECK(store_.publish(id_, fd_, digest));
  done_ = true;
  store_.release(id_, false, nullptr, 0);
  return BlobInfo{digest, offset_, now()};
}

void Upload::discard() {
  if (done_) return;
  done_ = true;
  store_.release(id_, true, nullptr, 0);
}

// ---- ContentStore

Result<std::unique_ptr<ContentStore>> ContentStore::open(const std::string& dir, Options options) {
  std::unique_ptr<ContentStore> store(new ContentStore(dir, options));
  TUTTI_CHECK(store->prepare());
  TUTTI_TRY(size_t swept, store->sweep_uploads(options.upload_keep));
  if (swept > 0) log_info("removed stale uploads", {{"count", std::to_string(swept)}});
  return store;
}

ContentStore::~ContentStore() {
  std::lock_guard lock(mutex_);
  TUTTI_INVARIANT(held_.empty(), "the content store ends before its uploads");
}

Status ContentStore::prepare() {
  for (const char* part : {"", "/blobs", "/blobs/sha256", "/uploads", "/arrivals"}) TUTTI_CHECK(make_dir(dir_ + part));
  return sync_dir(dir_);
}

std::string ContentStore::blob_path(std::string_view digest) const {
  TUTTI_INVARIANT(oci::is_digest(digest), "path of what is no digest");
  std::string_view hex = digest.substr(7);
  return dir_ + "/blobs/sha256/" + std::string(hex.substr(0, 2)) + "/" + std::string(hex);
}

std::string ContentStore::upload_path(std::string_view id) const {
  return dir_ + "/uploads/" + std::string(id);
}

Result<std::string> ContentStore::path(std::string_view digest) const {
  if (!oci::is_digest(digest)) return fail(ErrorCode::invalid, "not a digest (sha256: and 64 lower-case hex digits)");
  return blob_path(digest);
}

Result<BlobInfo> ContentStore::stat(std::string_view digest) const {
  TUTTI_TRY(std::string file, path(digest));
  struct stat st{};
  if (::lstat(file.c_str(), &st) != 0) {
    if (errno == ENOENT) return fail(ErrorCode::not_found, "no content " + std::string(digest));
    return fail_errno("stat " + file, errno);
  }
  return BlobInfo{std::string(digest), static_cast<uint64_t>(st.st_size), time_of(st.st_mtim)};
}

Result<BlobInfo> ContentStore::touch(std::string_view digest) {
  TUTTI_TRY(std::string file, path(digest));
  std::lock_guard lock(mutex_);
  if (utimensat(AT_FDCWD, file.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) != 0 && errno != ENOENT) {
    return fail_errno("touch " + file, errno);
  }
  return stat(digest);
}

Result<std::string> ContentStore::read(std::string_view digest, size_t bytes_max) const {
  TUTTI_TRY(BlobInfo info, stat(digest));
  if (info.size > bytes_max) {
    return fail(ErrorCode::too_large, "content " + info.digest + " has " + std::to_string(info.size) +
                                          " bytes, the limit is " + std::to_string(bytes_max));
  }
  std::string file = blob_path(digest);
  int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return fail_errno("open " + file, errno);
  std::string bytes(info.size, '\0');
  size_t have = 0;
  while (have < bytes.size()) {
    ssize_t n = ::read(fd, bytes.data() + have, bytes.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += static_cast<size_t>(n);
  }
  close(fd);
  if (have != bytes.size()) return fail(ErrorCode::io, "content " + info.digest + " cannot be read whole from " + file);
  return bytes;
}

Result<BlobInfo> ContentStore::put(std::string_view bytes) {
  if (auto here = touch(digest_of(bytes))) return here;
  TUTTI_TRY(std::unique_ptr<Upload> upload, start_upload(""));
  Status written = upload->append(bytes);
  if (!written) {
    upload->discard();
    return tl::make_unexpected(std::move(written).error());
  }
  auto info = upload->commit();
  if (!info) upload->discard();
  return info;
}

Status ContentStore::remove(std::string_view digest) {
  TUTTI_TRY(std::string file, path(digest));
  std::lock_guard lock(mutex_);
  if (unlink(file.c_str()) != 0) {
    if (errno == ENOENT) return fail(ErrorCode::not_found, "no content " + std::string(digest));
    return fail_errno("remove " + file, errno);
  }
  return {};
}

Result<std::vector<BlobInfo>> ContentStore::list() const {
  std::vector<BlobInfo> found;
  std::string base = dir_ + "/blobs/sha256";
  TUTTI_TRY(std::vector<std::string> shards, names_in(base));
  for (const std::string& shard : shards) {
    TUTTI_TRY(std::vector<std::string> names, names_in(base + "/" + shard));
    for (const std::string& name : names) {
      if (!oci::is_digest("sha256:" + name) || name.substr(0, 2) != shard) continue;  // not ours
      if (auto info = stat("sha256:" + name)) found.push_back(std::move(*info));
    }
  }
  return found;
}

// The bytes are durable before the name exists, and the name before the caller hears of it.
Status ContentStore::publish(const std::string& upload_id, int fd, const std::string& digest) {
  if (fsync(fd) != 0) return fail_errno("fsync upload", errno);
  std::string target = blob_path(digest);
  std::string shard = target.substr(0, target.rfind('/'));
  bool new_shard = mkdir(shard.c_str(), 0700) == 0;
  if (!new_shard && errno != EEXIST) return fail_errno("mkdir " + shard, errno);
  {
    std::lock_guard lock(mutex_);
    futimens(fd, nullptr);  // the grace starts when the blob is complete
    if (rename(upload_path(upload_id).c_str(), target.c_str()) != 0) return fail_errno("rename to " + target, errno);
  }
  TUTTI_CHECK(sync_dir(shard));
  if (new_shard) TUTTI_CHECK(sync_dir(dir_ + "/blobs/sha256"));
  return {};
}

// ---- uploads

void ContentStore::release(const std::string& id, bool remove_file, const Sha256* hash, uint64_t offset) {
  std::lock_guard lock(mutex_);
  held_.erase(id);
  if (hash != nullptr) paused_.insert_or_assign(id, Paused{*hash, offset});
  if (remove_file) unlink(upload_path(id).c_str());
}

Result<std::unique_ptr<Upload>> ContentStore::start_upload(std::string_view scope) {
  std::string id = secure_random_hex(16) + "-" + scope_mark(scope);
  std::lock_guard lock(mutex_);
  if (held_.size() + paused_.size() >= kUploadsMax) {
    return fail(ErrorCode::too_many,
                "more than " + std::to_string(kUploadsMax) + " uploads are open (kUploadsMax); try again later");
  }
  std::string file = upload_path(id);
  int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return fail_errno("create " + file, errno);
  held_.insert(id);
  return std::unique_ptr<Upload>(new Upload(*this, id, fd, 0, Sha256{}));
}

Result<std::unique_ptr<Upload>> ContentStore::resume_upload(std::string_view id, std::string_view scope) {
  if (!is_upload_id(id) || id.substr(33) != scope_mark(scope)) return no_upload();
  std::string key(id);
  std::string file = upload_path(id);
  Paused paused;
  int fd = -1;
  bool known = false;
  {
    std::lock_guard lock(mutex_);
    if (held_.contains(key)) return fail(ErrorCode::conflict, "this upload is being written by another request");
    fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return no_upload();
    if (auto at = paused_.find(key); at != paused_.end()) {
      paused = std::move(at->second);
      paused_.erase(at);
      known = true;
    }
    held_.insert(key);
  }
  if (!known) {  // from before a restart: the digest starts over from the file
    std::string buffer(1u << 20, '\0');
    ssize_t n = 0;
    while ((n = ::read(fd, buffer.data(), buffer.size())) > 0) {
      paused.hash.update({buffer.data(), static_cast<size_t>(n)});
      paused.offset += static_cast<uint64_t>(n);
    }
  }
  auto upload = std::unique_ptr<Upload>(new Upload(*this, key, fd, paused.offset, std::move(paused.hash)));
  if (ftruncate(fd, static_cast<off_t>(upload->offset_)) != 0 ||
      lseek(fd, static_cast<off_t>(upload->offset_), SEEK_SET) < 0) {
    return fail_errno("resume " + file, errno);
  }
  return upload;
}

Result<uint64_t> ContentStore::upload_offset(std::string_view id, std::string_view scope) const {
  if (!is_upload_id(id) || id.substr(33) != scope_mark(scope)) return no_upload();
  struct stat st{};
  if (::lstat(upload_path(id).c_str(), &st) != 0) return no_upload();
  return static_cast<uint64_t>(st.st_size);
}

Status ContentStore::abort_upload(std::string_view id, std::string_view scope) {
  if (!is_upload_id(id) || id.substr(33) != scope_mark(scope)) return no_upload();
  std::lock_guard lock(mutex_);
  std::string key(id);
  if (held_.contains(key)) return fail(ErrorCode::conflict, "this upload is being written by another request");
  paused_.erase(key);
  if (unlink(upload_path(id).c_str()) != 0) return no_upload();
  return {};
}

Result<size_t> ContentStore::sweep_uploads(Duration older) {
  TUTTI_TRY(std::vector<std::string> names, names_in(dir_ + "/uploads"));
  size_t swept = 0;
  Time before = now() - older;
  for (const std::string& name : names) {
    std::lock_guard lock(mutex_);
    struct stat st{};
    std::string file = upload_path(name);
    if (held_.contains(name) || ::lstat(file.c_str(), &st) != 0 || time_of(st.st_mtim) > before) continue;
    paused_.erase(name);
    if (unlink(file.c_str()) == 0) ++swept;
  }
  return swept;
}

// ---- collection

Result<std::vector<std::string>> ContentStore::reachable(const std::string& root,
                                                         std::vector<std::string>* missing) const {
  std::set<std::string> seen{root};
  std::vector<std::string> order, manifests{root};
  while (!manifests.empty()) {
    std::string digest = std::move(manifests.back());
    manifests.pop_back();
    auto bytes = read(digest, limits::kManifestBytesMax);
    if (!bytes) {
      if (bytes.error().code != ErrorCode::not_found) return tl::make_unexpected(std::move(bytes).error());
      if (missing != nullptr) missing->push_back(digest);
      continue;
    }
    order.push_back(digest);
    TUTTI_TRY(ManifestFacts facts, read_manifest(*bytes));
    for (const std::string& blob : facts.blobs) {
      if (!seen.insert(blob).second) continue;
      if (stat(blob)) {
        order.push_back(blob);
      } else if (missing != nullptr) {
        missing->push_back(blob);
      }
    }
    for (const oci::Descriptor& child : facts.manifests) {
      if (seen.insert(child.digest).second) manifests.push_back(child.digest);
    }
    // A subject may be pushed after what refers to it: its absence is no fault.
    if (!facts.subject.empty() && stat(facts.subject) && seen.insert(facts.subject).second)
      manifests.push_back(facts.subject);
  }
  return order;
}

Status ContentStore::remove_if_unused(const std::string& digest, Time before, bool& removed, uint64_t& bytes) {
  std::lock_guard lock(mutex_);  // touch() takes the same lock: what a pusher was told exists is not removed under it
  removed = false;
  auto info = stat(digest);
  if (!info || info->used > before) return {};
  if (unlink(blob_path(digest).c_str()) != 0) return fail_errno("remove " + digest, errno);
  removed = true;
  bytes += info->size;
  return {};
}

Result<CollectReport> ContentStore::collect(const std::set<std::string>& roots, Duration grace) {
  CollectReport report;
  Time before = now() - grace;
  std::set<std::string> marked;
  for (const std::string& root : roots) {
    if (marked.contains(root)) continue;
    auto found = reachable(root, &report.missing);
    // A root that cannot be understood would lose its children: better keep everything and say so.
    if (!found) return tl::make_unexpected(std::move(found).error().in("nothing was collected: root " + root));
    marked.insert(found->begin(), found->end());
  }
  sweep_arrivals(before);
  TUTTI_TRY(std::vector<BlobInfo> blobs, list());
  for (const BlobInfo& blob : blobs) {
    if (marked.contains(blob.digest)) {
      ++report.kept;
      continue;
    }
    bool removed = false;
    TUTTI_CHECK(remove_if_unused(blob.digest, before, removed, report.removed_bytes));
    ++(removed ? report.removed : report.young);
  }
  return report;
}

}  // namespace tutti::catalog
