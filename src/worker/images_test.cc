#include "worker/images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "net/authority.h"
#include "sys/archive.h"
#include "sys/digest.h"

namespace tutti::worker {
namespace {

namespace fs = std::filesystem;
constexpr Time kEver{INT64_MAX};

// A registry in memory, which counts what is asked of it and can be told to go wrong.
class FakeRegistry final : public ImageFetcher {
 public:
  Result<std::string> manifest(const std::string& repository, const std::string& digest, std::stop_token) override {
    std::lock_guard lock(mutex_);
    ++asked[digest];
    repositories.insert(repository);
    auto at = content.find(digest);
    if (at == content.end()) return fail(ErrorCode::not_found, digest + " is not here");
    return at->second;
  }
  Status blob_to_file(const std::string&, const std::string& digest, const std::string& path, uint64_t,
                      std::stop_token stop) override {
    if (on_blob) on_blob(digest, path);
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopped");
    std::lock_guard lock(mutex_);
    ++asked[digest];
    auto at = content.find(digest);
    if (at == content.end()) return fail(ErrorCode::not_found, digest + " is not here");
    std::ofstream(path) << at->second;
    return {};
  }
  std::string put(const std::string& bytes) {
    std::string digest = sys::digest_of(bytes);
    content[digest] = bytes;
    return digest;
  }

  std::map<std::string, std::string> content;
  std::map<std::string, int> asked;
  std::set<std::string> repositories;
  std::function<void(const std::string& digest, const std::string& path)> on_blob;

 private:
  std::mutex mutex_;
};

std::string content_of(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Layer {
  std::string digest;
  std::string diff_id;
  size_t size = 0;
};

class ImageStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/images_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    open();
  }
  void TearDown() override {
    store_.reset();
    fs::remove_all(base_);
  }
  void open() {
    store_.reset();
    auto opened = ImageStore::open(base_ / "images", "linux/amd64");
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    store_ = std::move(*opened);
  }
  // A layer with one file, in the registry.
  Layer layer(const std::string& name, const std::string& text) {
    fs::path from = base_ / "from";
    fs::remove_all(from);
    fs::create_directory(from);
    std::ofstream(from / name) << text;
    std::string bytes;
    auto packed = sys::pack_directory(from,
                                      [&](std::string_view piece) -> Status {
                                        bytes += piece;
                                        return {};
                                      },
                                      {.gzip = true});
    EXPECT_TRUE(packed.has_value());
    EXPECT_EQ(registry_.put(bytes), packed->blob_digest);
    return {packed->blob_digest, packed->diff_id, bytes.size()};
  }
  std::string config(const std::vector<Layer>& layers) {
    std::string json =
        R"({"architecture":"amd64","os":"linux","history":[{"created_by":"x"}],"config":{"User":"7","Env":["A=b"],)"
        R"("Entrypoint":["/init"],"Cmd":["serve"],"WorkingDir":"/srv","StopSignal":"SIGINT"},)"
        R"("rootfs":{"type":"layers","diff_ids":[)";
    for (size_t i = 0; i < layers.size(); ++i) json += (i ? ",\"" : "\"") + layers[i].diff_id + "\"";
    return json + "]}}";
  }
  std::string manifest(const std::vector<Layer>& layers, const std::string& config_json) {
    std::string json =
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":)"
        R"("application/vnd.oci.image.config.v1+json","digest":")" +
        registry_.put(config_json) + R"(","size":)" + std::to_string(config_json.size()) + R"(},"layers":[)";
    for (size_t i = 0; i < layers.size(); ++i) {
      json += std::string(i ? "," : "") + R"({"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":")" +
              layers[i].digest + R"(","size":)" + std::to_string(layers[i].size) + "}";
    }
    return json + "]}";
  }
  std::string image(const std::vector<Layer>& layers) {
    return "shop/web@" + registry_.put(manifest(layers, config(layers)));
  }
  size_t count(const char* folder) {
    return static_cast<size_t>(std::distance(fs::directory_iterator(base_ / "images" / folder), {}));
  }

  fs::path base_;
  FakeRegistry registry_;
  std::unique_ptr<ImageStore> store_;
};

TEST_F(ImageStoreTest, UnpacksOnceAndShares) {
  Layer low = layer("low", "1");
  Layer mid = layer("mid", "2");
  Layer top = layer("top", "3");
  std::string one = image({low, mid});
  std::string two = image({low, top});
  EXPECT_FALSE(store_->has(one));
  auto first = store_->ensure(one, registry_);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  ASSERT_EQ(first->lower_dirs.size(), 2u);
  EXPECT_EQ(content_of(fs::path(first->lower_dirs[0]) / "mid"), "2") << "top first";
  EXPECT_EQ(content_of(fs::path(first->lower_dirs[1]) / "low"), "1");
  EXPECT_EQ(first->entrypoint, std::vector<std::string>{"/init"});
  EXPECT_EQ(first->command, std::vector<std::string>{"serve"});
  EXPECT_EQ(first->env, std::vector<std::string>{"A=b"});
  EXPECT_EQ(first->user, "7");
  EXPECT_EQ(first->workdir, "/srv");
  EXPECT_EQ(first->stop_signal, "SIGINT");
  auto second = store_->ensure(two, registry_);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->lower_dirs[1], first->lower_dirs[1]);
  EXPECT_EQ(registry_.asked[low.digest], 1);
  EXPECT_EQ(registry_.repositories, std::set<std::string>{"shop/web"});
  EXPECT_TRUE(store_->has(one));
  EXPECT_EQ(store_->list()->size(), 2u);
  EXPECT_EQ(count("tmp"), 0u);
  struct stat st{};
  ASSERT_EQ(::stat(first->lower_dirs[0].c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u);
  // A new process needs no registry.
  open();
  FakeRegistry nothing;
  auto again = store_->ensure(one, nothing);
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_EQ(again->lower_dirs, first->lower_dirs);
}

TEST_F(ImageStoreTest, TheSameLayerTwiceIsMountedOnce) {
  Layer a = layer("a", "1");
  Layer b = layer("b", "2");
  auto ready = store_->ensure(image({a, b, a}), registry_);
  ASSERT_TRUE(ready.has_value()) << ready.error().message;
  ASSERT_EQ(ready->lower_dirs.size(), 2u);
  EXPECT_TRUE(fs::exists(fs::path(ready->lower_dirs[0]) / "a"));
}

TEST_F(ImageStoreTest, NoLayersIsAnEmptyRoot) {
  auto ready = store_->ensure(image({}), registry_);
  ASSERT_TRUE(ready.has_value()) << ready.error().message;
  ASSERT_EQ(ready->lower_dirs.size(), 1u);
  EXPECT_TRUE(fs::is_empty(ready->lower_dirs[0]));
}

TEST_F(ImageStoreTest, IndexesGiveThisPlatform) {
  Layer here = layer("f", "here");
  std::string json = manifest({here}, config({here}));
  std::string mine = registry_.put(json);
  auto row = [&](const std::string& digest, const std::string& platform) {
    return R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" + digest + R"(","size":)" +
           std::to_string(json.size()) + R"(,"platform":)" + platform + "}";
  };
  std::string other = sys::digest_of("other");
  std::string head = R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[)";
  std::string index = head + row(other, R"({"os":"linux","architecture":"arm64","variant":"v8"})") + "," +
                      row(other, R"({"os":"unknown","architecture":"unknown"})") + "," +
                      row(mine, R"({"os":"linux","architecture":"amd64"})") + "]}";
  auto ready = store_->ensure("shop/web@" + registry_.put(index), registry_);
  ASSERT_TRUE(ready.has_value()) << ready.error().message;
  EXPECT_EQ(content_of(fs::path(ready->lower_dirs[0]) / "f"), "here");
  std::string foreign = head + row(other, R"({"os":"linux","architecture":"arm64","variant":"v8"})") + "]}";
  auto refused = store_->ensure("shop/web@" + registry_.put(foreign), registry_);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::unprocessable);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("linux/amd64; it has linux/arm64/v8"));
}

TEST_F(ImageStoreTest, WhatIsNotItsDigestIsRefused) {
  Layer good = layer("f", "good");
  std::string reference = image({good});
  auto expect_refused = [&](const char* what, const std::string& ref, ErrorCode code, const char* words) {
    auto ready = store_->ensure(ref, registry_);
    ASSERT_FALSE(ready.has_value()) << what;
    EXPECT_EQ(ready.error().code, code) << what << ": " << ready.error().message;
    EXPECT_THAT(ready.error().message, testing::HasSubstr(words)) << what;
    EXPECT_EQ(count("layers"), 0u) << what;
    EXPECT_EQ(count("images"), 0u) << what;
    EXPECT_EQ(count("tmp"), 0u) << what;
  };
  std::string kept = registry_.content[good.digest];
  registry_.content[good.digest][kept.size() / 2] ^= 1;
  expect_refused("layer changed", reference, ErrorCode::invalid, "damaged or was changed");
  registry_.content[good.digest] = kept.substr(0, kept.size() - 1);
  expect_refused("layer cut", reference, ErrorCode::invalid, "its manifest says");
  registry_.content.erase(good.digest);
  expect_refused("layer missing", reference, ErrorCode::not_found, "not here");
  registry_.content[good.digest] = kept;

  Layer lying = good;
  lying.diff_id = sys::digest_of("something else");
  expect_refused("diff id", image({lying}), ErrorCode::invalid, "unpacked layer");
  expect_refused("layer counts", "shop/web@" + registry_.put(manifest({good, good}, config({good}))),
                 ErrorCode::invalid, "its manifest has 2 layers, its config 1");
  std::string digest = sys::digest_of("x");
  registry_.content[digest] = manifest({good}, config({good}));
  expect_refused("manifest", "shop/web@" + digest, ErrorCode::invalid, "manifest is not what its digest says");
  expect_refused("no digest", "shop/web:1", ErrorCode::invalid, "has no digest");
  expect_refused("not there", "shop/web@" + sys::digest_of("y"), ErrorCode::not_found, "not here");
  ASSERT_TRUE(store_->ensure(reference, registry_).has_value()) << "the good one still works";
}

TEST_F(ImageStoreTest, ManyWantTheSame) {
  Layer a = layer("a", "1");
  std::string one = image({a});
  std::string two = image({a, layer("b", "2")});
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] { ready += store_->ensure(i % 2 ? one : two, registry_).has_value(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ready, 8);
  EXPECT_EQ(registry_.asked[a.digest], 1);
}

TEST_F(ImageStoreTest, AWaiterCanBeStopped) {
  Layer a = layer("a", "1");
  std::string reference = image({a});
  std::mutex mutex;
  std::condition_variable changed;
  bool inside = false;
  bool go_on = false;
  registry_.on_blob = [&](const std::string& digest, const std::string&) {
    if (digest != a.digest) return;
    std::unique_lock lock(mutex);
    inside = true;
    changed.notify_all();
    changed.wait(lock, [&] { return go_on; });
  };
  bool first_ready = false;
  std::thread first([&] { first_ready = store_->ensure(reference, registry_).has_value(); });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return inside; });
  }
  std::stop_source stop;
  std::thread stopper([&] { stop.request_stop(); });
  EXPECT_EQ(store_->ensure(reference, registry_, stop.get_token()).error().code, ErrorCode::cancelled);
  stopper.join();
  EXPECT_TRUE(store_->remove_unused({}, kEver).value().empty()) << "nothing is removed under one that fetches";
  {
    std::lock_guard lock(mutex);
    go_on = true;
  }
  changed.notify_all();
  first.join();
  EXPECT_TRUE(first_ready);
}

TEST_F(ImageStoreTest, UnusedOnesGo) {
  Layer low = layer("low", "1");
  Layer mid = layer("mid", "2");
  Layer top = layer("top", "3");
  std::string one = image({low, mid});
  std::string two = image({low, top});
  auto kept = store_->ensure(one, registry_);
  ASSERT_TRUE(kept.has_value() && store_->ensure(two, registry_).has_value());
  EXPECT_EQ(store_->remove_unused({one, two}, kEver).value().size(), 0u);
  EXPECT_EQ(store_->remove_unused({one}, kEver).value(), std::vector<std::string>{two});
  EXPECT_FALSE(store_->has(two));
  EXPECT_TRUE(store_->has(one));
  for (const std::string& dir : kept->lower_dirs) EXPECT_TRUE(fs::exists(dir));
  EXPECT_EQ(count("layers"), 4u);
  ASSERT_TRUE(store_->ensure(two, registry_).has_value());
  EXPECT_EQ(registry_.asked[top.digest], 2);
  EXPECT_EQ(registry_.asked[low.digest], 1);
  EXPECT_EQ(store_->remove_unused({}, kEver).value().size(), 2u);
  EXPECT_EQ(count("layers"), 0u);
}

TEST_F(ImageStoreTest, WhatWasUsedALittleWhileAgoStays) {
  std::string old = image({layer("old", "1")});
  std::string late = image({layer("late", "2")});
  std::string held = image({layer("held", "3")});
  for (const std::string& each : {old, late, held}) ASSERT_TRUE(store_->ensure(each, registry_).has_value());
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(25);
  for (const auto& record : fs::directory_iterator(base_ / "images" / "images")) fs::last_write_time(record, yesterday);
  open();                                                    // another worker process
  ASSERT_TRUE(store_->ensure(late, registry_).has_value());  // for an instance that ends at once
  const Time now = SystemClock().now();
  EXPECT_EQ(store_->remove_unused({held}, now - seconds(24 * 3600)).value(), std::vector<std::string>{old});
  // Its instance has gone just now: the time counts from there.
  EXPECT_TRUE(store_->remove_unused({}, now - seconds(600)).value().empty());
  EXPECT_TRUE(store_->has(late) && store_->has(held));
}

TEST(ImageRule, WhereTheDiskIsLowTheyGoSooner) {
  EXPECT_EQ(unused_image_kept(15), seconds(24 * 3600));
  EXPECT_EQ(unused_image_kept(14), seconds(600));
}

// Killed in the middle of the second layer: the first stays, the half one goes, and the rest is fetched.
TEST_F(ImageStoreTest, KilledWhileFetching) {
  Layer a = layer("a", "1");
  Layer b = layer("b", "2");
  std::string reference = image({a, b});
  store_.reset();
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    registry_.on_blob = [&](const std::string& digest, const std::string& path) {
      if (digest != b.digest) return;
      std::ofstream(path) << "half";
      ::_exit(9);
    };
    auto store = ImageStore::open(base_ / "images", "linux/amd64");
    if (store) (void)(*store)->ensure(reference, registry_);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 9);
  EXPECT_GT(count("tmp"), 0u);
  // What a crash between move and marker leaves, and a marker whose layer is gone.
  fs::create_directory(base_ / "images/layers/0123456789abcdef01234567");
  std::ofstream(base_ / "images/layers/aaaaaaaaaaaaaaaaaaaaaaaa.json") << "{}";
  open();
  EXPECT_EQ(count("tmp"), 0u);
  EXPECT_EQ(count("layers"), 2u);
  EXPECT_FALSE(store_->has(reference));
  auto ready = store_->ensure(reference, registry_);
  ASSERT_TRUE(ready.has_value()) << ready.error().message;
  EXPECT_EQ(registry_.asked[a.digest], 0) << "was complete before";
  EXPECT_EQ(content_of(fs::path(ready->lower_dirs[0]) / "b"), "2");
}

TEST_F(ImageStoreTest, AHostileLayerLeavesNothing) {
  // A tar whose one entry climbs out; by hand, since packing does not make such.
  std::string tar(1536, '\0');
  std::string name = "../evil";
  tar.replace(0, name.size(), name);
  for (auto [at, text] : std::initializer_list<std::pair<size_t, const char*>>{{100, "0000644"},
                                                                               {108, "0000000"},
                                                                               {116, "0000000"},
                                                                               {124, "00000000000"},
                                                                               {136, "00000000000"},
                                                                               {257, "ustar"}}) {
    tar.replace(at, std::string_view(text).size(), text);
  }
  tar[156] = '0';
  tar.replace(263, 2, "00");
  tar.replace(148, 8, "        ");
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(tar[i]);
  char text[8];
  std::snprintf(text, sizeof text, "%06o", sum);
  tar.replace(148, 7, std::string(text, 7));
  Layer evil{registry_.put(tar), sys::digest_of(tar), tar.size()};
  auto ready = store_->ensure(image({evil}), registry_);
  ASSERT_FALSE(ready.has_value());
  EXPECT_THAT(ready.error().message, testing::HasSubstr("climbs out"));
  EXPECT_EQ(count("tmp"), 0u);
  EXPECT_EQ(count("layers"), 0u);
}

// Over real HTTPS with a certificate of the node's own.
TEST_F(ImageStoreTest, FromARegistryOverHttp) {
  Layer a = layer("a", std::string(300'000, 'q'));
  std::string reference = image({a});
  Time now{std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
               .count()};
  net::KeyPair authority = net::make_authority("test", now, seconds(3600)).value();
  net::KeyPair server_key = net::issue_server(authority, "manager", {"127.0.0.1"}, now, seconds(3600)).value();
  net::SigningRequest asked = net::make_signing_request("node-a").value();
  std::string node = net::sign_client(authority, asked.request, "node-a", now, seconds(3600)).value();
  std::set<std::string> peers;
  std::mutex mutex;
  auto handler = [&](std::shared_ptr<const net::Request> request, std::shared_ptr<net::Responder> responder) {
    net::Response response;
    std::lock_guard lock(mutex);
    peers.insert(request->peer_common_name);
    size_t slash = request->path.rfind('/');
    auto at = registry_.content.find(request->path.substr(slash + 1));
    response.status = at == registry_.content.end() || !request->path.starts_with("/v2/shop/web/") ? 404 : 200;
    if (response.status == 200) response.body = at->second;
    responder->send(std::move(response));
  };
  auto server = net::serve({}, {server_key.certificate, server_key.private_key, authority.certificate}, handler);
  ASSERT_TRUE(server.has_value()) << server.error().message;
  auto fetcher =
      make_http_fetcher({"127.0.0.1", (*server)->port()}, {authority.certificate, "", node, asked.private_key});
  auto ready = store_->ensure(reference, *fetcher);
  ASSERT_TRUE(ready.has_value()) << ready.error().message;
  EXPECT_EQ(fs::file_size(fs::path(ready->lower_dirs[0]) / "a"), 300'000u);
  EXPECT_EQ(peers, std::set<std::string>{"node-a"});
  auto missing = store_->ensure("shop/web@" + sys::digest_of("nothing"), *fetcher);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, ErrorCode::not_found) << missing.error().message;
  // More bytes than promised are not taken.
  fs::path file = base_ / "blob";
  EXPECT_EQ(fetcher->blob_to_file("shop/web", a.digest, file, 10, {}).error().code, ErrorCode::too_large);
  (*server)->stop();
  EXPECT_EQ(store_->ensure("shop/web@" + sys::digest_of("gone"), *fetcher).error().code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace tutti::worker
