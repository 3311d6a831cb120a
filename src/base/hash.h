#pragma once
// FNV-1a, 64 bits (Fowler, Noll, Vo): for indexes and comparisons between our own processes, not against attackers.

#include <cstdint>
#include <string_view>

namespace tutti {

constexpr uint64_t kFnvBasis = 0xcbf29ce484222325ULL;

constexpr uint64_t fnv1a(std::string_view bytes, uint64_t hash = kFnvBasis) {
  for (char c : bytes) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  return hash;
}

}  // namespace tutti
