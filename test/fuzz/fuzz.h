#pragma once
// What the fuzz targets share: splitting one input into several, and ending with a reason.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace tutti::fuzz {

// A promise was broken by this input.
[[noreturn]] inline void broken(std::string_view what) {
  std::fprintf(stderr, "broken: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

// Lines are easier to mutate and to read in a corpus than length prefixes.
template <class Each>
void each_line(std::string_view input, Each each) {
  while (!input.empty()) {
    const size_t end = input.find('\n');
    each(input.substr(0, end));
    if (end == std::string_view::npos) return;
    input.remove_prefix(end + 1);
  }
}

inline std::string_view text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace tutti::fuzz
