// Image manifests, indexes and configurations as anybody may push them.
#include "catalog/manifest.h"
#include "fuzz.h"
#include "model/codec.h"
#include "model/oci.h"

using namespace tutti;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text(data, size);
  if (auto facts = catalog::read_manifest(text)) {
    if (facts->layers.size() + facts->manifests.size() > catalog::kManifestReferencesMax)
      fuzz::broken("more references than the limit");
    for (const std::string& digest : facts->blobs)
      if (digest.size() != 71 || digest.find('/') != std::string::npos) fuzz::broken("not a digest: " + digest);
  }
  (void)from_json<oci::Manifest>(text, {.allow_unknown = true});
  (void)from_json<oci::Index>(text, {.allow_unknown = true});
  (void)from_json<oci::ImageConfig>(text, {.allow_unknown = true});
  (void)catalog::is_repository(text);
  (void)catalog::is_tag(text);
  return 0;
}
