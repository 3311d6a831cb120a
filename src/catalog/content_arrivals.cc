// Which repository was given which content lately: one empty file per pair, its time that of the last arrival.

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "catalog/content_store.h"
#include "model/oci.h"
#include "sys/fd.h"

namespace tutti::catalog {
namespace {

constexpr size_t kMarkLetters = 32;
constexpr std::string_view kManifest = ".m";

std::string mark_of(std::string_view scope) {
  return digest_of(scope).substr(7, kMarkLetters) + "-";
}

}  // namespace

std::string ContentStore::arrival_path(std::string_view scope, std::string_view digest, Arrived as) const {
  return dir_ + "/arrivals/" + mark_of(scope) + std::string(digest.substr(7)) +
         (as == Arrived::manifest ? std::string(kManifest) : "");
}

Status ContentStore::note_arrival(std::string_view scope, std::string_view digest, Arrived as) {
  if (!oci::is_digest(digest)) return fail(ErrorCode::invalid, "not a digest: " + std::string(digest));
  const std::string path = arrival_path(scope, digest, as);
  sys::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!fd || ::futimens(fd.get(), nullptr) != 0) return fail_errno("mark " + path, errno);
  return {};
}

bool ContentStore::has_arrived(std::string_view scope, std::string_view digest) const {
  if (!oci::is_digest(digest)) return false;
  return ::access(arrival_path(scope, digest, Arrived::blob).c_str(), F_OK) == 0 ||
         ::access(arrival_path(scope, digest, Arrived::manifest).c_str(), F_OK) == 0;
}

void ContentStore::forget_arrival(std::string_view scope, std::string_view digest) {
  if (!oci::is_digest(digest)) return;
  for (Arrived as : {Arrived::blob, Arrived::manifest}) ::unlink(arrival_path(scope, digest, as).c_str());
}

std::vector<std::string> ContentStore::arrived_manifests(std::string_view scope) const {
  std::vector<std::string> out;
  const std::string mark = mark_of(scope);
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir((dir_ + "/arrivals").c_str()), ::closedir);
  while (const dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {
    const std::string_view name = entry->d_name;
    if (name.starts_with(mark) && name.ends_with(kManifest))
      out.push_back("sha256:" + std::string(name.substr(mark.size(), 64)));
  }
  return out;
}

void ContentStore::sweep_arrivals(Time before) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir((dir_ + "/arrivals").c_str()), ::closedir);
  while (const dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {
    struct stat info{};
    if (::fstatat(::dirfd(dir.get()), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode))
      continue;
    const Time used{info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec};
    if (used < before) ::unlinkat(::dirfd(dir.get()), entry->d_name, 0);
  }
}

}  // namespace tutti::catalog
