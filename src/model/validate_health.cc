#include "model/validate_health.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/limits.h"
#include "base/text.h"
#include "model/codec_impl.h"
#include "model/validate.h"

namespace tutti {
namespace {

constexpr Duration kIntervalMin = milliseconds(limits::kCheckIntervalMsMin);
constexpr Duration kIntervalMax = seconds(24 * 3600);
constexpr size_t kTextMax = 4'096;
constexpr size_t kHeadersMax = 32;
constexpr size_t kServiceMax = 127;
// What a method and a header's name are made of (a token of RFC 9110).
constexpr std::string_view kTokenExtras = "!#$%&'*+-.^_`|~";

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || kTokenExtras.contains(c);
  });
}
bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c != 0x7f; });
}

class CheckValidator {
 public:
  CheckValidator(const TaskSpec& task, const HealthCheck& check, std::string at, std::vector<ErrorDetail>& errors)
      : task_(task), check_(check), at_(std::move(at)), errors_(errors) {}

  void run() {
    if (!check_.name.empty() && !is_name(check_.name))
      wrong("name", "not a name: \"" + check_.name + "\"", "lower-case letters, digits and '-' between them");
    times();
    const bool network = check_.type != CheckType::exec;
    if (network) port();
    if (check_.type == CheckType::http) http();
    if (check_.type == CheckType::exec) command();
    if (check_.service.size() > kServiceMax || !is_printable(check_.service))
      wrong("service", "not the name of a service", "at most " + std::to_string(kServiceMax) + " letters");
    const HealthCheck defaults;
    auto only = [&](const char* field, bool changed, CheckType type) {
      if (changed && check_.type != type)
        wrong(field,
              "only a check of type " + std::string(codec::words_of<CheckType>()[static_cast<size_t>(type)].word) +
                  " has one",
              "leave it out");
    };
    only("path", check_.path != defaults.path, CheckType::http);
    only("method", check_.method != defaults.method, CheckType::http);
    only("headers", !check_.headers.empty(), CheckType::http);
    only("status", check_.status != defaults.status, CheckType::http);
    only("service", !check_.service.empty(), CheckType::grpc);
    only("command", !check_.command.empty(), CheckType::exec);
    if (!network && !check_.port.empty()) wrong("port", "a command is asked through no port", "leave it out");
  }

 private:
  void wrong(std::string_view field, std::string message, std::string hint = {}) {
    errors_.push_back({at_ + std::string(field), std::move(message), std::move(hint)});
  }
  template <class T>
  void range(std::string_view field, T value, T min, T max, const std::string& hint) {
    if (value < min || value > max) wrong(field, "out of range", hint);
  }
  void times() {
    range("interval", check_.interval, kIntervalMin, kIntervalMax,
          "from " + format_duration(kIntervalMin) + " (kCheckIntervalMsMin) to 24h");
    range("timeout", check_.timeout, milliseconds(1), seconds(limits::kCheckTimeoutSecondsMax),
          "from 1ms to " + format_duration(seconds(limits::kCheckTimeoutSecondsMax)) + " (kCheckTimeoutSecondsMax)");
    range("initial_delay", check_.initial_delay, Duration{}, kIntervalMax, "from 0s to 24h");
    const std::string counts = "from 1 to " + std::to_string(limits::kCheckThresholdMax) + " (kCheckThresholdMax)";
    range("failures", check_.failures, 1, limits::kCheckThresholdMax, counts);
    range("successes", check_.successes, 1, limits::kCheckThresholdMax, counts);
  }
  void port() {
    if (task_.network == NetworkMode::none)
      return wrong("type", "a task without a network cannot be connected to", "type: exec, or network: bridge");
    if (check_.port.empty())
      return wrong("port", "which of the task's ports is not clear", "port: the name of one of them, or a number");
    const auto named = std::ranges::find(task_.ports, check_.port, &PortSpec::name);
    if (named != task_.ports.end()) {
      if (named->protocol != Protocol::tcp) wrong("port", "port \"" + check_.port + "\" is of UDP", "name one of TCP");
      return;
    }
    int number = 0;
    const char* end = check_.port.data() + check_.port.size();
    const auto [stop, code] = std::from_chars(check_.port.data(), end, number);
    if (code == std::errc() && stop == end && number >= 1 && number <= 65535) return;
    std::vector<std::string_view> names;
    for (const PortSpec& each : task_.ports) names.push_back(each.name);
    const std::string_view near = nearest_word(check_.port, names);
    wrong("port", "the task has no port \"" + check_.port + "\"",
          near.empty() ? "the name of one of its ports, or a number from 1 to 65535"
                       : "did you mean \"" + std::string(near) + "\"?");
  }
  void http() {
    if (!check_.path.starts_with('/') || check_.path.size() > kTextMax || !is_printable(check_.path) ||
        check_.path.contains(' '))
      wrong("path", "not the path of a request", "it begins with / and has no blanks");
    if (!is_token(check_.method) || check_.method.size() > 32)
      wrong("method", "not a method: \"" + check_.method + "\"", "write GET or HEAD");
    if (auto statuses = parse_statuses(check_.status); !statuses)
      wrong("status", statuses.error().message, "write \"200\" or \"200-299,401\"");
    if (check_.headers.size() > kHeadersMax) wrong("headers", "more than " + std::to_string(kHeadersMax));
    for (const auto& [key, value] : check_.headers) {
      if (!is_token(key) || !is_printable(value) || key.size() + value.size() > kTextMax)
        wrong("headers." + key, "not a header", "its name has no blanks, its value is one line");
    }
  }
  void command() {
    if (check_.command.empty() || check_.command.front().empty())
      return wrong("command", "there is no command", "command: [/bin/true]");
    size_t bytes = 0;
    for (const std::string& word : check_.command) {
      bytes += word.size() + 1;
      if (word.contains('\0')) return wrong("command", "holds a zero byte");
    }
    if (bytes > kTextMax) wrong("command", "more than " + std::to_string(kTextMax) + " bytes in all");
  }

  const TaskSpec& task_;
  const HealthCheck& check_;
  const std::string at_;
  std::vector<ErrorDetail>& errors_;
};

}  // namespace

void check_health(const TaskSpec& task, const std::string& at, std::vector<ErrorDetail>& errors) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < task.health.size() && errors.size() < kValidationErrorsMax; ++i) {
    const HealthCheck& check = task.health[i];
    const std::string field = at + "health[" + std::to_string(i) + "].";
    CheckValidator(task, check, field, errors).run();
    if (!check.name.empty() && !names.insert(check.name).second)
      errors.push_back({field + "name", "two checks are called \"" + check.name + "\"", "give each its own name"});
  }
}

void name_checks(TaskSpec& task) {
  for (HealthCheck& check : task.health) {
    if (check.name.empty()) {
      const std::string word = codec::words_of<CheckKind>()[static_cast<size_t>(check.kind)].word;
      std::string name = word;
      for (int n = 2; std::ranges::find(task.health, name, &HealthCheck::name) != task.health.end(); ++n)
        name = word + "-" + std::to_string(n);
      check.name = std::move(name);
    }
    if (!check.port.empty() || check.type == CheckType::exec) continue;
    const auto is_tcp = [](const PortSpec& port) { return port.protocol == Protocol::tcp; };
    if (std::ranges::count_if(task.ports, is_tcp) == 1) check.port = std::ranges::find_if(task.ports, is_tcp)->name;
  }
}

}  // namespace tutti
