#include "model/oci.h"

#include <gmock/gmock.h>

namespace tutti::oci {
namespace {

using ::testing::HasSubstr;

const std::string kHex(64, 'a');
const std::string kDigest = "sha256:" + kHex;

TEST(OciDigest, is_sha256_in_lower_case) {
  EXPECT_TRUE(is_digest(kDigest));
  for (const std::string& bad :
       {std::string(), kHex, "sha256:" + std::string(63, 'a'), "sha256:" + std::string(65, 'a'),
        "sha256:" + std::string(64, 'A'), "sha512:" + kHex, "sha256:" + std::string(63, 'a') + "/", kDigest + "\n"}) {
    EXPECT_FALSE(is_digest(bad)) << bad;
  }
}

TEST(OciReference, docker_style) {
  struct Row {
    std::string text, registry, repository, tag, digest;
  };
  for (const Row& row :
       {Row{"busybox", "", "busybox", "latest", ""}, Row{"busybox:1.36", "", "busybox", "1.36", ""},
        Row{"team/app", "", "team/app", "latest", ""},
        Row{"registry.example.org/team/app:v1", "registry.example.org", "team/app", "v1", ""},
        Row{"localhost/app", "localhost", "app", "latest", ""}, Row{"host:5000/app", "host:5000", "app", "latest", ""},
        Row{"[::1]:5000/app", "[::1]:5000", "app", "latest", ""}, Row{"app@" + kDigest, "", "app", "", kDigest},
        Row{"app:v1@" + kDigest, "", "app", "v1", kDigest}, Row{"a__b/c-d--e.f", "", "a__b/c-d--e.f", "latest", ""}}) {
    auto reference = parse_reference(row.text);
    ASSERT_TRUE(reference) << row.text << ": " << reference.error().message;
    EXPECT_EQ(reference->registry, row.registry) << row.text;
    EXPECT_EQ(reference->repository, row.repository) << row.text;
    EXPECT_EQ(reference->tag, row.tag) << row.text;
    EXPECT_EQ(reference->digest, row.digest) << row.text;
    auto again = parse_reference(reference->to_string());
    ASSERT_TRUE(again) << reference->to_string();
    EXPECT_EQ(again->to_string(), reference->to_string());
  }
}

TEST(OciReference, refuses_the_rest) {
  for (const std::string& bad : {std::string(),
                                 std::string("App"),
                                 std::string("a b"),
                                 std::string("a/../b"),
                                 std::string("../a"),
                                 std::string("/a"),
                                 std::string("a/"),
                                 std::string("a//b"),
                                 std::string("a:"),
                                 std::string("a:-x"),
                                 std::string("a:b:c"),
                                 "a@" + kHex,
                                 std::string("a@sha256:12"),
                                 "@" + kDigest,
                                 std::string("a___b"),
                                 std::string("a..b"),
                                 std::string("host:port/a"),
                                 std::string("host:/a"),
                                 std::string("[::1/a"),
                                 std::string("ho_st.x/a"),
                                 "a:" + std::string(129, 'x'),
                                 std::string(256, 'a'),
                                 std::string("a\0b", 3)}) {
    EXPECT_FALSE(parse_reference(bad)) << bad;
  }
}

TEST(OciManifest, lenient_in_members_strict_in_digests_and_sizes) {
  std::string text = R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","x-new":1,
    "config":{"mediaType":"a","digest":")" +
                     kDigest + R"(","size":10,"platform":{"architecture":"amd64","os":"linux","os.version":"1"}},
    "layers":[{"mediaType":"l","digest":")" +
                     kDigest + R"(","size":20,"urls":[]}]})";
  auto manifest = parse_manifest(text);
  ASSERT_TRUE(manifest) << manifest.error().to_string();
  EXPECT_EQ(manifest->layers[0].size, 20);
  EXPECT_EQ(manifest->config->platform->architecture, "amd64");

  auto refusal = [](std::string_view json) { return parse_manifest(json).error().to_string(); };
  EXPECT_THAT(refusal("{\"schemaVersion\":1}"), HasSubstr("only version 2"));
  EXPECT_THAT(refusal("{}"), HasSubstr("config"));
  EXPECT_THAT(refusal(R"({"config":{"digest":"sha256:x"}})"), HasSubstr("config.digest: not a sha256 digest"));
  EXPECT_THAT(
      refusal(R"({"config":{"digest":")" + kDigest + R"("},"layers":[{"digest":")" + kDigest + R"(","size":-1}]})"),
      HasSubstr("layers[0].size"));
  EXPECT_THAT(refusal(R"({"layers":7})"), HasSubstr("image manifest is not valid; layers: expected a list"));
  EXPECT_THAT(refusal(std::string(5 << 20, ' ')), HasSubstr("kManifestBytesMax"));
}

TEST(OciConfig, what_others_write) {
  auto config =
      parse_image_config(R"({"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Cmd":null,"Entrypoint":null,
    "Volumes":{"/x":{}},"ExposedPorts":null,"Labels":null,"WorkingDir":"/w"},"rootfs":{"type":"layers","diff_ids":[")" +
                         kDigest + R"("]},"history":[{}]})");
  ASSERT_TRUE(config) << config.error().to_string();
  EXPECT_EQ(config->config->WorkingDir, "/w");
  EXPECT_TRUE(config->config->Cmd.empty());
  EXPECT_FALSE(parse_image_config(R"({"rootfs":{"diff_ids":["x"]}})"));
  EXPECT_TRUE(parse_index(R"({"schemaVersion":2,"manifests":[]})"));
}

}  // namespace
}  // namespace tutti::oci
