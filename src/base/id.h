#pragma once
// Strong 64-bit ids and their text form.
//
// Ids are numbers from one counter in `apply` (never random: apply is deterministic). People see them
// through a fixed bijection over 60 bits, so that neighbours differ in their first letters and a short
// prefix is enough to name one. The text is 12 letters of Crockford's base 32 in lower case.

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tutti {

template <class Tag>
struct Id {
  uint64_t value = 0;  // 0: none
  constexpr explicit operator bool() const { return value != 0; }
  constexpr auto operator<=>(const Id&) const = default;
};

// 12 letters; values above 2^60 - 1 are a broken invariant.
std::string id_text(uint64_t value);
// The inverse; `invalid` for anything that is not 12 letters of the alphabet.
Result<uint64_t> parse_id_text(std::string_view text);

template <class Tag>
std::string to_text(Id<Tag> id) {
  return id ? id_text(id.value) : std::string();
}

}  // namespace tutti

template <class Tag>
struct std::hash<tutti::Id<Tag>> {
  size_t operator()(tutti::Id<Tag> id) const noexcept { return std::hash<uint64_t>{}(id.value); }
};
