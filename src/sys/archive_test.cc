#include "sys/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "sys/digest.h"

namespace tutti::sys {
namespace {

namespace fs = std::filesystem;

struct Item {
  std::string name;
  mode_t type = AE_IFREG;
  std::string content;  // or the link's target
  std::string hardlink;
  mode_t mode = 0644;
  std::string xattr;  // name of one, value "v"
  int device_minor = 0;
  int64_t declared_size = -1;
};

enum class Packing { none, gzip, zstd };

std::string tar_of(const std::vector<Item>& items, Packing packing = Packing::none) {
  std::string out;
  archive* a = archive_write_new();
  archive_write_set_format_pax(a);
  archive_write_set_bytes_in_last_block(a, 1);  // else the compressed bytes are padded with zeros
  if (packing == Packing::gzip) archive_write_add_filter_gzip(a);
  if (packing == Packing::zstd) archive_write_add_filter_zstd(a);
  archive_write_open(
      a, &out, nullptr,
      [](archive*, void* to, const void* data, size_t size) -> la_ssize_t {
        static_cast<std::string*>(to)->append(static_cast<const char*>(data), size);
        return static_cast<la_ssize_t>(size);
      },
      nullptr);
  for (const Item& item : items) {
    archive_entry* e = archive_entry_new();
    archive_entry_set_pathname(e, item.name.c_str());
    archive_entry_set_filetype(e, item.type);
    archive_entry_set_perm(e, item.mode);
    archive_entry_set_uid(e, 1234);
    archive_entry_set_gid(e, 4321);
    archive_entry_set_mtime(e, 1'000'000, 0);
    if (item.type == AE_IFLNK) archive_entry_set_symlink(e, item.content.c_str());
    if (!item.hardlink.empty()) archive_entry_set_hardlink(e, item.hardlink.c_str());
    if (item.type == AE_IFCHR) {
      archive_entry_set_rdevmajor(e, item.device_minor ? 1 : 0);
      archive_entry_set_rdevminor(e, static_cast<dev_t>(item.device_minor));
    }
    if (!item.xattr.empty()) archive_entry_xattr_add_entry(e, item.xattr.c_str(), "v", 1);
    bool body = item.type == AE_IFREG && item.hardlink.empty();
    if (body) archive_entry_set_size(e, static_cast<la_int64_t>(item.content.size()));
    archive_write_header(a, e);
    if (body) archive_write_data(a, item.content.data(), item.content.size());
    archive_entry_free(e);
  }
  archive_write_close(a);
  archive_write_free(a);
  return out;
}

ByteSource source_of(const std::string& text, size_t piece = 1000) {
  return [&text, piece, at = size_t{0}](std::span<char> buffer) mutable -> Result<size_t> {
    size_t n = std::min({piece, buffer.size(), text.size() - at});
    std::memcpy(buffer.data(), text.data() + at, n);
    at += n;
    return n;
  };
}

std::string content_of(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

class ArchiveTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/archive_test.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    root_ = base_ / "root";
    fs::create_directory(root_);
    std::ofstream(base_ / "outside") << "untouched";
  }
  void TearDown() override {
    EXPECT_EQ(content_of(base_ / "outside"), "untouched");
    fs::remove_all(base_);
  }
  Result<Extracted> extract(const std::string& tar, ExtractOptions options = {.whiteouts = true}) {
    return extract_tar(source_of(tar), root_, options);
  }
  fs::path base_;
  fs::path root_;
};

TEST_F(ArchiveTest, KeepsWhatTheArchiveSays) {
  for (Packing packing : {Packing::none, Packing::gzip, Packing::zstd}) {
    fs::remove_all(root_);
    fs::create_directory(root_);
    std::vector<Item> items{{"./", AE_IFDIR, "", "", 0755},
                            {"etc/", AE_IFDIR, "", "", 0750},
                            {"etc/passwd", AE_IFREG, "root:x:0", "", 0640, "user.note"},
                            {"deep/er/file", AE_IFREG, std::string(300'000, 'x')},
                            {"bin/su", AE_IFREG, "#!", "", 04755},
                            {"link", AE_IFLNK, "/etc/passwd"},
                            {"hard", AE_IFREG, "", "etc/passwd"},
                            {"n\xc3\xa4me", AE_IFREG, "utf8"},
                            {"pipe", AE_IFIFO}};
    std::string plain = tar_of(items);
    std::string blob = tar_of(items, packing);
    auto done = extract(blob);
    ASSERT_TRUE(done.has_value()) << done.error().message;
    EXPECT_EQ(done->diff_id, digest_of(plain));
    EXPECT_EQ(done->blob_digest, digest_of(blob));
    EXPECT_EQ(done->blob_bytes, blob.size());
    EXPECT_EQ(content_of(root_ / "etc/passwd"), "root:x:0");
    EXPECT_EQ(fs::file_size(root_ / "deep/er/file"), 300'000u);
    EXPECT_EQ(fs::read_symlink(root_ / "link"), "/etc/passwd");
    EXPECT_EQ(content_of(root_ / "n\xc3\xa4me"), "utf8");
    struct stat st{};
    ASSERT_EQ(::stat((root_ / "etc").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 0750u);
    EXPECT_EQ(st.st_mtime, 1'000'000);
    ASSERT_EQ(::stat((root_ / "bin/su").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 04755u);
    EXPECT_EQ(st.st_uid, 1234u);
    EXPECT_EQ(st.st_gid, 4321u);
    EXPECT_EQ(st.st_mtime, 1'000'000);
    ASSERT_EQ(::stat((root_ / "hard").c_str(), &st), 0);
    EXPECT_EQ(st.st_nlink, 2u);
    ASSERT_EQ(::lstat((root_ / "link").c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, 1234u);
    ASSERT_EQ(::stat((root_ / "pipe").c_str(), &st), 0);
    EXPECT_TRUE(S_ISFIFO(st.st_mode));
  }
}

TEST_F(ArchiveTest, AttacksAreRefused) {
  struct Attack {
    const char* what;
    std::vector<Item> items;
  };
  std::string outside = (base_ / "outside").string();
  std::vector<Attack> attacks{
      {"climbs out", {{"../outside", AE_IFREG, "bad"}}},
      {"climbs out later", {{"a/b/../../../outside", AE_IFREG, "bad"}}},
      {"absolute", {{outside, AE_IFREG, "bad"}}},
      {"file through a link", {{"up", AE_IFLNK, ".."}, {"up/outside", AE_IFREG, "bad"}}},
      {"file through an absolute link", {{"up", AE_IFLNK, base_.string()}, {"up/outside", AE_IFREG, "bad"}}},
      {"folder through a link", {{"up", AE_IFLNK, ".."}, {"up/root/x/", AE_IFDIR}}},
      {"link through a link", {{"up", AE_IFLNK, ".."}, {"up/evil", AE_IFLNK, "x"}}},
      {"hard link out", {{"h", AE_IFREG, "", "../outside"}}},
      {"hard link absolute", {{"h", AE_IFREG, "", outside}}},
      {"hard link through a link", {{"up", AE_IFLNK, ".."}, {"h", AE_IFREG, "", "up/outside"}}},
      {"hard link to nothing", {{"h", AE_IFREG, "", "nothere"}}},
      {"hard link to a folder", {{"d/", AE_IFDIR}, {"h", AE_IFREG, "", "d"}}},
      {"whiteout of ..", {{"d/.wh...", AE_IFREG}}},
      {"whiteout of .", {{"d/.wh..", AE_IFREG}}},
      {"whiteout of nothing", {{"d/.wh.", AE_IFREG}}},
      {"whiteout through a link", {{"up", AE_IFLNK, ".."}, {"up/.wh.outside", AE_IFREG}}},
      {"root replaced", {{"./", AE_IFLNK, "/"}}},
  };
  for (const Attack& attack : attacks) {
    fs::remove_all(root_);
    fs::create_directory(root_);
    auto done = extract(tar_of(attack.items));
    ASSERT_FALSE(done.has_value()) << attack.what;
    EXPECT_EQ(done.error().code, ErrorCode::invalid) << attack.what << ": " << done.error().message;
    EXPECT_EQ(content_of(base_ / "outside"), "untouched") << attack.what;
    EXPECT_EQ(std::distance(fs::directory_iterator(base_), {}), 2) << attack.what;
  }
}

TEST_F(ArchiveTest, ALinkIsReplacedNotWrittenThrough) {
  auto done = extract(tar_of({{"x", AE_IFLNK, (base_ / "outside").string()}, {"x", AE_IFREG, "inside"}}));
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_EQ(fs::symlink_status(root_ / "x").type(), fs::file_type::regular);
  EXPECT_EQ(content_of(root_ / "x"), "inside");
  // A hard link to a link links the link: writing the second entry must not reach what it points to.
  done = extract(
      tar_of({{"l", AE_IFLNK, (base_ / "outside").string()}, {"h", AE_IFREG, "", "l"}, {"h", AE_IFREG, "inside"}}));
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_EQ(content_of(root_ / "h"), "inside");
}

TEST_F(ArchiveTest, LimitsAreNamed) {
  ExtractOptions options{.whiteouts = true, .bytes_max = 10'000};
  auto done =
      extract(tar_of({{"a", AE_IFREG, std::string(6'000, 'x')}, {"b", AE_IFREG, std::string(6'000, 'x')}}), options);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code, ErrorCode::too_large);
  EXPECT_NE(done.error().message.find("10000 bytes"), std::string::npos) << done.error().message;
  // A bomb: 64 MiB of zeros in a few KiB of gzip.
  done = extract(tar_of({{"bomb", AE_IFREG, std::string(64u << 20, '\0')}}, Packing::gzip), options);
  EXPECT_EQ(done.error().code, ErrorCode::too_large);
  // A bomb behind the end of the tar, where no entry counts it.
  options.entries_max = 3;
  std::string tail = tar_of({{"a", AE_IFREG, "x"}}) + std::string(8u << 20, '\0');
  done = extract(tail, options);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code, ErrorCode::too_large) << done.error().message;
  std::vector<Item> many;
  for (int i = 0; i < 4; ++i) many.push_back({"f" + std::to_string(i), AE_IFREG, "x"});
  done = extract(tar_of(many), options);
  ASSERT_FALSE(done.has_value());
  EXPECT_NE(done.error().message.find("3 entries"), std::string::npos) << done.error().message;
}

TEST_F(ArchiveTest, WhatIsNoArchiveIsRefused) {
  for (const std::string& text :
       {std::string(), std::string("hello"), std::string(5000, 'q'), std::string("\x1f\x8b\x08\x00garbage", 11)}) {
    auto done = extract(text);
    ASSERT_FALSE(done.has_value()) << text.substr(0, 10);
    EXPECT_EQ(done.error().code, ErrorCode::invalid) << done.error().message;
  }
  std::string cut = tar_of({{"a", AE_IFREG, std::string(50'000, 'x')}}, Packing::gzip);
  cut.resize(cut.size() / 2);
  EXPECT_FALSE(extract(cut).has_value());
  ByteSource broken = [](std::span<char>) -> Result<size_t> { return fail(ErrorCode::unavailable, "line cut"); };
  EXPECT_EQ(extract_tar(broken, root_, {}).error().code, ErrorCode::unavailable);
}

TEST_F(ArchiveTest, WhiteoutsBecomeOverlays) {
  auto done = extract(tar_of({{"d/.wh.gone", AE_IFREG},
                              {"o/", AE_IFDIR},
                              {"o/.wh..wh..opq", AE_IFREG},
                              {"kept", AE_IFREG, "x"},
                              {".wh.kept", AE_IFREG},
                              {".wh.dir", AE_IFREG},
                              {"dir/", AE_IFDIR},
                              {"c", AE_IFCHR},
                              {"null", AE_IFCHR, "", "", 0666, "", 3}}));
  ASSERT_TRUE(done.has_value()) << done.error().message;
  for (const char* name : {"d/gone", "c"}) {
    struct stat st{};
    ASSERT_EQ(::lstat((root_ / name).c_str(), &st), 0) << name;
    EXPECT_TRUE(S_ISCHR(st.st_mode) && st.st_rdev == 0) << name;
  }
  EXPECT_EQ(content_of(root_ / "kept"), "x");
  for (const char* name : {"o", "dir"}) {
    char value = 0;
    EXPECT_EQ(::getxattr((root_ / name).c_str(), "trusted.overlay.opaque", &value, 1), 1)
        << name << std::strerror(errno);
    EXPECT_EQ(value, 'y');
  }
  EXPECT_FALSE(fs::exists(root_ / "null"));
  EXPECT_EQ(done->skipped, 1u);
  ASSERT_TRUE(extract(tar_of({{"null", AE_IFCHR, "", "", 0666, "", 3}}), {.devices = true}).has_value());
  struct stat st{};
  ASSERT_EQ(::stat((root_ / "null").c_str(), &st), 0);
  EXPECT_EQ(st.st_rdev, ::makedev(1, 3));
}

TEST_F(ArchiveTest, AnArchiveCannotSetOverlayAttributes) {
  ASSERT_TRUE(extract(tar_of({{"f", AE_IFREG, "x", "", 0644, "trusted.overlay.redirect"}})).has_value());
  char value = 0;
  EXPECT_LT(::getxattr((root_ / "f").c_str(), "trusted.overlay.redirect", &value, 1), 0);
}

TEST_F(ArchiveTest, PackingIsDeterministicAndComesBack) {
  fs::path from = base_ / "from";
  fs::create_directories(from / "sub");
  std::ofstream(from / "b") << "bee";
  std::ofstream(from / "a") << "ay";
  std::ofstream(from / "sub/n\xc3\xa4me") << "deep";
  fs::create_symlink("a", from / "s");
  fs::create_hard_link(from / "a", from / "z");
  ::mknod((from / "gone").c_str(), S_IFCHR, 0);
  PackOptions options{.gzip = true, .whiteouts = true};
  auto one = pack_directory_to_file(from, base_ / "1.tgz", options);
  ASSERT_TRUE(one.has_value()) << one.error().message;
  fs::last_write_time(from / "a", fs::file_time_type::clock::now() - std::chrono::hours(5));
  auto two = pack_directory_to_file(from, base_ / "2.tgz", options);
  ASSERT_TRUE(two.has_value());
  EXPECT_EQ(one->blob_digest, two->blob_digest);
  EXPECT_EQ(one->blob_digest, digest_of_file(base_ / "1.tgz").value());
  EXPECT_EQ(one->entries, 7u);
  auto back = extract_tar_file(base_ / "1.tgz", root_, {.whiteouts = true});
  ASSERT_TRUE(back.has_value()) << back.error().message;
  EXPECT_EQ(back->diff_id, one->diff_id);
  EXPECT_EQ(back->blob_digest, one->blob_digest);
  EXPECT_EQ(content_of(root_ / "sub/n\xc3\xa4me"), "deep");
  EXPECT_EQ(fs::read_symlink(root_ / "s"), "a");
  EXPECT_EQ(fs::hard_link_count(root_ / "z"), 2u);
  struct stat st{};
  ASSERT_EQ(::lstat((root_ / "gone").c_str(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
}

TEST_F(ArchiveTest, ASinkThatFailsEndsThePacking) {
  std::ofstream(root_ / "big") << std::string(1 << 20, 'x');
  for (bool gzip : {false, true}) {
    size_t calls = 0;
    ByteSink sink = [&](std::string_view) -> Status {
      ++calls;
      return fail(ErrorCode::unavailable, "peer gone");
    };
    auto packed = pack_directory(root_, sink, {.gzip = gzip});
    ASSERT_FALSE(packed.has_value());
    EXPECT_EQ(packed.error().code, ErrorCode::unavailable);
    EXPECT_EQ(calls, 1u) << "nothing more is sent after a failure";
  }
}

TEST_F(ArchiveTest, CopiesStayInsideTheirRoot) {
  fs::path inner = base_ / "inner";
  fs::create_directories(inner / "etc");
  fs::create_directories(inner / "data");
  std::ofstream(inner / "etc/motd") << "hi";
  fs::create_symlink("/etc", inner / "abs");  // the container's own /etc
  fs::create_symlink("../../..", inner / "etc/up");
  std::string tar;
  ByteSink sink = [&](std::string_view bytes) -> Status {
    tar += bytes;
    return {};
  };
  ASSERT_TRUE(pack_path(inner, "/abs/motd", sink).has_value());
  auto in = unpack_into(inner, "/data", source_of(tar), {.keep_owner = false});
  ASSERT_TRUE(in.has_value()) << in.error().message;
  EXPECT_EQ(content_of(inner / "data/motd"), "hi");
  tar.clear();
  EXPECT_EQ(pack_path(inner, "/etc/up/outside", sink).error().code, ErrorCode::not_found);
  EXPECT_EQ(pack_path(inner, "/nothere", sink).error().code, ErrorCode::not_found);
  tar.clear();
  ASSERT_TRUE(pack_path(inner, "/etc", sink).has_value());
  ASSERT_TRUE(unpack_into(inner, "/data", source_of(tar), {}).has_value());
  EXPECT_EQ(content_of(inner / "data/etc/motd"), "hi");
  EXPECT_EQ(unpack_into(inner, "/etc/motd", source_of(tar), {}).error().code, ErrorCode::conflict)
      << "a folder over a file";
  ASSERT_TRUE(unpack_into(inner, "/abs/renamed", source_of(tar), {}).has_value());
  EXPECT_EQ(content_of(inner / "etc/renamed/motd"), "hi");
  EXPECT_EQ(unpack_into(inner, "/no/such", source_of(tar), {}).error().code, ErrorCode::not_found);
  std::string here = tar_of({{".", AE_IFDIR, ""}, {"./x", AE_IFREG, "y"}});
  ASSERT_TRUE(unpack_into(inner, "/data/new", source_of(here), {}).has_value());
  EXPECT_EQ(content_of(inner / "data/new/x"), "y");
  std::string single = tar_of({{"one", AE_IFREG, "new"}});
  ASSERT_TRUE(unpack_into(inner, "/etc/motd", source_of(single), {}).has_value());
  EXPECT_EQ(content_of(inner / "etc/motd"), "new");
  std::string file = tar_of({{"etc", AE_IFREG, "x"}});
  EXPECT_EQ(unpack_into(inner, "/data", source_of(file), {}).error().code, ErrorCode::conflict);
}

}  // namespace
}  // namespace tutti::sys
