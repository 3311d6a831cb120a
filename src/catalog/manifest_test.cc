#include "catalog/manifest.h"

#include "base/limits.h"
#include "catalog/test_support.h"

namespace tutti::catalog {
namespace {

TEST(Manifest, ReadsWhatItRefersTo) {
  SmallImage image("layer");
  ManifestFacts facts = read_manifest(image.manifest).value();
  EXPECT_FALSE(facts.index);
  EXPECT_EQ(facts.blobs, (std::vector<std::string>{digest_of(image.config), digest_of(image.layer)}));
  EXPECT_EQ(facts.artifact_type, "application/vnd.oci.image.config.v1+json");
}

TEST(Manifest, FindsTheKindByShapeAndChecksTheContentType) {
  ManifestFacts facts = read_manifest(R"({"schemaVersion":2,"manifests":[]})").value();
  EXPECT_EQ(facts.media_type, oci::kIndexType);
  SmallImage image("layer");
  EXPECT_TRUE(read_manifest(image.manifest, "application/vnd.oci.image.manifest.v1+json; charset=utf-8"));
  EXPECT_EQ(read_manifest(image.manifest, oci::kIndexType).error().code, ErrorCode::invalid);
}

TEST(Manifest, RefusesWhatIsWrong) {
  std::string good = digest_of("x");
  std::string deep =
      R"({"schemaVersion":2,"manifests":[],"annotations":)" + std::string(5000, '[') + std::string(5000, ']') + "}";
  for (const std::string& bad :
       std::vector<std::string>{"", "[]", "null", "{", R"({"schemaVersion":1})", R"({"schemaVersion":2})",
                                R"({"schemaVersion":2,"mediaType":"text/plain","config":{}})",
                                R"({"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1}})",
                                R"({"schemaVersion":2,"config":{"digest":")" + good + R"(","size":-1}})",
                                R"({"schemaVersion":2,"config":{"digest":")" + good + R"(","size":1},"layers":{}})",
                                R"({"schemaVersion":2,"config":{"digest":")" + good + R"(","size":1},"layers":[7]})",
                                R"({"schemaVersion":2,"manifests":[],"subject":{"digest":"x","size":1}})", deep}) {
    auto read = read_manifest(bad);
    ASSERT_FALSE(read) << bad.substr(0, 100);
    EXPECT_EQ(read.error().code, ErrorCode::invalid);
  }
  EXPECT_EQ(read_manifest(std::string(limits::kManifestBytesMax + 1, ' ')).error().code, ErrorCode::too_large);
}

TEST(Manifest, TooManyReferencesAreRefused) {
  std::string entry = R"({"digest":")" + digest_of("x") + R"(","size":1})";
  std::string list = entry;
  for (size_t i = 0; i < kManifestReferencesMax; ++i) list += "," + entry;
  EXPECT_FALSE(read_manifest(R"({"schemaVersion":2,"manifests":[)" + list + "]}"));
}

TEST(Manifest, ForeignLayersNeedNotBeHere) {
  std::string json = R"({"schemaVersion":2,"config":{"digest":")" + digest_of("c") +
                     R"(","size":1},"layers":[{"digest":")" + digest_of("l") +
                     R"(","size":1,"urls":["https://elsewhere.example/l"]}]})";
  EXPECT_EQ(read_manifest(json).value().blobs, std::vector<std::string>{digest_of("c")});
}

TEST(Names, RepositoriesAndTags) {
  for (const char* good : {"a", "library/busybox", "a/b/c", "a.b_c-d", "a__b", "a---b", "0"})
    EXPECT_TRUE(is_repository(good)) << good;
  for (const char* bad :
       {"", "A", "a/", "/a", "a//b", "a..b", "../a", "a/../b", ".a", "a_", "a___b", "a b", "a:b", "_catalog"}) {
    EXPECT_FALSE(is_repository(bad)) << bad;
  }
  EXPECT_FALSE(is_repository(std::string(256, 'a')));
  EXPECT_TRUE(is_tag("v1.2_x-Y"));
  for (const char* bad : {"", ".x", "-x", "a/b", "sha256:00", "a b"}) EXPECT_FALSE(is_tag(bad)) << bad;
}

}  // namespace
}  // namespace tutti::catalog
