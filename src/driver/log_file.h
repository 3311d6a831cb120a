#pragma once
// The log files of a task: written by its monitor, read by the worker, alive over restarts of both.
//
//   LOG_DIR/task.log, task.log.1, task.log.2     newest first; sizes and number in base/limits.h
//   2026-11-21T08:00:00.000000000Z stdout F text          F: a whole line · P: its newline is still to come
//
// Reading is by LogReader: one thread; it follows through rotation, as it keeps the file it is in open. It misses what
// was rotated away altogether (kLogFilesKept files) before it came to it, and nothing else.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tutti::driver {

inline constexpr std::string_view kLogFileName = "task.log";

enum class LogStream : uint8_t { out, err };

struct LogRecord {
  Time time;
  LogStream stream = LogStream::out;
  bool partial = false;
  std::string text;  // without newline
};

// nullopt for a line that is not a record (torn by a crash): readers skip it.
std::optional<LogRecord> parse_log_line(std::string_view line);
std::string format_log_line(const LogRecord& record);  // with newline

struct LogQuery {
  Time since;         // nothing older; 0: all
  int64_t tail = -1;  // only the last n records; < 0: all
  bool out = true;
  bool err = true;
};

// Everything there is when asked first, then what has come since at each further call. Never blocks: who follows
// calls again after a while, or when inotify says that the folder changed.
class LogReader {
 public:
  LogReader(std::string log_dir, LogQuery query);
  ~LogReader();
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;
  // At most about `max_bytes` of text; empty: nothing new. An absent folder is an empty log.
  Result<std::vector<LogRecord>> next(size_t max_bytes = 256u << 10);

 private:
  Status open_next();
  int index_of_open() const;
  Status seek_tail();
  bool wanted(const LogRecord& record) const;

  std::string log_dir_;
  LogQuery query_;
  int fd_ = -1;  // the file it is in
  uint64_t inode_ = 0;
  uint64_t offset_ = 0;
  bool started_ = false;
  bool rotated_ = false;  // seen to be closed by its writer: once read to its end after that, there is no more in it
  int64_t skip_ = 0;      // records to pass over for `tail`
};

}  // namespace tutti::driver
