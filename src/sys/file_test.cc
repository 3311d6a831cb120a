#include "sys/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "sys/process.h"

namespace tutti::sys {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    char pattern[] = "/tmp/tutti-file-XXXXXX";
    root_ = mkdtemp(pattern);
  }
  ~FileTest() override { fs::remove_all(root_); }
  std::string root_;
};

TEST_F(FileTest, WritesAllOrNothing) {
  std::string path = root_ + "/file";
  ASSERT_TRUE(write_file_atomic(path, "one", {.mode = 0600, .sync = true}));
  ASSERT_TRUE(write_file_atomic(path, "two", {.mode = 0640}));
  EXPECT_EQ(read_file(path).value(), "two");
  struct stat info{};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_FALSE(write_file_atomic(root_ + "/absent/file", "x"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 1) << "no temporary file stays";
}

TEST_F(FileTest, ReadsProcAndRefusesWhatIsTooLarge) {
  EXPECT_THAT(read_file("/proc/self/status").value(), testing::HasSubstr("Name:"));
  ASSERT_TRUE(write_file_atomic(root_ + "/big", std::string(100, 'x')));
  auto refused = read_file(root_ + "/big", 99);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::too_large);
  EXPECT_EQ(read_file(root_ + "/absent").error().code, ErrorCode::not_found);
}

TEST_F(FileTest, SaysHowMuchOfADiskIsFree) {
  const auto free = free_percent(root_);
  ASSERT_TRUE(free);
  EXPECT_GE(*free, 0);
  EXPECT_LE(*free, 100);
  EXPECT_EQ(free_percent("/proc").value(), 100);
  EXPECT_EQ(free_percent(root_ + "/absent").error().code, ErrorCode::not_found);
}

TEST_F(FileTest, RemovesTreesButNotWhatLinksPointTo) {
  ASSERT_TRUE(make_dirs(root_ + "/precious"));
  ASSERT_TRUE(write_file_atomic(root_ + "/precious/file", "keep"));
  ASSERT_TRUE(make_dirs(root_ + "/tree/a/b/c"));
  fs::create_directory_symlink(root_ + "/precious", root_ + "/tree/a/link");
  ASSERT_TRUE(remove_tree(root_ + "/tree"));
  EXPECT_FALSE(exists(root_ + "/tree"));
  EXPECT_TRUE(exists(root_ + "/precious/file"));
  fs::create_directory_symlink(root_ + "/precious", root_ + "/link");
  ASSERT_TRUE(remove_tree(root_ + "/link"));
  EXPECT_TRUE(exists(root_ + "/precious/file"));
  EXPECT_TRUE(remove_tree(root_ + "/tree")) << "fine if it is not there";
  EXPECT_FALSE(remove_tree(root_ + "/.."));
}

TEST_F(FileTest, ALockIsHeldByWhoInheritedIt) {
  std::string path = root_ + "/lock";
  EXPECT_FALSE(lock_is_held(path));
  auto lock = take_lock(path);
  ASSERT_TRUE(lock);
  EXPECT_TRUE(lock_is_held(path));
  auto second = take_lock(path);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::conflict);
  SpawnOptions options;
  options.argv = {"cat"};
  Pipe pipe = make_pipe().value();
  options.fds = {{lock->get(), 3}, {pipe.read.get(), 0}};
  options.inherit_env = true;
  int pid = spawn(options).value();
  lock->reset();
  EXPECT_TRUE(lock_is_held(path)) << "the child has it";
  pipe.write.reset();
  EXPECT_EQ(reap(pid), 0);
  EXPECT_FALSE(lock_is_held(path));
}

}  // namespace
}  // namespace tutti::sys
