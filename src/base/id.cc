#include "base/id.h"

namespace tutti {
namespace {

constexpr std::string_view kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";  // Crockford: no i, l, o, u
constexpr uint64_t kMask = (uint64_t{1} << 60) - 1;

// Two rounds of multiply and xor-shift over 60 bits: each is a bijection, together they spread the
// low bits of a counter over the leading letters.
constexpr uint64_t kOdd = 0x9e3779b97f4a7c5ULL;

constexpr uint64_t inverse_of(uint64_t odd) {
  uint64_t x = odd;  // Newton's iteration doubles the correct bits each time
  for (int i = 0; i < 6; ++i) x *= 2 - odd * x;
  return x & kMask;
}

constexpr uint64_t scramble(uint64_t v) {
  v = (v * kOdd) & kMask;
  v ^= v >> 30;
  v = (v * kOdd) & kMask;
  return v ^ (v >> 30);
}

constexpr uint64_t unscramble(uint64_t v) {
  v ^= v >> 30;
  v = (v * inverse_of(kOdd)) & kMask;
  v ^= v >> 30;
  return (v * inverse_of(kOdd)) & kMask;
}

static_assert(unscramble(scramble(1)) == 1 && unscramble(scramble(123456789012345)) == 123456789012345);

}  // namespace

std::string id_text(uint64_t value) {
  TUTTI_INVARIANT(value <= kMask, "id above 60 bits");
  uint64_t v = scramble(value);
  std::string text(12, '0');
  for (int i = 11; i >= 0; --i, v >>= 5) text[static_cast<size_t>(i)] = kAlphabet[v & 31];
  return text;
}

Result<uint64_t> parse_id_text(std::string_view text) {
  if (text.size() != 12) return fail(ErrorCode::invalid, "an id has 12 letters");
  uint64_t v = 0;
  for (char c : text) {
    size_t at = kAlphabet.find(c);
    if (at == std::string_view::npos)
      return fail(ErrorCode::invalid, "not a letter of an id: '" + std::string(1, c) + "'");
    v = (v << 5) | at;
  }
  return unscramble(v);
}

}  // namespace tutti
