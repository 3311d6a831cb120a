#include "model/health.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace tutti {
namespace {

constexpr int kStatusMin = 100;
constexpr int kStatusMax = 599;

// A whole number in the range of statuses; 0: it is not.
int status_number(std::string_view text) {
  int value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = !text.empty() && code == std::errc() && end == text.data() + text.size();
  return whole && value >= kStatusMin && value <= kStatusMax ? value : 0;
}

}  // namespace

Result<std::vector<std::pair<int, int>>> parse_statuses(std::string_view text) {
  std::vector<std::pair<int, int>> out;
  for (const std::string& part : split(text, ',')) {
    const std::string_view word = trim(part);
    const size_t dash = word.find('-');
    const int from = status_number(word.substr(0, dash));
    const int to = dash == std::string_view::npos ? from : status_number(word.substr(dash + 1));
    if (from == 0 || to < from) return fail(ErrorCode::invalid, "not an HTTP status or a range: \"" + part + "\"");
    out.emplace_back(from, to);
  }
  return out;
}

bool is_expected(const HealthCheck& check, int status) {
  const auto ranges = parse_statuses(check.status);
  return ranges && std::ranges::any_of(
                       *ranges, [&](const auto& range) { return status >= range.first && status <= range.second; });
}

}  // namespace tutti
