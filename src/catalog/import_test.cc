#include "catalog/import.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "catalog/manifest.h"
#include "catalog/test_support.h"
#include "sys/archive.h"

namespace tutti::catalog {
namespace {

struct Piece {
  std::string name, bytes;
  std::string link;  // a symbolic link
};

void write_tar(const std::string& file, const std::vector<Piece>& pieces, bool gzip = false) {
  archive* a = archive_write_new();
  archive_write_set_format_pax_restricted(a);
  if (gzip) archive_write_add_filter_gzip(a);
  ASSERT_EQ(archive_write_open_filename(a, file.c_str()), ARCHIVE_OK);
  for (const Piece& piece : pieces) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, piece.name.c_str());
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_filetype(entry, piece.link.empty() ? AE_IFREG : AE_IFLNK);
    if (!piece.link.empty()) archive_entry_set_symlink(entry, piece.link.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(piece.bytes.size()));
    ASSERT_EQ(archive_write_header(a, entry), ARCHIVE_OK);
    archive_write_data(a, piece.bytes.data(), piece.bytes.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
}

std::string blob_name(const std::string& bytes) {
  return "blobs/sha256/" + digest_of(bytes).substr(7);
}

std::string index_of(const std::string& manifest, const std::string& name = "") {
  std::string annotations =
      name.empty() ? "" : R"(,"annotations":{"org.opencontainers.image.ref.name":")" + name + "\"}";
  return R"({"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
         digest_of(manifest) + R"(","size":)" + std::to_string(manifest.size()) + annotations + "}]}";
}

class ImportTest : public ::testing::Test {
 protected:
  Result<std::vector<Imported>> import(const std::string& path, ImportKind kind = ImportKind::find_out) {
    ImportOptions options;
    options.kind = kind;
    options.rootfs.cmd = {"/bin/sh"};
    return import_image(*store_, path, options);
  }
  std::vector<Piece> oci_pieces(const SmallImage& image, const std::string& name = "") {
    return {{"oci-layout", R"({"imageLayoutVersion":"1.0.0"})", ""},
            {"index.json", index_of(image.manifest, name), ""},
            {blob_name(image.layer), image.layer, ""},
            {blob_name(image.config), image.config, ""},
            {blob_name(image.manifest), image.manifest, ""}};
  }
  std::string write_layout(const std::vector<Piece>& pieces) {
    std::string dir = folder_ / "layout";
    (void)sys::remove_tree(dir);
    EXPECT_TRUE(sys::make_dirs(dir + "/blobs/sha256"));
    for (const Piece& piece : pieces) {
      if (piece.link.empty()) {
        write_text(dir + "/" + piece.name, piece.bytes);
      } else {
        EXPECT_EQ(symlink(piece.link.c_str(), (dir + "/" + piece.name).c_str()), 0);
      }
    }
    return dir;
  }

  TempFolder folder_;
  std::unique_ptr<ContentStore> store_ = ContentStore::open(folder_ / "store").value();
};

TEST_F(ImportTest, OciArchiveAndLayout) {
  SmallImage image("layer");
  write_tar(folder_ / "image.tar", oci_pieces(image, "box:1"));
  auto images = import(folder_ / "image.tar").value();
  ASSERT_EQ(images.size(), 1u);
  EXPECT_EQ(images[0].digest, digest_of(image.manifest));
  EXPECT_EQ(images[0].reference, "box:1");
  EXPECT_EQ(images[0].architectures, std::vector<std::string>{"amd64"});
  SmallImage other("another layer");
  images = import(write_layout(oci_pieces(other))).value();
  EXPECT_EQ(images.at(0).digest, digest_of(other.manifest));
  EXPECT_EQ(store_->read(digest_of(other.layer), 100).value(), "another layer");
}

TEST_F(ImportTest, ExportAndImportAgain) {
  SmallImage image("layer");
  ASSERT_TRUE(import(write_layout(oci_pieces(image))));
  std::string digest = digest_of(image.manifest);
  ASSERT_TRUE(export_oci_archive(*store_, digest, "box:2", folder_ / "out.tar"));
  ASSERT_TRUE(export_oci_archive(*store_, digest, "box:2", folder_ / "again.tar"));
  EXPECT_EQ(sys::read_file(folder_ / "out.tar").value(), sys::read_file(folder_ / "again.tar").value());
  ASSERT_TRUE(export_oci_layout(*store_, digest, "box:2", folder_ / "out"));
  EXPECT_FALSE(export_oci_layout(*store_, digest, "box:2", folder_ / "out")) << "not empty";
  for (const char* source : {"out.tar", "out"}) {
    auto fresh = ContentStore::open(folder_ / (std::string("fresh-") + source)).value();
    auto images = import_image(*fresh, folder_ / source, {}).value();
    EXPECT_EQ(images.at(0).digest, digest) << source;
    EXPECT_EQ(images.at(0).reference, "box:2") << source;
  }
  EXPECT_EQ(export_oci_archive(*store_, digest_of("none"), "", folder_ / "x.tar").error().code, ErrorCode::not_found);
  EXPECT_FALSE(sys::exists(folder_ / "x.tar"));
}

TEST_F(ImportTest, SeveralPlatformsStayOneIndex) {
  SmallImage amd("amd layer"), arm("arm layer");
  auto entry = [](const SmallImage& image, const char* architecture) {
    return R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" + digest_of(image.manifest) +
           R"(","size":)" + std::to_string(image.manifest.size()) + R"(,"platform":{"os":"linux","architecture":")" +
           architecture + "\"}}";
  };
  std::vector<Piece> pieces = oci_pieces(amd);
  for (const Piece& piece : oci_pieces(arm)) {
    if (piece.name.starts_with("blobs")) pieces.push_back(piece);
  }
  pieces[1].bytes = R"({"schemaVersion":2,"manifests":[)" + entry(amd, "amd64") + "," + entry(arm, "arm64") + "]}";
  auto images = import(write_layout(pieces)).value();
  ASSERT_EQ(images.size(), 1u);
  EXPECT_EQ(images[0].digest, digest_of(pieces[1].bytes));
  EXPECT_EQ(images[0].media_type, oci::kIndexType);
  EXPECT_EQ(images[0].architectures, (std::vector<std::string>{"amd64", "arm64"}));
}

TEST_F(ImportTest, DockerArchiveWithALinkedLayer) {
  SmallImage image("layer");
  std::string config = R"({"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[")" +
                       digest_of("layer") + R"(",")" + digest_of("layer") + R"("]}})";
  std::string list =
      R"([{"Config":"c.json","RepoTags":["box:1","box:latest"],"Layers":["one/layer.tar","two/layer.tar"]}])";
  write_tar(folder_ / "docker.tar", {{"c.json", config, ""},
                                     {"one/layer.tar", "layer", ""},
                                     {"two/layer.tar", "", "../one/layer.tar"},
                                     {"manifest.json", list, ""}});
  auto images = import(folder_ / "docker.tar").value();
  ASSERT_EQ(images.size(), 2u);
  EXPECT_EQ(images[0].reference, "box:1");
  EXPECT_EQ(images[1].reference, "box:latest");
  EXPECT_EQ(images[0].digest, images[1].digest);
  ManifestFacts facts = read_manifest(store_->read(images[0].digest, 1u << 20).value()).value();
  EXPECT_EQ(facts.layers.size(), 2u);
  EXPECT_EQ(facts.layers[1].digest, digest_of("layer"));
}

TEST_F(ImportTest, DockerArchiveMustMatchItsConfig) {
  SmallImage image("layer");
  std::string list = R"([{"Config":"c.json","Layers":["one/layer.tar"]}])";
  write_tar(folder_ / "bad.tar",
            {{"c.json", image.config, ""}, {"one/layer.tar", "other", ""}, {"manifest.json", list, ""}});
  auto found = import(folder_ / "bad.tar");
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message.find("diff_ids"), std::string::npos) << found.error().message;
  write_tar(folder_ / "bad.tar",
            {{"c.json", image.config, ""}, {"one/layer.tar", "", "../../../etc/passwd"}, {"manifest.json", list, ""}});
  EXPECT_EQ(import(folder_ / "bad.tar").error().code, ErrorCode::invalid);
  write_tar(folder_ / "bad.tar",
            {{"c.json", image.config, ""}, {"one/layer.tar", "", "../one/layer.tar"}, {"manifest.json", list, ""}});
  EXPECT_EQ(import(folder_ / "bad.tar").error().code, ErrorCode::invalid) << "a link to itself";
}

TEST_F(ImportTest, MaliciousArchivesAreRefused) {
  SmallImage image("layer");
  for (const char* name : {"../evil", "/etc/evil", "a/../../evil", "blobs/sha256/../../evil"}) {
    std::vector<Piece> pieces = oci_pieces(image);
    pieces.push_back({name, "evil", ""});
    write_tar(folder_ / "evil.tar", pieces);
    EXPECT_EQ(import(folder_ / "evil.tar").error().code, ErrorCode::invalid) << name;
  }
  std::vector<Piece> lying = oci_pieces(image);
  lying[2].bytes = "not what the name says";
  write_tar(folder_ / "evil.tar", lying);
  EXPECT_EQ(import(folder_ / "evil.tar").error().code, ErrorCode::invalid);
  write_text(folder_ / "garbage.tar", "this is no archive");
  EXPECT_EQ(import(folder_ / "garbage.tar").error().code, ErrorCode::invalid);
  EXPECT_EQ(import(folder_ / "absent.tar").error().code, ErrorCode::not_found);
}

TEST_F(ImportTest, AnArchiveGivesOnlyWhatItBrings) {
  SmallImage secret("of somebody else");
  for (const std::string& bytes : {secret.layer, secret.config}) ASSERT_TRUE(store_->put(bytes));
  std::vector<Piece> pieces = oci_pieces(secret);
  pieces.erase(pieces.begin() + 2, pieces.begin() + 4);  // it names them, and the store has them
  write_tar(folder_ / "bait.tar", pieces);
  EXPECT_EQ(import(folder_ / "bait.tar").error().code, ErrorCode::not_found);
}

TEST_F(ImportTest, MaliciousLayoutsAreRefused) {
  SmallImage image("layer");
  write_text(folder_ / "secret", image.layer);
  std::vector<Piece> linked = oci_pieces(image);
  linked[2] = {blob_name(image.layer), "", folder_ / "secret"};
  EXPECT_EQ(import(write_layout(linked)).error().code, ErrorCode::invalid) << "a blob that is a link";
  EXPECT_FALSE(store_->stat(digest_of(image.layer)));
  std::vector<Piece> index = oci_pieces(image);
  write_text(folder_ / "index", index[1].bytes);
  index[1] = {"index.json", "", folder_ / "index"};
  EXPECT_EQ(import(write_layout(index)).error().code, ErrorCode::invalid) << "index.json that is a link";
  std::vector<Piece> climbing = oci_pieces(image);
  climbing[1].bytes = R"({"schemaVersion":2,"manifests":[{"digest":"sha256:../../../secret","size":5}]})";
  EXPECT_EQ(import(write_layout(climbing)).error().code, ErrorCode::invalid);
  std::vector<Piece> sized = oci_pieces(image);
  sized[1].bytes = R"({"schemaVersion":2,"manifests":[{"digest":")" + digest_of(image.manifest) + R"(","size":1}]})";
  EXPECT_EQ(import(write_layout(sized)).error().code, ErrorCode::invalid) << "a size that is wrong";
  std::vector<Piece> incomplete = oci_pieces(image);
  incomplete.erase(incomplete.begin() + 2);
  EXPECT_EQ(import(write_layout(incomplete)).error().code, ErrorCode::not_found);
  std::string dir = write_layout(oci_pieces(image));
  ASSERT_EQ(unlink((dir + "/" + blob_name(image.layer)).c_str()), 0);
  ASSERT_EQ(mkfifo((dir + "/" + blob_name(image.layer)).c_str(), 0600), 0);
  EXPECT_EQ(import(dir).error().code, ErrorCode::invalid) << "a fifo must not hang the import";
}

TEST_F(ImportTest, RootfsDirectoryIsDeterministicAndRuns) {
  if (!sys::exists("/bin/busybox")) GTEST_SKIP() << "no /bin/busybox";
  auto make = [&](const std::string& dir) {
    ASSERT_TRUE(sys::make_dirs(dir + "/bin"));
    write_text(dir + "/bin/busybox", sys::read_file("/bin/busybox").value());
    ASSERT_EQ(chmod((dir + "/bin/busybox").c_str(), 0755), 0);
    ASSERT_EQ(symlink("busybox", (dir + "/bin/sh").c_str()), 0);
  };
  make(folder_ / "one");
  make(folder_ / "two");
  Imported one = import(folder_ / "one").value().at(0);
  EXPECT_EQ(one.digest, import(folder_ / "two").value().at(0).digest);
  EXPECT_EQ(one.architectures, std::vector<std::string>{machine_architecture()});
  ManifestFacts facts = read_manifest(store_->read(one.digest, 1u << 20).value()).value();
  std::string config = store_->read(facts.config->digest, 1u << 20).value();
  EXPECT_NE(config.find(R"("Cmd":["/bin/sh"])"), std::string::npos) << config;
  ASSERT_TRUE(sys::make_dirs(folder_ / "unpacked"));
  auto unpacked = sys::extract_tar_file(store_->path(facts.layers.at(0).digest).value(), folder_ / "unpacked", {});
  ASSERT_TRUE(unpacked) << unpacked.error().message;
  EXPECT_NE(config.find(unpacked->diff_id), std::string::npos) << "the config must name the layer's own digest";
  EXPECT_EQ(sys::read_file(folder_ / "unpacked/bin/sh").value(), sys::read_file("/bin/busybox").value());
}

TEST_F(ImportTest, RootfsTarPlainOrCompressedIsTheSameImage) {
  std::vector<Piece> pieces{{"bin/tool", std::string(100'000, 'x'), ""}, {"etc/name", "me", ""}};
  write_tar(folder_ / "root.tar", pieces);
  std::string plain = sys::read_file(folder_ / "root.tar").value();
  Imported one = import(folder_ / "root.tar").value().at(0);
  ManifestFacts facts = read_manifest(store_->read(one.digest, 1u << 20).value()).value();
  EXPECT_NE(store_->read(facts.config->digest, 1u << 20).value().find(digest_of(plain)), std::string::npos);
  EXPECT_LT(facts.layers.at(0).size, 10'000) << "compressed";
  ASSERT_TRUE(sys::make_dirs(folder_ / "unpacked"));
  auto unpacked = sys::extract_tar_file(store_->path(facts.layers.at(0).digest).value(), folder_ / "unpacked", {});
  ASSERT_TRUE(unpacked) << unpacked.error().message;
  EXPECT_EQ(unpacked->diff_id, digest_of(plain));
  write_tar(folder_ / "root.tar.gz", pieces, true);
  auto compressed = import(folder_ / "root.tar.gz").value().at(0);
  facts = read_manifest(store_->read(compressed.digest, 1u << 20).value()).value();
  ASSERT_TRUE(sys::make_dirs(folder_ / "unpacked2"));
  ASSERT_TRUE(sys::extract_tar_file(store_->path(facts.layers.at(0).digest).value(), folder_ / "unpacked2", {}));
  EXPECT_EQ(sys::read_file(folder_ / "unpacked2/etc/name").value(), "me");
}

TEST_F(ImportTest, CancelledLeavesNoUpload) {
  ASSERT_TRUE(sys::make_dirs(folder_ / "root"));
  write_text(folder_ / "root/file", std::string(1u << 20, 'x'));
  std::stop_source stop;
  stop.request_stop();
  ImportOptions options;
  options.stop = stop.get_token();
  EXPECT_EQ(import_image(*store_, folder_ / "root", options).error().code, ErrorCode::cancelled);
  SmallImage image("layer");
  write_tar(folder_ / "image.tar", oci_pieces(image));
  EXPECT_EQ(import_image(*store_, folder_ / "image.tar", options).error().code, ErrorCode::cancelled);
  EXPECT_EQ(store_->sweep_uploads(seconds(-10)).value(), 0u);
}

}  // namespace
}  // namespace tutti::catalog
