#pragma once
// Images from files into the content store, and back out: docker-archive, OCI archive, OCI layout, a root file system.
//
// Members of archives are never written under their own names: each becomes content by digest as it is read, and
// links are looked up among the names seen. A layout's files are opened beneath its folder without following links,
// and every digest is verified. Blocking: call from a worker thread. Limits: limits.h and kArchiveMembersMax.

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/content_store.h"

namespace tutti::catalog {

inline constexpr size_t kArchiveMembersMax = 100'000;

enum class ImportKind { find_out, docker_archive, oci_archive, oci_layout, rootfs_directory, rootfs_tar };

// What runs in an image made from a root file system.
struct RootfsConfig {
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> env;  // "NAME=value"
  std::string working_dir;
  std::string user;
  std::string architecture;  // empty: this machine's
};

struct ImportOptions {
  ImportKind kind = ImportKind::find_out;
  RootfsConfig rootfs;   // for the two rootfs kinds
  std::stop_token stop;  // `cancelled` soon after it is asked
};

struct Imported {
  std::string digest;  // of a manifest or index
  std::string media_type;
  uint64_t size = 0;  // all of it
  std::vector<std::string> architectures;
  std::string reference;  // what the source calls it ("busybox:1.36"); empty: it does not say
};

// Errors: not_found (path), invalid (what is wrong with the archive), too_large, cancelled, io.
Result<std::vector<Imported>> import_image(ContentStore& store, const std::string& path, const ImportOptions& options);

// One layer from a folder; the same content gives the same digest (sorted, times at zero, owners kept, sockets left
// out).
Result<Imported> make_rootfs_image(ContentStore& store, const std::string& dir, const RootfsConfig& config,
                                   std::stop_token stop = {});
// One layer from a tar of a root file system, compressed or not.
Result<Imported> make_rootfs_image_from_tar(ContentStore& store, const std::string& file, const RootfsConfig& config,
                                            std::stop_token stop = {});

// "amd64", "arm64": OCI's word for the machine this runs on.
std::string machine_architecture();

// A tar that holds an OCI layout; the file appears whole. `reference` becomes its name inside.
Status export_oci_archive(const ContentStore& store, const std::string& digest, const std::string& reference,
                          const std::string& file);
// The same as a folder, which must not exist or be empty.
Status export_oci_layout(const ContentStore& store, const std::string& digest, const std::string& reference,
                         const std::string& dir);

}  // namespace tutti::catalog
