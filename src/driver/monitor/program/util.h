#pragma once
// Small tools of the monitor: text in fixed buffers, the reason for a failure, the clock.

#include <stddef.h>
#include <stdint.h>

namespace monitor {

// Appends and silently stops at its end: what is longer is a message for people that may be cut.
struct Text {
  char* data;
  size_t room;
  size_t size = 0;
  Text(char* buffer, size_t bytes) : data(buffer), room(bytes) {}
  Text& add(const char* text);
  Text& add(const char* text, size_t n);
  Text& add(char c);
  Text& add_number(int64_t value);
  Text& add_padded(int64_t value, int digits);
  Text& add_json(const char* text);  // escaped, without quotes
};
template <size_t N>
struct Buffer : Text {
  char bytes[N];
  Buffer() : Text(bytes, N) {}
};

// Why something failed: 'r' retryable, 'f' failed, 'x' rejected, and a sentence.
struct Problem {
  char kind = 0;
  Buffer<2048> message;
};
// "what subject: strerror(errno)"; always false.
bool problem(Problem& out, char kind, const char* what, const char* subject = nullptr, bool with_errno = true);

int64_t clock_ns(int clock);
bool write_all(int fd, const char* data, size_t size);
// Replaces `path` (below the current folder) by one rename.
bool write_file(const char* path, const char* data, size_t size);
int64_t field_of_file(int fd, const char* field);  // "name number" lines; −1 where there is none
int64_t number_of_file(const char* path);          // −1 where there is none

}  // namespace monitor
