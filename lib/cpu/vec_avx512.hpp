// Sixteen floats in a register, for AVX-512 F, BW, DQ and VL.
#pragma once

#include <immintrin.h>

#include "cpu/isa_code.hpp"

namespace inlay::cpu {
namespace {

struct Avx512 {
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kTokens = 8;         // of a matmul tile
  static constexpr int kSumRegisters = 24;  // accumulators of an attention tile: queries x registers of a row

  static INLAY_INLINE Vec zero() { return _mm512_setzero_ps(); }
  static INLAY_INLINE Vec set1(float x) { return _mm512_set1_ps(x); }
  static INLAY_INLINE Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static INLAY_INLINE Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  static INLAY_INLINE Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static INLAY_INLINE Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static INLAY_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static INLAY_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  /// a * b + c, rounded once.
  static INLAY_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  /// a * b - c in the even lanes, a * b + c in the odd ones.
  static INLAY_INLINE Vec fma_alternating(Vec a, Vec b, Vec c) { return _mm512_fmaddsub_ps(a, b, c); }
  static INLAY_INLINE Vec swap_neighbours(Vec x) { return _mm512_permute_ps(x, 0xB1); }
  static INLAY_INLINE Vec round(Vec x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// x * 2^n for integers n held as floats, with subnormal and infinite results.
  static INLAY_INLINE Vec scale_by_power(Vec x, Vec n) { return _mm512_scalef_ps(x, n); }

  /// a * 2^n for -126 <= x, 0 below (x is what n was rounded from), a NaN where x is one.
  static INLAY_INLINE Vec scale_down(Vec a, Vec n, Vec x) {
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, set1(-126.0F), _CMP_NLT_UQ), a, n);
  }

  // Loads and stores of the first n lanes (0 <= n <= kLanes); the other lanes load as zero.
  static INLAY_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static INLAY_INLINE Vec load(const float* p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
  static INLAY_INLINE void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
  static INLAY_INLINE void store(float* p, Vec x, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

  static INLAY_INLINE Vec load_half(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static INLAY_INLINE Vec load_half(const std::byte* p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p));
  }
  static INLAY_INLINE Vec set1_half(const std::byte* p) {
    std::uint16_t half = 0;
    __builtin_memcpy(&half, p, sizeof(half));
    return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(half)));
  }
  static INLAY_INLINE Vec load_int8(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  /// Of integers held as floats.
  static INLAY_INLINE void store_int8(std::int8_t* p, Vec x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
  }
  static INLAY_INLINE Vec load_bfloat16(const std::byte* p) {
    return widen_bfloat16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static INLAY_INLINE void store_half(std::uint16_t* p, Vec x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static INLAY_INLINE void store_half(std::uint16_t* p, Vec x, int n) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }

  /// p[0], p[0], p[1], p[1], ...: kLanes / 2 floats, each twice.
  static INLAY_INLINE Vec load_twice(const float* p) {
    const __m512i each = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(each, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
  }

  /// The lanes' sum in a fixed tree: halves, neighbours, pairs, halves again.
  static INLAY_INLINE float reduce_add(Vec x) {
    const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m256 pairs = _mm256_hadd_ps(halves, halves);
    const __m256 quarters = _mm256_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1)));
  }
  static INLAY_INLINE float reduce_max(Vec x) { return _mm512_reduce_max_ps(x); }

  // Bytes: four columns of kLanes rows of weights; Ints: an int32 a row.
  using Bytes = __m512i;
  using Ints = __m512i;
  static INLAY_INLINE Bytes load_bytes(const void* p) { return _mm512_loadu_si512(p); }
  static INLAY_INLINE void store_bytes(void* p, Bytes x) { _mm512_storeu_si512(p, x); }
  static INLAY_INLINE Bytes set1_bytes(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
  static INLAY_INLINE Bytes or_bytes(Bytes a, Bytes b) { return _mm512_or_si512(a, b); }
  static INLAY_INLINE Bytes xor_bytes(Bytes a, Bytes b) { return _mm512_xor_si512(a, b); }
  static INLAY_INLINE Bytes and_bytes(Bytes a, Bytes b) { return _mm512_and_si512(a, b); }
  /// Shifts 16-bit words: what comes from the other byte is for the caller to mask.
  template <int kShift>
  static INLAY_INLINE Bytes shift_right(Bytes x) {
    return _mm512_srli_epi16(x, kShift);
  }
  template <int kShift>
  static INLAY_INLINE Bytes shift_left(Bytes x) {
    return _mm512_slli_epi16(x, kShift);
  }
  /// The same four activations for every row.
  static INLAY_INLINE Bytes broadcast(const std::int8_t* p) {
    int four;
    __builtin_memcpy(&four, p, sizeof(four));
    return _mm512_set1_epi32(four);
  }
  static INLAY_INLINE Ints set1_ints(int x) { return _mm512_set1_epi32(x); }
  static INLAY_INLINE Vec to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }
  /// A byte for each of kLanes rows.
  static INLAY_INLINE __m128i load_row_bytes(const std::byte* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static INLAY_INLINE Vec signed_to_floats(__m128i rows) { return to_floats(_mm512_cvtepi8_epi32(rows)); }

  /// The dot product of the columns of kSteps steps with the activations of one token. Weights are unsigned.
  template <int kMaxQuant, int kSteps>
  struct Dot {
    static constexpr bool kSigned = false;
    Ints sum;
    /// Begins with counts[row] (two int16) times `correction` (two int16).
    INLAY_INLINE void start(Ints counts, std::int32_t correction) {
      sum = _mm512_dpwssd_epi32(_mm512_setzero_si512(), counts, _mm512_set1_epi32(correction));
    }
    template <int kStep>
    INLAY_INLINE void add(Bytes weights, const std::int8_t* x) {
      asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(weights), "m"(*reinterpret_cast<const int*>(x)));
    }
    [[nodiscard]] INLAY_INLINE Ints total() const { return sum; }
  };
  /// The sum of a row's weights, and `zero` in the upper half.
  template <int kMaxQuant>
  struct Count {
    Ints sum;
    INLAY_INLINE void start(int zero) { sum = set1_ints(static_cast<int>(static_cast<unsigned>(zero) << 16U)); }
    template <int kStep>
    INLAY_INLINE void add(Bytes weights) {
      sum = _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi8(1));
    }
    [[nodiscard]] INLAY_INLINE Ints total() const { return sum; }
  };

 private:
  static INLAY_INLINE __mmask16 first_lanes(int n) {
    return static_cast<__mmask16>((1U << static_cast<unsigned>(n)) - 1U);
  }
  static INLAY_INLINE Vec widen_bfloat16(__m256i words) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
  }
};

}  // namespace
}  // namespace inlay::cpu
