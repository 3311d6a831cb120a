#pragma once
// The OCI distribution protocol 1.1 under /v2/: what docker, podman, skopeo and oras speak to push and pull.
//
//   request → handle() → pool thread → ContentStore (bytes), TagTable (names) → Responder
//
// The caller authenticates (401 with WWW-Authenticate is its own answer) and says per request what the identity may;
// wanted() tells it which repository and verb a request is about. handle() returns at once and may be called from any
// thread; disk work runs on a small pool here. Store and table must outlive this object, and the server must be
// stopped, and no put() of the table be under way, before it ends. Bytes are kept once for all repositories, but had
// only through one that has them (repository_contents.h): a digest alone opens nothing.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "catalog/content_store.h"
#include "catalog/manifest.h"
#include "catalog/repository_contents.h"
#include "catalog/tag_table.h"
#include "catalog/work_pool.h"
#include "net/http.h"

namespace tutti::catalog {

// What the identity of this request may do with the repository that the request names.
struct Access {
  std::string identity;
  bool can_pull = false;
  bool can_push = false;
  bool can_delete = false;
  // For cross-repository mounts and the list of repositories; empty: as can_pull.
  std::function<bool(const std::string& repository)> can_pull_from;
};

enum class Verb { none, pull, push, remove };

struct Wanted {
  std::string repository;  // empty: /v2/, the list of repositories, or no route of ours
  Verb verb = Verb::none;
};

// {"errors":[{"code","message","detail"}]}. `detail_json` is JSON, or empty.
net::Response registry_error(int status, std::string_view code, std::string_view message,
                             std::string_view detail_json = {});
// 401 with the Basic challenge that makes docker and skopeo send their credentials.
net::Response registry_unauthorized(std::string_view realm);

class Distribution {
 public:
  Distribution(ContentStore& store, TagTable& tags, int threads = 4);
  ~Distribution();

  // Whether the path is this protocol's.
  static bool owns(const std::string& path);
  static Wanted wanted(const net::Request& head);
  // Uploads come streamed up to kBlobBytesMax; manifests gathered up to kManifestBytesMax; nothing else has a body.
  static net::Admission admit(const net::Request& head);

  void handle(std::shared_ptr<const net::Request> request, std::shared_ptr<net::Responder> responder, Access access);

 private:
  enum class Kind { base, list, tags, referrers, manifest, blob, upload_start, upload, unknown };
  struct Route {
    Kind kind = Kind::unknown;
    std::string repository;
    std::string reference;  // tag, digest or upload id
  };
  struct Call {
    std::shared_ptr<const net::Request> request;
    std::shared_ptr<net::Responder> responder;
    Access access;
    Route route;
  };
  struct Stream;  // an upload whose body is coming in

  static Route route_of(const std::string& path);
  static Verb verb_of(const Route& route, const std::string& method);
  void serve(const Call& call);
  void list_repositories(const Call& call);
  void list_tags(const Call& call);
  void list_referrers(const Call& call);

  // distribution_manifest.cc
  class Arriving;
  void get_manifest(const Call& call);
  void put_manifest(const Call& call);
  void delete_manifest(const Call& call);
  void forget_content(const std::string& digest);

  // distribution_blob.cc
  void get_blob(const Call& call);
  void start_upload(const Call& call);
  void append_upload(const Call& call);
  void finish_upload(const Call& call);
  Status note_blob(const Call& call, const Result<BlobInfo>& info);
  void upload_status(const Call& call);
  void stream_body(std::shared_ptr<Stream> stream);

  ContentStore& store_;
  TagTable& tags_;
  RepositoryContents contents_;
  std::mutex mutex_;
  std::multiset<std::string> arriving_;  // manifests between store and tag table: a delete must not take their bytes
  WorkPool pool_;                        // last: its threads use the rest
};

// How big a manifest is with all it refers to, and for which architectures: what a tag row says of it.
Result<TagRow> describe_manifest(const ContentStore& store, const std::string& digest);

}  // namespace tutti::catalog
