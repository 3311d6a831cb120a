#include "catalog/tag_table.h"

namespace tutti::catalog {

Result<std::string> MemoryTagTable::resolve(const std::string& repository, const std::string& tag) const {
  std::lock_guard lock(mutex_);
  auto tags = rows_.find(repository);
  if (tags != rows_.end()) {
    auto row = tags->second.find(tag);
    if (row != tags->second.end()) return row->second.digest;
  }
  return fail(ErrorCode::not_found, "the catalog has no image " + repository + ":" + tag);
}

void MemoryTagTable::put(TagRow row, Done done) {
  {
    std::lock_guard lock(mutex_);
    rows_[row.repository][row.tag] = row;
  }
  done({});
}

void MemoryTagTable::remove_tag(const std::string& repository, const std::string& tag, Done done) {
  bool removed = false;
  {
    std::lock_guard lock(mutex_);
    auto tags = rows_.find(repository);
    if (tags != rows_.end()) {
      removed = tags->second.erase(tag) > 0;
      if (tags->second.empty()) rows_.erase(tags);
    }
  }
  if (removed) return done({});
  done(fail(ErrorCode::not_found, "the catalog has no image " + repository + ":" + tag));
}

void MemoryTagTable::remove_manifest(const std::string& repository, const std::string& digest, Done done) {
  size_t removed = 0;
  {
    std::lock_guard lock(mutex_);
    auto tags = rows_.find(repository);
    if (tags != rows_.end()) {
      removed = std::erase_if(tags->second, [&](const auto& row) { return row.second.digest == digest; });
      if (tags->second.empty()) rows_.erase(tags);
    }
  }
  if (removed > 0) return done({});
  done(fail(ErrorCode::not_found, "the catalog has no image " + repository + "@" + digest));
}

std::vector<TagRow> MemoryTagTable::rows(const std::string& repository, const std::string& after, size_t count) const {
  std::lock_guard lock(mutex_);
  std::vector<TagRow> found;
  auto tags = rows_.find(repository);
  if (tags == rows_.end()) return found;
  for (auto row = tags->second.upper_bound(after); row != tags->second.end() && found.size() < count; ++row) {
    found.push_back(row->second);
  }
  return found;
}

std::vector<std::string> MemoryTagTable::repositories(const std::string& after, size_t count) const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> found;
  for (auto row = rows_.upper_bound(after); row != rows_.end() && found.size() < count; ++row)
    found.push_back(row->first);
  return found;
}

std::set<std::string> MemoryTagTable::manifests_of(const std::string& repository) const {
  std::lock_guard lock(mutex_);
  std::set<std::string> digests;
  if (auto tags = rows_.find(repository); tags != rows_.end()) {
    for (const auto& [tag, row] : tags->second) digests.insert(row.digest);
  }
  return digests;
}

std::set<std::string> MemoryTagTable::referenced_manifests() const {
  std::lock_guard lock(mutex_);
  std::set<std::string> digests;
  for (const auto& [repository, tags] : rows_) {
    for (const auto& [tag, row] : tags) digests.insert(row.digest);
  }
  return digests;
}

}  // namespace tutti::catalog
