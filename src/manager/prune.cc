#include "manager/prune.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "catalog/manifest.h"
#include "manager/tags.h"
#include "model/oci.h"

namespace tutti::manager {
namespace {

// Everything that tags and job versions lead to. What is missing or broken is collect()'s to report.
std::set<std::string> kept_by_tags(const PruneWorld& world, const Snapshot& snapshot) {
  std::set<std::string> roots;
  snapshot.images.for_each([&](uint64_t, const Image& image) {
    if (!oci::is_digest(image.tag)) roots.insert(image.digest);
  });
  snapshot.versions.for_each([&](uint64_t, const JobVersion& version) {
    for (const auto& [reference, resolved] : version.images) {
      if (const size_t at = resolved.find('@'); at != std::string::npos) roots.insert(resolved.substr(at + 1));
    }
  });
  std::set<std::string> kept;
  for (const std::string& root : roots) {
    if (auto reached = world.content.reachable(root, nullptr)) kept.insert(reached->begin(), reached->end());
    kept.insert(root);
  }
  return kept;
}

// A signature has no tag; it stays as long as what it signs.
bool refers_to_kept(const PruneWorld& world, const std::string& digest, const std::set<std::string>& kept) {
  auto bytes = world.content.read(digest, limits::kManifestBytesMax);
  auto facts =
      bytes ? catalog::read_manifest(*bytes) : Result<catalog::ManifestFacts>(tl::make_unexpected(bytes.error()));
  return facts && !facts->subject.empty() && kept.contains(facts->subject);
}

}  // namespace

Result<PruneReport> prune_catalog(const PruneWorld& world, Duration grace, Time now) {
  PruneReport report;
  const auto snapshot = world.snapshot();
  const std::set<std::string> kept = kept_by_tags(world, *snapshot);
  std::vector<ImageId> gone;
  snapshot->images.for_each([&](uint64_t, const Image& image) {
    if (!oci::is_digest(image.tag) || kept.contains(image.digest) || now - image.updated < grace) return;
    if (!refers_to_kept(world, image.digest, kept)) gone.push_back(image.id);
  });
  for (ImageId id : gone) {
    Result<state::Outcome> removed = world.commit(state::DeleteImage{id});
    if (removed)
      ++report.rows;
    else if (removed.error().code != ErrorCode::not_found)
      return tl::make_unexpected(std::move(removed).error());
  }
  TUTTI_CHECK(world.content.sweep_uploads(seconds(limits::kPruneGraceSeconds)).map([](size_t) {}));
  TUTTI_TRY(report.content, world.content.collect(referenced_manifests(*world.snapshot()), grace));
  return report;
}

std::string describe(const PruneReport& report) {
  const double mib = static_cast<double>(report.content.removed_bytes) / (1 << 20);
  std::string out = fmt::format("{} blobs and {} manifests without a tag removed, {:.1f} MiB; {} kept",
                                report.content.removed, report.rows, mib, report.content.kept);
  if (report.content.young > 0) out += fmt::format(", {} too young to go", report.content.young);
  if (!report.content.missing.empty())
    out += fmt::format(", {} referred to but missing", report.content.missing.size());
  return out;
}

}  // namespace tutti::manager
