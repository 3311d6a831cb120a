#pragma once
// The catalog's tags over the state: rows of model Image, written by commands, read from the snapshot.

#include "catalog/tag_table.h"
#include "manager/api/services.h"

namespace tutti::manager {

// Digests that rows and job versions (and so instances) mean: the roots of the content that is kept.
std::set<std::string> referenced_manifests(const Snapshot& snapshot);

class StateTags final : public catalog::TagTable {
 public:
  explicit StateTags(Services& services) : services_(services) {}
  Result<std::string> resolve(const std::string& repository, const std::string& tag) const override;
  void put(catalog::TagRow row, catalog::Done done) override;
  void remove_tag(const std::string& repository, const std::string& tag, catalog::Done done) override;
  void remove_manifest(const std::string& repository, const std::string& digest, catalog::Done done) override;
  std::vector<catalog::TagRow> rows(const std::string& repository, const std::string& after,
                                    size_t count) const override;
  std::vector<std::string> repositories(const std::string& after, size_t count) const override;
  std::set<std::string> manifests_of(const std::string& repository) const override;
  std::set<std::string> referenced_manifests() const override;

 private:
  void remove_rows(std::vector<ImageId> ids, catalog::Done done);

  Services& services_;
};

}  // namespace tutti::manager
