#include "manager/tags.h"

#include <algorithm>

namespace tutti::manager {
namespace {

catalog::TagRow row_of(const Image& image) {
  return {image.repository,   image.tag, image.digest, image.media_type, static_cast<uint64_t>(image.size.value),
          image.architectures};
}

}  // namespace

Result<std::string> StateTags::resolve(const std::string& repository, const std::string& tag) const {
  const auto snapshot = services_.snapshot();
  if (const Image* image = snapshot->image_by_tag(repository, tag)) return image->digest;
  return fail(ErrorCode::not_found, "no image " + repository + ":" + tag + " in the catalog");
}

void StateTags::put(catalog::TagRow row, catalog::Done done) {
  Image image;
  image.repository = std::move(row.repository);
  image.tag = std::move(row.tag);
  image.digest = std::move(row.digest);
  image.media_type = std::move(row.media_type);
  image.size.value = static_cast<int64_t>(row.size);
  image.architectures = std::move(row.architectures);
  image.source = "push";
  services_.submit(state::PutImage{std::move(image)}, {}, [done = std::move(done)](Result<state::Outcome> result) {
    done(result ? Status{} : Status(tl::make_unexpected(std::move(result).error())));
  });
}

void StateTags::remove_rows(std::vector<ImageId> ids, catalog::Done done) {
  if (ids.empty()) return done(fail(ErrorCode::not_found, "no such image in the catalog"));
  const ImageId last = ids.back();
  ids.pop_back();
  services_.submit(state::DeleteImage{last}, {},
                   [this, ids = std::move(ids), done = std::move(done)](Result<state::Outcome> result) mutable {
                     if (!result) return done(tl::make_unexpected(std::move(result).error()));
                     if (ids.empty()) return done({});
                     remove_rows(std::move(ids), std::move(done));
                   });
}

void StateTags::remove_tag(const std::string& repository, const std::string& tag, catalog::Done done) {
  const auto snapshot = services_.snapshot();
  const Image* image = snapshot->image_by_tag(repository, tag);
  remove_rows(image != nullptr ? std::vector<ImageId>{image->id} : std::vector<ImageId>{}, std::move(done));
}

void StateTags::remove_manifest(const std::string& repository, const std::string& digest, catalog::Done done) {
  std::vector<ImageId> ids;
  services_.snapshot()->images.for_each([&](uint64_t, const Image& image) {
    if (image.repository == repository && image.digest == digest) ids.push_back(image.id);
  });
  remove_rows(std::move(ids), std::move(done));
}

std::vector<catalog::TagRow> StateTags::rows(const std::string& repository, const std::string& after,
                                             size_t count) const {
  std::vector<catalog::TagRow> out;
  services_.snapshot()->images.for_each([&](uint64_t, const Image& image) {
    if (image.repository == repository && image.tag > after) out.push_back(row_of(image));
  });
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.tag < b.tag; });
  if (out.size() > count) out.resize(count);
  return out;
}

std::vector<std::string> StateTags::repositories(const std::string& after, size_t count) const {
  std::set<std::string> names;
  services_.snapshot()->images.for_each([&](uint64_t, const Image& image) {
    if (image.repository > after) names.insert(image.repository);
  });
  std::vector<std::string> out(names.begin(), names.end());
  if (out.size() > count) out.resize(count);
  return out;
}

std::set<std::string> StateTags::manifests_of(const std::string& repository) const {
  std::set<std::string> out;
  const auto snapshot = services_.snapshot();
  snapshot->images.for_each([&](uint64_t, const Image& image) {
    if (image.repository == repository) out.insert(image.digest);
  });
  const std::string pinned = repository + "@";
  snapshot->versions.for_each([&](uint64_t, const JobVersion& version) {
    for (const auto& [reference, resolved] : version.images) {
      if (resolved.starts_with(pinned)) out.insert(resolved.substr(pinned.size()));
    }
  });
  return out;
}

std::set<std::string> referenced_manifests(const Snapshot& snapshot) {
  std::set<std::string> out;
  snapshot.images.for_each([&](uint64_t, const Image& image) { out.insert(image.digest); });
  snapshot.versions.for_each([&](uint64_t, const JobVersion& version) {
    for (const auto& [reference, resolved] : version.images) {
      const size_t at = resolved.find('@');
      if (at != std::string::npos) out.insert(resolved.substr(at + 1));
    }
  });
  return out;
}

std::set<std::string> StateTags::referenced_manifests() const {
  return manager::referenced_manifests(*services_.snapshot());
}

}  // namespace tutti::manager
