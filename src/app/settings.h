#pragma once
// Settings: configuration by file (YAML), environment (TUTTI_…) and flags, in that rising order (T05).
//
// One table of keys; each value remembers where it came from. A key that nobody knows is refused with the nearest right
// one. Main thread only.

#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace tutti::app {

struct Setting {
  std::string key;  // "api-port": flag --api-port, file key api-port, environment TUTTI_API_PORT
  std::string default_value;
  std::string help;
};

class Settings {
 public:
  explicit Settings(std::vector<Setting> table);

  // Reads the file (--config or TUTTI_CONFIG_FILE; a missing default file is fine), the environment, then the flags.
  Status load(const std::vector<std::string>& arguments);
  const std::string& get(const std::string& key) const;
  Result<int64_t> number(const std::string& key, int64_t least, int64_t most) const;
  bool flag(const std::string& key) const;
  const std::string& origin(const std::string& key) const;
  bool help_wanted() const { return help_; }
  std::string help_text() const;
  // "key: value   # origin" a line.
  std::string show() const;

 private:
  struct Value {
    std::string value;
    std::string origin;
  };
  Status set(const std::string& key, std::string value, std::string origin);
  Status load_file(const std::string& path, bool required);

  std::vector<Setting> table_;
  std::map<std::string, Value> values_;
  bool help_ = false;
};

}  // namespace tutti::app
