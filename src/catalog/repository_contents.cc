#include "catalog/repository_contents.h"

#include <algorithm>

#include "base/limits.h"

namespace tutti::catalog {
namespace {

constexpr size_t kKnownMax = 20'000;  // manifests; forgotten all at once
constexpr int kDepthMax = 8;

}  // namespace

// Null for what is not here or is no manifest.
std::shared_ptr<const RepositoryContents::Children> RepositoryContents::children_of(const std::string& digest) {
  {
    std::lock_guard lock(mutex_);
    if (auto at = known_.find(digest); at != known_.end()) return at->second;
  }
  auto bytes = store_.read(digest, limits::kManifestBytesMax);
  if (!bytes) return nullptr;
  auto facts = read_manifest(*bytes);
  if (!facts) return nullptr;
  Children found;
  found.blobs = facts->blobs;
  for (const oci::Descriptor& child : facts->manifests) found.manifests.push_back(child.digest);
  auto children = std::make_shared<const Children>(std::move(found));
  std::lock_guard lock(mutex_);
  if (known_.size() >= kKnownMax) known_.clear();
  known_[digest] = children;
  return children;
}

bool RepositoryContents::reaches(const std::string& root, const std::string& digest, std::set<std::string>& seen,
                                 int depth) {
  if (root == digest) return true;
  if (depth > kDepthMax || !seen.insert(root).second) return false;
  const auto children = children_of(root);
  if (!children) return false;
  if (std::find(children->blobs.begin(), children->blobs.end(), digest) != children->blobs.end()) return true;
  return std::any_of(children->manifests.begin(), children->manifests.end(),
                     [&](const std::string& child) { return reaches(child, digest, seen, depth + 1); });
}

std::string RepositoryContents::missing(const std::string& repository, const ManifestFacts& facts) {
  std::set<std::string> seen;
  return missing(repository, facts, seen, 0);
}

// `seen`: an index may name the same child thousands of times, at every level.
std::string RepositoryContents::missing(const std::string& repository, const ManifestFacts& facts,
                                        std::set<std::string>& seen, int depth) {
  for (const std::string& blob : facts.blobs) {
    if (seen.insert(blob).second && !holds(repository, blob)) return blob;
  }
  for (const oci::Descriptor& child : facts.manifests) {
    if (!seen.insert("as a manifest " + child.digest).second) continue;
    if (!holds(repository, child.digest)) return child.digest;
    // It may have come as a blob, which nobody looked into.
    auto bytes = store_.read(child.digest, limits::kManifestBytesMax);
    auto inner = bytes ? read_manifest(*bytes) : Result<ManifestFacts>(tl::make_unexpected(bytes.error()));
    if (!inner || depth >= kDepthMax) return child.digest;
    if (std::string one = missing(repository, *inner, seen, depth + 1); !one.empty()) return one;
  }
  return {};
}

bool RepositoryContents::holds(const std::string& repository, const std::string& digest) {
  if (store_.has_arrived(repository, digest)) return true;
  std::set<std::string> seen;
  for (const std::string& root : tags_.manifests_of(repository)) {
    if (reaches(root, digest, seen, 0)) return true;
  }
  for (const std::string& root : store_.arrived_manifests(repository)) {
    if (reaches(root, digest, seen, 0)) return true;
  }
  return false;
}

}  // namespace tutti::catalog
