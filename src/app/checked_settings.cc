#include "app/checked_settings.h"

#include <algorithm>
#include <charconv>

#include "base/limits.h"
#include "base/text.h"
#include "model/validate.h"
#include "model/values.h"
#include "sys/netlink.h"

namespace tutti::app {
namespace {

tl::unexpected<Error> wrong(const Settings& settings, const std::string& key, const std::string& what) {
  return fail(ErrorCode::invalid, settings.origin(key) + ": " + key + ": " + what);
}

bool is_bare(const std::string& text) {
  return text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

Result<Millicores> cpu_setting(const Settings& settings, const std::string& key, int64_t least) {
  const std::string& text = settings.get(key);
  if (text.empty()) return Millicores{};
  auto value = parse_millicores(text);
  if (!value) return wrong(settings, key, value.error().message);
  if (value->value < least) return wrong(settings, key, "'" + text + "' is nothing: write 500m or 2c, or leave it out");
  return value;
}

Result<Bytes> memory_setting(const Settings& settings, const std::string& key, int64_t least) {
  const std::string& text = settings.get(key);
  if (text.empty()) return Bytes{};
  auto value = parse_bytes(text);
  if (!value) return wrong(settings, key, value.error().message);
  if (value->value < least)
    return wrong(settings, key, "'" + text + "' is nothing: write 512Mi or 4Gi, or leave it out");
  if (is_bare(text) && value->value > 0 && value->value < (1 << 20))
    return wrong(
        settings, key,
        "a bare " + text + " is ambiguous: it means " + text + " bytes: write " + text + "Mi or " + text + "Gi");
  return value;
}

Result<std::map<std::string, int64_t>> node_limits_setting(const Settings& settings) {
  std::map<std::string, int64_t> out;
  for (const std::string& part : split(settings.get("node-limits"), ',')) {
    if (part.empty()) continue;
    const size_t at = part.find('=');
    int64_t count = 0;
    const char* end = part.data() + part.size();
    const bool number = at != std::string::npos && std::from_chars(part.data() + at + 1, end, count).ptr == end;
    if (!number || !is_name(part.substr(0, at)) || count < 1 || count > limits::kNodeLimitMax)
      return wrong(settings, "node-limits",
                   "'" + part + "' is not name=count (1 to " + std::to_string(limits::kNodeLimitMax) +
                       ", kNodeLimitMax): write licence=2");
    out[part.substr(0, at)] = count;
  }
  return out;
}

Status check_runtime_setting(const Settings& settings) {
  const std::string& wanted = settings.get("container-runtime");
  if (wanted.empty() || wanted == "crun" || wanted == "runc") return {};
  return wrong(settings, "container-runtime",
               "'" + wanted + "' is no runtime that is used here: write crun or runc, or leave it out");
}

Status check_log_level(const Settings& settings) {
  const std::string& level = settings.get("log-level");
  if (level == "debug" || level == "info" || level == "warning" || level == "error") return {};
  return wrong(settings, "log-level", "'" + level + "' is none: write debug, info, warning or error");
}

Status check_log_settings(const Settings& settings) {
  TUTTI_CHECK(check_log_level(settings));
  const std::string& format = settings.get("log-format");
  if (format == "text" || format == "json") return {};
  return wrong(settings, "log-format", "'" + format + "' is none: write text or json");
}

Result<std::string> network_setting(const Settings& settings) {
  const std::string& text = settings.get("network");
  if (text.empty()) return text;
  const auto prefix = sys::parse_prefix(text);
  if (!prefix) return wrong(settings, "network", prefix.error().message + "; a network is a prefix of /8 to /24");
  if (prefix->length < 8 || prefix->length > 24) {
    return fail(ErrorCode::invalid, settings.origin("network") + ": network is a prefix of /8 to /24, not '" + text +
                                        "': write 10.86.0.0/16");
  }
  return text;
}

}  // namespace tutti::app
