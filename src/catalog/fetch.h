#pragma once
// Images from and to any registry, by `skopeo`: copied into a folder of our own as an OCI layout, verified into the
// content store, folder removed. Blocking (minutes for a large image): call from a worker thread. Credentials go to
// skopeo in a file that only we can read, never on its command line, and never into an error or a log.

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "catalog/content_store.h"
#include "catalog/import.h"

namespace tutti::catalog {

struct Credentials {
  std::string user;  // empty: ask without
  std::string password;
};

struct FetchOptions {
  std::string work_dir;                          // where the layout is put for the while: same disk as the store
  std::string architecture;                      // empty: this machine's
  std::vector<std::string> insecure_registries;  // "host:port": certificates are not verified, plain HTTP is accepted
  Duration timeout = seconds(15 * 60);
  std::string skopeo = "skopeo";
};

struct Fetched {
  std::string reference;  // as asked
  std::string source;     // the registry it came from: "docker.io"
  Imported image;
};

// `progress` gets lines for people ("copying busybox:1.36 from docker.io"). Errors: unsupported (no skopeo, with the
// command that installs it), invalid (reference), not_found, forbidden (wants other credentials), unavailable (registry
// cannot be reached), timeout, cancelled, io.
Result<Fetched> fetch_with_skopeo(ContentStore& store, const std::string& reference, const Credentials& credentials,
                                  const FetchOptions& options, std::stop_token stop,
                                  const std::function<void(std::string)>& progress);

// The other way: what `digest` leads to, with every architecture that is here, to a registry elsewhere. The same
// errors.
Status push_with_skopeo(const ContentStore& store, const std::string& digest, const std::string& target,
                        const Credentials& credentials, const FetchOptions& options, std::stop_token stop);

// What skopeo said when it failed, as an error of ours. Separate so that it can be tested.
Error explain_skopeo(const std::string& output, int exit_code, const std::string& reference,
                     const std::string& registry, const std::string& what = "fetch");

}  // namespace tutti::catalog
