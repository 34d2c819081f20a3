// Quantising activations with AVX2; AVX-512 takes it as it is. The arithmetic is that of table_generic.cpp, to the bit.
#pragma once

#include <immintrin.h>

#include "cpu/isa_code.hpp"
#include "cpu/kernel_table.hpp"

namespace inlay::cpu {
namespace {

/// The largest of eight int32.
INLAY_INLINE int largest_of(__m256i x) {
  __m128i most = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4E));
  most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xB1));
  return _mm_cvtsi128_si32(most);
}

INLAY_INLINE void quantize_block(const float* x, std::int8_t* quants, float* scale, float* sums) {
  constexpr int kInfinity = 0x7F800000;  // as bits, and NaN > infinity > every number
  __m256 values[4];
  __m256i magnitudes = _mm256_setzero_si256();
  unroll<4>([&](auto i) INLAY_INLINE_LAMBDA {
    values[i.value] = _mm256_loadu_ps(x + 8 * i.value);
    const __m256i bits = _mm256_and_si256(_mm256_castps_si256(values[i.value]), _mm256_set1_epi32(0x7FFFFFFF));
    magnitudes = _mm256_max_epi32(magnitudes, bits);
  });
  const int magnitude = largest_of(magnitudes);
  const float largest = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(magnitude)));
  if (magnitude >= kInfinity || largest < kSmallestActivation) {
    *scale = sums[0] = sums[1] = magnitude >= kInfinity ? __builtin_nanf("") : 0.0F;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(quants), _mm256_setzero_si256());
    return;
  }
  *scale = largest / 127.0F;
  const __m256 inverse = _mm256_set1_ps(127.0F / largest);
  __m256i whole[4];
  unroll<4>([&](auto i)
                INLAY_INLINE_LAMBDA { whole[i.value] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i.value], inverse)); });
  // The packs work within 128-bit halves: the permutation puts the groups of four back in order.
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(quants),
                      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  const __m256i pairs = _mm256_hadd_epi32(_mm256_add_epi32(whole[0], whole[1]), _mm256_add_epi32(whole[2], whole[3]));
  const __m256i quarters = _mm256_hadd_epi32(pairs, pairs);
  const __m128i totals = _mm_add_epi32(_mm256_castsi256_si128(quarters), _mm256_extracti128_si256(quarters, 1));
  const __m128 scaled = _mm_mul_ps(_mm_cvtepi32_ps(totals), _mm_set1_ps(*scale));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(sums), _mm_castps_si128(scaled));
}

inline void quantize(const float* x, int n, std::int8_t* quants, float* scales, float* sums) {
  for (int block = 0; block < n / kActivationBlock; ++block) {
    const std::size_t first = offset_of(block, kActivationBlock);
    quantize_block(x + first, quants + first, scales + block, sums + offset_of(block, 2));
  }
}

}  // namespace
}  // namespace inlay::cpu
