// Manifests: get, put, delete, and what a tag row says of one.

#include <simdjson.h>

#include <algorithm>

#include "base/limits.h"
#include "catalog/distribution.h"
#include "catalog/distribution_internal.h"
#include "model/oci.h"

namespace tutti::catalog {
namespace {

constexpr int kIndexDepthMax = 4;  // indexes of indexes

// Its "architecture", when the config is an image's; nothing for other artifacts.
std::string architecture_of(const ContentStore& store, const oci::Descriptor& config) {
  auto bytes = store.read(config.digest, limits::kManifestBytesMax);
  if (!bytes) return {};
  simdjson::dom::parser parser;
  if (parser.allocate(std::max<size_t>(bytes->size(), 64), limits::kDocumentDepthMax) != simdjson::SUCCESS) return {};
  std::string_view name;
  simdjson::padded_string padded(*bytes);
  auto document = parser.parse(padded);
  if (document.error() != simdjson::SUCCESS || document["architecture"].get_string().get(name) != simdjson::SUCCESS)
    return {};
  return std::string(name.substr(0, 64));
}

// Adds what `facts` refers to; children of an index that are not here count as nothing.
// Each is counted once (`seen`): an index may name the same child thousands of times, at every level.
Status add_up(const ContentStore& store, const ManifestFacts& facts, int depth, std::set<std::string>& seen,
              TagRow& row) {
  if (depth > kIndexDepthMax)
    return fail(ErrorCode::invalid, "indexes within indexes, more than " + std::to_string(kIndexDepthMax) + " deep");
  auto add_architecture = [&](const std::string& name) {
    bool known = std::find(row.architectures.begin(), row.architectures.end(), name) != row.architectures.end();
    if (!name.empty() && name != "unknown" && !known && row.architectures.size() < 64)
      row.architectures.push_back(name);
  };
  if (facts.config) {
    row.size += static_cast<uint64_t>(facts.config->size);
    add_architecture(architecture_of(store, *facts.config));
  }
  for (const oci::Descriptor& layer : facts.layers) row.size += static_cast<uint64_t>(layer.size);
  for (const oci::Descriptor& child : facts.manifests) {
    if (child.platform) add_architecture(child.platform->architecture);
    if (!seen.insert(child.digest).second) continue;
    auto bytes = store.read(child.digest, limits::kManifestBytesMax);
    if (!bytes) continue;
    row.size += bytes->size();
    TUTTI_TRY(ManifestFacts inner, read_manifest(*bytes));
    TUTTI_CHECK(add_up(store, inner, depth + 1, seen, row));
  }
  return {};
}

}  // namespace

Result<TagRow> describe_manifest(const ContentStore& store, const std::string& digest) {
  TUTTI_TRY(std::string bytes, store.read(digest, limits::kManifestBytesMax));
  TUTTI_TRY(ManifestFacts facts, read_manifest(bytes));
  TagRow row;
  row.digest = digest;
  row.media_type = facts.media_type;
  row.size = bytes.size();
  std::set<std::string> seen{digest};
  TUTTI_CHECK(add_up(store, facts, 0, seen, row));
  return row;
}

void Distribution::get_manifest(const Call& call) {
  const Route& route = call.route;
  std::string digest = route.reference;
  if (!oci::is_digest(digest)) {
    if (!is_tag(digest))
      return call.responder->send(registry_error(404, "MANIFEST_UNKNOWN", "not a tag and not a digest"));
    auto resolved = tags_.resolve(route.repository, digest);
    if (!resolved) return call.responder->send(registry_error(resolved.error(), "MANIFEST_UNKNOWN"));
    digest = *resolved;
  }
  // Who got it by its tag goes on by digests, also when the tag means another one meanwhile.
  const bool by_tag = digest != route.reference;
  const bool held = by_tag ? store_.note_arrival(route.repository, digest, ContentStore::Arrived::manifest).has_value()
                           : contents_.holds(route.repository, digest);
  if (!held)
    return call.responder->send(
        registry_error(404, "MANIFEST_UNKNOWN", "no manifest " + digest + " in " + route.repository));
  auto bytes = store_.read(digest, limits::kManifestBytesMax);
  auto facts = bytes ? read_manifest(*bytes) : Result<ManifestFacts>(tl::make_unexpected(bytes.error()));
  if (!facts) {
    // Content that is no manifest, or too large to be one, is not found here either.
    bool broken = facts.error().code == ErrorCode::io;
    return call.responder->send(
        registry_error(broken ? 500 : 404, "MANIFEST_UNKNOWN", "no manifest " + digest + " in " + route.repository));
  }
  net::Response response = empty_response(200, {{"docker-content-digest", digest}, {"etag", "\"" + digest + "\""}});
  response.content_type = facts->media_type;
  response.body = std::move(*bytes);
  call.responder->send(std::move(response));
}

// Manifests between the check that they are here and the commit of the row that refers to them.
class Distribution::Arriving {
 public:
  Arriving(Distribution& owner, std::vector<std::string> digests) : owner_(owner), digests_(std::move(digests)) {
    std::lock_guard lock(owner_.mutex_);
    owner_.arriving_.insert(digests_.begin(), digests_.end());
  }
  ~Arriving() {
    std::lock_guard lock(owner_.mutex_);
    for (const std::string& digest : digests_) owner_.arriving_.erase(owner_.arriving_.find(digest));
  }
  Arriving(const Arriving&) = delete;
  Arriving& operator=(const Arriving&) = delete;

 private:
  Distribution& owner_;
  const std::vector<std::string> digests_;
};

void Distribution::put_manifest(const Call& call) {
  const std::string& body = call.request->body;
  const std::string& reference = call.route.reference;
  auto refuse = [&](int status, std::string_view code, std::string_view why, std::string_view detail = {}) {
    call.responder->send(registry_error(status, code, why, detail));
  };
  bool by_digest = oci::is_digest(reference);
  if (!by_digest && !is_tag(reference))
    return refuse(400, "TAG_INVALID", "a tag is letters, digits, _ . - and at most 128 of them");
  auto facts = read_manifest(body, call.request->header("content-type"));
  if (!facts) return refuse(http_status(facts.error().code), "MANIFEST_INVALID", facts.error().message);
  std::string digest = digest_of(body);
  if (by_digest && digest != reference) return refuse(400, "DIGEST_INVALID", "the manifest's digest is " + digest);
  std::vector<std::string> needed = facts->blobs;
  std::vector<std::string> manifests{digest};
  for (const oci::Descriptor& child : facts->manifests) {
    needed.push_back(child.digest);
    manifests.push_back(child.digest);
  }
  auto arriving = std::make_shared<Arriving>(*this, std::move(manifests));
  for (const std::string& blob : needed) {
    if (store_.touch(blob)) continue;
    return refuse(400, "MANIFEST_BLOB_UNKNOWN", "push " + blob + " before the manifest that refers to it",
                  "{\"digest\":" + json_text(blob) + "}");
  }
  if (const std::string other = contents_.missing(call.route.repository, *facts); !other.empty()) {
    return refuse(
        400, "MANIFEST_BLOB_UNKNOWN",
        call.route.repository + " has no " + other + ": push or mount it before the manifest that refers to it",
        "{\"digest\":" + json_text(other) + "}");
  }
  auto stored = store_.put(body);
  auto row = stored ? describe_manifest(store_, digest) : Result<TagRow>(tl::make_unexpected(stored.error()));
  if (!row) return refuse(http_status(row.error().code), "MANIFEST_INVALID", row.error().message);
  row->repository = call.route.repository;
  row->tag = reference;
  if (Status noted = store_.note_arrival(row->repository, digest, ContentStore::Arrived::manifest); !noted)
    return refuse(500, "UNKNOWN", noted.error().to_string());
  tags_.put(std::move(*row), [arriving, digest, call, subject = facts->subject](Status status) {
    if (!status) return call.responder->send(registry_error(status.error(), "UNKNOWN"));
    net::Response response = empty_response(201, {{"location", "/v2/" + call.route.repository + "/manifests/" + digest},
                                                  {"docker-content-digest", digest}});
    if (!subject.empty()) response.headers.emplace_back("oci-subject", subject);
    call.responder->send(std::move(response));
  });
}

void Distribution::delete_manifest(const Call& call) {
  const std::string& reference = call.route.reference;
  if (is_tag(reference)) {
    return tags_.remove_tag(call.route.repository, reference, [call](Status status) {
      call.responder->send(status ? empty_response(202) : registry_error(status.error(), "MANIFEST_UNKNOWN"));
    });
  }
  if (!oci::is_digest(reference))
    return call.responder->send(registry_error(400, "DIGEST_INVALID", "not a tag and not a digest"));
  tags_.remove_manifest(call.route.repository, reference, [this, call](Status status) {
    if (!status) return call.responder->send(registry_error(status.error(), "MANIFEST_UNKNOWN"));
    pool_.post([this, call] {
      store_.forget_arrival(call.route.repository, call.route.reference);
      forget_content(call.route.reference);
      call.responder->send(empty_response(202));
    });
  });
}

// A manifest that nothing refers to any more is gone at once: who deletes it expects 404 afterwards. Its blobs wait
// for the collection.
void Distribution::forget_content(const std::string& digest) {
  for (const std::string& root : tags_.referenced_manifests()) {
    if (root == digest) return;
    auto kept = store_.reachable(root, nullptr);
    if (!kept || std::find(kept->begin(), kept->end(), digest) != kept->end()) return;
  }
  std::lock_guard lock(mutex_);
  if (arriving_.contains(digest)) return;
  (void)store_.remove(digest);  // not there: what was wanted
}

}  // namespace tutti::catalog
