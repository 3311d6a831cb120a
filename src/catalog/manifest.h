#pragma once
// What the catalog needs to know of a manifest or index: its kind and what it refers to. Values; pure; thread-safe.
//
// model/oci.h decodes what running an image needs; here also `subject` and `artifactType` count (referrers), for any
// kind of artifact. Limits: kManifestBytesMax, kManifestReferencesMax descriptors, kDocumentDepthMax levels.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/oci.h"

namespace tutti::catalog {

inline constexpr size_t kManifestReferencesMax = 4'096;

struct ManifestFacts {
  std::string media_type;     // of the document; found out by its shape where it does not say
  std::string artifact_type;  // for referrers: artifactType, else the config's media type
  bool index = false;
  std::optional<oci::Descriptor> config;
  std::vector<oci::Descriptor> layers;
  std::vector<oci::Descriptor> manifests;
  std::string subject;           // digest; empty: none
  std::string annotations_json;  // as written; empty: none

  // Digests of blobs (config and layers) that must be here; layers that name other people's URLs are not among them.
  std::vector<std::string> blobs;
};

// `invalid` with the reason: not JSON, unknown kind, bad digest or size, too many references.
Result<ManifestFacts> read_manifest(std::string_view json);
// The same, and `content_type` (a Content-Type header; empty: not given) must agree with it.
Result<ManifestFacts> read_manifest(std::string_view json, std::string_view content_type);

// [a-z0-9]+([._-]…)* parts between slashes, at most 255 letters.
bool is_repository(std::string_view text);
// [A-Za-z0-9_][A-Za-z0-9._-]{0,127}
bool is_tag(std::string_view text);

}  // namespace tutti::catalog
