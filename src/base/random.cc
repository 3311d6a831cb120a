#include "base/random.h"

#include <sys/random.h>

#include "base/result.h"

namespace tutti {

uint64_t Random::below(uint64_t bound) {
  TUTTI_INVARIANT(bound > 0, "empty range");
  return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
}

uint64_t SeededRandom::next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::string secure_random_hex(size_t bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string raw(bytes, '\0');
  size_t have = 0;
  while (have < bytes) {
    ssize_t n = getrandom(raw.data() + have, bytes - have, 0);
    TUTTI_INVARIANT(n > 0, "getrandom failed");
    have += static_cast<size_t>(n);
  }
  std::string hex;
  hex.reserve(bytes * 2);
  for (char c : raw) {
    hex += kHex[static_cast<unsigned char>(c) >> 4];
    hex += kHex[static_cast<unsigned char>(c) & 15];
  }
  return hex;
}

}  // namespace tutti
