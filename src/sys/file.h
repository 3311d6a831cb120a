#pragma once
// Files and folders: whole-file reads, atomic writes, recursive make and remove, and the lock that shows who lives.
// Stateless and thread-safe. Every fd opened here is close-on-exec.

#include <string>
#include <string_view>

#include "base/result.h"
#include "sys/fd.h"

namespace tutti::sys {

// The whole file; also works for /proc and /sys. `too_large` above max_bytes.
Result<std::string> read_file(const std::string& path, size_t max_bytes = 16u << 20);
// All bytes of `data` to an open fd, whatever write() takes at once.
Status write_all(int fd, std::string_view data);

struct WriteOptions {
  unsigned mode = 0644;
  bool sync = false;  // the file and its folder reach the disk before this returns
};
// Readers see the old file or the new one, never a part: a temporary file beside it, then rename.
Status write_file_atomic(const std::string& path, std::string_view data, WriteOptions options = {});
// To a file that exists, in one write: /proc and /sys.
Status write_existing(const std::string& path, std::string_view data);

// Like `mkdir -p`; fine if it is there.
Status make_dirs(const std::string& path, unsigned mode = 0755);
// Removes a file or a whole tree. Fine if it is not there. Never follows a symbolic link and never leaves the file
// system that `path` is on, so a mount left inside makes it fail (EBUSY) and does not lose what is mounted.
Status remove_tree(const std::string& path);
bool exists(const std::string& path);
// Whether a symbolic link stands anywhere on the way. False where the path ends in nothing.
bool leads_through_link(const std::string& path);

// How much of the file system that `path` is on can still be written, from 0 to 100.
Result<int> free_percent(const std::string& path);

// A lock that belongs to the open file: children that inherit the fd hold it too, and the kernel frees it when the last
// of them is gone. The proof that a process lives, without the danger of a process id given twice.
// `conflict` when somebody else holds it.
Result<UniqueFd> take_lock(const std::string& path);
// Whether anybody holds it, without taking it. False where the file does not exist.
bool lock_is_held(const std::string& path);

}  // namespace tutti::sys
