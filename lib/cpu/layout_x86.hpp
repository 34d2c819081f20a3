// Where the parts of each quantised block are, and its quants as bytes in AVX2 registers: 32 weights at a time, in
// order. What an instruction set makes of them is in unpack_<isa>.hpp.
#pragma once

#include <immintrin.h>

#include <cstddef>

#include "cpu/isa_code.hpp"
#include "quant/formats.hpp"

namespace inlay::cpu {
namespace {

INLAY_INLINE __m128i load128(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
INLAY_INLINE __m256i load256(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

template <class T>
INLAY_INLINE T load_as(const std::byte* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof(value));
  return value;
}

/// The bits of `mask` in every byte of x shifted right by kShift bits (left by -kShift).
template <int kShift>
INLAY_INLINE __m256i shifted_bits(__m256i x, int mask) {
  // Bits that a 16-bit shift carries into the other byte are outside every mask used here.
  if constexpr (kShift > 0) x = _mm256_srli_epi16(x, kShift);
  if constexpr (kShift < 0) x = _mm256_slli_epi16(x, -kShift);
  return _mm256_and_si256(x, _mm256_set1_epi8(static_cast<char>(mask)));
}

/// 32 quants of 16 bytes: the low nibbles, then the high ones.
INLAY_INLINE __m256i nibbles(const std::byte* qs) {
  const __m128i bytes = load128(qs);
  const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/// Bit i of the 32 bits at `qh`, as 16 in byte i.
INLAY_INLINE __m256i fifth_bits(const std::byte* qh) {
  const __m256i bytes =
      _mm256_shuffle_epi8(_mm256_set1_epi32(load_as<int>(qh)),
                          _mm256_setr_epi64x(0, 0x0101010101010101LL, 0x0202020202020202LL, 0x0303030303030303LL));
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ULL));
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit), _mm256_set1_epi8(16));
}

/// The scale and the minimum of 16 groups of 16 weights, as int8; both are to be multiplied by a half of the block.
struct GroupScales {
  __m128i scales;
  __m128i minimums;
};

// Layout<Format>:
//   kSigned          the quants are int8; else they are unsigned and at most 63, so that maddubs cannot saturate
//   kScale           where the half is that multiplies the quants (small) or the group scales (K formats)
//   kMinimum         where the half is that gives the minimum: kMinimumFactor * half (small) or
//                    kMinimumFactor * half * group minimum (K formats); kMinimumFactor 0: there is no minimum
//   quants<chunk>(block)  weights 32 chunk ... 32 chunk + 31
//   group_scales(block)   K formats
template <class Format>
struct Layout;

template <>
struct Layout<Q4_0> {
  using Block = BlockQ4_0;
  static constexpr bool kSigned = false;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = offsetof(Block, d);
  static constexpr float kMinimumFactor = -8.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    return nibbles(block + offsetof(Block, qs));
  }
};

template <>
struct Layout<Q4_1> {
  using Block = BlockQ4_1;
  static constexpr bool kSigned = false;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = offsetof(Block, m);
  static constexpr float kMinimumFactor = 1.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    return nibbles(block + offsetof(Block, qs));
  }
};

template <>
struct Layout<Q5_0> {
  using Block = BlockQ5_0;
  static constexpr bool kSigned = false;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = offsetof(Block, d);
  static constexpr float kMinimumFactor = -16.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    return _mm256_or_si256(nibbles(block + offsetof(Block, qs)), fifth_bits(block + offsetof(Block, qh)));
  }
};

template <>
struct Layout<Q5_1> {
  using Block = BlockQ5_1;
  static constexpr bool kSigned = false;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = offsetof(Block, m);
  static constexpr float kMinimumFactor = 1.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    return _mm256_or_si256(nibbles(block + offsetof(Block, qs)), fifth_bits(block + offsetof(Block, qh)));
  }
};

template <>
struct Layout<Q8_0> {
  using Block = BlockQ8_0;
  static constexpr bool kSigned = true;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = 0;
  static constexpr float kMinimumFactor = 0.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    return load256(block + offsetof(Block, qs));
  }
};

template <>
struct Layout<Q2_K> {
  using Block = BlockQ2_K;
  static constexpr bool kSigned = false;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = offsetof(Block, dmin);
  static constexpr float kMinimumFactor = -1.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    return shifted_bits<kChunk % 4 * 2>(load256(block + offsetof(Block, qs) + kChunk / 4 * 32), 3);
  }
  static INLAY_INLINE GroupScales group_scales(const std::byte* block) {
    const __m128i bytes = load128(block + offsetof(Block, scales));
    const __m128i low_bits = _mm_set1_epi8(15);
    return {_mm_and_si128(bytes, low_bits), _mm_and_si128(_mm_srli_epi16(bytes, 4), low_bits)};
  }
};

template <>
struct Layout<Q3_K> {
  using Block = BlockQ3_K;
  static constexpr bool kSigned = false;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = offsetof(Block, d);
  static constexpr float kMinimumFactor = -4.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    const __m256i low = shifted_bits<kChunk % 4 * 2>(load256(block + offsetof(Block, qs) + kChunk / 4 * 32), 3);
    return _mm256_or_si256(low, shifted_bits<kChunk - 2>(load256(block + offsetof(Block, hmask)), 4));
  }
  static INLAY_INLINE GroupScales group_scales(const std::byte* block) {
    // Groups 0 ... 7: the low nibbles of bytes 0 ... 7, groups 8 ... 15 the high ones. The two bits above them: bits
    // 2k, 2k + 1 of bytes 8 ... 11 for groups 4k ... 4k + 3.
    const long long low = load_as<long long>(block + offsetof(Block, scales));
    const __m128i nibble = _mm_set_epi64x(static_cast<long long>(static_cast<unsigned long long>(low) >> 4U), low);
    const __m128i high =
        _mm_srlv_epi32(_mm_set1_epi32(load_as<int>(block + offsetof(Block, scales) + 8)), _mm_setr_epi32(0, 2, 4, 6));
    const __m128i six_bits = _mm_or_si128(_mm_and_si128(nibble, _mm_set1_epi8(15)),
                                          _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4));
    const __m128i scales = _mm_sub_epi8(six_bits, _mm_set1_epi8(32));
    return {scales, scales};
  }
};

/// The scales and minimums of Q4_K and Q5_K: eight of six bits each in twelve bytes (see quant/packed_scales.hpp).
INLAY_INLINE GroupScales six_bit_scales(const std::byte* packed) {
  const auto a = load_as<std::uint32_t>(packed);
  const auto b = load_as<std::uint32_t>(packed + 4);
  const auto c = load_as<std::uint32_t>(packed + 8);
  const std::uint32_t scales_low = a & 0x3F3F3F3FU;
  const std::uint32_t scales_high = (c & 0x0F0F0F0FU) | ((a >> 2U) & 0x30303030U);
  const std::uint32_t minimums_low = b & 0x3F3F3F3FU;
  const std::uint32_t minimums_high = ((c >> 4U) & 0x0F0F0F0FU) | ((b >> 2U) & 0x30303030U);
  const __m128i scales = _mm_setr_epi32(static_cast<int>(scales_low), static_cast<int>(scales_high), 0, 0);
  const __m128i minimums = _mm_setr_epi32(static_cast<int>(minimums_low), static_cast<int>(minimums_high), 0, 0);
  return {_mm_unpacklo_epi8(scales, scales), _mm_unpacklo_epi8(minimums, minimums)};  // each group of 32 as two of 16
}

template <>
struct Layout<Q4_K> {
  using Block = BlockQ4_K;
  static constexpr bool kSigned = false;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = offsetof(Block, dmin);
  static constexpr float kMinimumFactor = -1.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    return shifted_bits<kChunk % 2 * 4>(load256(block + offsetof(Block, qs) + kChunk / 2 * 32), 15);
  }
  static INLAY_INLINE GroupScales group_scales(const std::byte* block) {
    return six_bit_scales(block + offsetof(Block, scales));
  }
};

template <>
struct Layout<Q5_K> {
  using Block = BlockQ5_K;
  static constexpr bool kSigned = false;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = offsetof(Block, dmin);
  static constexpr float kMinimumFactor = -1.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    const __m256i low = shifted_bits<kChunk % 2 * 4>(load256(block + offsetof(Block, qs) + kChunk / 2 * 32), 15);
    return _mm256_or_si256(low, shifted_bits<kChunk - 4>(load256(block + offsetof(Block, qh)), 16));
  }
  static INLAY_INLINE GroupScales group_scales(const std::byte* block) {
    return six_bit_scales(block + offsetof(Block, scales));
  }
};

template <>
struct Layout<Q6_K> {
  using Block = BlockQ6_K;
  static constexpr bool kSigned = false;
  static constexpr std::size_t kScale = offsetof(Block, d);
  static constexpr std::size_t kMinimum = offsetof(Block, d);
  static constexpr float kMinimumFactor = -32.0F;
  template <int kChunk>
  static INLAY_INLINE __m256i quants(const std::byte* block) {
    constexpr int kHalf = kChunk / 4;
    constexpr int kQuarter = kChunk % 4;
    const __m256i low = load256(block + offsetof(Block, ql) + 64 * kHalf + 32 * (kQuarter % 2));
    const __m256i high = load256(block + offsetof(Block, qh) + 32 * kHalf);
    return _mm256_or_si256(shifted_bits<kQuarter / 2 * 4>(low, 15), shifted_bits<kQuarter * 2 - 4>(high, 48));
  }
  static INLAY_INLINE GroupScales group_scales(const std::byte* block) {
    const __m128i scales = load128(block + offsetof(Block, scales));
    return {scales, scales};
  }
};

}  // namespace
}  // namespace inlay::cpu
