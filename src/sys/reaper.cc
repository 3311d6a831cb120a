#include "sys/reaper.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <cerrno>

namespace tutti::sys {
namespace {

int collect(int pidfd) {
  siginfo_t info{};
  while (waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG) != 0) {
    if (errno != EINTR) return -1;  // not a child: an earlier worker's
  }
  if (info.si_pid == 0) return -1;
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

}  // namespace

Result<std::unique_ptr<Reaper>> Reaper::make() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail_errno("epoll_create", errno);
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno("eventfd", errno);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) return fail_errno("epoll_ctl", errno);
  return std::unique_ptr<Reaper>(new Reaper(std::move(epoll), std::move(wake)));
}

Reaper::Reaper(UniqueFd epoll, UniqueFd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {
  thread_ = std::thread([this] { loop(); });
}

Reaper::~Reaper() {
  uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
  thread_.join();
}

Status Reaper::watch(UniqueFd pidfd, std::function<void(int)> done) {
  int fd = pidfd.get();
  std::lock_guard lock(mutex_);
  uint64_t key = next_++;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = key;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno("watch process", errno);
  watched_.emplace(key, Watched{std::move(pidfd), std::move(done)});
  return {};
}

void Reaper::loop() {
  for (;;) {
    epoll_event events[64];
    int n = epoll_wait(epoll_.get(), events, 64, -1);
    for (int i = 0; i < n; ++i) {
      const uint64_t key = events[i].data.u64;  // copied: the kernel's struct is packed, nothing may refer into it
      if (key == 0) return;
      Watched ended;
      {
        std::lock_guard lock(mutex_);
        auto found = watched_.find(key);
        if (found == watched_.end()) continue;
        ended = std::move(found->second);
        watched_.erase(found);
        epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, ended.pidfd.get(), nullptr);
      }
      ended.done(collect(ended.pidfd.get()));
    }
  }
}

}  // namespace tutti::sys
