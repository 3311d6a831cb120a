#include "base/log.h"

#include <unistd.h>

#include <mutex>

#include "base/time.h"

namespace tutti {
namespace {

struct Settings {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::text;
  std::string component;
  std::mutex mutex;  // one record, one write
};

// The process's one sink, like stderr itself; configured once before threads start.
Settings& settings() {
  static Settings value;
  return value;
}

std::string_view level_word(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warning: return "warning";
    case LogLevel::error: return "error";
    case LogLevel::off: return "off";
  }
  return "error";
}

void append_quoted(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (u < 0x20 || u == 0x7f) {
      out += "\\u00";
      out += kHex[u >> 4];
      out += kHex[u & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

bool is_plain(std::string_view text) {
  if (text.empty()) return false;
  for (char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u == 0x7f || c == '"' || c == '=' || c == '\\') return false;
  }
  return true;
}

}  // namespace

void configure_logging(LogLevel level, LogFormat format, std::string component) {
  Settings& s = settings();
  s.level = level;
  s.format = format;
  s.component = std::move(component);
}

void log_record(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  Settings& s = settings();
  if (level < s.level) return;
  const std::string time = format_time(SystemClock().now());
  std::string line;
  if (s.format == LogFormat::json) {
    line = "{\"time\":\"" + time + "\",\"level\":\"" + std::string(level_word(level)) + "\"";
    if (!s.component.empty()) {
      line += ",\"component\":";
      append_quoted(line, s.component);
    }
    line += ",\"message\":";
    append_quoted(line, message);
    for (const LogField& field : fields) {
      line += ',';
      append_quoted(line, field.key);
      line += ':';
      append_quoted(line, field.value);
    }
    line += "}\n";
  } else {
    line = time + " " + std::string(level_word(level)) + (s.component.empty() ? "" : " [" + s.component + "]") + " ";
    line += message;
    for (const LogField& field : fields) {
      line += ' ';
      line += field.key;
      line += '=';
      if (is_plain(field.value))
        line += field.value;
      else
        append_quoted(line, field.value);
    }
    line += '\n';
  }
  std::lock_guard lock(s.mutex);
  // A log that cannot be written is no reason to stop working.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace tutti
