#include "base/steady_clock.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

struct Below final : Clock {
  Time wall{1'000'000'000'000};
  BootTime boot{5'000'000'000};
  Time now() const override { return wall; }
  BootTime boot_now() const override { return boot; }
  void pass(Duration d) {
    wall = wall + d;
    boot = boot + d;
  }
};

TEST(SteadyClock, FollowsForwardAtOnceAndNeverGoesBackNorStandsStill) {
  Below below;
  SteadyClock clock(below);
  EXPECT_EQ(clock.now(), below.wall);
  below.pass(seconds(3));
  EXPECT_EQ(clock.now(), below.wall);
  below.wall = below.wall + seconds(3600);
  EXPECT_EQ(clock.now(), below.wall);

  const Time ahead = clock.now();
  below.wall = below.wall - seconds(3600);
  EXPECT_EQ(clock.now(), ahead);
  for (int i = 0; i < 100; ++i) {
    below.pass(milliseconds(100));
    (void)clock.now();
  }
  EXPECT_EQ(clock.now(), ahead + seconds(9));  // ten seconds have passed: it goes on, more slowly
  below.pass(seconds(36'000));
  EXPECT_EQ(clock.now(), below.wall);  // and has met the clock below
  below.pass(seconds(1));
  EXPECT_EQ(clock.now(), below.wall);
}

TEST(SteadyClock, BeginsWhereSomebodyElseWasAlready) {
  Below below;
  SteadyClock clock(below);
  const Time known = below.wall + seconds(60);
  clock.advance_to(known);
  below.pass(seconds(10));
  EXPECT_EQ(clock.now(), known + seconds(9));
  clock.advance_to(below.wall);  // nothing new
  EXPECT_EQ(clock.now(), known + seconds(9));
}

}  // namespace
}  // namespace tutti
