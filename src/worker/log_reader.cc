#include "worker/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <deque>

#include "base/limits.h"

namespace tutti::worker {
namespace {

constexpr size_t kPieceBytes = 64u << 10;
constexpr size_t kBacklogRecordsMax = 100'000;

std::string read_all(int fd) {
  std::string out;
  char buffer[kPieceBytes];
  ssize_t n = 0;
  while ((n = ::read(fd, buffer, sizeof buffer)) > 0) out.append(buffer, static_cast<size_t>(n));
  return out;
}

}  // namespace

LogReader::LogReader(std::string log_dir, int64_t tail, Time since, bool out, bool err)
    : path_(std::move(log_dir) + "/task.log"), tail_(tail), since_(since), out_(out), err_(err) {}

LogReader::~LogReader() {
  if (fd_ >= 0) ::close(fd_);
}

bool LogReader::wanted(std::string_view line, LogRecord& record) const {
  const size_t a = line.find(' ');
  const size_t b = a == std::string_view::npos ? a : line.find(' ', a + 1);
  const size_t c = b == std::string_view::npos ? b : line.find(' ', b + 1);
  if (c == std::string_view::npos) return false;
  record.err = line.substr(a + 1, b - a - 1) == "stderr";
  if (record.err ? !err_ : !out_) return false;
  if (since_) {
    Result<Time> time = parse_time(line.substr(0, a));
    if (time && *time < since_) return false;
  }
  record.text = std::string(line.substr(c + 1));
  if (line.substr(b + 1, c - b - 1) != "P") record.text += '\n';
  return true;
}

// What the files hold at the start; the live file stays open and is followed from where this ended.
void LogReader::start() {
  started_ = true;
  std::deque<LogRecord> records;
  auto add = [&](const std::string& text, bool live) {
    size_t at = 0;
    while (at < text.size()) {
      const size_t end = text.find('\n', at);
      if (end == std::string::npos) {
        if (live) rest_ = text.substr(at);
        break;
      }
      LogRecord record;
      if (wanted(std::string_view(text).substr(at, end - at), record)) records.push_back(std::move(record));
      if (records.size() > kBacklogRecordsMax || (tail_ >= 0 && records.size() > static_cast<size_t>(tail_))) records.pop_front();
      at = end + 1;
    }
  };
  for (int i = limits::kLogFilesKept - 1; i >= 1; --i) {
    const int fd = ::open((path_ + "." + std::to_string(i)).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    add(read_all(fd), false);
    ::close(fd);
  }
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ >= 0) {
    struct stat info {};
    if (::fstat(fd_, &info) == 0) inode_ = info.st_ino;
    add(read_all(fd_), true);
  }
  waiting_.assign(std::make_move_iterator(records.begin()), std::make_move_iterator(records.end()));
}

std::vector<LogRecord> LogReader::backlog() {
  std::vector<LogRecord> out;
  size_t bytes = 0;
  while (waiting_at_ < waiting_.size() && bytes < kPieceBytes) {
    bytes += waiting_[waiting_at_].text.size();
    out.push_back(std::move(waiting_[waiting_at_++]));
  }
  if (waiting_at_ == waiting_.size()) waiting_.clear(), waiting_at_ = 0;
  return out;
}

std::vector<LogRecord> LogReader::read() {
  if (!started_) start();
  if (!waiting_.empty()) return backlog();
  std::vector<LogRecord> out;
  if (fd_ < 0) {
    fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat info {};
    if (fd_ >= 0 && ::fstat(fd_, &info) == 0) inode_ = info.st_ino;
  }
  if (fd_ < 0) return out;
  char buffer[kPieceBytes];
  const ssize_t n = ::read(fd_, buffer, sizeof buffer);
  if (n <= 0) {
    // At the end of this file: was it rotated away meanwhile?
    struct stat info {};
    if (::stat(path_.c_str(), &info) == 0 && info.st_ino != inode_) {
      ::close(fd_);
      fd_ = -1;
      rest_.clear();
      return read();
    }
    return out;
  }
  rest_.append(buffer, static_cast<size_t>(n));
  size_t at = 0;
  for (size_t end = 0; (end = rest_.find('\n', at)) != std::string::npos; at = end + 1) {
    LogRecord record;
    if (wanted(std::string_view(rest_).substr(at, end - at), record)) out.push_back(std::move(record));
  }
  rest_.erase(0, at);
  return out;
}

}  // namespace tutti::worker
