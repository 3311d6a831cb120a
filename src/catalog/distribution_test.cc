#include "catalog/distribution.h"

#include "base/limits.h"
#include "catalog/test_support.h"

namespace tutti::catalog {
namespace {

using ::testing::Test;

class DistributionTest : public Test {
 protected:
  struct Sent {
    std::vector<std::string> pieces;
    std::map<std::string, std::string> headers;
    bool broken = false;
    Access access{"tester", true, true, true, {}};
  };
  net::Response call(const std::string& method, const std::string& target, Sent sent) {
    auto request = std::make_shared<net::Request>();
    request->method = method;
    request->target = target;
    request->path = target.substr(0, target.find('?'));
    request->headers = sent.headers;
    for (std::string rest = target.size() > request->path.size() ? target.substr(request->path.size() + 1) : "";
         !rest.empty();) {
      std::string pair = rest.substr(0, rest.find('&'));
      request->query[pair.substr(0, pair.find('='))] = net_decode(pair.substr(pair.find('=') + 1));
      rest = rest.size() > pair.size() ? rest.substr(pair.size() + 1) : "";
    }
    auto responder = std::make_shared<FakeResponder>();
    responder->streamed = Distribution::admit(*request).stream_body;
    responder->broken = sent.broken;
    if (responder->streamed) {
      responder->pieces.assign(sent.pieces.begin(), sent.pieces.end());
    } else {
      for (const std::string& piece : sent.pieces) request->body += piece;
    }
    distribution_.handle(request, responder, sent.access);
    return responder->wait();
  }
  net::Response call(const std::string& method, const std::string& target) { return call(method, target, Sent{}); }
  net::Response call(const std::string& method, const std::string& target, const std::string& body) {
    return call(method, target, Sent{{body}, {}, false, {"tester", true, true, true, {}}});
  }
  static std::string net_decode(const std::string& text) { return text; }  // the tests' values need none

  void push_blob(const std::string& repository, const std::string& bytes) {
    net::Response done = call("POST", "/v2/" + repository + "/blobs/uploads/?digest=" + digest_of(bytes), bytes);
    ASSERT_EQ(done.status, 201) << done.body;
  }
  void push(const std::string& repository, const std::string& reference, const SmallImage& image) {
    push_blob(repository, image.layer);
    push_blob(repository, image.config);
    net::Response done = call("PUT", "/v2/" + repository + "/manifests/" + reference, image.manifest);
    ASSERT_EQ(done.status, 201) << done.body;
  }

  TempFolder folder_;
  std::unique_ptr<ContentStore> store_ = ContentStore::open(folder_ / "store").value();
  MemoryTagTable tags_;
  Distribution distribution_{*store_, tags_, 2};
};

TEST_F(DistributionTest, BaseAnswersAndNamesTheVersion) {
  net::Response answer = call("GET", "/v2/");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(header_of(answer, "docker-distribution-api-version"), "registry/2.0");
}

TEST_F(DistributionTest, PushAndPull) {
  SmallImage image("layer bytes");
  push("library/box", "v1", image);
  net::Response manifest = call("GET", "/v2/library/box/manifests/v1");
  EXPECT_EQ(manifest.status, 200);
  EXPECT_EQ(manifest.body, image.manifest);
  EXPECT_EQ(manifest.content_type, oci::kManifestType);
  EXPECT_EQ(header_of(manifest, "docker-content-digest"), digest_of(image.manifest));
  EXPECT_EQ(call("HEAD", "/v2/library/box/manifests/" + digest_of(image.manifest)).status, 200);
  net::Response blob = call("GET", "/v2/library/box/blobs/" + digest_of(image.layer));
  EXPECT_EQ(blob.status, 200);
  EXPECT_EQ(bytes_of(blob), "layer bytes");
  TagRow row = tags_.rows("library/box", "", 10).at(0);
  EXPECT_EQ(row.size, image.manifest.size() + image.config.size() + image.layer.size());
  EXPECT_EQ(row.architectures, std::vector<std::string>{"amd64"});
}

TEST_F(DistributionTest, ChunkedUpload) {
  net::Response start = call("POST", "/v2/a/blobs/uploads/");
  ASSERT_EQ(start.status, 202);
  std::string at = header_of(start, "location");
  EXPECT_EQ(header_of(start, "range"), "0-0");
  EXPECT_TRUE(at.ends_with(header_of(start, "docker-upload-uuid")));
  net::Response chunk =
      call("PATCH", at, Sent{{"he", "ll"}, {{"content-range", "0-3"}}, false, {"t", true, true, true, {}}});
  ASSERT_EQ(chunk.status, 202) << chunk.body;
  EXPECT_EQ(header_of(chunk, "range"), "0-3");
  net::Response wrong = call("PATCH", at, Sent{{"x"}, {{"content-range", "7-7"}}, false, {"t", true, true, true, {}}});
  EXPECT_EQ(wrong.status, 416);
  EXPECT_EQ(header_of(wrong, "range"), "0-3");
  EXPECT_EQ(header_of(call("GET", at), "range"), "0-3");
  net::Response done = call("PUT", at + "?digest=" + digest_of("hello"), "o");
  ASSERT_EQ(done.status, 201) << done.body;
  EXPECT_EQ(header_of(done, "location"), "/v2/a/blobs/" + digest_of("hello"));
  EXPECT_EQ(call("GET", at).status, 404);
}

TEST_F(DistributionTest, BrokenUploadGoesOnWhereItStopped) {
  std::string at = header_of(call("POST", "/v2/a/blobs/uploads/"), "location");
  call("PATCH", at, Sent{{"hel"}, {}, true, {"t", true, true, true, {}}});
  net::Response state = call("GET", at);
  EXPECT_EQ(state.status, 204);
  EXPECT_EQ(header_of(state, "range"), "0-2");
  EXPECT_EQ(call("PATCH", at, Sent{{"lo"}, {{"content-range", "3-4"}}, false, {"t", true, true, true, {}}}).status,
            202);
  EXPECT_EQ(call("PUT", at + "?digest=" + digest_of("hello")).status, 201);
}

TEST_F(DistributionTest, UploadsAreRefusedOrEnded) {
  std::string at = header_of(call("POST", "/v2/a/blobs/uploads/"), "location");
  std::string id = at.substr(at.rfind('/') + 1);
  EXPECT_EQ(call("GET", "/v2/b/blobs/uploads/" + id).status, 404) << "another repository's";
  EXPECT_EQ(call("PUT", at + "?digest=nonsense", "x").status, 400);
  net::Response wrong = call("PUT", at + "?digest=" + digest_of("other"), "hello");
  EXPECT_EQ(wrong.status, 400);
  EXPECT_NE(wrong.body.find("DIGEST_INVALID"), std::string::npos);
  EXPECT_EQ(call("GET", at).status, 404) << "what failed its digest is gone";
  EXPECT_EQ(call("HEAD", "/v2/a/blobs/" + digest_of("hello")).status, 404);
  at = header_of(call("POST", "/v2/a/blobs/uploads/"), "location");
  EXPECT_EQ(call("DELETE", at).status, 204);
  EXPECT_EQ(call("PATCH", at, "x").status, 404);
  EXPECT_EQ(call("PATCH", "/v2/a/blobs/uploads/..", "x").status, 404);
}

TEST_F(DistributionTest, MountNeedsTheRightToPullThere) {
  push_blob("from", "shared");
  std::string target = "/v2/to/blobs/uploads/?mount=" + digest_of("shared") + "&from=from";
  EXPECT_EQ(call("POST", target).status, 202) << "not allowed: an ordinary upload starts";
  Access access{"t", true, true, true, [](const std::string& name) { return name == "from"; }};
  EXPECT_EQ(call("POST", target, Sent{{}, {}, false, access}).status, 201);
  EXPECT_EQ(
      call("POST", "/v2/to/blobs/uploads/?mount=" + digest_of("absent") + "&from=from", Sent{{}, {}, false, access})
          .status,
      202);
}

TEST_F(DistributionTest, Ranges) {
  push_blob("a", "0123456789");
  std::string target = "/v2/a/blobs/" + digest_of("0123456789");
  auto range = [&](const std::string& text) {
    return call("GET", target, Sent{{}, {{"range", text}}, false, {"t", true, true, true, {}}});
  };
  EXPECT_EQ(range("bytes=2-4").status, 206);
  EXPECT_EQ(bytes_of(range("bytes=2-4")), "234");
  EXPECT_EQ(header_of(range("bytes=2-4"), "content-range"), "bytes 2-4/10");
  EXPECT_EQ(bytes_of(range("bytes=7-")), "789");
  EXPECT_EQ(bytes_of(range("bytes=-3")), "789");
  EXPECT_EQ(bytes_of(range("bytes=8-99")), "89");
  EXPECT_EQ(range("bytes=10-").status, 416);
  EXPECT_EQ(range("bytes=0-1,3-4").status, 200);
  EXPECT_EQ(range("bytes=5-2").status, 200);
}

TEST_F(DistributionTest, ManifestsAreChecked) {
  SmallImage image("layer");
  net::Response missing = call("PUT", "/v2/a/manifests/v1", image.manifest);
  EXPECT_EQ(missing.status, 400);
  EXPECT_NE(missing.body.find("MANIFEST_BLOB_UNKNOWN"), std::string::npos);
  EXPECT_NE(missing.body.find(digest_of(image.config)), std::string::npos);
  push_blob("a", image.layer);
  push_blob("a", image.config);
  EXPECT_EQ(call("PUT", "/v2/a/manifests/" + digest_of("other"), image.manifest).status, 400);
  EXPECT_EQ(call("PUT", "/v2/a/manifests/.bad", image.manifest).status, 400);
  EXPECT_EQ(call("PUT", "/v2/a/manifests/v1", "{").status, 400);
  Sent mislabelled{{image.manifest},
                   {{"content-type", "application/vnd.oci.image.index.v1+json"}},
                   false,
                   {"t", true, true, true, {}}};
  EXPECT_EQ(call("PUT", "/v2/a/manifests/v1", mislabelled).status, 400);
  EXPECT_EQ(call("GET", "/v2/a/manifests/v1").status, 404);
  EXPECT_EQ(call("GET", "/v2/a/manifests/" + digest_of(image.layer)).status, 404) << "a layer is no manifest";
}

TEST_F(DistributionTest, IndexNeedsItsChildrenAndCountsThem) {
  SmallImage image("layer");
  std::string index =
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":)"
      R"("application/vnd.oci.image.manifest.v1+json","digest":")" +
      digest_of(image.manifest) + R"(","size":1,"platform":{"architecture":"arm64","os":"linux"}}]})";
  EXPECT_EQ(call("PUT", "/v2/a/manifests/multi", index).status, 400);
  push("a", digest_of(image.manifest), image);
  EXPECT_EQ(call("PUT", "/v2/a/manifests/multi", index).status, 201);
  EXPECT_EQ(call("GET", "/v2/a/manifests/multi").content_type, oci::kIndexType);
  EXPECT_EQ(tags_.rows("a", "", 9).at(0).architectures, (std::vector<std::string>{"arm64", "amd64"}));
}

TEST_F(DistributionTest, NestedIndexesDoNotMultiply) {
  SmallImage image("layer");
  push("a", "v1", image);
  std::string below = image.manifest;
  for (int level = 0; level < 4; ++level) {  // 1,000^4 paths, 5 documents
    std::string entry = R"({"digest":")" + digest_of(below) + R"(","size":1})", list = entry;
    for (int i = 1; i < 1000; ++i) list += "," + entry;
    below = R"({"schemaVersion":2,"manifests":[)" + list + "]}";
    net::Response done = call("PUT", "/v2/a/manifests/level" + std::to_string(level), below);
    ASSERT_EQ(done.status, 201) << done.body;
  }
  EXPECT_EQ(store_->reachable(digest_of(below), nullptr).value().size(), 7u);
}

TEST_F(DistributionTest, DeleteByTagAndByDigest) {
  SmallImage image("layer");
  push("a", "v1", image);
  push("a", "v2", image);
  push("b", "v1", image);
  EXPECT_EQ(call("DELETE", "/v2/a/manifests/v1").status, 202);
  EXPECT_EQ(call("GET", "/v2/a/manifests/v1").status, 404);
  EXPECT_EQ(call("DELETE", "/v2/a/manifests/v1").status, 404);
  EXPECT_EQ(call("GET", "/v2/a/manifests/v2").status, 200);
  std::string by_digest = "/manifests/" + digest_of(image.manifest);
  EXPECT_EQ(call("DELETE", "/v2/a" + by_digest).status, 202);
  EXPECT_EQ(call("GET", "/v2/a/manifests/v2").status, 404);
  EXPECT_EQ(call("GET", "/v2/b" + by_digest).status, 200) << "another repository still means it";
  EXPECT_EQ(call("DELETE", "/v2/b" + by_digest).status, 202);
  EXPECT_EQ(call("GET", "/v2/b" + by_digest).status, 404);
  EXPECT_EQ(call("DELETE", "/v2/b/blobs/" + digest_of(image.layer)).status, 405);
}

TEST_F(DistributionTest, ListsArePaged) {
  SmallImage image("layer");
  for (const char* tag : {"c", "a", "b"}) push("r/one", tag, image);
  push("r/two", digest_of(image.manifest), image);
  EXPECT_EQ(call("GET", "/v2/r/one/tags/list").body, R"({"name":"r/one","tags":["a","b","c"]})");
  net::Response page = call("GET", "/v2/r/one/tags/list?n=2");
  EXPECT_EQ(page.body, R"({"name":"r/one","tags":["a","b"]})");
  EXPECT_EQ(header_of(page, "link"), R"(</v2/r/one/tags/list?n=2&last=b>; rel="next")");
  page = call("GET", "/v2/r/one/tags/list?n=2&last=b");
  EXPECT_EQ(page.body, R"({"name":"r/one","tags":["c"]})");
  EXPECT_EQ(header_of(page, "link"), "");
  EXPECT_EQ(call("GET", "/v2/r/one/tags/list?n=0").body, R"({"name":"r/one","tags":[]})");
  EXPECT_EQ(call("GET", "/v2/r/one/tags/list?n=x").status, 400);
  EXPECT_EQ(call("GET", "/v2/r/two/tags/list").body, R"({"name":"r/two","tags":[]})") << "pushed by digest only";
  EXPECT_EQ(call("GET", "/v2/none/tags/list").status, 404);
  EXPECT_EQ(call("GET", "/v2/_catalog").body, R"({"repositories":["r/one","r/two"]})");
  EXPECT_EQ(call("GET", "/v2/_catalog?n=1").body, R"({"repositories":["r/one"]})");
  Access some{"t", true, false, false, [](const std::string& name) { return name == "r/two"; }};
  EXPECT_EQ(call("GET", "/v2/_catalog", Sent{{}, {}, false, some}).body, R"({"repositories":["r/two"]})");
}

TEST_F(DistributionTest, Referrers) {
  SmallImage image("layer");
  push("a", "v1", image);
  std::string subject = digest_of(image.manifest);
  EXPECT_NE(call("GET", "/v2/a/referrers/" + subject).body.find(R"("manifests":[])"), std::string::npos);
  SmallImage signature(
      "signature", R"(,"artifactType":"application/x.sig","annotations":{"who":"me"},"subject":{"digest":")" + subject +
                       R"(","size":1})");
  push_blob("a", signature.layer);
  push_blob("a", signature.config);
  net::Response done = call("PUT", "/v2/a/manifests/" + digest_of(signature.manifest), signature.manifest);
  EXPECT_EQ(done.status, 201);
  EXPECT_EQ(header_of(done, "oci-subject"), subject);
  net::Response list = call("GET", "/v2/a/referrers/" + subject + "?artifactType=application/x.sig");
  EXPECT_EQ(list.content_type, oci::kIndexType);
  EXPECT_NE(list.body.find(digest_of(signature.manifest)), std::string::npos);
  EXPECT_NE(list.body.find(R"({"who":"me"})"), std::string::npos);
  EXPECT_EQ(call("GET", "/v2/a/referrers/" + subject + "?artifactType=other").body.find("sha256"), std::string::npos);
  EXPECT_EQ(call("GET", "/v2/a/referrers/x").status, 400);
}

TEST_F(DistributionTest, ADigestOpensNothingElsewhere) {
  SmallImage secret("secret layer");
  push("theirs", "v1", secret);
  const std::string layer = digest_of(secret.layer), manifest = digest_of(secret.manifest);
  for (const std::string& at : {"/blobs/" + layer, "/blobs/" + manifest, "/manifests/" + manifest}) {
    EXPECT_EQ(call("GET", "/v2/theirs" + at).status, 200) << at;
    EXPECT_EQ(call("GET", "/v2/mine" + at).status, 404) << at;
    EXPECT_EQ(call("HEAD", "/v2/mine" + at).status, 404) << at;
  }
  // Nor does a manifest of one's own that names it,
  EXPECT_EQ(call("PUT", "/v2/mine/manifests/v1", secret.manifest).status, 400);
  // or a subject,
  SmallImage bait("bait", R"(,"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
                              manifest + R"(","size":1})");
  push("mine", "v1", bait);
  EXPECT_EQ(call("GET", "/v2/mine/blobs/" + layer).status, 404);
  // or a layer that looks like a manifest, by itself or below an index.
  push_blob("mine", secret.manifest);
  EXPECT_EQ(call("GET", "/v2/mine/blobs/" + layer).status, 404);
  const std::string index =
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
      manifest + R"(","size":)" + std::to_string(secret.manifest.size()) + "}]}";
  EXPECT_EQ(call("PUT", "/v2/mine/manifests/v2", index).status, 400);
  SmallImage trojan(secret.manifest);
  push("mine", "v3", trojan);
  EXPECT_EQ(call("GET", "/v2/mine/blobs/" + layer).status, 404);
}

TEST_F(DistributionTest, WhatWasPushedOrMountedIsTheRepositorys) {
  SmallImage image("layer");
  push("from", "v1", image);
  Access access{"t", true, true, true, [](const std::string& name) { return name == "from"; }};
  for (const std::string& blob : {image.layer, image.config}) {
    EXPECT_EQ(call("POST", "/v2/to/blobs/uploads/?mount=" + digest_of(blob) + "&from=from", Sent{{}, {}, false, access})
                  .status,
              201);
  }
  EXPECT_EQ(call("POST", "/v2/to/blobs/uploads/?mount=" + digest_of(image.layer) + "&from=empty",
                 Sent{{}, {}, false, Access{"t", true, true, true, [](const std::string&) { return true; }}})
                .status,
            202)
      << "it has no such blob to give";
  EXPECT_EQ(call("PUT", "/v2/to/manifests/v1", image.manifest).status, 201);
  // A pull under way goes on when the tag moves or goes.
  SmallImage newer("newer");
  push("to", "v1", newer);
  EXPECT_EQ(call("GET", "/v2/to/manifests/" + digest_of(image.manifest)).status, 200);
  EXPECT_EQ(call("GET", "/v2/to/blobs/" + digest_of(image.layer)).status, 200);
  // The marks end with the grace, and what rows mean stays.
  ASSERT_TRUE(store_->collect(tags_.referenced_manifests(), seconds(-3600)));
  EXPECT_EQ(call("GET", "/v2/to/blobs/" + digest_of(image.layer)).status, 404);
  EXPECT_EQ(call("GET", "/v2/to/blobs/" + digest_of(newer.layer)).status, 200);
}

TEST_F(DistributionTest, AccessAndNames) {
  Access reader{"reader", true, false, false, {}};
  EXPECT_EQ(call("POST", "/v2/a/blobs/uploads/", Sent{{}, {}, false, reader}).status, 403);
  EXPECT_EQ(call("DELETE", "/v2/a/manifests/x", Sent{{}, {}, false, reader}).status, 403);
  EXPECT_EQ(call("GET", "/v2/a/manifests/x", Sent{{}, {}, false, Access{}}).status, 403);
  for (const char* bad : {"/v2/UP/manifests/x", "/v2/a..b/manifests/x", "/v2//manifests/x", "/v2/a/b/../manifests/x"}) {
    EXPECT_EQ(call("GET", bad).status, 400) << bad;
  }
  EXPECT_EQ(call("GET", "/v2/a/blobs/sha256:../../../../etc/passwd").status, 404);
  EXPECT_EQ(call("GET", "/v2/a/blobs/sha256:passwd").status, 400);
  EXPECT_EQ(call("GET", "/v2/a/nothing").status, 404);
  EXPECT_EQ(call("PATCH", "/v2/a/manifests/x").status, 405);
}

TEST(DistributionRoutes, WantedAndAdmit) {
  auto head = [](const std::string& method, const std::string& path) {
    net::Request request;
    request.method = method;
    request.path = path;
    return request;
  };
  auto wanted = [&](const std::string& method, const std::string& path) {
    return Distribution::wanted(head(method, path));
  };
  EXPECT_EQ(wanted("GET", "/v2/a/blobs/uploads/x").verb, Verb::push);
  EXPECT_EQ(wanted("GET", "/v2/blobs/tags/manifests/x").repository, "blobs/tags");
  EXPECT_EQ(wanted("DELETE", "/v2/a/manifests/x").verb, Verb::remove);
  EXPECT_EQ(wanted("HEAD", "/v2/a/manifests/x").verb, Verb::pull);
  EXPECT_EQ(wanted("GET", "/v2/_catalog").verb, Verb::none);
  EXPECT_TRUE(Distribution::admit(head("PATCH", "/v2/a/blobs/uploads/x")).stream_body);
  EXPECT_EQ(Distribution::admit(head("PUT", "/v2/a/manifests/x")).body_bytes_max, limits::kManifestBytesMax);
  EXPECT_FALSE(Distribution::owns("/v1/jobs"));
}

}  // namespace
}  // namespace tutti::catalog
