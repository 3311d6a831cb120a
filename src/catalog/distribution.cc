#include "catalog/distribution.h"

#include <charconv>

#include "base/limits.h"
#include "catalog/distribution_internal.h"
#include "model/codec.h"
#include "model/oci.h"

namespace tutti::catalog {
namespace {

constexpr std::pair<const char*, const char*> kVersionHeader{"docker-distribution-api-version", "registry/2.0"};

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> parts;
  while (true) {
    size_t at = path.find('/');
    parts.emplace_back(path.substr(0, at));
    if (at == std::string_view::npos) return parts;
    path.remove_prefix(at + 1);
  }
}

std::string join(const std::vector<std::string>& parts, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += (i == 0 ? "" : "/") + parts[i];
  return text;
}

// `n` of a list: absent is the most; `false` when it is no number.
bool page_size(const net::Request& request, size_t& n) {
  n = limits::kListRowsMax;
  std::string text = request.query_value("n");
  if (text.empty()) return true;
  size_t asked = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), asked);
  if (error != std::errc{} || end != text.data() + text.size()) return false;
  n = std::min(n, asked);
  return true;
}

std::string json_list(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) {
    if (out.size() > 1) out += ',';
    append_json_string(out, text);
  }
  return out + "]";
}

void add_next_link(net::Response& response, const std::string& path, size_t n, const std::string& last) {
  response.headers.emplace_back(
      "link", "<" + path + "?n=" + std::to_string(n) + "&last=" + net::percent_encode(last) + ">; rel=\"next\"");
}

}  // namespace

// ---- answers

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

net::Response registry_error(int status, std::string_view code, std::string_view message,
                             std::string_view detail_json) {
  net::Response response;
  response.status = status;
  response.headers.emplace_back(kVersionHeader);
  response.body = "{\"errors\":[{\"code\":" + json_text(code) + ",\"message\":" + json_text(message) +
                  ",\"detail\":" + (detail_json.empty() ? "null" : std::string(detail_json)) + "}]}";
  return response;
}

net::Response registry_error(const Error& error, std::string_view code) {
  return registry_error(http_status(error.code), code, error.to_string());
}

net::Response registry_unauthorized(std::string_view realm) {
  net::Response response =
      registry_error(401, "UNAUTHORIZED", "log in with the name of a token and its secret as password");
  response.headers.emplace_back("www-authenticate", "Basic realm=\"" + std::string(realm) + "\"");
  return response;
}

net::Response empty_response(int status, std::vector<std::pair<std::string, std::string>> headers) {
  net::Response response;
  response.status = status;
  response.content_type.clear();
  response.headers = std::move(headers);
  response.headers.emplace_back(kVersionHeader);
  return response;
}

// ---- routes

bool Distribution::owns(const std::string& path) {
  return path == "/v2" || path.starts_with("/v2/");
}

// Read from the end, because a repository may have parts named "blobs" or "tags".
Distribution::Route Distribution::route_of(const std::string& path) {
  if (path == "/v2" || path == "/v2/") return {Kind::base, {}, {}};
  if (path == "/v2/_catalog") return {Kind::list, {}, {}};
  if (!owns(path)) return {};
  std::vector<std::string> parts = split(std::string_view(path).substr(4));
  size_t n = parts.size();
  auto is = [&](size_t from_end, std::string_view word) { return n > from_end && parts[n - from_end] == word; };
  Route route;
  size_t name = 0;
  if (is(1, "uploads") && is(2, "blobs")) {
    route = {Kind::upload_start, {}, {}};
    name = n - 2;
  } else if (is(2, "uploads") && is(3, "blobs")) {
    route = {parts[n - 1].empty() ? Kind::upload_start : Kind::upload, {}, parts[n - 1]};
    name = n - 3;
  } else if (is(2, "blobs")) {
    route = {Kind::blob, {}, parts[n - 1]};
    name = n - 2;
  } else if (is(2, "manifests")) {
    route = {Kind::manifest, {}, parts[n - 1]};
    name = n - 2;
  } else if (is(2, "referrers")) {
    route = {Kind::referrers, {}, parts[n - 1]};
    name = n - 2;
  } else if (is(1, "list") && is(2, "tags")) {
    route = {Kind::tags, {}, {}};
    name = n - 2;
  }
  route.repository = join(parts, name);
  return route;
}

Verb Distribution::verb_of(const Route& route, const std::string& method) {
  switch (route.kind) {
    case Kind::base:
    case Kind::list:
    case Kind::unknown: return Verb::none;
    case Kind::upload_start:
    case Kind::upload: return Verb::push;
    case Kind::tags:
    case Kind::referrers:
    case Kind::manifest:
    case Kind::blob:
      if (method == "DELETE") return Verb::remove;
      return method == "GET" || method == "HEAD" ? Verb::pull : Verb::push;
  }
  return Verb::none;
}

Wanted Distribution::wanted(const net::Request& head) {
  Route route = route_of(head.path);
  return {route.repository, verb_of(route, head.method)};
}

net::Admission Distribution::admit(const net::Request& head) {
  Kind kind = route_of(head.path).kind;
  if (kind == Kind::upload_start || kind == Kind::upload) return {limits::kBlobBytesMax, true};
  if (kind == Kind::manifest && head.method == "PUT") return {limits::kManifestBytesMax, false};
  return {64u << 10, false};
}

Distribution::Distribution(ContentStore& store, TagTable& tags, int threads)
    : store_(store), tags_(tags), contents_(store, tags), pool_(threads) {}

Distribution::~Distribution() = default;

void Distribution::handle(std::shared_ptr<const net::Request> request, std::shared_ptr<net::Responder> responder,
                          Access access) {
  Call call{std::move(request), std::move(responder), std::move(access), {}};
  call.route = route_of(call.request->path);
  if (call.route.kind == Kind::unknown) {
    return call.responder->send(
        registry_error(404, "UNSUPPORTED", "no such route of the registry: " + call.request->path));
  }
  if (call.route.kind != Kind::base && call.route.kind != Kind::list && !is_repository(call.route.repository)) {
    return call.responder->send(registry_error(
        400, "NAME_INVALID",
        "a repository is lower-case words of letters and digits, joined by . _ - and /, at most 255 letters"));
  }
  bool allowed = true;
  switch (verb_of(call.route, call.request->method)) {
    case Verb::none: break;
    case Verb::pull: allowed = call.access.can_pull; break;
    case Verb::push: allowed = call.access.can_push; break;
    case Verb::remove: allowed = call.access.can_delete; break;
  }
  if (!allowed) {
    return call.responder->send(registry_error(
        403, "DENIED", call.access.identity + " may not " + call.request->method + " in " + call.route.repository));
  }
  pool_.post([this, call = std::move(call)] { serve(call); });
}

void Distribution::serve(const Call& call) {
  const std::string& method = call.request->method;
  bool get = method == "GET" || method == "HEAD";
  switch (call.route.kind) {
    case Kind::base:
      if (get) {
        net::Response response;
        response.headers.emplace_back(kVersionHeader);
        response.body = "{}";
        return call.responder->send(std::move(response));
      }
      break;
    case Kind::list:
      if (get) return list_repositories(call);
      break;
    case Kind::tags:
      if (get) return list_tags(call);
      break;
    case Kind::referrers:
      if (get) return list_referrers(call);
      break;
    case Kind::manifest:
      if (get) return get_manifest(call);
      if (method == "PUT") return put_manifest(call);
      if (method == "DELETE") return delete_manifest(call);
      break;
    case Kind::blob:
      if (get) return get_blob(call);
      break;
    case Kind::upload_start:
      if (method == "POST") return start_upload(call);
      break;
    case Kind::upload:
      if (method == "PATCH") return append_upload(call);
      if (method == "PUT") return finish_upload(call);
      if (get) return upload_status(call);
      if (method == "DELETE") {
        Status gone = store_.abort_upload(call.route.reference, call.route.repository);
        return call.responder->send(gone ? empty_response(204) : registry_error(gone.error(), "BLOB_UPLOAD_UNKNOWN"));
      }
      break;
    case Kind::unknown: break;
  }
  std::string hint =
      call.route.kind == Kind::blob ? "; blobs go by themselves when no manifest refers to them any more" : "";
  call.responder->send(registry_error(405, "UNSUPPORTED", method + " is not possible on " + call.request->path + hint));
}

// ---- lists

void Distribution::list_repositories(const Call& call) {
  size_t n = 0;
  if (!page_size(*call.request, n))
    return call.responder->send(registry_error(400, "PAGINATION_NUMBER_INVALID", "n is not a number"));
  auto visible = [&](const std::string& name) {
    return call.access.can_pull_from ? call.access.can_pull_from(name) : call.access.can_pull;
  };
  std::vector<std::string> names;
  std::string after = call.request->query_value("last");
  bool more = n > 0;
  while (more && names.size() <= n) {
    std::vector<std::string> page = tags_.repositories(after, limits::kListRowsMax);
    for (const std::string& name : page) {
      if (names.size() <= n && visible(name)) names.push_back(name);
    }
    more = page.size() == limits::kListRowsMax;
    if (more) after = page.back();
  }
  net::Response response;
  response.headers.emplace_back(kVersionHeader);
  if (names.size() > n) {
    names.resize(n);
    if (n > 0) add_next_link(response, "/v2/_catalog", n, names.back());
  }
  response.body = "{\"repositories\":" + json_list(names) + "}";
  call.responder->send(std::move(response));
}

void Distribution::list_tags(const Call& call) {
  size_t n = 0;
  if (!page_size(*call.request, n))
    return call.responder->send(registry_error(400, "PAGINATION_NUMBER_INVALID", "n is not a number"));
  const std::string& repository = call.route.repository;
  if (tags_.rows(repository, "", 1).empty()) {
    return call.responder->send(registry_error(404, "NAME_UNKNOWN", "the catalog has no repository " + repository));
  }
  std::vector<std::string> names;
  std::string after = call.request->query_value("last");
  bool more = n > 0;
  while (more && names.size() <= n) {
    std::vector<TagRow> page = tags_.rows(repository, after, limits::kListRowsMax);
    for (const TagRow& row : page) {
      if (names.size() <= n && !oci::is_digest(row.tag)) names.push_back(row.tag);
    }
    more = page.size() == limits::kListRowsMax;
    if (more) after = page.back().tag;
  }
  net::Response response;
  response.headers.emplace_back(kVersionHeader);
  if (names.size() > n) {
    names.resize(n);
    if (n > 0) add_next_link(response, "/v2/" + repository + "/tags/list", n, names.back());
  }
  response.body = "{\"name\":" + json_text(repository) + ",\"tags\":" + json_list(names) + "}";
  call.responder->send(std::move(response));
}

// Every manifest of the repository whose subject is the digest, as an index (empty when there is none).
void Distribution::list_referrers(const Call& call) {
  const std::string& subject = call.route.reference;
  if (!oci::is_digest(subject))
    return call.responder->send(registry_error(400, "DIGEST_INVALID", "referrers are asked for by digest"));
  std::string wanted_type = call.request->query_value("artifactType");
  std::set<std::string> seen;
  std::string list, after;
  for (bool more = true; more;) {
    std::vector<TagRow> page = tags_.rows(call.route.repository, after, limits::kListRowsMax);
    more = page.size() == limits::kListRowsMax;
    if (more) after = page.back().tag;
    for (const TagRow& row : page) {
      if (!seen.insert(row.digest).second) continue;
      auto bytes = store_.read(row.digest, limits::kManifestBytesMax);
      if (!bytes) continue;
      auto facts = read_manifest(*bytes);
      if (!facts || facts->subject != subject) continue;
      if (!wanted_type.empty() && facts->artifact_type != wanted_type) continue;
      list += (list.empty() ? "" : ",");
      list += "{\"mediaType\":" + json_text(facts->media_type) + ",\"digest\":" + json_text(row.digest) +
              ",\"size\":" + std::to_string(bytes->size());
      if (!facts->artifact_type.empty()) list += ",\"artifactType\":" + json_text(facts->artifact_type);
      if (!facts->annotations_json.empty()) list += ",\"annotations\":" + facts->annotations_json;
      list += "}";
    }
  }
  net::Response response;
  response.headers.emplace_back(kVersionHeader);
  if (!wanted_type.empty()) response.headers.emplace_back("oci-filters-applied", "artifactType");
  response.content_type = std::string(oci::kIndexType);
  response.body = "{\"schemaVersion\":2,\"mediaType\":" + json_text(oci::kIndexType) + ",\"manifests\":[" + list + "]}";
  call.responder->send(std::move(response));
}

}  // namespace tutti::catalog
