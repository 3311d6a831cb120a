#include "driver/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <ctime>

#include "base/limits.h"

namespace tutti::driver {
namespace {

constexpr size_t kTimeLength = 30;  // 2026-11-21T08:00:00.000000000Z
constexpr size_t kHeadLength = kTimeLength + 10;

bool number(std::string_view text, int& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<Time> parse_nano_time(std::string_view t) {
  tm parts{};
  int nanos = 0;
  if (t.size() != kTimeLength || t[4] != '-' || t[10] != 'T' || t[19] != '.' || t[29] != 'Z') return std::nullopt;
  if (!number(t.substr(0, 4), parts.tm_year) || !number(t.substr(5, 2), parts.tm_mon) ||
      !number(t.substr(8, 2), parts.tm_mday) || !number(t.substr(11, 2), parts.tm_hour) ||
      !number(t.substr(14, 2), parts.tm_min) || !number(t.substr(17, 2), parts.tm_sec) ||
      !number(t.substr(20, 9), nanos)) {
    return std::nullopt;
  }
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  return Time{timegm(&parts) * 1'000'000'000LL + nanos};
}

std::string log_path(const std::string& log_dir, int index) {
  return log_dir + "/" + std::string(kLogFileName) + (index > 0 ? "." + std::to_string(index) : "");
}

}  // namespace

std::optional<LogRecord> parse_log_line(std::string_view line) {
  if (line.size() < kHeadLength || line[kTimeLength] != ' ' || line[kHeadLength - 1] != ' ') return std::nullopt;
  auto time = parse_nano_time(line.substr(0, kTimeLength));
  std::string_view stream = line.substr(kTimeLength + 1, 6);
  char kind = line[kTimeLength + 8];
  if (!time || (stream != "stdout" && stream != "stderr") || (kind != 'F' && kind != 'P')) return std::nullopt;
  return LogRecord{*time, stream == "stdout" ? LogStream::out : LogStream::err, kind == 'P',
                   std::string(line.substr(kHeadLength))};
}

std::string format_log_line(const LogRecord& record) {
  time_t whole = record.time.ns / 1'000'000'000;
  tm parts{};
  gmtime_r(&whole, &parts);
  char head[64];
  size_t n = strftime(head, sizeof head, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(head + n, sizeof head - n, ".%09lldZ", static_cast<long long>(record.time.ns % 1'000'000'000));
  return std::string(head) + (record.stream == LogStream::out ? " stdout " : " stderr ") +
         (record.partial ? "P " : "F ") + record.text + "\n";
}

LogReader::LogReader(std::string log_dir, LogQuery query) : log_dir_(std::move(log_dir)), query_(query) {}

LogReader::~LogReader() {
  if (fd_ >= 0) close(fd_);
}

bool LogReader::wanted(const LogRecord& record) const {
  return record.time >= query_.since && (record.stream == LogStream::out ? query_.out : query_.err);
}

// Where the open file is by now, as rotation renames it; one past the oldest: none is open, or it was rotated away.
int LogReader::index_of_open() const {
  for (int i = 0; fd_ >= 0 && i < limits::kLogFilesKept; ++i) {
    struct stat info{};
    if (stat(log_path(log_dir_, i).c_str(), &info) == 0 && info.st_ino == inode_) return i;
  }
  return limits::kLogFilesKept;
}

// The file after the one that is open: the oldest at first, else the next newer. Leaves fd_ as it is when there is no
// newer one, or when rotation goes on meanwhile: then the next call finds it.
Status LogReader::open_next() {
  const int newest_before = index_of_open();
  for (int i = newest_before - 1; i >= 0; --i) {
    int fd = open(log_path(log_dir_, i).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) continue;
    if (fd < 0) return fail_errno("open " + log_path(log_dir_, i), errno);
    if (index_of_open() != newest_before) {  // names moved under us: this may not be the next file
      close(fd);
      return {};
    }
    struct stat info{};
    fstat(fd, &info);
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
    inode_ = info.st_ino;
    offset_ = 0;
    rotated_ = false;
    return {};
  }
  return {};
}

// Counts what there is with a reader of its own, then passes over all but the last n.
Status LogReader::seek_tail() {
  if (query_.tail < 0) return {};
  LogQuery all = query_;
  all.tail = -1;
  LogReader counter(log_dir_, all);
  int64_t count = 0;
  for (;;) {
    TUTTI_TRY(auto records, counter.next(4u << 20));
    if (records.empty()) break;
    count += static_cast<int64_t>(records.size());
  }
  skip_ = count > query_.tail ? count - query_.tail : 0;
  return {};
}

Result<std::vector<LogRecord>> LogReader::next(size_t max_bytes) {
  if (!started_) {
    TUTTI_CHECK(seek_tail());
    started_ = true;
  }
  std::vector<LogRecord> out;
  size_t taken = 0;
  if (fd_ < 0) TUTTI_CHECK(open_next());
  while (fd_ >= 0 && taken < max_bytes) {
    char buffer[64 * 1024];
    ssize_t n = pread(fd_, buffer, sizeof buffer, static_cast<off_t>(offset_));
    if (n < 0) return fail_errno("read log", errno);
    std::string_view text(buffer, static_cast<size_t>(n));
    size_t end = text.rfind('\n');
    if (end == std::string_view::npos) {
      if (!rotated_) {
        rotated_ = index_of_open() != 0;
        if (!rotated_) break;  // the live file: what is not a whole line yet comes later
        continue;              // its writer may have added to it after we read and before it went on to the next
      }
      uint64_t before = inode_;
      TUTTI_CHECK(open_next());
      if (inode_ == before) break;  // the next one is still to be made
      continue;
    }
    offset_ += end + 1;
    for (size_t at = 0; at <= end;) {
      size_t stop = text.find('\n', at);
      auto record = parse_log_line(text.substr(at, stop - at));
      at = stop + 1;
      if (!record || !wanted(*record)) continue;
      if (skip_ > 0) {
        --skip_;
        continue;
      }
      taken += record->text.size() + kHeadLength;
      out.push_back(std::move(*record));
    }
  }
  return out;
}

}  // namespace tutti::driver
