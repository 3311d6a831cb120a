// Pruning over a real store and tag table: what goes, what stays, and that ending half-way does no harm.
#include "manager/prune.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "state/engine.h"
#include "store/memory/memory_store.h"

namespace tutti::manager {
namespace {

class Prune : public testing::Test {
 protected:
  Prune() {
    char name[] = "/tmp/tutti-prune-XXXXXX";
    dir_ = ::mkdtemp(name);
    open();
    EXPECT_TRUE(engine_->open(now_));
    Pool pool;
    pool.pool_id = "abcdef";
    EXPECT_TRUE(commit(state::InitializePool{pool}));
  }
  ~Prune() override { std::filesystem::remove_all(dir_); }

  void open() { content_ = std::move(catalog::ContentStore::open(dir_).value()); }
  Result<state::Outcome> commit(state::Command command) {
    Result<state::Outcome> out = fail(ErrorCode::internal, "no answer");
    engine_->submit(std::move(command), {}, [&](Result<state::Outcome> o) { out = std::move(o); });
    (void)engine_->step(now_);
    return out;
  }
  // One image of a layer and a config; the tag may be a digest.
  std::string image(const std::string& tag, const std::string& layer, const std::string& subject = "") {
    const auto config = content_->put("{\"architecture\":\"amd64\",\"of\":\"" + layer + "\"}");
    const auto bytes = content_->put(layer);
    std::string text =
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":")" +
        config->digest + "\",\"size\":" + std::to_string(config->size) +
        R"(},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":")" + bytes->digest +
        "\",\"size\":" + std::to_string(bytes->size) + "}]";
    if (!subject.empty())
      text += R"(,"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" + subject +
              "\",\"size\":2}";
    const std::string digest = content_->put(text + "}")->digest;
    Image row;
    row.repository = "app";
    row.tag = tag == "digest" ? digest : tag;
    row.digest = digest;
    if (!tag.empty()) EXPECT_TRUE(commit(state::PutImage{row}));
    return digest;
  }
  // Everything was written two days ago.
  void age() {
    const auto blobs = content_->list();
    for (const catalog::BlobInfo& blob : *blobs) {
      const timespec then{time(nullptr) - 48 * 3600, 0};
      const timespec times[2] = {then, then};
      ASSERT_EQ(::utimensat(AT_FDCWD, content_->path(blob.digest)->c_str(), times, 0), 0);
    }
    now_ = now_ + seconds(48 * 3600);
  }
  Result<PruneReport> prune() {
    return prune_catalog(
        {*content_, [this] { return engine_->snapshot(); }, [this](state::Command c) { return commit(std::move(c)); }},
        seconds(24 * 3600), now_);
  }
  size_t blobs() { return content_->list()->size(); }

  std::string dir_;
  Time now_ = SystemClock().now();
  std::shared_ptr<store::MemoryDisk> disk_ = std::make_shared<store::MemoryDisk>();
  std::unique_ptr<store::Store> store_ = store::make_memory_store(disk_);
  std::unique_ptr<state::Engine> engine_ = state::make_engine(*store_);
  std::unique_ptr<catalog::ContentStore> content_;
};

TEST_F(Prune, WhatATagOrAJobVersionMeansStays) {
  image("1", "tagged layer");
  const std::string pinned = image("", "layer of a running job");
  JobSpec spec;
  spec.job = "shop";
  spec.tasks.resize(1);
  spec.tasks[0].name = "web";
  spec.tasks[0].image = "app:old";
  ASSERT_TRUE(commit(
      state::SubmitJob{spec, engine_->snapshot()->project_by_name("default")->id, {{"app:old", "app@" + pinned}}, {}}));
  image("", "nobody's layer");
  EXPECT_EQ(prune()->content.removed, 0u) << "all of it is young";
  age();
  auto report = prune();
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->content.removed, 3u);
  EXPECT_EQ(blobs(), 6u);
  EXPECT_TRUE(report->content.missing.empty());
}

TEST_F(Prune, UntaggedManifestsGoUnlessTheySignWhatStays) {
  const std::string tagged = image("1", "tagged layer");
  image("digest", "signature", tagged);
  const std::string dangling = image("digest", "dangling");
  age();
  auto report = prune();
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->rows, 1u);
  EXPECT_FALSE(content_->stat(dangling));
  EXPECT_EQ(blobs(), 6u);
}

TEST_F(Prune, AnUploadUnderWayIsFinishedAfterAPruneAndARestart) {
  auto upload = content_->start_upload("app");
  ASSERT_TRUE(upload);
  const std::string id = (*upload)->id();
  ASSERT_TRUE((*upload)->append("first half, "));
  upload->reset();
  image("", "nobody's layer");
  age();
  content_->put("a layer that was pushed just now");
  EXPECT_EQ(prune()->content.removed, 3u);
  open();  // the manager was killed
  auto resumed = content_->resume_upload(id, "app");
  ASSERT_TRUE(resumed) << resumed.error().to_string();
  ASSERT_TRUE((*resumed)->append("second half"));
  EXPECT_TRUE((*resumed)->commit());
  resumed->reset();
  EXPECT_EQ(blobs(), 2u);
}

// Killed between any two removals: what is left is found the next time, and what is kept is whole.
TEST_F(Prune, EndingHalfWayIsMadeGoodByTheNext) {
  for (int removed_before_the_end = 0; removed_before_the_end < 3; ++removed_before_the_end) {
    const std::string kept = image("1", "tagged layer");
    const std::string gone = image("", "nobody's layer " + std::to_string(removed_before_the_end));
    const auto parts = content_->reachable(gone, nullptr);
    ASSERT_EQ(parts->size(), 3u);
    age();
    for (int i = 0; i < removed_before_the_end; ++i) ASSERT_TRUE(content_->remove((*parts)[static_cast<size_t>(i)]));
    open();
    auto report = prune();
    ASSERT_TRUE(report) << report.error().to_string();
    EXPECT_EQ(report->content.removed, 3u - static_cast<size_t>(removed_before_the_end));
    std::vector<std::string> missing;
    EXPECT_EQ(content_->reachable(kept, &missing)->size(), 3u);
    EXPECT_TRUE(missing.empty());
  }
}

}  // namespace
}  // namespace tutti::manager
