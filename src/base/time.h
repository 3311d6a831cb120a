#pragma once
// Time and Duration as exact nanoseconds, and the Clock they come from.
//
// Time is wall-clock UTC, for people and for records. Deadlines, leases and timeouts are measured on
// the boot-time clock (it goes on during suspend and never jumps), as BootTime. Pure folders take both
// as arguments; only edges own a Clock.

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tutti {

struct Duration {
  int64_t ns = 0;
  constexpr auto operator<=>(const Duration&) const = default;
  constexpr int64_t ms() const { return ns / 1'000'000; }
  constexpr Duration operator+(Duration o) const { return {ns + o.ns}; }
  constexpr Duration operator-(Duration o) const { return {ns - o.ns}; }
  constexpr Duration operator*(int64_t k) const { return {ns * k}; }
};
constexpr Duration milliseconds(int64_t n) {
  return {n * 1'000'000};
}
constexpr Duration seconds(int64_t n) {
  return {n * 1'000'000'000};
}

struct Time {
  int64_t ns = 0;  // since 1970-01-01 UTC; 0: never
  constexpr explicit operator bool() const { return ns != 0; }
  constexpr auto operator<=>(const Time&) const = default;
  constexpr Time operator+(Duration d) const { return {ns + d.ns}; }
  constexpr Time operator-(Duration d) const { return {ns - d.ns}; }
  constexpr Duration operator-(Time o) const { return {ns - o.ns}; }
};

struct BootTime {
  int64_t ns = 0;  // CLOCK_BOOTTIME
  constexpr auto operator<=>(const BootTime&) const = default;
  constexpr BootTime operator+(Duration d) const { return {ns + d.ns}; }
  constexpr Duration operator-(BootTime o) const { return {ns - o.ns}; }
};

// "1h30m", "250ms", "0s"; the shortest exact form. Parsing takes the same units (ns us ms s m h d);
// `invalid` for a missing unit, a negative value or one above 100 years.
std::string format_duration(Duration d);
Result<Duration> parse_duration(std::string_view text);
// RFC 3339 in UTC with milliseconds: "2026-11-21T08:15:30.125Z"; all nine digits where there is more to say, so that
// parsing gives exactly the same back; empty text for Time{}.
std::string format_time(Time t);
Result<Time> parse_time(std::string_view text);

// The only source of time. One implementation reads the OS; simulation and tests own theirs.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time now() const = 0;
  virtual BootTime boot_now() const = 0;
};
// The OS clocks; now() in whole milliseconds, as it is shown. Thread-safe, stateless.
class SystemClock final : public Clock {
 public:
  Time now() const override;
  BootTime boot_now() const override;
};

}  // namespace tutti
