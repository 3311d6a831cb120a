#include "model/oci.h"

#include "base/limits.h"
#include "model/codec.h"

namespace tutti::oci {
namespace {

constexpr size_t kReferenceLengthMax = 255;  // of the repository, as the distribution specification has it
constexpr size_t kTagLengthMax = 128;
constexpr size_t kDescriptorsMax = 1'000;  // layers of an image, platforms of an index

bool is_lower_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_alnum(char c) {
  return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
bool is_repository_part(std::string_view part) {
  if (part.empty() || !is_lower_alnum(part.front()) || !is_lower_alnum(part.back())) return false;
  for (size_t i = 0; i < part.size();) {
    if (is_lower_alnum(part[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < part.size() && part[end] == part[i]) ++end;
    size_t run = end - i;
    bool allowed = part[i] == '-' || (part[i] == '.' && run == 1) || (part[i] == '_' && run <= 2);
    if (!allowed || !is_lower_alnum(part[end])) return false;
    i = end;
  }
  return true;
}

bool is_tag(std::string_view tag) {
  if (tag.empty() || tag.size() > kTagLengthMax || tag.front() == '.' || tag.front() == '-') return false;
  for (char c : tag) {
    if (!is_alnum(c) && c != '_' && c != '.' && c != '-') return false;
  }
  return true;
}

// host[:port], where the host has letters, digits, '.', '-' or is an IPv6 address in brackets.
bool is_registry(std::string_view text) {
  std::string_view host = text;
  if (text.starts_with('[')) {
    size_t end = text.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    if (text.substr(1, end - 1).find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos) return false;
    host = text.substr(end + 1);
    if (host.empty()) return true;
    if (host[0] != ':') return false;
  } else {
    size_t colon = text.find(':');
    std::string_view name = text.substr(0, colon);
    if (name.empty() || !is_alnum(name.front()) || !is_alnum(name.back())) return false;
    for (char c : name) {
      if (!is_alnum(c) && c != '.' && c != '-') return false;
    }
    if (colon == std::string_view::npos) return true;
    host = text.substr(colon);
  }
  std::string_view port = host.substr(1);
  return !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string_view::npos;
}

// Gathers what is wrong with a decoded document.
class Check {
 public:
  void descriptor(const Descriptor& d, const std::string& path) {
    if (!is_digest(d.digest)) wrong(path + ".digest", "not a sha256 digest: \"" + d.digest.substr(0, 80) + "\"");
    if (d.size < 0) wrong(path + ".size", "a size cannot be negative");
    if (static_cast<uint64_t>(d.size) > limits::kBlobBytesMax && d.size >= 0) {
      wrong(path + ".size", "larger than " + std::to_string(limits::kBlobBytesMax) + " bytes (kBlobBytesMax)");
    }
  }
  void descriptors(const std::vector<Descriptor>& all, const std::string& path) {
    if (all.size() > kDescriptorsMax) return wrong(path, "more than " + std::to_string(kDescriptorsMax) + " entries");
    for (size_t i = 0; i < all.size(); ++i) descriptor(all[i], path + "[" + std::to_string(i) + "]");
  }
  void version(int32_t schema_version) {
    if (schema_version != 2) {
      wrong("schemaVersion", "only version 2 is supported, not " + std::to_string(schema_version));
    }
  }
  void wrong(std::string path, std::string message) {
    if (details_.size() < 10) details_.push_back({std::move(path), std::move(message), ""});
  }
  Status result(std::string what) && {
    if (details_.empty()) return {};
    return fail(ErrorCode::invalid, std::move(what), std::move(details_));
  }

 private:
  std::vector<ErrorDetail> details_;
};

Status bounded(std::string_view json, std::string_view what) {
  if (json.size() <= limits::kManifestBytesMax) return {};
  return fail(ErrorCode::too_large, std::string(what) + " is larger than " + std::to_string(limits::kManifestBytesMax) +
                                        " bytes (kManifestBytesMax)");
}

}  // namespace

bool is_digest(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  if (!text.starts_with(kPrefix) || text.size() != kPrefix.size() + 64) return false;
  return text.substr(kPrefix.size()).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<Manifest> parse_manifest(std::string_view json) {
  TUTTI_CHECK(bounded(json, "image manifest"));
  TUTTI_TRY(auto manifest, from_json<Manifest>(json, {.allow_unknown = true, .what = "image manifest"}));
  Check check;
  check.version(manifest.schemaVersion);
  if (manifest.config)
    check.descriptor(*manifest.config, "config");
  else
    check.wrong("config", "an image manifest has a config");
  check.descriptors(manifest.layers, "layers");
  TUTTI_CHECK(std::move(check).result("image manifest is not valid"));
  return manifest;
}

Result<Index> parse_index(std::string_view json) {
  TUTTI_CHECK(bounded(json, "image index"));
  TUTTI_TRY(auto index, from_json<Index>(json, {.allow_unknown = true, .what = "image index"}));
  Check check;
  check.version(index.schemaVersion);
  check.descriptors(index.manifests, "manifests");
  TUTTI_CHECK(std::move(check).result("image index is not valid"));
  return index;
}

Result<ImageConfig> parse_image_config(std::string_view json) {
  TUTTI_CHECK(bounded(json, "image config"));
  TUTTI_TRY(auto config, from_json<ImageConfig>(json, {.allow_unknown = true, .what = "image config"}));
  Check check;
  if (config.rootfs) {
    if (config.rootfs->diff_ids.size() > kDescriptorsMax) check.wrong("rootfs.diff_ids", "too many layers");
    for (size_t i = 0; i < config.rootfs->diff_ids.size(); ++i) {
      if (!is_digest(config.rootfs->diff_ids[i])) {
        check.wrong("rootfs.diff_ids[" + std::to_string(i) + "]", "not a sha256 digest");
      }
    }
  }
  TUTTI_CHECK(std::move(check).result("image config is not valid"));
  return config;
}

std::string Reference::to_string() const {
  std::string out = registry.empty() ? "" : registry + "/";
  out += repository;
  if (!tag.empty()) out += ":" + tag;
  if (!digest.empty()) out += "@" + digest;
  return out;
}

Result<Reference> parse_reference(std::string_view text) {
  auto refuse = [&](std::string_view why) {
    return fail(ErrorCode::invalid, "not an image reference: \"" + std::string(text.substr(0, 100)) +
                                        "\": " + std::string(why) + "; write [registry/]repository[:tag][@digest]");
  };
  Reference out;
  std::string_view rest = text;
  if (size_t at = rest.find('@'); at != std::string_view::npos) {
    out.digest = rest.substr(at + 1);
    if (!is_digest(out.digest)) return refuse("the digest must be sha256: and 64 lower-case hex digits");
    rest = rest.substr(0, at);
  }
  if (size_t slash = rest.find('/'); slash != std::string_view::npos) {
    std::string_view first = rest.substr(0, slash);
    if (first == "localhost" || first.find_first_of(".:") != std::string_view::npos) {
      if (!is_registry(first)) return refuse("the registry must be host[:port]");
      out.registry = first;
      rest = rest.substr(slash + 1);
    }
  }
  if (size_t colon = rest.find(':'); colon != std::string_view::npos) {
    out.tag = rest.substr(colon + 1);
    if (!is_tag(out.tag)) return refuse("the tag must be up to 128 letters, digits, '_', '.' and '-'");
    rest = rest.substr(0, colon);
  }
  if (rest.empty()) return refuse("there is no repository");
  if (rest.size() > kReferenceLengthMax) return refuse("the repository is longer than 255 letters");
  out.repository = rest;
  for (std::string_view parts = rest;;) {
    size_t slash = parts.find('/');
    if (!is_repository_part(parts.substr(0, slash))) {
      return refuse("a repository is made of lower-case letters, digits and single '.', '_', '-' between them");
    }
    if (slash == std::string_view::npos) break;
    parts = parts.substr(slash + 1);
  }
  if (out.tag.empty() && out.digest.empty()) out.tag = "latest";
  return out;
}

}  // namespace tutti::oci
