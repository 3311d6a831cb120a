#include "model/values.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <limits>
#include <span>

namespace tutti {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

// number[.fraction]unit, exactly: what does not come out as a whole number of the base unit is refused.
Result<int64_t> parse_amount(std::string_view text, std::span<const Unit> units, std::string_view what,
                             std::string_view example) {
  auto refuse = [&](std::string_view why) {
    return fail(ErrorCode::invalid, "not " + std::string(what) + ": \"" + std::string(text.substr(0, 60)) +
                                        "\": " + std::string(why) + ", like " + std::string(example));
  };
  size_t number_end = text.find_first_not_of("0123456789.");
  std::string_view number = text.substr(0, number_end);
  std::string_view name = number_end == std::string_view::npos ? std::string_view() : text.substr(number_end);
  size_t dot = number.find('.');
  std::string_view whole = number.substr(0, dot);
  std::string_view fraction = dot == std::string_view::npos ? std::string_view() : number.substr(dot + 1);
  if (whole.empty() || whole.size() > 18 || fraction.size() > 12 ||
      (dot != std::string_view::npos && fraction.empty()) || fraction.find('.') != std::string_view::npos) {
    return refuse("write a number and a unit");
  }
  for (const Unit& unit : units) {
    if (unit.name != name) continue;
    __int128 value = 0;
    for (char c : whole) value = value * 10 + (c - '0');
    value *= unit.factor;
    __int128 part = 0;
    __int128 scale = 1;
    for (char c : fraction) part = part * 10 + (c - '0'), scale *= 10;
    part *= unit.factor;
    if (part % scale != 0) return refuse("it is not a whole number of the smallest unit");
    value += part / scale;
    if (value > std::numeric_limits<int64_t>::max()) return refuse("it is too large");
    return static_cast<int64_t>(value);
  }
  std::string known;
  for (const Unit& unit : units) {
    if (unit.name.empty()) continue;
    known += (known.empty() ? "" : " ") + std::string(unit.name);
  }
  return refuse(name.empty() ? "it has no unit (" + known + ")" : "no such unit (" + known + ")");
}

constexpr std::array<Unit, 2> kCpuUnits{{{"m", 1}, {"c", 1000}}};
constexpr std::array<Unit, 9> kByteUnits{{{"", 1},
                                          {"k", 1000},
                                          {"M", 1'000'000},
                                          {"G", 1'000'000'000},
                                          {"T", 1'000'000'000'000},
                                          {"Ki", int64_t{1} << 10},
                                          {"Mi", int64_t{1} << 20},
                                          {"Gi", int64_t{1} << 30},
                                          {"Ti", int64_t{1} << 40}}};

}  // namespace

Result<Millicores> parse_millicores(std::string_view text) {
  TUTTI_TRY(int64_t value, parse_amount(text, kCpuUnits, "an amount of cpu", "500m or 1.5c"));
  return Millicores{value};
}

Result<Bytes> parse_bytes(std::string_view text) {
  TUTTI_TRY(int64_t value, parse_amount(text, kByteUnits, "a size", "256Mi or 1G"));
  return Bytes{value};
}

std::string format_millicores(Millicores v) {
  if (v.value != 0 && v.value % 1000 == 0) return std::to_string(v.value / 1000) + "c";
  return std::to_string(v.value) + "m";
}

std::string format_bytes(Bytes v) {
  static constexpr std::array<std::string_view, 5> kNames{"", "Ki", "Mi", "Gi", "Ti"};
  size_t unit = 0;
  double amount = static_cast<double>(v.value);
  while ((amount >= 1024 || amount <= -1024) && unit + 1 < kNames.size()) amount /= 1024, ++unit;
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, "%.1f", amount);
  std::string out = buffer;
  if (out.ends_with(".0")) out.resize(out.size() - 2);
  return out + std::string(kNames[unit]);
}

}  // namespace tutti
