// A peer that sends faster than it is listened to is held back.
#include "manager/intake.h"

#include <gmock/gmock.h>

namespace tutti::manager {
namespace {

struct Socket final : net::WebSocket {
  std::vector<bool> told;
  void start(Callbacks) override {}
  bool send(std::string, bool) override { return true; }
  size_t pending_bytes() const override { return 0; }
  void pause_reading(bool paused) override { told.push_back(paused); }
  void close(std::string) override {}
};

TEST(Intake, PausesAboveTheMostAndGoesOnBelowHalfOfIt) {
  const auto socket = std::make_shared<Socket>();
  Intake intake(socket);
  for (size_t i = 0; i < Intake::kMost; ++i) intake.came();
  EXPECT_TRUE(socket->told.empty());
  intake.came();
  intake.came();  // one that was read already
  EXPECT_THAT(socket->told, testing::ElementsAre(true));
  for (size_t left = Intake::kMost + 2; left > Intake::kMost / 2 + 1; --left) intake.handled();
  EXPECT_THAT(socket->told, testing::ElementsAre(true));
  intake.handled();
  EXPECT_THAT(socket->told, testing::ElementsAre(true, false));
  for (size_t left = Intake::kMost / 2; left > 0; --left) intake.handled();
  EXPECT_THAT(socket->told, testing::ElementsAre(true, false));
}

TEST(Intake, OutlivesItsSocket) {
  auto socket = std::make_shared<Socket>();
  Intake intake(socket);
  socket.reset();
  for (size_t i = 0; i <= Intake::kMost; ++i) intake.came();
  for (size_t i = 0; i <= Intake::kMost; ++i) intake.handled();
}

}  // namespace
}  // namespace tutti::manager
