#pragma once
// Writes what a task says into rotated log files (format: driver/log_file.h): splits it into lines, stamps each,
// keeps at most `files` files of `bytes`. A line that is longer than the buffer, or the last one without an end, is
// written as partial. Never blocks the task for long and never fails: what the disk does not take is lost.

#include <stddef.h>
#include <stdint.h>

namespace monitor {

class Logs {
 public:
  // `path` must stay valid.
  void start(const char* path, int64_t bytes, int64_t files);
  void write(int stream, const char* data, size_t size);  // 1: stdout, 2: stderr
  void finish();                                          // what has no newline yet, as partial

 private:
  void record(int stream, const char* line, size_t size, bool partial);
  void flush();
  void rotate();
  void open_live();

  static constexpr size_t kLineMax = 16 * 1024;
  struct Pending {
    char data[kLineMax];
    size_t size = 0;
  };
  Pending pending_[2];
  char out_[48 * 1024];
  size_t out_size_ = 0;
  const char* path_ = nullptr;
  int fd_ = -1;
  int64_t written_ = 0;
  int64_t limit_ = 0;
  int64_t files_ = 1;
  int folder_ = -1;
};

}  // namespace monitor
