#pragma once
// What streams are made of: frames of (channel, length, bytes) in an answer's body, the terminal in raw mode, and bytes
// written out whole.

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "model/codec.h"
#include "model/session.h"

namespace tutti::cli {

enum Channel : char { kStdin = 0, kStdout = 1, kStderr = 2, kControl = 3 };

// Takes whole frames out of a stream of pieces.
class Frames {
 public:
  template <class F>
  void feed(std::string_view piece, F&& each) {
    rest_ += piece;
    size_t at = 0;
    while (rest_.size() - at >= 5) {
      size_t length = 0;
      for (size_t i = 1; i <= 4; ++i) length = length << 8 | static_cast<unsigned char>(rest_[at + i]);
      if (rest_.size() - at - 5 < length) break;
      each(rest_[at], std::string_view(rest_).substr(at + 5, length));
      at += 5 + length;
    }
    rest_.erase(0, at);
  }

 private:
  std::string rest_;
};

// The terminal in raw mode while this lives.
class RawTerminal {
 public:
  explicit RawTerminal(bool wanted) : active_(wanted && ::tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!active_) return;
    termios raw = before_;
    ::cfmakeraw(&raw);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~RawTerminal() { restore(); }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  void restore() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
    active_ = false;
  }

 private:
  termios before_{};
  bool active_;
};

inline void write_out(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

// The terminal's size as a control frame; empty: there is no terminal.
inline std::string size_control() {
  winsize size{};
  if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0) return {};
  StreamControl control;
  control.columns = size.ws_col;
  control.rows = size.ws_row;
  return std::string(1, kControl) + to_json(control, {.omit_defaults = true});
}

}  // namespace tutti::cli
