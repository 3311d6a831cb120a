#pragma once
// ImageResolver: turns image references into digests before a job version is activated.
//
// Follows the state: every version that is `resolving` is worked on until an ActivateVersion is committed for it, by
// whichever manager process is up; nothing else remembers it. Resolving runs on the services' pool.

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "manager/api/services.h"

namespace tutti::manager {

class ImageResolver {
 public:
  // `fetch` brings a reference from the registry it names into the catalog and answers `repository@digest`; blocking.
  using Fetch = std::function<Result<std::string>(const std::string& reference)>;
  ImageResolver(Services& services, Fetch fetch) : services_(services), fetch_(std::move(fetch)) {}

  void rebuild(const Snapshot& snapshot);
  void follow(const ChangeSet& changes);

  // The catalog first, then the registry the reference names, unless `pull` forbids it. `done` on the pool or at once.
  void resolve(std::string reference, PullPolicy pull, std::function<void(Result<std::string>)> done);

 private:
  void work_on(const Snapshot& snapshot, const JobVersion& version);

  Services& services_;
  Fetch fetch_;
  std::mutex mutex_;
  std::set<JobVersionId> under_way_;
  std::map<std::string, std::vector<std::function<void(Result<std::string>)>>> fetching_;  // one fetch per reference
};

// From the catalog alone: `repository@digest`, or none. A reference without a registry is looked up as written, then as
// what was fetched from the default registry.
std::optional<std::string> find_in_catalog(const Snapshot& snapshot, const std::string& reference);

// The repository of the catalog that a fetched reference is kept under: "registry/path".
std::string catalog_repository(const std::string& reference);

}  // namespace tutti::manager
