#pragma once
// The inner loop: the best node of a block for one request. Three bodies (scalar, AVX2, AVX-512) over the same exact
// integers, so that they agree to the last bit; which one runs is chosen once, by what the processor has.
//
// Score of a node: A·a + B·b + C·c + D·d, capitals the node's factors and small letters the request's (policy.h), all
// signed 16-bit: two products and their sum are one instruction. Lower is better; `flip` = 0x7fffffff turns that
// around. Of equal scores the lowest index wins.

#include <cstddef>
#include <cstdint>

namespace tutti::scheduler {

// Every array is padded to whole words of 64 nodes; padding is never in the mask.
struct ScanColumns {
  const uint32_t* ab = nullptr;     // A | B << 16
  const uint32_t* cd = nullptr;     // C | D << 16
  const int32_t* cpu = nullptr;     // free, millicores
  const int32_t* memory = nullptr;  // free, in units of kMemoryUnit, rounded down
  const int32_t* disk = nullptr;    // free, in units of kDiskUnit, rounded down
  const uint64_t* mask = nullptr;   // bit: may be chosen
  size_t words = 0;
};

struct ScanRequest {
  int32_t cpu = 0;
  int32_t memory = 0;
  int32_t disk = 0;  // 0: not looked at
  uint32_t ab = 0;   // a | b << 16
  uint32_t cd = 0;   // c | d << 16; 0: the columns' is not read
  int32_t flip = 0;
};

struct ScanBest {
  int32_t score = INT32_MAX;
  uint32_t index = UINT32_MAX;  // none
  bool operator==(const ScanBest&) const = default;
};

// Bytes of one unit of the columns.
inline constexpr int64_t kMemoryUnit = 1 << 20;
inline constexpr int64_t kDiskUnit = 1 << 20;

using Scan = ScanBest (*)(const ScanColumns&, const ScanRequest&);

ScanBest scan_scalar(const ScanColumns& columns, const ScanRequest& request);
#if defined(__x86_64__)
ScanBest scan_avx2(const ScanColumns& columns, const ScanRequest& request);
ScanBest scan_avx512(const ScanColumns& columns, const ScanRequest& request);
#endif
bool has_avx2();
bool has_avx512();
// The widest one this processor runs.
Scan fastest_scan();

constexpr int32_t products(uint32_t node, uint32_t request) {
  return static_cast<int16_t>(node & 0xffff) * static_cast<int16_t>(request & 0xffff) +
         static_cast<int16_t>(node >> 16) * static_cast<int16_t>(request >> 16);
}
constexpr int32_t score_of(uint32_t node_ab, uint32_t node_cd, const ScanRequest& r) {
  return (products(node_ab, r.ab) + (r.cd == 0 ? 0 : products(node_cd, r.cd))) ^ r.flip;
}

}  // namespace tutti::scheduler
