#include "sys/digest.h"

#include <gtest/gtest.h>

#include <fstream>

namespace tutti::sys {
namespace {

// FIPS 180-2's examples.
TEST(Digest, KnownAnswers) {
  EXPECT_EQ(digest_of(""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Digest, PiecesEqualTheWhole) {
  Sha256 sum;
  sum.update("a");
  sum.update("");
  sum.update("bc");
  EXPECT_EQ(sum.digest(), digest_of("abc"));
}

TEST(Digest, GoesOnAfterItWasAskedAndACopyGoesItsOwnWay) {
  Sha256 sum;
  sum.update("a");
  EXPECT_EQ(sum.digest(), digest_of("a"));
  Sha256 copy = sum;
  copy.update("x");
  sum.update("bc");
  EXPECT_EQ(sum.digest(), digest_of("abc"));
  EXPECT_EQ(copy.digest(), digest_of("ax"));
}

TEST(Digest, File) {
  std::string path = testing::TempDir() + "/digest_test_file";
  std::ofstream(path) << "abc";
  EXPECT_EQ(digest_of_file(path).value(), digest_of("abc"));
  std::remove(path.c_str());
  EXPECT_EQ(digest_of_file(path).error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace tutti::sys
