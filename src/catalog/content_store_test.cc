#include "catalog/content_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "catalog/test_support.h"

namespace tutti::catalog {
namespace {

std::unique_ptr<ContentStore> open_store(const TempFolder& folder, Duration keep = seconds(3600),
                                         uint64_t max = 1u << 20) {
  ContentStore::Options options;
  options.upload_keep = keep;
  options.blob_bytes_max = max;
  return ContentStore::open(folder / "store", options).value();
}

size_t files_in(const std::string& dir) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir)) count += entry.is_regular_file();
  return count;
}

TEST(ContentStore, KeepsByDigestAndGivesBack) {
  TempFolder folder;
  auto store = open_store(folder);
  BlobInfo info = store->put("hello").value();
  EXPECT_EQ(info.digest, "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
  EXPECT_EQ(store->read(info.digest, 100).value(), "hello");
  EXPECT_EQ(store->read(info.digest, 4).error().code, ErrorCode::too_large);
  EXPECT_EQ(store->list().value().size(), 1u);
  ASSERT_TRUE(store->remove(info.digest));
  EXPECT_EQ(store->stat(info.digest).error().code, ErrorCode::not_found);
}

TEST(ContentStore, RefusesWhatIsNoDigest) {
  TempFolder folder;
  auto store = open_store(folder);
  for (const char* bad : {"", "../../etc/passwd", "sha256:../../../etc/passwd", "sha512:00",
                          "sha256:2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824"}) {
    EXPECT_EQ(store->stat(bad).error().code, ErrorCode::invalid) << bad;
    EXPECT_EQ(store->path(bad).error().code, ErrorCode::invalid) << bad;
    EXPECT_EQ(store->remove(bad).error().code, ErrorCode::invalid) << bad;
    EXPECT_EQ(store->resume_upload(bad, "a").error().code, ErrorCode::not_found) << bad;
  }
}

TEST(ContentStore, WrongDigestLeavesNothing) {
  TempFolder folder;
  auto store = open_store(folder);
  auto upload = store->start_upload("a").value();
  ASSERT_TRUE(upload->append("hello"));
  EXPECT_EQ(upload->commit(digest_of("other")).error().code, ErrorCode::invalid);
  upload.reset();
  EXPECT_EQ(files_in(folder / "store"), 0u);
}

TEST(ContentStore, UploadResumesInThisProcessAndAfterARestart) {
  TempFolder folder;
  std::string id;
  {
    auto store = open_store(folder);
    auto upload = store->start_upload("a").value();
    id = upload->id();
    ASSERT_TRUE(upload->append("hel"));
    EXPECT_EQ(store->resume_upload(id, "a").error().code, ErrorCode::conflict);
    upload.reset();
    upload = store->resume_upload(id, "a").value();
    EXPECT_EQ(upload->offset(), 3u);
    ASSERT_TRUE(upload->append("l"));
  }
  auto store = open_store(folder);
  EXPECT_EQ(store->resume_upload(id, "b").error().code, ErrorCode::not_found) << "another repository's";
  EXPECT_EQ(store->upload_offset(id, "a").value(), 4u);
  auto upload = store->resume_upload(id, "a").value();
  ASSERT_TRUE(upload->append("o"));
  EXPECT_EQ(upload->commit().value().digest, digest_of("hello"));
  upload.reset();
  EXPECT_EQ(store->upload_offset(id, "a").error().code, ErrorCode::not_found);
}

TEST(ContentStore, LimitNamesItselfAndKeepsTheOffset) {
  TempFolder folder;
  auto store = open_store(folder, seconds(60), 8);
  auto upload = store->start_upload("a").value();
  ASSERT_TRUE(upload->append("12345678"));
  Status refused = upload->append("9");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::too_large);
  EXPECT_NE(refused.error().message.find("8 bytes"), std::string::npos);
  EXPECT_EQ(upload->offset(), 8u);
  EXPECT_TRUE(upload->commit(digest_of("12345678")));
}

TEST(ContentStore, StaleUploadsOfACrashAreSweptYoungOnesStay) {
  TempFolder folder;
  std::string old_id, young_id;
  {
    auto store = open_store(folder);
    old_id = store->start_upload("a").value()->id();
    young_id = store->start_upload("a").value()->id();
  }
  write_text(folder / "store/uploads/leftover", "x");
  for (const std::string& name : {old_id, std::string("leftover")}) {
    timespec times[2] = {{1000, 0}, {1000, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, (folder / "store/uploads/" + name).c_str(), times, 0), 0);
  }
  auto store = open_store(folder);
  EXPECT_FALSE(store->upload_offset(old_id, "a"));
  EXPECT_FALSE(sys::exists(folder / "store/uploads/leftover"));
  EXPECT_TRUE(store->upload_offset(young_id, "a"));
}

TEST(ContentStore, CollectKeepsWhatRootsReachAndWhatIsYoung) {
  TempFolder folder;
  auto store = open_store(folder);
  SmallImage used("used layer"), unused("unused layer");
  for (const SmallImage* image : {&used, &unused}) {
    for (const std::string& part : {image->layer, image->config, image->manifest}) ASSERT_TRUE(store->put(part));
  }
  std::set<std::string> roots{digest_of(used.manifest)};
  CollectReport report = store->collect(roots, seconds(3600)).value();
  EXPECT_EQ(report.removed, 0u);
  EXPECT_EQ(report.young, 3u);
  report = store->collect(roots, seconds(-10)).value();
  EXPECT_EQ(report.kept, 3u);
  EXPECT_EQ(report.removed, 3u);
  EXPECT_TRUE(store->stat(digest_of(used.layer)));
  EXPECT_FALSE(store->stat(digest_of(unused.layer)));
}

TEST(ContentStore, CollectSparesWhatWasTouchedAndTellsWhatIsMissing) {
  TempFolder folder;
  auto store = open_store(folder);
  std::string old_digest = store->put("old").value().digest, asked = store->put("asked for").value().digest;
  for (const std::string& digest : {old_digest, asked}) {
    timespec times[2] = {{1000, 0}, {1000, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, store->path(digest).value().c_str(), times, 0), 0);
  }
  ASSERT_TRUE(store->touch(asked));
  std::string absent = digest_of("never pushed");
  CollectReport report = store->collect({absent}, seconds(3600)).value();
  EXPECT_EQ(report.missing, std::vector<std::string>{absent});
  EXPECT_FALSE(store->stat(old_digest));
  EXPECT_TRUE(store->stat(asked));
}

TEST(ContentStore, CollectRefusesToWorkFromARootItCannotRead) {
  TempFolder folder;
  auto store = open_store(folder);
  std::string root = store->put("no manifest").value().digest, other = store->put("other").value().digest;
  auto report = store->collect({root}, seconds(-10));
  ASSERT_FALSE(report);
  EXPECT_TRUE(store->stat(other));
}

TEST(ContentStore, ManyWritersOfTheSameBlobAgree) {
  TempFolder folder;
  auto store = open_store(folder);
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) {
        auto upload = store->start_upload("a").value();
        if (upload->append("blob " + std::to_string(k)) && upload->commit(digest_of("blob " + std::to_string(k))))
          ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 80);
  EXPECT_EQ(store->list().value().size(), 20u);
}

}  // namespace
}  // namespace tutti::catalog
