#pragma once
// Exact quantities. Inside they are integers; files may write friendly units, JSON answers are the integers.
//
//   Millicores  500 | "500m" | "2c" | "1.5c"     a bare number below 10 is refused: it was meant as cores
//   Bytes       1048576 | "256Mi" | "1G" ("k M G T" powers of 1000, "Ki Mi Gi Ti" powers of 1024)
//   Duration    "30s" | "1h30m" | "250ms"        always with a unit (base/time.h)

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tutti {

struct Millicores {
  int64_t value = 0;
  constexpr auto operator<=>(const Millicores&) const = default;
};

struct Bytes {
  int64_t value = 0;
  constexpr auto operator<=>(const Bytes&) const = default;
};

Result<Millicores> parse_millicores(std::string_view text);  // text with unit
Result<Bytes> parse_bytes(std::string_view text);            // text with unit, or plain digits
std::string format_millicores(Millicores v);                 // "500m", "2c"
std::string format_bytes(Bytes v);                           // "256Mi", "1.5Gi": short, for people

}  // namespace tutti
