// What the API shows of a row.
#include "manager/api/views.h"

#include <gmock/gmock.h>

#include "model/test_pool.h"

namespace tutti::manager {
namespace {

using ::testing::HasSubstr;

TEST(Views, OneVersionIsActiveAndOneThatFailedSaysWhy) {
  TestPool pool;
  const JobId job = pool.submit(TestPool::service("upd", 1));
  pool.submit(TestPool::service("upd", 2), job);
  pool.submit(TestPool::service("upd", 3), job);
  auto shown = [&](uint32_t number, const std::string& error) {
    JobVersion version = *pool.s.version_of(job, number);
    version.error = error;
    return render(pool.s, version);
  };
  EXPECT_THAT(shown(1, ""), HasSubstr(R"("active":false)"));
  EXPECT_THAT(shown(2, "late"), HasSubstr(R"("state":"failed","error":"late")"));
  EXPECT_THAT(shown(3, ""), HasSubstr(R"("state":"active")"));
  EXPECT_THAT(shown(3, "late"), HasSubstr(R"("state":"active","error":"late")"));
  EXPECT_THAT(shown(3, ""), HasSubstr(R"("active":true)"));
}

}  // namespace
}  // namespace tutti::manager
