#pragma once
// Reads the log files of a task for a stream: the last lines, those since a time, and what comes (C04).
//
// Files: <log_dir>/task.log, rotated to task.log.1 …; one record a line: "<RFC 3339 time> <stdout|stderr> <F|P> <text>".
// Owner: one stream; one thread. read() never blocks.

#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tutti::worker {

struct LogRecord {
  bool err = false;
  std::string text;  // with its line break unless partial
};

class LogReader {
 public:
  LogReader(std::string log_dir, int64_t tail, Time since, bool out, bool err);
  ~LogReader();
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;

  // The next records, at most about 64 KiB; empty: nothing more now.
  std::vector<LogRecord> read();

 private:
  void start();
  bool wanted(std::string_view line, LogRecord& record) const;
  std::vector<LogRecord> backlog();

  const std::string path_;
  const int64_t tail_;
  const Time since_;
  const bool out_;
  const bool err_;
  bool started_ = false;
  int fd_ = -1;
  uint64_t inode_ = 0;
  std::string rest_;                  // of a line that is not complete yet
  std::vector<LogRecord> waiting_;    // of the backlog
  size_t waiting_at_ = 0;
};

}  // namespace tutti::worker
