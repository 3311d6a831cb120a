// Fetching, and a real skopeo against a real server on loopback.

#include "catalog/fetch.h"

#include <dirent.h>
#include <sys/stat.h>

#include <thread>

#include "catalog/test_support.h"
#include "net/authority.h"
#include "sys/process.h"

namespace tutti::catalog {
namespace {

size_t entries_in(const std::string& dir) {
  size_t count = 0;
  DIR* open = opendir(dir.c_str());
  while (open != nullptr && readdir(open) != nullptr) ++count;
  if (open != nullptr) closedir(open);
  return count - 2;
}

TEST(Explain, WhatSkopeoSays) {
  auto code = [](const std::string& output) { return explain_skopeo(output, 1, "r/x:1", "r").code; };
  EXPECT_EQ(code("reading manifest 1 in r/x: manifest unknown"), ErrorCode::not_found);
  EXPECT_EQ(code("reading manifest 1 in r/x: unauthorized: authentication required"), ErrorCode::forbidden);
  EXPECT_EQ(code("pinging container registry r: Get \"https://r/v2/\": dial tcp: lookup r: no such host"),
            ErrorCode::unavailable);
  EXPECT_EQ(code("pinging container registry 127.0.0.1:40403: Get \"https://127.0.0.1:40403/v2/\": dial tcp "
                 "127.0.0.1:40403: connect: connection refused"),
            ErrorCode::unavailable)
      << "a port is no status";
  EXPECT_EQ(code("time=\"2026-11-21T05:40:40Z\" pinging container registry 127.0.0.1:44041: connection refused"),
            ErrorCode::unavailable);
  EXPECT_EQ(code("reading manifest: StatusCode: 404, \"\""), ErrorCode::not_found);
  EXPECT_EQ(code("reading manifest: received unexpected HTTP status: 403 Forbidden"), ErrorCode::forbidden);
  EXPECT_EQ(code("x509: certificate signed by unknown authority"), ErrorCode::unavailable);
  EXPECT_EQ(code("toomanyrequests: You have reached your pull rate limit"), ErrorCode::too_many);
  EXPECT_EQ(code("something else"), ErrorCode::io);
  Error error = explain_skopeo("first\ntime=\"x\" level=fatal msg=\"reading \\\"manifest\\\": manifest unknown\"\n", 1,
                               "r/x:1", "r");
  EXPECT_NE(error.message.find("reading \"manifest\": manifest unknown"), std::string::npos) << error.message;
}

TEST(Fetch, MissingSkopeoSaysHowToInstallIt) {
  TempFolder folder;
  auto store = ContentStore::open(folder / "store").value();
  FetchOptions options;
  options.work_dir = folder.path();
  options.skopeo = "/nonexistent/skopeo";
  auto fetched = fetch_with_skopeo(*store, "example.test/x:1", {}, options, {}, {});
  ASSERT_FALSE(fetched);
  EXPECT_EQ(fetched.error().code, ErrorCode::unsupported);
  EXPECT_NE(fetched.error().message.find("apt-get install skopeo"), std::string::npos);
  EXPECT_EQ(fetch_with_skopeo(*store, "UPPER CASE", {}, options, {}, {}).error().code, ErrorCode::invalid);
}

// A program in skopeo's place: for timeouts, cancelling, and what it is given.
class FakeSkopeo : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.work_dir = folder_.path();
    options_.skopeo = folder_ / "skopeo";
  }
  void script(const std::string& text) {
    write_text(options_.skopeo, "#!/bin/sh\n" + text);
    ASSERT_EQ(chmod(options_.skopeo.c_str(), 0755), 0);
  }
  TempFolder folder_;
  std::unique_ptr<ContentStore> store_ = ContentStore::open(folder_ / "store").value();
  FetchOptions options_;
};

TEST_F(FakeSkopeo, TimeoutAndCancelEndIt) {
  script("exec sleep 600\n");
  options_.timeout = milliseconds(150);
  EXPECT_EQ(fetch_with_skopeo(*store_, "example.test/x:1", {}, options_, {}, {}).error().code, ErrorCode::timeout);
  options_.timeout = seconds(600);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(fetch_with_skopeo(*store_, "example.test/x:1", {}, options_, stop.get_token(), {}).error().code,
            ErrorCode::cancelled);
  EXPECT_EQ(entries_in(folder_.path()), 2u) << "only the script and the store are left";
}

TEST_F(FakeSkopeo, PasswordsAreNotInArgumentsAndFilesAreOurs) {
  script("echo \"$@\" > " + (folder_ / "arguments") +
         "\nwhile [ $# -gt 0 ]; do [ \"$1\" = --src-authfile ] && { cat \"$2\"; stat -c %a \"$2\"; } > " +
         (folder_ / "auth") + "\nshift; done\nexit 1\n");
  EXPECT_FALSE(fetch_with_skopeo(*store_, "example.test/x@" + digest_of("x"), {"me", "hunter2"}, options_, {}, {}));
  std::string arguments = sys::read_file(folder_ / "arguments").value();
  EXPECT_EQ(arguments.find("hunter2"), std::string::npos);
  EXPECT_NE(arguments.find("docker://example.test/x@" + digest_of("x")), std::string::npos) << arguments;
  EXPECT_EQ(arguments.find("tls-verify=false"), std::string::npos);
  EXPECT_EQ(sys::read_file(folder_ / "auth").value(), R"({"auths":{"example.test":{"auth":"bWU6aHVudGVyMg=="}}})"
                                                      "600\n");
}

// ---- the whole way

class Registry : public ::testing::Test {
 protected:
  void SetUp() override {
    if (sys::find_program("skopeo").empty()) GTEST_SKIP() << "skopeo is not installed";
    Time now = SystemClock{}.now();
    net::KeyPair authority = net::make_authority("test", now, seconds(3600)).value();
    net::KeyPair pair = net::issue_server(authority, "127.0.0.1", {"127.0.0.1"}, now, seconds(3600)).value();
    net::ServerOptions options;
    options.admit = Distribution::admit;
    server_ =
        net::serve(options, {pair.certificate, pair.private_key, ""}, [this](auto request, auto responder) {
          if (request->header("authorization") != "Basic " + net::base64_encode("me:secret")) {
            return responder->send(registry_unauthorized("tutti"));
          }
          distribution_.handle(request, responder, Access{"me", true, true, true, [](const auto&) { return true; }});
        }).value();
    address_ = "127.0.0.1:" + std::to_string(server_->port());
    options_.work_dir = folder_.path();
    options_.insecure_registries = {address_};
    // Two layers, one of them larger than a piece or two.
    ASSERT_TRUE(sys::make_dirs(folder_ / "root/bin"));
    std::string noise;
    for (uint32_t i = 0, x = 1; i < 3'000'000; ++i) noise += static_cast<char>((x = x * 1664525 + 1013904223) >> 24);
    write_text(folder_ / "root/bin/noise", noise);
    source_ = ContentStore::open(folder_ / "source").value();
    image_ = make_rootfs_image(*source_, folder_ / "root", {}).value();
    ASSERT_TRUE(export_oci_archive(*source_, image_.digest, "", folder_ / "image.tar"));
  }
  void TearDown() override {
    if (server_) server_->stop();
  }
  sys::RunResult skopeo(std::vector<std::string> arguments) {
    sys::SpawnOptions spawn;
    spawn.argv = std::move(arguments);
    spawn.argv.insert(spawn.argv.begin(), {"skopeo", "--insecure-policy"});
    spawn.inherit_env = true;
    return sys::run_program(spawn, seconds(60)).value();
  }
  sys::RunResult push(const std::string& name) {
    return skopeo({"copy", "--dest-tls-verify=false", "--dest-creds=me:secret",
                   "oci-archive:" + (folder_ / "image.tar"), "docker://" + address_ + "/" + name});
  }

  TempFolder folder_;
  std::unique_ptr<ContentStore> store_ = ContentStore::open(folder_ / "store").value();
  MemoryTagTable tags_;
  Distribution distribution_{*store_, tags_};
  std::unique_ptr<net::Server> server_;
  std::unique_ptr<ContentStore> source_;
  std::string address_;
  Imported image_;
  FetchOptions options_;
};

TEST_F(Registry, SkopeoPushesPullsListsAndDeletes) {
  sys::RunResult pushed = push("library/box:1");
  ASSERT_EQ(pushed.exit_code, 0) << pushed.output;
  EXPECT_EQ(tags_.resolve("library/box", "1").value(), image_.digest);
  sys::RunResult again = push("library/box:2");
  ASSERT_EQ(again.exit_code, 0) << again.output;
  sys::RunResult mounted = push("other/box:1");
  ASSERT_EQ(mounted.exit_code, 0) << mounted.output;

  std::string remote = "docker://" + address_ + "/library/box";
  sys::RunResult listed = skopeo({"list-tags", "--tls-verify=false", "--creds=me:secret", remote});
  ASSERT_EQ(listed.exit_code, 0) << listed.output;
  EXPECT_NE(listed.output.find("\"2\""), std::string::npos) << listed.output;
  sys::RunResult pulled =
      skopeo({"copy", "--src-tls-verify=false", "--src-creds=me:secret", remote + ":1", "dir:" + (folder_ / "pulled")});
  ASSERT_EQ(pulled.exit_code, 0) << pulled.output;
  EXPECT_EQ(digest_of(sys::read_file(folder_ / "pulled/manifest.json").value()), image_.digest);
  sys::RunResult deleted = skopeo({"delete", "--tls-verify=false", "--creds=me:secret", remote + ":1"});
  ASSERT_EQ(deleted.exit_code, 0) << deleted.output;
  EXPECT_FALSE(tags_.resolve("library/box", "1"));
  EXPECT_TRUE(tags_.resolve("other/box", "1"));
}

TEST_F(Registry, FetchBringsAnImageIntoTheStore) {
  sys::RunResult pushed = push("library/box:1");
  ASSERT_EQ(pushed.exit_code, 0) << pushed.output;
  auto target = ContentStore::open(folder_ / "target").value();
  std::vector<std::string> told;
  auto fetched = fetch_with_skopeo(*target, address_ + "/library/box:1", {"me", "secret"}, options_, {},
                                   [&](std::string line) { told.push_back(line); });
  ASSERT_TRUE(fetched) << fetched.error().message;
  EXPECT_EQ(fetched->image.digest, image_.digest);
  EXPECT_EQ(fetched->source, address_);
  std::vector<std::string> missing;
  EXPECT_EQ(target->reachable(image_.digest, &missing).value().size(), 3u);
  EXPECT_TRUE(missing.empty());
  EXPECT_FALSE(told.empty());
  auto pinned =
      fetch_with_skopeo(*target, address_ + "/library/box@" + image_.digest, {"me", "secret"}, options_, {}, {});
  EXPECT_TRUE(pinned) << pinned.error().message;
}

TEST_F(Registry, FetchSaysWhatIsWrong) {
  auto target = ContentStore::open(folder_ / "target").value();
  auto fetch = [&](const std::string& reference, const Credentials& credentials) {
    auto fetched = fetch_with_skopeo(*target, reference, credentials, options_, {}, {});
    EXPECT_FALSE(fetched);
    return fetched ? Error{} : fetched.error();
  };
  Error absent = fetch(address_ + "/library/none:1", {"me", "secret"});
  EXPECT_EQ(absent.code, ErrorCode::not_found) << absent.message;
  Error refused = fetch(address_ + "/library/none:1", {"me", "wrong"});
  EXPECT_EQ(refused.code, ErrorCode::forbidden) << refused.message;
  EXPECT_EQ(refused.message.find("wrong)"), std::string::npos) << "no password in errors";
  server_->stop();
  Error gone = fetch(address_ + "/library/none:1", {"me", "secret"});
  EXPECT_EQ(gone.code, ErrorCode::unavailable) << gone.message;
}

TEST_F(Registry, OurOwnClientReadsRangesAndHeads) {
  ASSERT_EQ(push("box:1").exit_code, 0);
  net::ClientTls tls;
  ManifestFacts facts = read_manifest(store_->read(image_.digest, 1u << 20).value()).value();
  sys::RunResult got = [&] {
    sys::SpawnOptions spawn;
    spawn.argv = {"curl",
                  "-sk",
                  "-u",
                  "me:secret",
                  "-r",
                  "10-19",
                  "-D",
                  folder_ / "head",
                  "-o",
                  folder_ / "part",
                  "https://" + address_ + "/v2/box/blobs/" + facts.layers.at(0).digest};
    spawn.inherit_env = true;
    return sys::run_program(spawn, seconds(20)).value_or(sys::RunResult{127, "no curl"});
  }();
  if (got.exit_code == 127) GTEST_SKIP() << "curl is not installed";
  EXPECT_EQ(got.exit_code, 0) << got.output;
  std::string head = sys::read_file(folder_ / "head").value();
  EXPECT_NE(head.find(" 206"), std::string::npos) << head;
  std::string whole = store_->read(facts.layers.at(0).digest, 1u << 30).value();
  EXPECT_EQ(sys::read_file(folder_ / "part").value(), whole.substr(10, 10));
}

}  // namespace
}  // namespace tutti::catalog
