#include "catalog/manifest.h"

#include <simdjson.h>

#include "base/limits.h"

namespace tutti::catalog {
namespace {

namespace dom = simdjson::dom;

tl::unexpected<Error> bad(std::string why) {
  return fail(ErrorCode::invalid, "manifest: " + std::move(why));
}

std::string text_of(dom::object object, std::string_view key) {
  std::string_view text;
  if (object[key].get_string().get(text) != simdjson::SUCCESS) return {};
  return std::string(text);
}

Result<oci::Descriptor> read_descriptor(dom::element element, const std::string& where) {
  dom::object object;
  if (element.get_object().get(object) != simdjson::SUCCESS) return bad(where + " is not an object");
  oci::Descriptor found;
  found.mediaType = text_of(object, "mediaType");
  found.digest = text_of(object, "digest");
  if (!oci::is_digest(found.digest)) return bad(where + ".digest is not sha256: and 64 lower-case hex digits");
  if (object["size"].get_int64().get(found.size) != simdjson::SUCCESS || found.size < 0) {
    return bad(where + ".size is not a number of bytes");
  }
  if (static_cast<uint64_t>(found.size) > limits::kBlobBytesMax) {
    return bad(where + ".size is above the limit of " + std::to_string(limits::kBlobBytesMax) +
               " bytes (kBlobBytesMax)");
  }
  dom::object platform;
  if (object["platform"].get_object().get(platform) == simdjson::SUCCESS) {
    found.platform =
        oci::Platform{text_of(platform, "architecture"), text_of(platform, "os"), text_of(platform, "variant")};
  }
  dom::object annotations;
  if (object["annotations"].get_object().get(annotations) == simdjson::SUCCESS) {
    for (auto [key, value] : annotations) {
      std::string_view text;
      if (value.get_string().get(text) == simdjson::SUCCESS) found.annotations.emplace(key, text);
    }
  }
  return found;
}

// An array of descriptors; absent is empty. Layers with `urls` may be elsewhere: they are not asked for.
Status read_list(dom::object root, std::string_view key, std::vector<oci::Descriptor>& out,
                 std::vector<std::string>* blobs) {
  dom::array list;
  auto member = root[key];
  if (member.error() == simdjson::NO_SUCH_FIELD || (member.error() == simdjson::SUCCESS && member.is_null())) return {};
  if (member.get_array().get(list) != simdjson::SUCCESS) return bad(std::string(key) + " is not a list");
  for (dom::element element : list) {
    if (out.size() >= kManifestReferencesMax) {
      return bad(std::string(key) + " has more than " + std::to_string(kManifestReferencesMax) + " entries");
    }
    std::string where = std::string(key) + "[" + std::to_string(out.size()) + "]";
    TUTTI_TRY(oci::Descriptor descriptor, read_descriptor(element, where));
    dom::array urls;
    bool elsewhere = element["urls"].get_array().get(urls) == simdjson::SUCCESS && urls.size() > 0;
    if (blobs != nullptr && !elsewhere) blobs->push_back(descriptor.digest);
    out.push_back(std::move(descriptor));
  }
  return {};
}

Status find_kind(ManifestFacts& facts, bool has_manifests, bool has_config) {
  if (facts.media_type.empty()) {
    if (has_manifests == has_config) return bad("it is neither an image manifest (config) nor an index (manifests)");
    facts.media_type = has_manifests ? oci::kIndexType : oci::kManifestType;
  }
  if (facts.media_type == oci::kIndexType || facts.media_type == oci::kDockerListType) {
    if (!has_manifests) return bad("an index has a list `manifests`");
    facts.index = true;
    return {};
  }
  if (facts.media_type == oci::kManifestType || facts.media_type == oci::kDockerManifestType) {
    if (!has_config) return bad("an image manifest has a `config`");
    return {};
  }
  return bad("unsupported media type '" + facts.media_type + "' (push OCI or Docker schema 2)");
}

}  // namespace

Result<ManifestFacts> read_manifest(std::string_view json) {
  if (json.size() > limits::kManifestBytesMax) {
    return fail(ErrorCode::too_large,
                "manifest: above the limit of " + std::to_string(limits::kManifestBytesMax) + " bytes");
  }
  dom::parser parser;
  dom::object root;
  if (parser.allocate(std::max<size_t>(json.size(), 64), limits::kDocumentDepthMax) != simdjson::SUCCESS)
    return bad("out of memory");
  simdjson::padded_string padded(json);
  auto document = parser.parse(padded);
  if (document.error() != simdjson::SUCCESS) return bad(simdjson::error_message(document.error()));
  if (document.get_object().get(root) != simdjson::SUCCESS) return bad("it is not a JSON object");
  int64_t version = 0;
  if (root["schemaVersion"].get_int64().get(version) != simdjson::SUCCESS || version != 2) {
    return bad("schemaVersion is not 2 (Docker's schema 1 is not supported: push again with a newer client)");
  }
  ManifestFacts facts;
  facts.media_type = text_of(root, "mediaType");
  auto config = root["config"];
  auto manifests = root["manifests"];
  bool has_config = config.error() == simdjson::SUCCESS && !config.is_null();
  TUTTI_CHECK(find_kind(facts, manifests.error() == simdjson::SUCCESS, has_config));
  if (facts.index) {
    TUTTI_CHECK(read_list(root, "manifests", facts.manifests, nullptr));
  } else {
    TUTTI_TRY(facts.config, read_descriptor(config.value_unsafe(), "config"));
    facts.blobs.push_back(facts.config->digest);
    TUTTI_CHECK(read_list(root, "layers", facts.layers, &facts.blobs));
  }
  facts.artifact_type = text_of(root, "artifactType");
  if (facts.artifact_type.empty() && facts.config) facts.artifact_type = facts.config->mediaType;
  auto subject = root["subject"];
  if (subject.error() == simdjson::SUCCESS && !subject.is_null()) {
    TUTTI_TRY(oci::Descriptor descriptor, read_descriptor(subject.value_unsafe(), "subject"));
    facts.subject = descriptor.digest;
  }
  dom::object annotations;
  if (root["annotations"].get_object().get(annotations) == simdjson::SUCCESS)
    facts.annotations_json = simdjson::minify(annotations);
  return facts;
}

Result<ManifestFacts> read_manifest(std::string_view json, std::string_view content_type) {
  TUTTI_TRY(ManifestFacts facts, read_manifest(json));
  std::string_view type = content_type.substr(0, content_type.find(';'));
  while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
  if (!type.empty() && type != facts.media_type) {
    return bad("Content-Type says '" + std::string(type) + "', the document is '" + facts.media_type + "'");
  }
  return facts;
}

bool is_repository(std::string_view text) {
  if (text.empty() || text.size() > 255) return false;
  auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  size_t i = 0;
  while (true) {
    if (i >= text.size() || !alphanumeric(text[i])) return false;
    while (i < text.size() && alphanumeric(text[i])) ++i;
    if (i == text.size()) return true;
    char c = text[i];
    if (c == '/' || c == '.') {
      ++i;
    } else if (c == '_') {
      ++i;
      if (i < text.size() && text[i] == '_') ++i;
    } else if (c == '-') {
      while (i < text.size() && text[i] == '-') ++i;
    } else {
      return false;
    }
  }
}

bool is_tag(std::string_view text) {
  if (text.empty() || text.size() > 128 || text[0] == '.' || text[0] == '-') return false;
  for (char c : text) {
    bool good =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
    if (!good) return false;
  }
  return true;
}

}  // namespace tutti::catalog
