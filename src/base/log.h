#pragma once
// Structured logging: one line a record, as text or JSON, to standard error.
//
// Thread-safe. A record is a level, a constant message and fields: log_info("instance started",
// {{"instance", id}, {"ms", "12"}}). Values that could be secrets never go in.

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace tutti {

enum class LogLevel { debug, info, warning, error, off };
enum class LogFormat { text, json };

struct LogField {
  std::string_view key;
  std::string value;
};

// Called once by main before threads start. `component` stands in each record ("manager", "worker").
void configure_logging(LogLevel level, LogFormat format, std::string component);

void log_record(LogLevel level, std::string_view message, std::initializer_list<LogField> fields);
inline void log_debug(std::string_view m, std::initializer_list<LogField> f = {}) {
  log_record(LogLevel::debug, m, f);
}
inline void log_info(std::string_view m, std::initializer_list<LogField> f = {}) {
  log_record(LogLevel::info, m, f);
}
inline void log_warning(std::string_view m, std::initializer_list<LogField> f = {}) {
  log_record(LogLevel::warning, m, f);
}
inline void log_error(std::string_view m, std::initializer_list<LogField> f = {}) {
  log_record(LogLevel::error, m, f);
}

}  // namespace tutti
