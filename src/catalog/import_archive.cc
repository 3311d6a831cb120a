// Tars: `docker save`, OCI archives, or a root file system.

#include <archive_entry.h>
#include <simdjson.h>
#include <sys/stat.h>

#include <map>
#include <set>

#include "base/limits.h"
#include "catalog/distribution_internal.h"
#include "catalog/import_internal.h"
#include "model/oci.h"

namespace tutti::catalog {
namespace {

namespace dom = simdjson::dom;

struct Member {
  std::string digest;
  uint64_t size = 0;
  std::string layer_type;
};

struct Contents {
  std::map<std::string, std::string> documents;  // the few small ones that say what the rest is
  std::map<std::string, Member> members;         // in the store already
  std::map<std::string, std::string> links;      // name → name, normalised
};

bool is_document(const std::string& name) {
  return name == "index.json" || name == "manifest.json" || name == "oci-layout" || name == "repositories";
}

std::string_view layer_type(std::string_view first) {
  if (first.starts_with("\x1f\x8b")) return "application/vnd.oci.image.layer.v1.tar+gzip";
  if (first.starts_with("\x28\xb5\x2f\xfd")) return "application/vnd.oci.image.layer.v1.tar+zstd";
  return "application/vnd.oci.image.layer.v1.tar";
}

// A link's target as a name of the archive; empty when it leads out of it.
std::string link_target(const std::string& name, std::string target) {
  if (target.empty() || target[0] == '/') return {};
  std::vector<std::string> parts;
  std::string whole = name.substr(0, name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1) + target + "/";
  for (size_t at = 0, next = 0; (next = whole.find('/', at)) != std::string::npos; at = next + 1) {
    std::string part = whole.substr(at, next - at);
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (parts.empty()) {
      return {};
    } else {
      parts.pop_back();
    }
  }
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : "/") + part;
  return out;
}

// The bytes of the present member, piece by piece.
template <class Each>
Status member_pieces(archive* a, const std::string& name, const std::stop_token& stop, Each each) {
  std::string buffer(256u << 10, '\0');
  while (true) {
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "the import was cancelled");
    la_ssize_t n = archive_read_data(a, buffer.data(), buffer.size());
    if (n < 0) return archive_error(a, name);
    if (n == 0) return {};
    TUTTI_CHECK(each(std::string_view(buffer.data(), static_cast<size_t>(n))));
  }
}

Result<Member> keep_member(ContentStore& store, archive* a, const std::string& name, const std::stop_token& stop) {
  TUTTI_TRY(std::unique_ptr<Upload> upload, store.start_upload(""));
  Member member;
  Status read = member_pieces(a, name, stop, [&](std::string_view piece) {
    if (member.layer_type.empty()) member.layer_type = layer_type(piece);
    return upload->append(piece);
  });
  std::string prefix = "blobs/sha256/";
  std::string expected = name.starts_with(prefix) ? "sha256:" + name.substr(prefix.size()) : "";
  if (read && !expected.empty() && !oci::is_digest(expected))
    read = fail(ErrorCode::invalid, "member " + name + " is named like a blob, but not by a digest");
  Result<BlobInfo> info =
      read ? upload->commit(expected) : Result<BlobInfo>(tl::make_unexpected(std::move(read).error()));
  if (!info) {
    upload->discard();
    return tl::make_unexpected(std::move(info).error().in("member " + name));
  }
  member.digest = info->digest;
  member.size = info->size;
  return member;
}

Result<Contents> read_contents(ContentStore& store, const std::string& file, const std::stop_token& stop) {
  TUTTI_TRY(ArchiveReader reader, open_archive(file, false));
  Contents contents;
  size_t count = 0;
  while (true) {
    archive_entry* entry = nullptr;
    int rc = archive_read_next_header(reader.get(), &entry);
    if (rc == ARCHIVE_EOF) return contents;
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) return archive_error(reader.get(), file);
    if (++count > kArchiveMembersMax)
      return fail(ErrorCode::too_large,
                  "more than " + std::to_string(kArchiveMembersMax) + " members (kArchiveMembersMax)");
    TUTTI_TRY(std::string name, member_name(archive_entry_pathname(entry)));
    if (const char* target = archive_entry_hardlink(entry)) {
      TUTTI_TRY(contents.links[name], member_name(target));
    } else if (archive_entry_filetype(entry) == AE_IFLNK) {
      const char* to = archive_entry_symlink(entry);
      contents.links[name] = link_target(name, to == nullptr ? "" : to);
    } else if (archive_entry_filetype(entry) == AE_IFREG && is_document(name)) {
      std::string text;
      TUTTI_CHECK(member_pieces(reader.get(), name, stop, [&](std::string_view piece) -> Status {
        if (text.size() + piece.size() > limits::kManifestBytesMax)
          return fail(ErrorCode::too_large, name + " is above the limit of kManifestBytesMax");
        text += piece;
        return {};
      }));
      contents.documents[name] = std::move(text);
    } else if (archive_entry_filetype(entry) == AE_IFREG && !name.ends_with("/VERSION") && !name.ends_with("/json")) {
      TUTTI_TRY(contents.members[name], keep_member(store, reader.get(), name, stop));
    }
  }
}

class ArchiveSource final : public LayoutSource {
 public:
  ArchiveSource(ContentStore& store, const Contents& contents) : store_(store) {
    for (const auto& [name, member] : contents.members) brought_.insert(member.digest);
  }
  // What is in the store because others brought it is not the archive's to give.
  Result<BlobInfo> bring(const std::string& digest) override {
    if (!brought_.contains(digest)) return fail(ErrorCode::not_found, "the archive has no " + digest);
    return store_.touch(digest);
  }

 private:
  ContentStore& store_;
  std::set<std::string> brought_;
};

// ---- docker-archive

Result<Member> find_member(const Contents& contents, const std::string& name) {
  std::string at = name;
  for (int hops = 0; hops < 8; ++hops) {
    if (auto found = contents.members.find(at); found != contents.members.end()) return found->second;
    auto link = contents.links.find(at);
    if (link == contents.links.end()) break;
    at = link->second;
  }
  return fail(ErrorCode::invalid, "manifest.json names '" + name + "', which the archive has not");
}

Result<std::vector<std::string>> diff_ids(const ContentStore& store, const std::string& config) {
  TUTTI_TRY(std::string bytes, store.read(config, limits::kManifestBytesMax));
  dom::parser parser;
  if (parser.allocate(std::max<size_t>(bytes.size(), 64), limits::kDocumentDepthMax) != simdjson::SUCCESS)
    return fail(ErrorCode::internal, "out of memory");
  simdjson::padded_string padded(bytes);
  dom::array list;
  if (parser.parse(padded)["rootfs"]["diff_ids"].get_array().get(list) != simdjson::SUCCESS)
    return fail(ErrorCode::invalid, "the image's config has no rootfs.diff_ids");
  std::vector<std::string> found;
  for (dom::element element : list) {
    std::string_view text;
    if (element.get_string().get(text) != simdjson::SUCCESS || !oci::is_digest(text))
      return fail(ErrorCode::invalid, "a diff_id is no digest");
    found.emplace_back(text);
  }
  return found;
}

std::string descriptor(std::string_view type, const std::string& digest, uint64_t size) {
  return "{\"mediaType\":" + json_text(type) + ",\"digest\":" + json_text(digest) +
         ",\"size\":" + std::to_string(size) + "}";
}

// One image of manifest.json as an OCI manifest in the store.
Result<std::string> docker_image(ContentStore& store, const Contents& contents, dom::element image) {
  std::string_view config_name;
  dom::array layers;
  if (image["Config"].get_string().get(config_name) != simdjson::SUCCESS ||
      image["Layers"].get_array().get(layers) != simdjson::SUCCESS) {
    return fail(ErrorCode::invalid, "manifest.json: an image needs Config and Layers");
  }
  TUTTI_TRY(Member config, find_member(contents, std::string(config_name)));
  TUTTI_TRY(std::vector<std::string> ids, diff_ids(store, config.digest));
  std::string list;
  size_t count = 0;
  for (dom::element element : layers) {
    std::string_view name;
    if (element.get_string().get(name) != simdjson::SUCCESS)
      return fail(ErrorCode::invalid, "manifest.json: Layers holds what is no name");
    TUTTI_TRY(Member layer, find_member(contents, std::string(name)));
    bool plain = layer.layer_type.ends_with(".tar");
    if (count >= ids.size() || (plain && ids[count] != layer.digest)) {
      return fail(ErrorCode::invalid,
                  "layer '" + std::string(name) + "' is not the one that the image's config names (diff_ids)");
    }
    list += (list.empty() ? "" : ",") + descriptor(layer.layer_type, layer.digest, layer.size);
    ++count;
  }
  if (count != ids.size())
    return fail(ErrorCode::invalid,
                "manifest.json has " + std::to_string(count) + " layers, the config " + std::to_string(ids.size()));
  TUTTI_TRY(BlobInfo info, store.put("{\"schemaVersion\":2,\"mediaType\":" + json_text(oci::kManifestType) +
                                     ",\"config\":" + descriptor(oci::kConfigType, config.digest, config.size) +
                                     ",\"layers\":[" + list + "]}"));
  return info.digest;
}

Result<std::vector<Imported>> import_docker(ContentStore& store, const Contents& contents) {
  const std::string& text = contents.documents.at("manifest.json");
  dom::parser parser;
  if (parser.allocate(std::max<size_t>(text.size(), 64), limits::kDocumentDepthMax) != simdjson::SUCCESS)
    return fail(ErrorCode::internal, "out of memory");
  simdjson::padded_string padded(text);
  dom::array list;
  if (parser.parse(padded).get_array().get(list) != simdjson::SUCCESS)
    return fail(ErrorCode::invalid, "manifest.json is not a list of images");
  std::vector<Imported> images;
  for (dom::element image : list) {
    TUTTI_TRY(std::string digest, docker_image(store, contents, image));
    std::vector<std::string> names;
    dom::array tags;
    if (image["RepoTags"].get_array().get(tags) == simdjson::SUCCESS) {
      for (dom::element tag : tags) {
        std::string_view name;
        if (tag.get_string().get(name) == simdjson::SUCCESS) names.emplace_back(name.substr(0, 512));
      }
    }
    if (names.empty()) names.emplace_back();
    for (const std::string& name : names) {
      TUTTI_TRY(Imported found, imported(store, digest, name));
      images.push_back(std::move(found));
    }
  }
  if (images.empty()) return fail(ErrorCode::invalid, "manifest.json names no image");
  return images;
}

// Looks at names alone; stops at the first that decides.
Result<ImportKind> find_kind(const std::string& file) {
  TUTTI_TRY(ArchiveReader reader, open_archive(file, false));
  bool layout = false, index = false, docker = false, any = false;
  for (size_t count = 0; count < limits::kUnpackedLayerEntriesMax; ++count) {
    archive_entry* entry = nullptr;
    int rc = archive_read_next_header(reader.get(), &entry);
    if (rc == ARCHIVE_EOF) break;
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) return archive_error(reader.get(), file);
    any = true;
    const char* raw = archive_entry_pathname(entry);
    std::string name = raw == nullptr ? "" : raw;
    if (name.starts_with("./")) name.erase(0, 2);
    layout = layout || name == "oci-layout";
    index = index || name == "index.json";
    docker = docker || name == "manifest.json";
    if (layout && index) return ImportKind::oci_archive;
  }
  if (!any) return fail(ErrorCode::invalid, "the archive is empty");
  return docker ? ImportKind::docker_archive : ImportKind::rootfs_tar;
}

}  // namespace

tl::unexpected<Error> archive_error(archive* a, const std::string& where) {
  const char* text = archive_error_string(a);
  return fail(ErrorCode::invalid, where + ": " + (text == nullptr ? "not an archive that can be read" : text));
}

Result<ArchiveReader> open_archive(const std::string& file, bool raw) {
  ArchiveReader reader(archive_read_new());
  if (!reader) return fail(ErrorCode::internal, "out of memory");
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_zstd(reader.get());
  archive_read_support_filter_xz(reader.get());
  archive_read_support_filter_bzip2(reader.get());
  if (raw) {
    archive_read_support_format_raw(reader.get());
  } else {
    archive_read_support_format_tar(reader.get());
  }
  if (archive_read_open_filename(reader.get(), file.c_str(), 1u << 20) != ARCHIVE_OK)
    return archive_error(reader.get(), file);
  return reader;
}

Result<std::string> member_name(const char* raw) {
  std::string name = raw == nullptr ? "" : raw;
  bool bad = name.empty() || name[0] == '/' || name.size() > 4096;
  while (name.starts_with("./")) name.erase(0, 2);
  while (name.ends_with("/")) name.pop_back();
  for (size_t at = 0; !bad && at <= name.size();) {
    size_t next = std::min(name.find('/', at), name.size());
    bad = name.substr(at, next - at) == "..";
    at = next + 1;
  }
  if (bad)
    return fail(ErrorCode::invalid, "the archive has a member with the name '" + name.substr(0, 200) + "': refused");
  return name;
}

Result<std::vector<Imported>> import_archive(ContentStore& store, const std::string& file,
                                             const ImportOptions& options) {
  ImportKind kind = options.kind;
  if (kind == ImportKind::find_out) {
    TUTTI_TRY(kind, find_kind(file));
  }
  if (kind == ImportKind::rootfs_tar) {
    TUTTI_TRY(Imported image, make_rootfs_image_from_tar(store, file, options.rootfs, options.stop));
    return std::vector<Imported>{std::move(image)};
  }
  TUTTI_TRY(Contents contents, read_contents(store, file, options.stop));
  const char* needed = kind == ImportKind::oci_archive ? "index.json" : "manifest.json";
  if (!contents.documents.contains(needed))
    return fail(ErrorCode::invalid, std::string("the archive has no ") + needed);
  if (kind == ImportKind::docker_archive) return import_docker(store, contents);
  ArchiveSource source(store, contents);
  return import_layout(store, contents.documents.at("index.json"), source);
}

}  // namespace tutti::catalog
