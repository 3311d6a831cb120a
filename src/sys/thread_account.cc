#include "sys/thread_account.h"

#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace tutti::sys {
namespace {

constexpr auto kAsk = static_cast<uid_t>(-1);  // changes nothing, answers what it is

// The C library's setgroups() changes every thread; the system call changes the one that makes it.
bool set_groups(const std::vector<gid_t>& groups) {
  return ::syscall(SYS_setgroups, groups.size(), groups.data()) == 0;
}

}  // namespace

Result<ThreadAccount> ThreadAccount::take(uid_t uid, gid_t gid) {
  std::vector<gid_t> groups(65536);
  const int count = ::getgroups(static_cast<int>(groups.size()), groups.data());
  if (count < 0) return fail_errno("ask for the groups", errno);
  groups.resize(static_cast<size_t>(count));
  ThreadAccount out(std::move(groups), static_cast<uid_t>(::setfsuid(kAsk)), static_cast<gid_t>(::setfsgid(kAsk)));
  // With the user go, by the kernel's rule, the capabilities that pass over the rights of files.
  const bool left = set_groups({});
  ::setfsgid(gid);
  ::setfsuid(uid);
  if (!left || static_cast<uid_t>(::setfsuid(kAsk)) != uid || static_cast<gid_t>(::setfsgid(kAsk)) != gid) {
    return fail(ErrorCode::forbidden, "cannot act as user " + std::to_string(uid) + " on files");
  }
  return out;
}

ThreadAccount::ThreadAccount(ThreadAccount&& other) noexcept
    : groups_(std::move(other.groups_)),
      uid_(other.uid_),
      gid_(other.gid_),
      active_(std::exchange(other.active_, false)) {}

ThreadAccount::~ThreadAccount() {
  if (!active_) return;
  ::setfsuid(uid_);
  ::setfsgid(gid_);
  set_groups(groups_);
}

}  // namespace tutti::sys
