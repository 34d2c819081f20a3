// Quantising activations with AVX2; AVX-512 takes it as it is. The arithmetic is that of table_generic.cpp, to the bit.
#pragma once

#include <immintrin.h>

#include "cpu/isa_code.hpp"
#include "cpu/kernel_table.hpp"

namespace inlay::cpu {
namespace {

/// To nearest, ties to even, for |x| < 2^22: the addition leaves no fraction bits.
INLAY_INLINE float round_to_even(float x) { return x + 0x1.8p23F - 0x1.8p23F; }

INLAY_INLINE __m128 lower_half(__m256 x) { return _mm256_castps256_ps128(x); }
INLAY_INLINE __m128 upper_half(__m256 x) { return _mm256_extractf128_ps(x, 1); }

INLAY_INLINE float lowest_of(__m256 x) {
  __m128 least = _mm_min_ps(lower_half(x), upper_half(x));
  least = _mm_min_ps(least, _mm_movehl_ps(least, least));
  return _mm_cvtss_f32(_mm_min_ss(least, _mm_movehdup_ps(least)));
}

INLAY_INLINE float highest_of(__m256 x) {
  __m128 most = _mm_max_ps(lower_half(x), upper_half(x));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}

/// Sums of the first and of the last 16 int8.
INLAY_INLINE void half_sums(__m256i bytes, int (&sums)[2]) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
  __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  fours = _mm256_hadd_epi32(fours, fours);
  fours = _mm256_hadd_epi32(fours, fours);
  sums[0] = _mm256_extract_epi32(fours, 0);
  sums[1] = _mm256_extract_epi32(fours, 4);
}

/// A block of zeros, each times `factor`: 0, or NaN.
INLAY_INLINE void store_zeros(float factor, ActivationBlock& out) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(&out), _mm256_setzero_si256());
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.quants), _mm256_setzero_si256());
  out.scale = out.sum = out.half_sums[0] = out.half_sums[1] = factor;
}

/// The two int16 that weights of a group are multiplied with when there are no products of it yet.
INLAY_INLINE std::int32_t correction(int zero, int sum) {
  return static_cast<std::int32_t>((static_cast<unsigned>(-sum) << 16U) | (static_cast<unsigned>(-zero) & 0xFFFFU));
}

INLAY_INLINE void quantize_block(const float* x, ActivationBlock& out) {
  const __m256i infinity = _mm256_set1_epi32(0x7F800000);  // all bits of the exponent: an infinity or a NaN
  __m256 values[4];
  __m256 least = _mm256_setzero_ps();
  __m256 most = _mm256_setzero_ps();
  __m256i not_finite = _mm256_setzero_si256();
  unroll<4>([&](auto i) INLAY_INLINE_LAMBDA {
    values[i.value] = _mm256_loadu_ps(x + 8 * i.value);
    const __m256i exponents = _mm256_and_si256(_mm256_castps_si256(values[i.value]), infinity);
    not_finite = _mm256_or_si256(not_finite, _mm256_cmpeq_epi32(exponents, infinity));
    least = _mm256_min_ps(least, values[i.value]);
    most = _mm256_max_ps(most, values[i.value]);
  });
  if (_mm256_testz_si256(not_finite, not_finite) == 0) return store_zeros(__builtin_nanf(""), out);
  const float low = lowest_of(least);
  const float scale = highest_of(most) / 254.0F - low / 254.0F;
  if (scale < kSmallestScale) return store_zeros(0.0F, out);
  const float inverse = 1.0F / scale;
  const float zero = round_to_even(-127.0F - low * inverse);
  __m256i whole[4];
  unroll<4>([&](auto i) INLAY_INLINE_LAMBDA {
    const __m256 steps = _mm256_mul_ps(values[i.value], _mm256_set1_ps(inverse));
    whole[i.value] = _mm256_cvtps_epi32(_mm256_add_ps(steps, _mm256_set1_ps(zero)));
  });
  // The packs work within 128-bit halves: the permutation puts the groups of four back in order.
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
  const __m256i ordered = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  const __m256i quants = _mm256_max_epi8(ordered, _mm256_set1_epi8(-127));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.quants), quants);
  int totals[2];
  half_sums(quants, totals);
  out.scale = scale;
  out.zero = static_cast<std::int32_t>(zero);
  unroll<2>([&](auto half) INLAY_INLINE_LAMBDA {
    const int sum = totals[half.value] - 16 * out.zero;
    out.half_sums[half.value] = scale * static_cast<float>(sum);
    out.half_corrections[half.value] = correction(out.zero, sum);
  });
  const int sum = totals[0] + totals[1] - 32 * out.zero;
  out.sum = scale * static_cast<float>(sum);
  out.correction = correction(out.zero, sum);
}

inline void quantize(const float* x, int n, ActivationBlock* out, std::size_t stride) {
  for (int i = 0; i < n; i += kActivationBlock, out += stride) quantize_block(x + i, *out);
}

}  // namespace
}  // namespace inlay::cpu
