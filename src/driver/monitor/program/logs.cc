#include "logs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

namespace monitor {
namespace {

// "2026-11-21T08:00:00.000000000Z"; days to dates after the proleptic Gregorian calendar.
void add_time(Text& out, int64_t ns) {
  int64_t seconds = ns / 1'000'000'000;
  int64_t days = seconds / 86400 + 719468;
  int64_t of_day = seconds % 86400;
  int64_t era = days / 146097;
  int64_t doe = days - era * 146097;
  int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  int64_t mp = (5 * doy + 2) / 153;
  int64_t month = mp < 10 ? mp + 3 : mp - 9;
  out.add_padded(yoe + era * 400 + (month <= 2 ? 1 : 0), 4).add('-').add_padded(month, 2).add('-');
  out.add_padded(doy - (153 * mp + 2) / 5 + 1, 2).add('T').add_padded(of_day / 3600, 2).add(':');
  out.add_padded(of_day / 60 % 60, 2).add(':').add_padded(of_day % 60, 2).add('.');
  out.add_padded(ns % 1'000'000'000, 9).add('Z');
}

}  // namespace

// The folder stays open: in the mount namespace that comes later its path may be hidden.
void Logs::start(const char* path, int64_t bytes, int64_t files) {
  limit_ = bytes > 0 ? bytes : INT64_MAX;
  files_ = files > 0 ? files : 1;
  const char* slash = strrchr(path, '/');
  Buffer<4096> folder;
  if (slash != nullptr) folder.add(path, static_cast<size_t>(slash - path) + 1).add('\0');
  folder_ = slash == nullptr ? AT_FDCWD : open(folder.data, O_PATH | O_DIRECTORY | O_CLOEXEC);
  path_ = slash == nullptr ? path : slash + 1;
  open_live();
}

void Logs::open_live() {
  fd_ = openat(folder_, path_, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  struct stat info;
  written_ = fd_ >= 0 && fstat(fd_, &info) == 0 ? info.st_size : 0;
}

void Logs::rotate() {
  if (fd_ >= 0) close(fd_);
  for (int64_t i = files_ - 1; i >= 1; --i) {
    Buffer<512> older;
    Buffer<512> newer;
    older.add(path_).add('.').add_number(i).add('\0');
    newer.add(path_);
    if (i > 1) newer.add('.').add_number(i - 1);
    newer.add('\0');
    renameat(folder_, newer.data, folder_, older.data);
  }
  if (files_ == 1) unlinkat(folder_, path_, 0);
  open_live();
}

void Logs::flush() {
  if (out_size_ == 0) return;
  if (fd_ >= 0 && write_all(fd_, out_, out_size_)) written_ += static_cast<int64_t>(out_size_);
  out_size_ = 0;
}

void Logs::record(int stream, const char* line, size_t size, bool partial) {
  size_t whole = size + 64;
  if (out_size_ + whole > sizeof out_) flush();
  if (written_ + static_cast<int64_t>(out_size_ + whole) > limit_ && written_ + static_cast<int64_t>(out_size_) > 0) {
    flush();
    rotate();
  }
  Text out(out_ + out_size_, sizeof out_ - out_size_);
  add_time(out, clock_ns(CLOCK_REALTIME));
  out.add(stream == 2 ? " stderr " : " stdout ").add(partial ? "P " : "F ").add(line, size).add('\n');
  out_size_ += out.size;
}

void Logs::write(int stream, const char* data, size_t size) {
  Pending& pending = pending_[stream == 2 ? 1 : 0];
  while (size > 0) {
    const char* newline = static_cast<const char*>(memchr(data, '\n', size));
    size_t part = newline != nullptr ? static_cast<size_t>(newline - data) : size;
    if (pending.size == 0 && newline != nullptr && part <= kLineMax) {
      record(stream, data, part, false);
    } else {
      size_t fits = kLineMax - pending.size;
      size_t taken = part < fits ? part : fits;
      memcpy(pending.data + pending.size, data, taken);
      pending.size += taken;
      if (taken < part) {  // longer than the buffer: as much as there is goes out as partial
        record(stream, pending.data, pending.size, true);
        pending.size = 0;
        data += taken;
        size -= taken;
        continue;
      }
      if (newline != nullptr) {
        record(stream, pending.data, pending.size, false);
        pending.size = 0;
      }
    }
    size_t used = part + (newline != nullptr ? 1 : 0);
    data += used;
    size -= used;
  }
  flush();
}

void Logs::finish() {
  for (int i = 0; i < 2; ++i) {
    if (pending_[i].size > 0) record(i + 1, pending_[i].data, pending_[i].size, true);
    pending_[i].size = 0;
  }
  flush();
}

}  // namespace monitor
