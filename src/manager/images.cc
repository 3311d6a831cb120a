#include "manager/images.h"

#include "base/log.h"
#include "model/oci.h"

namespace tutti::manager {
namespace {

constexpr std::string_view kDefaultRegistry = "docker.io";

std::string qualified(const oci::Reference& reference) {
  if (!reference.registry.empty()) return reference.registry + "/" + reference.repository;
  const bool bare = reference.repository.find('/') == std::string::npos;
  return std::string(kDefaultRegistry) + (bare ? "/library/" : "/") + reference.repository;
}

// A job version's references and how each may be pulled.
std::map<std::string, PullPolicy> references_of(const JobSpec& spec) {
  std::map<std::string, PullPolicy> out;
  for (const TaskSpec& task : spec.tasks) {
    if (!task.image.empty()) out.try_emplace(task.image, task.pull);
  }
  return out;
}

struct Gathering {
  std::mutex mutex;
  std::map<std::string, std::string> images;
  std::string error;
  size_t missing = 0;
};

}  // namespace

std::string catalog_repository(const std::string& reference) {
  Result<oci::Reference> parsed = oci::parse_reference(reference);
  return parsed ? qualified(*parsed) : std::string();
}

std::optional<std::string> find_in_catalog(const Snapshot& snapshot, const std::string& reference) {
  Result<oci::Reference> parsed = oci::parse_reference(reference);
  if (!parsed) return std::nullopt;
  const std::string plain = parsed->registry.empty() ? parsed->repository : parsed->registry + "/" + parsed->repository;
  for (const std::string& repository : {plain, qualified(*parsed)}) {
    const std::string& wanted = parsed->digest.empty() ? parsed->tag : parsed->digest;
    if (const Image* image = snapshot.image_by_tag(repository, wanted)) return repository + "@" + image->digest;
    if (parsed->digest.empty()) continue;
    std::optional<std::string> found;  // a digest counts wherever a tag of its repository means it
    snapshot.images.for_each([&](uint64_t, const Image& image) {
      if (image.repository == repository && image.digest == parsed->digest) found = repository + "@" + image.digest;
      return !found.has_value();
    });
    if (found) return found;
  }
  return std::nullopt;
}

void ImageResolver::rebuild(const Snapshot& snapshot) {
  snapshot.versions.for_each([&](uint64_t, const JobVersion& version) {
    if (version.state == VersionState::resolving) work_on(snapshot, version);
  });
}

void ImageResolver::follow(const ChangeSet& changes) {
  for (const RowChange& row : changes.rows) {
    if (row.table != TableId::version) continue;
    const JobVersion* version = changes.after->versions.find(row.id);
    if (version != nullptr && version->state == VersionState::resolving) work_on(*changes.after, *version);
  }
}

void ImageResolver::work_on(const Snapshot& snapshot, const JobVersion& version) {
  (void)snapshot;
  {
    std::lock_guard lock(mutex_);
    if (!under_way_.insert(version.id).second) return;
  }
  auto gathering = std::make_shared<Gathering>();
  gathering->images = version.images;
  const std::map<std::string, PullPolicy> references = references_of(*version.spec);
  gathering->missing = references.size() + 1;
  const JobVersionId id = version.id;
  auto arrived = [this, id, gathering](const std::string& reference, Result<std::string> resolved) {
    {
      std::lock_guard lock(gathering->mutex);
      if (!reference.empty() && resolved) gathering->images[reference] = *resolved;
      if (!reference.empty() && !resolved && gathering->error.empty()) {
        gathering->error = "image " + reference + ": " + resolved.error().to_string();
      }
      if (--gathering->missing > 0) return;
    }
    services_.submit(
        state::ActivateVersion{id, gathering->images, gathering->error}, {}, [this, id](Result<state::Outcome> result) {
          if (!result)
            log_warning("job version not activated", {{"version", to_text(id)}, {"error", result.error().to_string()}});
          std::lock_guard lock(mutex_);
          under_way_.erase(id);
        });
  };
  for (const auto& [reference, pull] : references) {
    if (version.images.contains(reference)) {
      arrived(reference, version.images.at(reference));
    } else {
      resolve(reference, pull,
              [arrived, reference](Result<std::string> resolved) { arrived(reference, std::move(resolved)); });
    }
  }
  arrived("", std::string());
}

void ImageResolver::resolve(std::string reference, PullPolicy pull, std::function<void(Result<std::string>)> done) {
  std::optional<std::string> found = find_in_catalog(*services_.snapshot(), reference);
  const bool again = pull == PullPolicy::always && found &&
                     find_in_catalog(*services_.snapshot(), reference)->starts_with(catalog_repository(reference));
  if (found && !again) return done(*found);
  if (pull == PullPolicy::never) {
    return done(
        fail(ErrorCode::not_found, "not in the catalog, and pull: never forbids fetching it: push or import it first"));
  }
  {
    std::lock_guard lock(mutex_);
    auto& waiting = fetching_[reference];
    waiting.push_back(std::move(done));
    if (waiting.size() > 1) return;
  }
  auto answer = [this, reference](Result<std::string> result) {
    std::vector<std::function<void(Result<std::string>)>> waiting;
    {
      std::lock_guard lock(mutex_);
      waiting = std::move(fetching_[reference]);
      fetching_.erase(reference);
    }
    for (auto& each : waiting) each(result);
  };
  Status queued = services_.run_blocking([this, reference, answer] { answer(fetch_(reference)); });
  if (!queued) answer(tl::make_unexpected(queued.error()));
}

}  // namespace tutti::manager
