#pragma once
// What a repository has: the manifests that its tags and the jobs' pins name, with all that they refer to, and what it
// was given lately (an upload whose manifest has not come, a manifest whose tag has moved on while somebody pulls it).
//
// The bytes are shared by all repositories; the right to them is not. A digest is a secret of those who may pull from a
// repository that has the content: knowing it elsewhere opens nothing. A manifest's `subject` gives no right either.
// Owned by Distribution; thread-safe; may read manifests from the disk.

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "catalog/content_store.h"
#include "catalog/manifest.h"
#include "catalog/tag_table.h"

namespace tutti::catalog {

class RepositoryContents {
 public:
  RepositoryContents(const ContentStore& store, const TagTable& tags) : store_(store), tags_(tags) {}
  // Whether the content may be had through this repository; it may have been collected all the same.
  bool holds(const std::string& repository, const std::string& digest);
  // The first of what the manifest refers to, at any depth, that the repository has not; empty: it has all.
  std::string missing(const std::string& repository, const ManifestFacts& facts);

 private:
  std::string missing(const std::string& repository, const ManifestFacts& facts, std::set<std::string>& seen,
                      int depth);
  struct Children {
    std::vector<std::string> blobs;  // never looked into: a layer may look like a manifest of its uploader's making
    std::vector<std::string> manifests;
  };
  std::shared_ptr<const Children> children_of(const std::string& digest);
  bool reaches(const std::string& root, const std::string& digest, std::set<std::string>& seen, int depth);

  const ContentStore& store_;
  const TagTable& tags_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Children>>
      known_;  // content never changes: what a digest refers to neither
};

}  // namespace tutti::catalog
