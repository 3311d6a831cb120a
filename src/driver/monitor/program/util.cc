#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

namespace monitor {

Text& Text::add(const char* text, size_t n) {
  if (n > room - size) n = room - size;
  memcpy(data + size, text, n);
  size += n;
  return *this;
}
Text& Text::add(const char* text) {
  return add(text, strlen(text));
}
Text& Text::add(char c) {
  return add(&c, 1);
}
Text& Text::add_number(int64_t value) {
  if (value < 0) {
    add('-');
    value = -value;
  }
  int digits = 1;
  for (int64_t rest = value; rest >= 10; rest /= 10) ++digits;
  return add_padded(value, digits);
}
Text& Text::add_padded(int64_t value, int digits) {
  char out[20];
  for (int i = digits - 1; i >= 0; --i, value /= 10) out[i] = static_cast<char>('0' + value % 10);
  return add(out, static_cast<size_t>(digits));
}
Text& Text::add_json(const char* text) {
  for (; *text != '\0'; ++text) {
    unsigned char c = static_cast<unsigned char>(*text);
    if (c == '"' || c == '\\')
      add('\\').add(*text);
    else if (c < 0x20)
      add(' ');
    else
      add(*text);
  }
  return *this;
}

bool problem(Problem& out, char kind, const char* what, const char* subject, bool with_errno) {
  int error = errno;
  out.kind = kind;
  out.message.add(what);
  if (subject != nullptr) out.message.add(' ').add(subject);
  if (with_errno) out.message.add(": ").add(strerror(error));
  return false;
}

int64_t clock_ns(int clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

bool write_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t n = write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool write_file(const char* path, const char* data, size_t size) {
  Buffer<256> temporary;
  temporary.add(path).add(".tmp").add('\0');
  int fd = open(temporary.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool written = write_all(fd, data, size);
  close(fd);
  return written && rename(temporary.data, path) == 0;
}

int64_t field_of_file(int fd, const char* field) {
  char text[4096];
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  if (n <= 0) return -1;
  text[n] = '\0';
  size_t length = strlen(field);
  for (char* line = text; line != nullptr; line = strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (strncmp(line, field, length) == 0 && line[length] == ' ') return strtoll(line + length + 1, nullptr, 10);
  }
  return -1;
}

int64_t number_of_file(const char* path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  char text[32];
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return -1;
  text[n] = '\0';
  return strtoll(text, nullptr, 10);
}

}  // namespace monitor
