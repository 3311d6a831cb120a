#pragma once
// The parts of the OCI image format that tutti reads (image-spec 1.1; Docker's schema 2 has the same shape).

#include <boost/describe.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace tutti::oci {

struct Platform {
  std::string architecture;
  std::string os;
  std::string variant;
};
BOOST_DESCRIBE_STRUCT(Platform, (), (architecture, os, variant))

struct Descriptor {
  std::string mediaType;
  std::string digest;
  int64_t size = 0;
  std::optional<Platform> platform;
  std::map<std::string, std::string> annotations;
};
BOOST_DESCRIBE_STRUCT(Descriptor, (), (mediaType, digest, size, platform, annotations))

struct Manifest {
  int32_t schemaVersion = 2;
  std::string mediaType;
  std::optional<Descriptor> config;
  std::vector<Descriptor> layers;
  std::map<std::string, std::string> annotations;
};
BOOST_DESCRIBE_STRUCT(Manifest, (), (schemaVersion, mediaType, config, layers, annotations))

struct Index {
  int32_t schemaVersion = 2;
  std::string mediaType;
  std::vector<Descriptor> manifests;
  std::map<std::string, std::string> annotations;
};
BOOST_DESCRIBE_STRUCT(Index, (), (schemaVersion, mediaType, manifests, annotations))

struct ProcessConfig {
  std::string User;
  std::vector<std::string> Env;
  std::vector<std::string> Entrypoint;
  std::vector<std::string> Cmd;
  std::string WorkingDir;
  std::string StopSignal;
};
BOOST_DESCRIBE_STRUCT(ProcessConfig, (), (User, Env, Entrypoint, Cmd, WorkingDir, StopSignal))

struct RootFs {
  std::string type;
  std::vector<std::string> diff_ids;
};
BOOST_DESCRIBE_STRUCT(RootFs, (), (type, diff_ids))

struct ImageConfig {
  std::string architecture;
  std::string os;
  std::string created;
  std::optional<ProcessConfig> config;
  std::optional<RootFs> rootfs;
};
BOOST_DESCRIBE_STRUCT(ImageConfig, (), (architecture, os, created, config, rootfs))

inline constexpr std::string_view kManifestType = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kIndexType = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kDockerManifestType = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kDockerListType = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kConfigType = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kLayerGzipType = "application/vnd.oci.image.layer.v1.tar+gzip";

// Lenient decoding (unknown members are other people's extensions), strict in digests, sizes and counts.
Result<Manifest> parse_manifest(std::string_view json);
Result<Index> parse_index(std::string_view json);
Result<ImageConfig> parse_image_config(std::string_view json);
// "sha256:" and 64 lower-case hex digits; nothing else is accepted anywhere.
bool is_digest(std::string_view text);

// [registry/]repository[:tag][@digest]. `registry` is set only when the first part looks like a host
// (has a '.' or ':' or is "localhost"); tag defaults to "latest" when neither tag nor digest is given.
struct Reference {
  std::string registry;
  std::string repository;
  std::string tag;
  std::string digest;
  std::string to_string() const;
};
Result<Reference> parse_reference(std::string_view text);

}  // namespace tutti::oci
