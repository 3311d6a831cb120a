#pragma once
// Which tag of which repository means which manifest. The rows live in the state (model Image), so the manager
// implements this over it; MemoryTagTable serves tests and tools. Reads answer from a snapshot at once; writes are
// commits, so they answer later, through a callback on any thread. Implementations are thread-safe.
//
// A row's `tag` is a tag, or a digest ("sha256:…"): a manifest that was pushed by digest, without a tag.

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"

namespace tutti::catalog {

struct TagRow {
  std::string repository;
  std::string tag;
  std::string digest;
  std::string media_type;
  uint64_t size = 0;  // manifest, config and layers
  std::vector<std::string> architectures;
};

using Done = std::function<void(Status)>;

class TagTable {
 public:
  virtual ~TagTable() = default;
  // The digest; not_found. `tag` may be a digest.
  virtual Result<std::string> resolve(const std::string& repository, const std::string& tag) const = 0;
  virtual void put(TagRow row, Done done) = 0;
  // not_found when there is no such tag.
  virtual void remove_tag(const std::string& repository, const std::string& tag, Done done) = 0;
  // Every row of the repository that means this digest; not_found when there is none.
  virtual void remove_manifest(const std::string& repository, const std::string& digest, Done done) = 0;
  // Rows of one repository in the order of their tags, behind `after`, at most `count`.
  virtual std::vector<TagRow> rows(const std::string& repository, const std::string& after, size_t count) const = 0;
  // Names in order, behind `after`, at most `count`.
  virtual std::vector<std::string> repositories(const std::string& after, size_t count) const = 0;
  // Digests of the manifests that this repository means: those of its rows, and those of it that jobs pin.
  virtual std::set<std::string> manifests_of(const std::string& repository) const = 0;
  // Digests that must be kept: those of all rows and those that jobs and instances pin. Roots of collect().
  virtual std::set<std::string> referenced_manifests() const = 0;
};

class MemoryTagTable final : public TagTable {
 public:
  Result<std::string> resolve(const std::string& repository, const std::string& tag) const override;
  void put(TagRow row, Done done) override;
  void remove_tag(const std::string& repository, const std::string& tag, Done done) override;
  void remove_manifest(const std::string& repository, const std::string& digest, Done done) override;
  std::vector<TagRow> rows(const std::string& repository, const std::string& after, size_t count) const override;
  std::vector<std::string> repositories(const std::string& after, size_t count) const override;
  std::set<std::string> manifests_of(const std::string& repository) const override;
  std::set<std::string> referenced_manifests() const override;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::map<std::string, TagRow>> rows_;  // repository → tag → row
};

}  // namespace tutti::catalog
