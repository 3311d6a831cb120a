#include "sys/thread_account.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "sys/fd.h"

namespace tutti::sys {
namespace {

bool can_open(const char* path, int flags) {
  return static_cast<bool>(UniqueFd(::open(path, flags | O_CLOEXEC)));
}

TEST(ThreadAccount, rights_of_files_are_those_of_the_account_until_it_ends) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  char secret[] = "/tmp/tutti-account-XXXXXX";
  UniqueFd made(::mkstemp(secret));  // mode 0600, root's
  {
    auto account = ThreadAccount::take(1'900'000'001, 1'900'000'001);
    ASSERT_TRUE(account);
    EXPECT_FALSE(can_open(secret, O_RDONLY));
    EXPECT_FALSE(can_open("/etc/passwd", O_WRONLY));
    EXPECT_TRUE(can_open("/etc/passwd", O_RDONLY));
  }
  EXPECT_TRUE(can_open(secret, O_RDWR)) << "and everything is as before";
  ::unlink(secret);
}

}  // namespace
}  // namespace tutti::sys
