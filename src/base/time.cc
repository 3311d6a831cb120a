#include "base/time.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <chrono>
#include <ctime>

namespace tutti {
namespace {

struct Unit {
  std::string_view name;
  int64_t ns;
};
constexpr std::array<Unit, 7> kUnits{{{"d", 86'400'000'000'000},
                                      {"h", 3'600'000'000'000},
                                      {"m", 60'000'000'000},
                                      {"s", 1'000'000'000},
                                      {"ms", 1'000'000},
                                      {"us", 1'000},
                                      {"ns", 1}}};
constexpr int64_t kDurationMax = 100LL * 366 * 86'400'000'000'000 / 4;  // leaves room for arithmetic
constexpr std::string_view kDurationHint = "write 250ms, 30s, 5m or 1h30m";

int64_t read_clock(clockid_t id) {
  timespec ts{};
  clock_gettime(id, &ts);
  return static_cast<int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}

Result<int64_t> digits(std::string_view text, size_t at, size_t count) {
  int64_t value = 0;
  if (at + count > text.size()) return fail(ErrorCode::invalid, "too short");
  for (size_t i = at; i < at + count; ++i) {
    if (std::isdigit(static_cast<unsigned char>(text[i])) == 0) return fail(ErrorCode::invalid, "not a digit");
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

}  // namespace

std::string format_duration(Duration d) {
  if (d.ns == 0) return "0s";
  std::string out;
  int64_t left = d.ns;
  if (left < 0) {
    out = "-";
    left = -left;
  }
  for (const Unit& unit : kUnits) {
    if (unit.name == "d") continue;  // 48h reads better than 2d in a file that also says 90m
    if (left < unit.ns) continue;
    out += fmt::format("{}{}", left / unit.ns, unit.name);
    left %= unit.ns;
  }
  return out;
}

Result<Duration> parse_duration(std::string_view text) {
  auto refuse = [&](std::string_view why) {
    return fail(ErrorCode::invalid, fmt::format("'{}' is not a duration: {}; {}", text, why, kDurationHint));
  };
  if (text.empty()) return refuse("it is empty");
  if (text == "0") return Duration{};
  __int128 total = 0;
  size_t at = 0;
  while (at < text.size()) {
    __int128 whole = 0;
    __int128 part = 0;
    __int128 scale = 1;
    size_t start = at;
    for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0; ++at) {
      whole = whole * 10 + (text[at] - '0');
      if (whole > kDurationMax) return refuse("it is too long");
    }
    if (at < text.size() && text[at] == '.') {
      for (++at; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0; ++at) {
        if (scale >= 1'000'000'000) continue;
        part = part * 10 + (text[at] - '0');
        scale *= 10;
      }
    }
    if (at == start) return refuse("a number was expected");
    const size_t unit_at = at;
    while (at < text.size() && std::isalpha(static_cast<unsigned char>(text[at])) != 0) ++at;
    const std::string_view name = text.substr(unit_at, at - unit_at);
    if (name.empty()) return refuse("the unit is missing");
    int64_t unit_ns = 0;
    for (const Unit& unit : kUnits) {
      if (unit.name == name) unit_ns = unit.ns;
    }
    if (unit_ns == 0) return refuse(fmt::format("there is no unit '{}'", name));
    total += whole * unit_ns + part * unit_ns / scale;
    if (total > kDurationMax) return refuse("it is too long");
  }
  return Duration{static_cast<int64_t>(total)};
}

// Every row that is stored says times: written digit by digit, since a general formatter and the C library's calendar
// (which takes a lock) were a tenth of what storing a row costs.
std::string format_time(Time t) {
  if (!t) return {};
  using namespace std::chrono;
  const sys_time<nanoseconds> at{nanoseconds(t.ns)};
  const sys_days day = floor<days>(at);
  const year_month_day date{day};
  const hh_mm_ss<nanoseconds> clock{at - day};
  std::string out;
  out.reserve(30);
  auto put = [&](int64_t value, int width) {
    char text[9];
    for (int i = width - 1; i >= 0; --i, value /= 10) text[i] = static_cast<char>('0' + value % 10);
    out.append(text, static_cast<size_t>(width));
  };
  put(static_cast<int>(date.year()), 4);
  out += '-';
  put(static_cast<unsigned>(date.month()), 2);
  out += '-';
  put(static_cast<unsigned>(date.day()), 2);
  out += 'T';
  put(clock.hours().count(), 2);
  out += ':';
  put(clock.minutes().count(), 2);
  out += ':';
  put(clock.seconds().count(), 2);
  out += '.';
  const int64_t ns = clock.subseconds().count();
  if (ns % 1'000'000 == 0)
    put(ns / 1'000'000, 3);
  else
    put(ns, 9);
  return out += 'Z';
}

Result<Time> parse_time(std::string_view text) {
  if (text.empty()) return Time{};
  auto refuse = [&] {
    return fail(ErrorCode::invalid, fmt::format("'{}' is not a time: write it as 2026-11-21T08:15:30Z", text));
  };
  auto year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2), hour = digits(text, 11, 2),
       minute = digits(text, 14, 2), second = digits(text, 17, 2);
  if (!year || !month || !day || !hour || !minute || !second) return refuse();
  if (text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't') || text[13] != ':' || text[16] != ':')
    return refuse();
  if (*month < 1 || *month > 12 || *day < 1 || *day > 31 || *hour > 23 || *minute > 59 || *second > 60) return refuse();
  size_t at = 19;
  int64_t ns = 0;
  if (at < text.size() && text[at] == '.') {
    int64_t scale = 1'000'000'000;
    const size_t start = ++at;
    for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0; ++at) {
      if (scale > 1) scale /= 10, ns += (text[at] - '0') * scale;
    }
    if (at == start) return refuse();
  }
  int64_t offset_s = 0;
  if (at < text.size() && (text[at] == 'Z' || text[at] == 'z')) {
    ++at;
  } else if (at < text.size() && (text[at] == '+' || text[at] == '-')) {
    auto oh = digits(text, at + 1, 2), om = digits(text, at + 4, 2);
    if (!oh || !om || text[at + 3] != ':' || *oh > 23 || *om > 59) return refuse();
    offset_s = (*oh * 3600 + *om * 60) * (text[at] == '+' ? 1 : -1);
    at += 6;
  } else {
    return refuse();
  }
  if (at != text.size()) return refuse();
  tm parts{};
  parts.tm_year = static_cast<int>(*year) - 1900;
  parts.tm_mon = static_cast<int>(*month) - 1;
  parts.tm_mday = static_cast<int>(*day);
  parts.tm_hour = static_cast<int>(*hour);
  parts.tm_min = static_cast<int>(*minute);
  parts.tm_sec = static_cast<int>(*second);
  const int64_t sec = timegm(&parts) - offset_s;
  if (sec < -9'000'000'000 || sec > 9'000'000'000) return refuse();
  if (parts.tm_mday != *day) return refuse();  // 31 February
  return Time{sec * 1'000'000'000 + ns};
}

Time SystemClock::now() const {
  const int64_t ns = read_clock(CLOCK_REALTIME);
  return {ns - ns % 1'000'000};
}
BootTime SystemClock::boot_now() const {
  return {read_clock(CLOCK_BOOTTIME)};
}

}  // namespace tutti
