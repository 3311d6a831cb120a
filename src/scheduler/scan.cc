#include "scheduler/scan.h"

#include <bit>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tutti::scheduler {

ScanBest scan_scalar(const ScanColumns& c, const ScanRequest& r) {
  ScanBest best;
  for (size_t word = 0; word < c.words; ++word) {
    for (uint64_t left = c.mask[word]; left != 0; left &= left - 1) {
      const size_t i = word * 64 + static_cast<size_t>(std::countr_zero(left));
      if (c.cpu[i] < r.cpu || c.memory[i] < r.memory || (r.disk > 0 && c.disk[i] < r.disk)) continue;
      const int32_t score = score_of(c.ab[i], r.cd == 0 ? 0 : c.cd[i], r);
      if (score < best.score || best.index == UINT32_MAX) best = {score, static_cast<uint32_t>(i)};
    }
  }
  return best;
}

#if defined(__x86_64__)

namespace {

// The best lane: lowest score, then lowest index. Lanes that saw nothing have index UINT32_MAX.
template <size_t kLanes>
ScanBest reduce(const int32_t (&scores)[kLanes], const uint32_t (&indexes)[kLanes]) {
  ScanBest best;
  for (size_t i = 0; i < kLanes; ++i) {
    if (indexes[i] == UINT32_MAX) continue;
    const bool better =
        best.index == UINT32_MAX || scores[i] < best.score || (scores[i] == best.score && indexes[i] < best.index);
    if (better) best = {scores[i], indexes[i]};
  }
  return best;
}

}  // namespace

__attribute__((target("avx2"))) ScanBest scan_avx2(const ScanColumns& c, const ScanRequest& r) {
  const __m256i need_cpu = _mm256_set1_epi32(r.cpu);
  const __m256i need_memory = _mm256_set1_epi32(r.memory);
  const __m256i need_disk = _mm256_set1_epi32(r.disk);
  const __m256i factor = _mm256_set1_epi32(static_cast<int32_t>(r.ab));
  const __m256i second = _mm256_set1_epi32(static_cast<int32_t>(r.cd));
  const __m256i flip = _mm256_set1_epi32(r.flip);
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256i best = _mm256_set1_epi32(INT32_MAX);
  __m256i best_index = _mm256_set1_epi32(-1);
  for (size_t word = 0; word < c.words; ++word) {
    const uint64_t mask = c.mask[word];
    if (mask == 0) continue;
    for (size_t part = 0; part < 8; ++part) {
      const auto byte = static_cast<int32_t>(mask >> (part * 8) & 0xff);
      if (byte == 0) continue;
      const size_t i = word * 64 + part * 8;
      __m256i ok = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(byte), bits), bits);
      const __m256i cpu = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c.cpu + i));
      const __m256i memory = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c.memory + i));
      ok = _mm256_andnot_si256(_mm256_cmpgt_epi32(need_cpu, cpu), ok);
      ok = _mm256_andnot_si256(_mm256_cmpgt_epi32(need_memory, memory), ok);
      if (r.disk > 0) {
        const __m256i disk = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c.disk + i));
        ok = _mm256_andnot_si256(_mm256_cmpgt_epi32(need_disk, disk), ok);
      }
      const __m256i ab = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c.ab + i));
      __m256i score = _mm256_madd_epi16(ab, factor);
      if (r.cd != 0) {
        const __m256i cd = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c.cd + i));
        score = _mm256_add_epi32(score, _mm256_madd_epi16(cd, second));
      }
      score = _mm256_xor_si256(score, flip);
      const __m256i better = _mm256_and_si256(ok, _mm256_cmpgt_epi32(best, score));
      best = _mm256_blendv_epi8(best, score, better);
      best_index =
          _mm256_blendv_epi8(best_index, _mm256_add_epi32(lane, _mm256_set1_epi32(static_cast<int32_t>(i))), better);
    }
  }
  alignas(32) int32_t scores[8];
  alignas(32) uint32_t indexes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(scores), best);
  _mm256_store_si256(reinterpret_cast<__m256i*>(indexes), best_index);
  return reduce(scores, indexes);
}

__attribute__((target("avx512f,avx512bw"))) ScanBest scan_avx512(const ScanColumns& c, const ScanRequest& r) {
  const __m512i need_cpu = _mm512_set1_epi32(r.cpu);
  const __m512i need_memory = _mm512_set1_epi32(r.memory);
  const __m512i need_disk = _mm512_set1_epi32(r.disk);
  const __m512i factor = _mm512_set1_epi32(static_cast<int32_t>(r.ab));
  const __m512i second = _mm512_set1_epi32(static_cast<int32_t>(r.cd));
  const __m512i flip = _mm512_set1_epi32(r.flip);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i best = _mm512_set1_epi32(INT32_MAX);
  __m512i best_index = _mm512_set1_epi32(-1);
  for (size_t word = 0; word < c.words; ++word) {
    const uint64_t mask = c.mask[word];
    if (mask == 0) continue;
    for (size_t part = 0; part < 4; ++part) {
      auto ok = static_cast<__mmask16>(mask >> (part * 16) & 0xffff);
      if (ok == 0) continue;
      const size_t i = word * 64 + part * 16;
      ok = _mm512_mask_cmple_epi32_mask(ok, need_cpu, _mm512_loadu_si512(c.cpu + i));
      ok = _mm512_mask_cmple_epi32_mask(ok, need_memory, _mm512_loadu_si512(c.memory + i));
      if (r.disk > 0) ok = _mm512_mask_cmple_epi32_mask(ok, need_disk, _mm512_loadu_si512(c.disk + i));
      __m512i score = _mm512_madd_epi16(_mm512_loadu_si512(c.ab + i), factor);
      if (r.cd != 0) score = _mm512_add_epi32(score, _mm512_madd_epi16(_mm512_loadu_si512(c.cd + i), second));
      score = _mm512_xor_si512(score, flip);
      ok = _mm512_mask_cmplt_epi32_mask(ok, score, best);
      best = _mm512_mask_mov_epi32(best, ok, score);
      best_index = _mm512_mask_add_epi32(best_index, ok, lane, _mm512_set1_epi32(static_cast<int32_t>(i)));
    }
  }
  alignas(64) int32_t scores[16];
  alignas(64) uint32_t indexes[16];
  _mm512_store_si512(scores, best);
  _mm512_store_si512(indexes, best_index);
  return reduce(scores, indexes);
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0;
}
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0;
}

Scan fastest_scan() {
  if (has_avx512()) return scan_avx512;
  return has_avx2() ? scan_avx2 : scan_scalar;
}

#else

bool has_avx2() {
  return false;
}
bool has_avx512() {
  return false;
}
Scan fastest_scan() {
  return scan_scalar;
}

#endif

}  // namespace tutti::scheduler
