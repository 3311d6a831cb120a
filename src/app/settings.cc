#include "app/settings.h"

#include <algorithm>
#include <cstdlib>

#include "base/text.h"
#include "model/document.h"
#include "sys/file.h"

namespace tutti::app {
namespace {

constexpr const char* kDefaultFile = "/etc/tutti/tutti.yaml";

std::string environment_name(std::string key) {
  std::transform(key.begin(), key.end(), key.begin(),
                 [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
  return "TUTTI_" + key;
}

}  // namespace

Settings::Settings(std::vector<Setting> table) : table_(std::move(table)) {
  for (const Setting& setting : table_) values_[setting.key] = {setting.default_value, "default"};
}

Status Settings::set(const std::string& key, std::string value, std::string origin) {
  auto at = values_.find(key);
  if (at == values_.end()) {
    std::vector<std::string_view> known;
    for (const Setting& setting : table_) known.push_back(setting.key);
    const std::string_view nearest = nearest_word(key, known);
    return fail(ErrorCode::invalid, origin + ": there is no setting '" + key + "'" +
                                        (nearest.empty() ? "" : ": did you mean '" + std::string(nearest) + "'?"));
  }
  at->second = {std::move(value), std::move(origin)};
  return {};
}

Status Settings::load_file(const std::string& path, bool required) {
  auto text = sys::read_file(path);
  if (!text) {
    if (!required && text.error().code == ErrorCode::not_found) return {};
    return tl::make_unexpected(std::move(text).error());
  }
  auto document = parse_yaml_document(*text);
  if (!document) return tl::make_unexpected(std::move(document).error().in(path));
  if (document->size() == 0 || (*document)[0].kind == DocKind::null) return {};
  if ((*document)[0].kind != DocKind::map)
    return fail(ErrorCode::invalid, path + ": a settings file holds 'key: value' lines");
  for (uint32_t i = 1; i < (*document)[0].next; i = (*document)[i].next) {
    const DocNode& node = (*document)[i];
    if (node.kind != DocKind::plain && node.kind != DocKind::string) {
      return fail(ErrorCode::invalid,
                  path + ", " + to_text(document->position(i)) + ": " + std::string(node.key) + " takes one value");
    }
    TUTTI_CHECK(set(std::string(node.key), std::string(node.text), path + ", " + to_text(document->position(i))));
  }
  return {};
}

Status Settings::load(const std::vector<std::string>& arguments) {
  std::vector<std::pair<std::string, std::string>> flags;
  const char* file_variable = std::getenv("TUTTI_CONFIG_FILE");
  std::string file = file_variable != nullptr ? file_variable : "";
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string argument = arguments[i];
    if (argument == "--help" || argument == "-h") {
      help_ = true;
      return {};
    }
    if (!argument.starts_with("--"))
      return fail(ErrorCode::invalid, "'" + argument + "' was not expected: settings are written --key value");
    argument.erase(0, 2);
    std::string value;
    if (const size_t at = argument.find('='); at != std::string::npos) {
      value = argument.substr(at + 1);
      argument.resize(at);
    } else if (i + 1 < arguments.size() && !arguments[i + 1].starts_with("--")) {
      value = arguments[++i];
    } else {
      value = "true";
    }
    if (argument == "config")
      file = value;
    else
      flags.emplace_back(argument, value);
  }
  TUTTI_CHECK(load_file(file.empty() ? kDefaultFile : file, !file.empty()));
  for (const Setting& setting : table_) {
    const std::string name = environment_name(setting.key);
    if (const char* value = std::getenv(name.c_str())) TUTTI_CHECK(set(setting.key, value, name));
  }
  for (auto& [key, value] : flags) TUTTI_CHECK(set(key, value, "--" + key));
  return {};
}

const std::string& Settings::get(const std::string& key) const {
  TUTTI_INVARIANT(values_.contains(key), "a setting that is not in the table");
  return values_.at(key).value;
}

const std::string& Settings::origin(const std::string& key) const {
  return values_.at(key).origin;
}

bool Settings::flag(const std::string& key) const {
  const std::string& value = get(key);
  return value == "true" || value == "1" || value == "yes" || value == "on";
}

Result<int64_t> Settings::number(const std::string& key, int64_t least, int64_t most) const {
  const std::string& text = get(key);
  char* end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != 0 || value < least || value > most) {
    return fail(ErrorCode::invalid, origin(key) + ": " + key + " is a number from " + std::to_string(least) + " to " +
                                        std::to_string(most) + ", not '" + text + "'");
  }
  return value;
}

std::string Settings::help_text() const {
  std::string out;
  for (const Setting& setting : table_) {
    out +=
        "  --" + setting.key + std::string(setting.key.size() < 20 ? 20 - setting.key.size() : 1, ' ') + setting.help;
    if (!setting.default_value.empty()) out += " (" + setting.default_value + ")";
    out += "\n";
  }
  out += "Each also as TUTTI_… in the environment (TUTTI_API_PORT) and as a key of the YAML file named by --config.\n";
  return out;
}

std::string Settings::show() const {
  std::string out;
  for (const Setting& setting : table_) {
    const Value& value = values_.at(setting.key);
    const bool secret = setting.key == "token";
    out += setting.key + ": " +
           (secret && !value.value.empty() ? "(set)"
            : value.value.empty()          ? "\"\""
                                           : value.value) +
           "  # " + value.origin + "\n";
  }
  return out;
}

}  // namespace tutti::app
