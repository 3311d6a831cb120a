// The reader over files that its test writes and rotates as a monitor does.
#include "driver/log_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/limits.h"

namespace tutti::driver {
namespace {

namespace fs = std::filesystem;

class LogReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/log_file_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { fs::remove_all(dir_); }

  static std::string path(const fs::path& dir, int index) {
    return dir / (std::string(kLogFileName) + (index > 0 ? "." + std::to_string(index) : ""));
  }
  // Records are numbered by their time; odd ones are of stderr when `both`.
  void write(int64_t first, int64_t count, bool both = false, int index = 0) {
    std::ofstream out(path(dir_, index), std::ios::app);
    for (int64_t i = first; i < first + count; ++i) {
      const LogStream stream = both && i % 2 == 1 ? LogStream::err : LogStream::out;
      out << format_log_line({Time{i}, stream, false, std::to_string(i)});
    }
  }
  void rotate() {
    for (int i = limits::kLogFilesKept - 1; i >= 1; --i) {
      if (fs::exists(path(dir_, i - 1))) fs::rename(path(dir_, i - 1), path(dir_, i));
    }
    std::ofstream(path(dir_, 0));
  }
  static std::vector<int64_t> read(LogReader& reader, size_t max_bytes = 256u << 10) {
    std::vector<int64_t> out;
    auto records = reader.next(max_bytes);
    EXPECT_TRUE(records.has_value());
    for (const LogRecord& record : *records) out.push_back(std::stoll(record.text));
    return out;
  }
  static std::vector<int64_t> range(int64_t first, int64_t count) {
    std::vector<int64_t> out;
    for (int64_t i = first; i < first + count; ++i) out.push_back(i);
    return out;
  }

  fs::path dir_;
};

TEST_F(LogReaderTest, ARecordReadsAsItWasWritten) {
  const LogRecord record{Time{1'764'000'000'123'456'789}, LogStream::err, true, "a b "};
  std::string line = format_log_line(record);
  line.pop_back();
  auto again = parse_log_line(line);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->time, record.time);
  EXPECT_EQ(again->stream, record.stream);
  EXPECT_EQ(again->partial, record.partial);
  EXPECT_EQ(again->text, record.text);
  EXPECT_FALSE(parse_log_line("torn by a cra").has_value());
}

TEST_F(LogReaderTest, FollowsThroughRotation) {
  LogReader reader(dir_, {});
  EXPECT_TRUE(read(reader).empty()) << "no file yet";
  write(0, 3);
  EXPECT_EQ(read(reader), range(0, 3));
  write(3, 2);  // written, and rotated before it was read
  rotate();
  write(5, 2);
  EXPECT_EQ(read(reader), range(3, 4));
  rotate();
  EXPECT_TRUE(read(reader).empty());
  write(7, 1);
  EXPECT_EQ(read(reader), range(7, 1));
}

TEST_F(LogReaderTest, WhatIsAddedToARotatedFileLastIsRead) {
  write(0, 1);
  LogReader reader(dir_, {});
  EXPECT_EQ(read(reader), range(0, 1));
  rotate();
  EXPECT_TRUE(read(reader).empty());
  rotate();
  write(1, 1);
  rotate();
  write(2, 1);
  EXPECT_EQ(read(reader), range(1, 2)) << "two rotations between two calls";
}

TEST_F(LogReaderTest, WhatWasRotatedAwayIsPassedOver) {
  write(0, 1);
  LogReader reader(dir_, {});
  EXPECT_EQ(read(reader), range(0, 1));
  for (int64_t i = 1; i <= limits::kLogFilesKept + 1; ++i) {
    rotate();
    write(i, 1);
  }
  EXPECT_EQ(read(reader), range(2, limits::kLogFilesKept)) << "all that is still kept, in order";
}

TEST_F(LogReaderTest, TailCountsOverFilesAndWhatIsWanted) {
  write(0, 10, true);
  rotate();
  write(10, 4, true);
  LogReader last(dir_, {{}, 6, true, true});
  EXPECT_EQ(read(last), range(8, 6));
  LogReader errors(dir_, {{}, 3, false, true});
  EXPECT_EQ(read(errors), (std::vector<int64_t>{9, 11, 13}));
  LogReader none(dir_, {{}, 0, true, true});
  EXPECT_TRUE(read(none).empty());
  write(14, 1);
  EXPECT_EQ(read(none), range(14, 1)) << "what comes is not counted";
}

TEST_F(LogReaderTest, SinceIsInclusiveAndGoesWithTail) {
  write(0, 10);
  LogReader since(dir_, {Time{7}, -1, true, true});
  EXPECT_EQ(read(since), range(7, 3));
  LogReader both(dir_, {Time{7}, 2, true, true});
  EXPECT_EQ(read(both), range(8, 2));
}

TEST_F(LogReaderTest, LongLogsComeInPieces) {
  write(0, 20'000);
  LogReader reader(dir_, {});
  std::vector<int64_t> all;
  int pieces = 0;
  for (auto piece = read(reader, 64u << 10); !piece.empty(); piece = read(reader, 64u << 10), ++pieces) {
    all.insert(all.end(), piece.begin(), piece.end());
  }
  EXPECT_EQ(all, range(0, 20'000));
  EXPECT_GT(pieces, 3);
}

TEST_F(LogReaderTest, ALineThatIsNotWholeYetComesLater) {
  const std::string line = format_log_line({Time{5}, LogStream::out, false, "5"});
  std::ofstream out(path(dir_, 0));
  out << line.substr(0, 20) << std::flush;
  LogReader reader(dir_, {});
  EXPECT_TRUE(read(reader).empty());
  out << line.substr(20) << std::flush;
  EXPECT_EQ(read(reader), range(5, 1));
}

}  // namespace
}  // namespace tutti::driver
