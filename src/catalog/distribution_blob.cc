// Blobs and uploads.

#include <charconv>

#include "base/limits.h"
#include "catalog/distribution.h"
#include "catalog/distribution_internal.h"
#include "model/oci.h"

namespace tutti::catalog {
namespace {

struct ByteRange {
  uint64_t first = 0;
  uint64_t last = 0;
};

bool read_number(std::string_view text, uint64_t& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

enum class RangeKind { whole, part, unsatisfiable };

// One range of "bytes=a-b", "bytes=a-", "bytes=-n"; several ranges or other units are answered with the whole.
RangeKind read_range(std::string_view header, uint64_t size, ByteRange& range) {
  if (!header.starts_with("bytes=") || header.find(',') != std::string_view::npos) return RangeKind::whole;
  header.remove_prefix(6);
  size_t dash = header.find('-');
  if (dash == std::string_view::npos) return RangeKind::whole;
  std::string_view from = header.substr(0, dash), to = header.substr(dash + 1);
  uint64_t a = 0, b = size == 0 ? 0 : size - 1;
  if (from.empty()) {
    uint64_t tail = 0;
    if (!read_number(to, tail)) return RangeKind::whole;
    if (tail == 0 || size == 0) return RangeKind::unsatisfiable;
    a = tail >= size ? 0 : size - tail;
  } else {
    if (!read_number(from, a) || (!to.empty() && !read_number(to, b)) || (!to.empty() && b < a))
      return RangeKind::whole;
    if (a >= size) return RangeKind::unsatisfiable;
    b = std::min(b, size - 1);
  }
  range = {a, b};
  return RangeKind::part;
}

std::string upload_location(const std::string& repository, const std::string& id) {
  return "/v2/" + repository + "/blobs/uploads/" + id;
}

// How clients are told what has come in; Docker writes "0-0" for nothing as for one byte, and clients expect it.
std::string received(uint64_t offset) {
  return "0-" + std::to_string(offset == 0 ? 0 : offset - 1);
}

net::Response upload_state(int status, const std::string& repository, const std::string& id, uint64_t offset) {
  return empty_response(
      status, {{"location", upload_location(repository, id)}, {"range", received(offset)}, {"docker-upload-uuid", id}});
}

net::Response blob_created(const std::string& repository, const std::string& digest) {
  return empty_response(201,
                        {{"location", "/v2/" + repository + "/blobs/" + digest}, {"docker-content-digest", digest}});
}

}  // namespace

// `finished` gets what appending said; the Upload is still its to commit.
struct Distribution::Stream {
  Call call;
  std::unique_ptr<Upload> upload;
  std::function<void(Stream&)> finished;
};

void Distribution::get_blob(const Call& call) {
  const std::string& digest = call.route.reference;
  if (!oci::is_digest(digest))
    return call.responder->send(
        registry_error(400, "DIGEST_INVALID", "a blob is asked for by sha256: and 64 lower-case hex digits"));
  // Who may push asks in order to skip an upload: what it is told exists must stay until its manifest comes.
  Result<BlobInfo> info = fail(ErrorCode::not_found, "no blob " + digest + " in " + call.route.repository);
  if (contents_.holds(call.route.repository, digest)) {
    info = call.request->method == "HEAD" && call.access.can_push ? store_.touch(digest) : store_.stat(digest);
  }
  if (!info) return call.responder->send(registry_error(info.error(), "BLOB_UNKNOWN"));
  net::Response response = empty_response(200, {{"docker-content-digest", digest},
                                                {"etag", "\"" + digest + "\""},
                                                {"accept-ranges", "bytes"},
                                                {"cache-control", "max-age=31536000"}});
  response.content_type = "application/octet-stream";
  response.file = store_.path(digest).value_or("");
  response.file_length = info->size;
  ByteRange range;
  std::string asked = call.request->method == "GET" ? call.request->header("range") : "";
  switch (read_range(asked, info->size, range)) {
    case RangeKind::whole: break;
    case RangeKind::part:
      response.status = 206;
      response.file_offset = range.first;
      response.file_length = range.last - range.first + 1;
      response.headers.emplace_back("content-range", "bytes " + std::to_string(range.first) + "-" +
                                                         std::to_string(range.last) + "/" + std::to_string(info->size));
      break;
    case RangeKind::unsatisfiable:
      response = registry_error(416, "SIZE_INVALID", "the blob has " + std::to_string(info->size) + " bytes");
      response.headers.emplace_back("content-range", "bytes */" + std::to_string(info->size));
      break;
  }
  call.responder->send(std::move(response));
}

void Distribution::start_upload(const Call& call) {
  const std::string& repository = call.route.repository;
  std::string mount = call.request->query_value("mount"), from = call.request->query_value("from");
  if (oci::is_digest(mount) && is_repository(from)) {
    bool allowed =
        call.access.can_pull_from ? call.access.can_pull_from(from) : (from == repository && call.access.can_pull);
    if (allowed && contents_.holds(from, mount) && store_.touch(mount) &&
        store_.note_arrival(repository, mount, ContentStore::Arrived::blob))
      return call.responder->send(blob_created(repository, mount));
  }
  std::string digest = call.request->query_value("digest");
  if (!digest.empty() && !oci::is_digest(digest))
    return call.responder->send(registry_error(400, "DIGEST_INVALID", "only sha256 digests are kept"));
  auto upload = store_.start_upload(repository);
  if (!upload) return call.responder->send(registry_error(upload.error(), "TOOMANYREQUESTS"));
  if (digest.empty()) {
    net::Response response = upload_state(202, repository, (*upload)->id(), 0);
    upload->reset();  // before the client hears of it: its next request may come at once
    return call.responder->send(std::move(response));
  }
  auto stream = std::make_shared<Stream>();
  stream->call = call;
  stream->upload = std::move(*upload);
  stream->finished = [this, digest](Stream& s) {
    auto info = s.upload->commit(digest);
    if (!info) s.upload->discard();
    if (Status noted = note_blob(s.call, info); !noted) info = tl::make_unexpected(noted.error());
    s.call.responder->send(info ? blob_created(s.call.route.repository, digest)
                                : registry_error(info.error(), "DIGEST_INVALID"));
  };
  stream_body(std::move(stream));
}

// A chunk that says where it begins must begin where the last one ended.
static bool in_order(const net::Request& request, uint64_t offset) {
  std::string_view range(
      request.headers.contains("content-range") ? std::string_view(request.headers.at("content-range")) : "");
  if (range.empty()) return true;
  if (range.starts_with("bytes ")) range.remove_prefix(6);
  uint64_t first = 0;
  return read_number(range.substr(0, range.find('-')), first) && first == offset;
}

void Distribution::append_upload(const Call& call) {
  auto upload = store_.resume_upload(call.route.reference, call.route.repository);
  if (!upload) return call.responder->send(registry_error(upload.error(), "BLOB_UPLOAD_UNKNOWN"));
  if (!in_order(*call.request, (*upload)->offset())) {
    net::Response response = upload_state(416, call.route.repository, call.route.reference, (*upload)->offset());
    upload->reset();
    return call.responder->send(std::move(response));
  }
  auto stream = std::make_shared<Stream>();
  stream->call = call;
  stream->upload = std::move(*upload);
  stream->finished = [](Stream& s) {
    net::Response response = upload_state(202, s.call.route.repository, s.upload->id(), s.upload->offset());
    s.upload.reset();  // before the client hears of it: its next request may come at once
    s.call.responder->send(std::move(response));
  };
  stream_body(std::move(stream));
}

void Distribution::finish_upload(const Call& call) {
  std::string digest = call.request->query_value("digest");
  if (!oci::is_digest(digest))
    return call.responder->send(registry_error(400, "DIGEST_INVALID", "say ?digest=sha256:…"));
  auto upload = store_.resume_upload(call.route.reference, call.route.repository);
  if (!upload) return call.responder->send(registry_error(upload.error(), "BLOB_UPLOAD_UNKNOWN"));
  if (!in_order(*call.request, (*upload)->offset())) {
    net::Response response = upload_state(416, call.route.repository, call.route.reference, (*upload)->offset());
    upload->reset();
    return call.responder->send(std::move(response));
  }
  auto stream = std::make_shared<Stream>();
  stream->call = call;
  stream->upload = std::move(*upload);
  stream->finished = [this, digest](Stream& s) {
    auto info = s.upload->commit(digest);
    s.upload.reset();
    if (Status noted = note_blob(s.call, info); !noted) info = tl::make_unexpected(noted.error());
    s.call.responder->send(info ? blob_created(s.call.route.repository, digest)
                                : registry_error(info.error(), "DIGEST_INVALID"));
  };
  stream_body(std::move(stream));
}

// The bytes are the uploader's repository's, whoever else has the same.
Status Distribution::note_blob(const Call& call, const Result<BlobInfo>& info) {
  if (!info) return {};
  return store_.note_arrival(call.route.repository, info->digest, ContentStore::Arrived::blob);
}

void Distribution::upload_status(const Call& call) {
  auto offset = store_.upload_offset(call.route.reference, call.route.repository);
  if (!offset) return call.responder->send(registry_error(offset.error(), "BLOB_UPLOAD_UNKNOWN"));
  call.responder->send(upload_state(204, call.route.repository, call.route.reference, *offset));
}

// One piece at a time: read on the server's thread, written and hashed on the pool, then the next is asked for. So the
// peer is held back by the disk, and nothing piles up.
void Distribution::stream_body(std::shared_ptr<Stream> stream) {
  net::BodyReader* body = stream->call.responder->body();
  if (body == nullptr) {  // gathered, because whoever admitted it did not ask admit()
    if (Status added = stream->upload->append(stream->call.request->body); !added) {
      stream->upload.reset();
      return stream->call.responder->send(registry_error(added.error(), "SIZE_INVALID"));
    }
    return stream->finished(*stream);
  }
  body->read([this, stream](Result<std::string> piece) {
    pool_.post([this, stream, piece = std::move(piece)] {
      Status added = piece ? stream->upload->append(*piece) : Status(tl::make_unexpected(piece.error()));
      if (!added) {
        stream->upload.reset();  // what came in so far stays, for a resume
        return stream->call.responder->send(registry_error(added.error(), "BLOB_UPLOAD_INVALID"));
      }
      if (piece->empty()) return stream->finished(*stream);
      stream_body(stream);
    });
  });
}

}  // namespace tutti::catalog
