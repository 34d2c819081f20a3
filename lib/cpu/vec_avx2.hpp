// Eight floats in a register, for AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>

#include "cpu/isa_code.hpp"

namespace inlay::cpu {
namespace {

struct Avx2 {
  using Vec = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kTokens = 4;         // of a matmul tile
  static constexpr int kSumRegisters = 12;  // accumulators of an attention tile: queries x registers of a row

  static INLAY_INLINE Vec zero() { return _mm256_setzero_ps(); }
  static INLAY_INLINE Vec set1(float x) { return _mm256_set1_ps(x); }
  static INLAY_INLINE Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static INLAY_INLINE Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
  static INLAY_INLINE Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static INLAY_INLINE Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  static INLAY_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static INLAY_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  /// a * b + c, rounded once.
  static INLAY_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  /// a * b - c in the even lanes, a * b + c in the odd ones.
  static INLAY_INLINE Vec fma_alternating(Vec a, Vec b, Vec c) { return _mm256_fmaddsub_ps(a, b, c); }
  static INLAY_INLINE Vec swap_neighbours(Vec x) { return _mm256_permute_ps(x, 0xB1); }
  static INLAY_INLINE Vec round(Vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

  /// x * 2^n for integers -252 <= n <= 254 held as floats.
  static INLAY_INLINE Vec scale_by_power(Vec x, Vec n) {
    // Two factors, each a normal number, so that results may be subnormal or infinite.
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i first = _mm256_srai_epi32(whole, 1);
    const __m256i second = _mm256_sub_epi32(whole, first);
    return mul(mul(x, power_of_two(first)), power_of_two(second));
  }

  /// a * 2^n for -126 <= x, 0 below (x is what n was rounded from), a NaN where x is one.
  static INLAY_INLINE Vec scale_down(Vec a, Vec n, Vec x) {
    const Vec scaled = mul(a, power_of_two(_mm256_cvtps_epi32(n)));
    return _mm256_and_ps(scaled, _mm256_cmp_ps(x, set1(-126.0F), _CMP_NLT_UQ));
  }

  // Loads and stores of the first n lanes (0 <= n <= kLanes); the other lanes load as zero.
  static INLAY_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static INLAY_INLINE Vec load(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }
  static INLAY_INLINE void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
  static INLAY_INLINE void store(float* p, Vec x, int n) { _mm256_maskstore_ps(p, first_lanes(n), x); }

  static INLAY_INLINE Vec load_half(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static INLAY_INLINE Vec load_half(const std::byte* p, int n) { return _mm256_cvtph_ps(load_words(p, n)); }
  static INLAY_INLINE Vec set1_half(const std::byte* p) {
    std::uint16_t half = 0;
    __builtin_memcpy(&half, p, sizeof(half));
    return _mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(half)));
  }
  static INLAY_INLINE Vec load_int8(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  /// Of integers held as floats.
  static INLAY_INLINE void store_int8(std::int8_t* p, Vec x) {
    const __m256i whole = _mm256_cvtps_epi32(x);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }
  static INLAY_INLINE Vec load_bfloat16(const std::byte* p) {
    return widen_bfloat16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static INLAY_INLINE void store_half(std::uint16_t* p, Vec x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static INLAY_INLINE void store_half(std::uint16_t* p, Vec x, int n) {
    std::uint16_t words[kLanes];
    store_half(words, x);
    __builtin_memcpy(p, words, static_cast<std::size_t>(n) * sizeof(std::uint16_t));
  }

  /// p[0], p[0], p[1], p[1], ...: kLanes / 2 floats, each twice.
  static INLAY_INLINE Vec load_twice(const float* p) {
    const __m256 four = _mm256_castps128_ps256(_mm_loadu_ps(p));
    return _mm256_permutevar8x32_ps(four, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
  }

  /// The lanes' sum in a fixed tree: neighbours, then pairs, then halves.
  static INLAY_INLINE float reduce_add(Vec x) {
    const __m256 pairs = _mm256_hadd_ps(x, x);
    const __m256 quarters = _mm256_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1)));
  }
  static INLAY_INLINE float reduce_max(Vec x) {
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
  }

  // Bytes: four columns of kLanes rows of weights; Ints: an int32 a row.
  using Bytes = __m256i;
  using Ints = __m256i;
  static INLAY_INLINE Bytes load_bytes(const void* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static INLAY_INLINE void store_bytes(void* p, Bytes x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  static INLAY_INLINE Bytes set1_bytes(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
  static INLAY_INLINE Bytes or_bytes(Bytes a, Bytes b) { return _mm256_or_si256(a, b); }
  static INLAY_INLINE Bytes xor_bytes(Bytes a, Bytes b) { return _mm256_xor_si256(a, b); }
  static INLAY_INLINE Bytes and_bytes(Bytes a, Bytes b) { return _mm256_and_si256(a, b); }
  /// Shifts 16-bit words: what comes from the other byte is for the caller to mask.
  template <int kShift>
  static INLAY_INLINE Bytes shift_right(Bytes x) {
    return _mm256_srli_epi16(x, kShift);
  }
  template <int kShift>
  static INLAY_INLINE Bytes shift_left(Bytes x) {
    return _mm256_slli_epi16(x, kShift);
  }
  /// The same four activations for every row.
  static INLAY_INLINE Bytes broadcast(const std::int8_t* p) {
    int four;
    __builtin_memcpy(&four, p, sizeof(four));
    return _mm256_set1_epi32(four);
  }
  static INLAY_INLINE Ints set1_ints(int x) { return _mm256_set1_epi32(x); }
  static INLAY_INLINE Vec to_floats(Ints x) { return _mm256_cvtepi32_ps(x); }
  /// A byte for each of kLanes rows.
  static INLAY_INLINE __m128i load_row_bytes(const std::byte* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static INLAY_INLINE Vec signed_to_floats(__m128i rows) { return to_floats(_mm256_cvtepi8_epi32(rows)); }

  /// The dot product of the columns of kSteps (4 or 8) steps with the activations of one token. maddubs makes int16 of
  /// two products; as many of them are added as fit before they are widened.
  template <int kMaxQuant, int kSteps>
  struct Dot {
    static constexpr bool kSigned = kMaxQuant > 127;  // maddubs would saturate: the weights must be int8
    static constexpr int kFit = 32767 / (2 * 127 * kMaxQuant);
    static constexpr int kWiden = kFit >= kSteps ? kSteps : kFit >= 4 ? 4 : kFit;
    static_assert(kSigned || kWiden == 2 || kWiden == 4 || kWiden == 8);
    Ints sum;
    __m256i shorts;
    /// Begins with counts[row] (two int16) times `correction` (two int16).
    INLAY_INLINE void start(Ints counts, std::int32_t correction) {
      sum = _mm256_madd_epi16(counts, _mm256_set1_epi32(correction));
    }
    template <int kStep>
    INLAY_INLINE void add(Bytes weights, const std::int8_t* quants) {
      const Bytes x = broadcast(quants);
      if constexpr (kSigned) {
        // |-128| is 128 as uint8, and 2 * 128 * 127 < 2^15.
        widen(_mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights)));
      } else {
        const __m256i products = _mm256_maddubs_epi16(weights, x);
        shorts = kStep % kWiden == 0 ? products : _mm256_add_epi16(shorts, products);
        keep_order(shorts);
        if constexpr (kStep % kWiden == kWiden - 1) widen(shorts);
      }
    }
    [[nodiscard]] INLAY_INLINE Ints total() const { return sum; }

   private:
    /// GCC would make a tree of a chain of additions: all products of a tile at once, and twenty of them on the stack.
    static INLAY_INLINE void keep_order(__m256i& partial) { asm("" : "+x"(partial)); }
    INLAY_INLINE void widen(__m256i words) {
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
      keep_order(sum);
    }
  };
  /// The sum of a row's weights in the lower half, and `zero` in the upper half.
  template <int kMaxQuant>
  struct Count {
    static constexpr bool kSigned = Dot<kMaxQuant, 8>::kSigned;
    __m256i shorts;
    int high;
    INLAY_INLINE void start(int zero) {
      shorts = _mm256_setzero_si256();
      high = static_cast<int>(static_cast<unsigned>(zero) << 16U);
    }
    template <int kStep>
    INLAY_INLINE void add(Bytes weights) {
      const __m256i ones = _mm256_set1_epi8(1);
      const __m256i pairs = kSigned ? _mm256_maddubs_epi16(ones, weights) : _mm256_maddubs_epi16(weights, ones);
      shorts = _mm256_add_epi16(shorts, pairs);
    }
    [[nodiscard]] INLAY_INLINE Ints total() const {
      const __m256i sum = _mm256_madd_epi16(shorts, _mm256_set1_epi16(1));
      return _mm256_or_si256(_mm256_and_si256(sum, _mm256_set1_epi32(0xFFFF)), _mm256_set1_epi32(high));
    }
  };

 private:
  static INLAY_INLINE Vec power_of_two(__m256i exponent) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)), 23));
  }
  static INLAY_INLINE __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static INLAY_INLINE __m128i load_words(const std::byte* p, int n) {
    std::uint16_t words[kLanes] = {};
    __builtin_memcpy(words, p, static_cast<std::size_t>(n) * sizeof(std::uint16_t));
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
  }
  static INLAY_INLINE Vec widen_bfloat16(__m128i words) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
  }
};

}  // namespace
}  // namespace inlay::cpu
