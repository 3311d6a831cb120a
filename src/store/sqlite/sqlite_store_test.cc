#include "store/sqlite/sqlite_store.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/hash.h"
#include "store/conformance.h"

namespace tutti::store {
namespace {

struct TempDir {
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tutti-store-XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string path;
};

TEST(SqliteStore, Conformance) {
  TempDir dir;
  run_store_conformance([&] { return make_sqlite_store(dir.path + "/state.db"); });
}

TEST(SqliteStore, ASecondManagerIsToldWhoHasIt) {
  TempDir dir;
  auto first = make_sqlite_store(dir.path + "/state.db");
  ASSERT_TRUE(first->open());
  auto second = make_sqlite_store(dir.path + "/state.db");
  auto opened = second->open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::unavailable);
  EXPECT_NE(opened.error().message.find(std::to_string(getpid())), std::string::npos) << opened.error().message;
}

TEST(SqliteStore, ADamagedFileIsNamed) {
  TempDir dir;
  std::ofstream(dir.path + "/state.db") << std::string(8192, 'x');
  auto opened = make_sqlite_store(dir.path + "/state.db")->open();
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("state.db"), std::string::npos);
  EXPECT_NE(opened.error().message.find("damaged"), std::string::npos) << opened.error().message;
}

// D01: a process that appends is killed without warning; everything it had acknowledged is there.
TEST(SqliteStore, D01_KilledWhileAppendingLosesNothingAcknowledged) {
  TempDir dir;
  uint64_t expected = 0;
  for (int round = 0; round < 5; ++round) {
    int acks[2];
    ASSERT_EQ(pipe(acks), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(acks[0]);
      auto store = make_sqlite_store(dir.path + "/state.db");
      auto opened = store->open();
      if (!opened) _exit(1);
      for (uint64_t revision = opened->head + 1;; ++revision) {
        if (store->append(revision, std::to_string(revision)).outcome != AppendOutcome::committed) _exit(2);
        if (write(acks[1], &revision, sizeof revision) != sizeof revision) _exit(3);
      }
    }
    close(acks[1]);
    uint64_t acknowledged = 0;
    for (int i = 0; i < 20 + round * 7; ++i)
      ASSERT_EQ(read(acks[0], &acknowledged, sizeof acknowledged), ssize_t{sizeof acknowledged});
    kill(child, SIGKILL);
    while (read(acks[0], &acknowledged, sizeof acknowledged) == ssize_t{sizeof acknowledged}) {
    }
    close(acks[0]);
    int status = 0;
    waitpid(child, &status, 0);
    auto store = make_sqlite_store(dir.path + "/state.db");
    auto opened = store->open();
    ASSERT_TRUE(opened) << opened.error().to_string();
    EXPECT_GE(opened->head, acknowledged);
    EXPECT_LE(opened->head, acknowledged + 1);
    expected = opened->head;
    auto log = log_of(*store, 0);
    EXPECT_EQ(log.size(), expected);
    for (const auto& [revision, blob] : log) EXPECT_EQ(blob, std::to_string(revision));
  }
}

TEST(SqliteStore, KilledInACheckpointNoPageIsOlderThanItSays) {
  TempDir dir;
  for (int round = 0; round < 12; ++round) {
    int told[2];
    ASSERT_EQ(pipe(told), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(told[0]);
      auto store = make_sqlite_store(dir.path + "/state.db");
      auto opened = store->open();
      if (!opened) _exit(1);
      for (uint64_t revision = opened->head + 1;; ++revision) {
        if (store->append(revision, "row").outcome != AppendOutcome::committed) _exit(2);
        std::vector<Page> pages;
        for (uint64_t i = 0; i < 40; ++i) pages.push_back({1, i, std::to_string(revision) + std::string(20'000, ' ')});
        if (!store->checkpoint(revision, pages)) _exit(3);
        if (write(told[1], &revision, sizeof revision) != sizeof revision) _exit(4);
      }
    }
    close(told[1]);
    uint64_t done = 0;
    for (int i = 0; i <= round % 4; ++i) ASSERT_EQ(read(told[0], &done, sizeof done), ssize_t{sizeof done});
    std::this_thread::sleep_for(std::chrono::microseconds(700 * round));  // anywhere in the next one
    kill(child, SIGKILL);
    while (read(told[0], &done, sizeof done) == ssize_t{sizeof done}) {
    }
    close(told[0]);
    int status = 0;
    waitpid(child, &status, 0);
    auto store = make_sqlite_store(dir.path + "/state.db");
    auto opened = store->open();
    ASSERT_TRUE(opened) << opened.error().to_string();
    EXPECT_GE(opened->checkpoint, done);
    size_t pages = 0;
    ASSERT_TRUE(store->read_pages([&](const Page& page) -> Status {
      ++pages;
      EXPECT_GE(std::stoull(page.blob), opened->checkpoint);
      EXPECT_LE(std::stoull(page.blob), opened->head);
      return {};
    }));
    EXPECT_EQ(pages, 40u);
    EXPECT_TRUE(store->read_log(opened->checkpoint, [](uint64_t, std::string_view) { return true; }));
  }
}

TEST(SqliteStore, CheckpointsWhileAppending) {
  TempDir dir;
  auto store = make_sqlite_store(dir.path + "/state.db");
  ASSERT_TRUE(store->open());
  ASSERT_EQ(store->append(1, "first").outcome, AppendOutcome::committed);
  std::thread side([&] {
    for (uint64_t i = 1; i <= 30; ++i) EXPECT_TRUE(store->checkpoint(1, {{1, i, "page"}}));
  });
  for (uint64_t revision = 2; revision <= 200; ++revision) {
    ASSERT_EQ(store->append(revision, "row").outcome, AppendOutcome::committed);
  }
  side.join();
  EXPECT_EQ(pages_of(*store).size(), 30u);
}

TEST(SqliteStore, TheWriteAheadLogIsWrittenOverWhoeverAppendsMeanwhile) {
  TempDir dir;
  auto store = make_sqlite_store(dir.path + "/state.db");
  ASSERT_TRUE(store->open());
  const std::string blob(20'000, 'x');
  std::atomic<uint64_t> appended{0};
  std::atomic<uint64_t> work{0};
  std::atomic<bool> over{false};
  std::atomic<bool> failed{false};
  std::thread appender([&] {
    while (!over) {
      for (int i = 0; i < 10; ++i) work = work + fnv1a(blob);  // a writer has something to do between two appends
      if (store->append(appended + 1, blob).outcome != AppendOutcome::committed) failed = over = true;
      ++appended;  // also where it failed: the other one waits for that
      appended.notify_one();
    }
  });
  for (uint64_t round = 1; round <= 30 && !failed; ++round) {
    for (uint64_t seen = appended; seen < round * 50 && !failed; seen = appended) appended.wait(seen);
    EXPECT_TRUE(store->checkpoint(appended, {{1, round, "page"}}));
  }
  over = true;
  appender.join();
  ASSERT_FALSE(failed) << "an append failed";
  EXPECT_LT(std::filesystem::file_size(dir.path + "/state.db-wal"), appended * blob.size() / 4);
}

}  // namespace
}  // namespace tutti::store
