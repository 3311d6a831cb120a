#include "manager/intake.h"

namespace tutti::manager {

void Intake::came() {
  std::lock_guard lock(mutex_);
  if (++under_way_ > kMost && !paused_) pause(true);
}

void Intake::handled() {
  std::lock_guard lock(mutex_);
  if (--under_way_ <= kMost / 2 && paused_) pause(false);
}

void Intake::pause(bool paused) {
  paused_ = paused;
  if (const auto socket = socket_.lock()) socket->pause_reading(paused);
}

}  // namespace tutti::manager
