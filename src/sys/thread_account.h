#pragma once
// A thread of root that touches files with no more right than one account has, as long as this lives. The kernel keeps
// this per thread: other threads go on as they are. For work on behalf of a task that shares the node's file system.

#include <sys/types.h>

#include <vector>

#include "base/result.h"

namespace tutti::sys {

class ThreadAccount {
 public:
  // `forbidden` when the kernel refuses: then nothing must be touched.
  static Result<ThreadAccount> take(uid_t uid, gid_t gid);
  ~ThreadAccount();  // on the thread that took it
  ThreadAccount(ThreadAccount&& other) noexcept;
  ThreadAccount& operator=(ThreadAccount&&) = delete;

 private:
  ThreadAccount(std::vector<gid_t> groups, uid_t uid, gid_t gid) : groups_(std::move(groups)), uid_(uid), gid_(gid) {}
  std::vector<gid_t> groups_;  // what the thread had before
  uid_t uid_;
  gid_t gid_;
  bool active_ = true;
};

}  // namespace tutti::sys
