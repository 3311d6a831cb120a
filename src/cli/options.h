#pragma once
// Options: what may stand behind a dash, what each takes, and whether a value is one. Everything is checked here,
// before anything is sent. Pure.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tutti::cli {

enum class ValueKind : uint8_t {
  flag,  // none
  text,
  number,    // a count, 0 or more
  integer,   // may be negative
  duration,  // 30s, 10m
  since,     // a duration back from now, or a time
  memory,    // 256Mi; 256m and 1g as docker has them
  cpu,       // 500m, 1.5c; a bare number is cores
  format,    // of the output
};

struct Option {
  std::string_view name;
  char letter = 0;  // 0: none
  ValueKind kind = ValueKind::flag;
  std::string_view value;  // how the value is called in a help text
  std::string_view help;
  bool repeated = false;
  bool common = false;  // every command takes it
};

const std::vector<Option>& all_options();

// `invalid` with what would be right.
Status check_value(const Option& option, const std::string& value);

// As docker writes them too: "0.5" is half a core, "256m" and "1g" are 256Mi and 1Gi.
std::string cpu_text(const std::string& text);
std::string memory_text(const std::string& text);
// "2s" is two seconds before `now`; anything else has to be a time. Answers RFC 3339.
Result<std::string> since_text(const std::string& text, Time now);

}  // namespace tutti::cli
