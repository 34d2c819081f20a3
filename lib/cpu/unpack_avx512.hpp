// Weights for the matmul shape (kernels/matmul.inl) on AVX-512 with VNNI: 64 weights a register.
#pragma once

#include "cpu/layout_x86.hpp"
#include "cpu/unpack.hpp"
#include "cpu/vec_avx512.hpp"

namespace inlay::cpu {
namespace {

INLAY_INLINE __m512i join(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/// Sums of four products each. dpbusd adds int32 without saturation: any unsigned w would do. Signs of w move to x.
template <bool kSigned>
INLAY_INLINE __m512 dot_avx512(__m512i w, __m512i x) {
  if constexpr (kSigned) {
    x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
    w = _mm512_abs_epi8(w);
  }
  return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), w, x));
}

/// 64 weights without scales of their own.
template <bool kSigned>
struct PlainChunkAvx512 {
  __m512i quants;
  [[nodiscard]] INLAY_INLINE __m512 dot(__m512i x) const { return dot_avx512<kSigned>(quants, x); }
};

/// 64 weights with a scale per 16, which is four lanes. The products with these integers are exact.
template <bool kSigned>
struct ScaledChunkAvx512 {
  __m512i quants;
  __m512 scales;
  [[nodiscard]] INLAY_INLINE __m512 dot(__m512i x) const {
    return _mm512_mul_ps(dot_avx512<kSigned>(quants, x), scales);
  }
};

/// kBlocks (1 or 2) blocks of 32 weights with one scale and one minimum each. With one, the upper halves are zeros.
template <class Format, int kBlocks>
struct SmallUnpackAvx512 {
  using Isa = Avx512;
  using L = Layout<Format>;
  using Tail = SmallUnpackAvx512<Format, 1>;
  static constexpr int kWeights = kBlocks * kSmallBlock;
  static constexpr int kChunks = 1;
  static constexpr int kChunkWeights = kWeights;
  static constexpr std::size_t kBlockBytes = sizeof(typename L::Block);
  static constexpr std::size_t kBytes = kBlocks * kBlockBytes;
  static constexpr __mmask16 kUpper = 0xFF00;

  static INLAY_INLINE __m512i load_activations(const std::int8_t* quants) {
    const auto* p = reinterpret_cast<const std::byte*>(quants);
    if constexpr (kBlocks == 1) return _mm512_zextsi256_si512(load256(p));
    return _mm512_loadu_si512(p);
  }
  static INLAY_INLINE __m512 activation_scales(const float* scales) {
    if constexpr (kBlocks == 1) return _mm512_maskz_mov_ps(0x00FF, _mm512_set1_ps(scales[0]));
    return _mm512_mask_mov_ps(_mm512_set1_ps(scales[0]), kUpper, _mm512_set1_ps(scales[1]));
  }

  struct Head {
    __m512 scale;
    __m512 minimum;     // of 16 activations a lane, in the first four lanes, as their sums are
    __m512 quant_sums;  // of each block, in the lanes of its half
  };
  static INLAY_INLINE Head head(const std::byte* blocks) {
    Head head;
    const std::byte* second = blocks + (kBlocks - 1) * kBlockBytes;
    const __m256i first_scale = _mm256_set1_epi16(load_as<short>(blocks + L::kScale));
    head.scale = _mm512_cvtph_ps(_mm256_mask_set1_epi16(first_scale, kUpper, load_as<short>(second + L::kScale)));
    if constexpr (L::kMinimumFactor != 0.0F) {
      const __m128i first_minimum = _mm_set1_epi16(load_as<short>(blocks + L::kMinimum));
      const __m128i minimums = _mm_mask_set1_epi16(first_minimum, 0xFC, load_as<short>(second + L::kMinimum));
      const __m128 scaled = _mm_mul_ps(_mm_cvtph_ps(minimums), _mm_set1_ps(L::kMinimumFactor));
      head.minimum = _mm512_zextps128_ps512(scaled);
    }
    return head;
  }
  template <int kChunk>
  static INLAY_INLINE PlainChunkAvx512<L::kSigned> chunk(const Head& /*head*/, const std::byte* blocks) {
    const __m256i first = L::template quants<0>(blocks);
    if constexpr (kBlocks == 1) return {_mm512_zextsi256_si512(first)};
    return {join(first, L::template quants<0>(blocks + kBlockBytes))};
  }
  template <int kChunk>
  static INLAY_INLINE void count(const PlainChunkAvx512<L::kSigned>& chunk, Head& head) {
    if constexpr (L::kSigned) {
      head.quant_sums = chunk.dot(_mm512_set1_epi8(1));
    } else {
      head.quant_sums = _mm512_cvtepi32_ps(_mm512_sad_epu8(chunk.quants, _mm512_setzero_si512()));
    }
  }
  static INLAY_INLINE __m512 finish(const Head& head, __m512 dots, const float* offsets, const float* sums,
                                    __m512 total) {
    dots = _mm512_fmadd_ps(head.quant_sums, activation_scales(offsets), dots);
    total = _mm512_fmadd_ps(head.scale, dots, total);
    if constexpr (L::kMinimumFactor == 0.0F) return total;
    const __m128 each = kBlocks == 1 ? _mm_maskz_loadu_ps(3, sums) : _mm_loadu_ps(sums);
    return _mm512_fmadd_ps(head.minimum, _mm512_zextps128_ps512(each), total);
  }
};

/// Blocks of 256 weights with a small integer scale and minimum per group of 16.
template <class Format>
struct SuperUnpackAvx512 {
  using Isa = Avx512;
  using L = Layout<Format>;
  using Tail = SuperUnpackAvx512;
  static constexpr int kWeights = kSuperBlock;
  static constexpr int kChunkWeights = 64;
  static constexpr int kChunks = kSuperBlock / kChunkWeights;
  static constexpr std::size_t kBytes = sizeof(typename L::Block);

  static INLAY_INLINE __m512i load_activations(const std::int8_t* quants) { return _mm512_loadu_si512(quants); }
  static INLAY_INLINE __m512 activation_scales(const float* scales) {
    return _mm512_mask_mov_ps(_mm512_set1_ps(scales[0]), 0xFF00, _mm512_set1_ps(scales[1]));
  }

  struct Head {
    __m512 scales;      // of the 16 groups
    __m512i eights;     // int16: sums of eight quants; word 4 e + c is of eight e of chunk c
    __m512 quant_sums;  // scaled, of the 16 groups
    __m512 minimums;    // of the 16 groups
    __m512 scale;
    __m512 minimum;
  };
  static INLAY_INLINE Head head(const std::byte* block) {
    const GroupScales groups = L::group_scales(block);
    Head head;
    head.scales = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(groups.scales));
    head.minimums = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(groups.minimums));
    head.scale = broadcast_half(block + L::kScale);
    head.minimum = _mm512_mul_ps(broadcast_half(block + L::kMinimum), _mm512_set1_ps(L::kMinimumFactor));
    return head;
  }
  template <int kChunk>
  static INLAY_INLINE ScaledChunkAvx512<L::kSigned> chunk(const Head& head, const std::byte* block) {
    constexpr int kFirst = 4 * kChunk;  // group
    const __m512i each =
        _mm512_setr_epi32(kFirst, kFirst, kFirst, kFirst, kFirst + 1, kFirst + 1, kFirst + 1, kFirst + 1, kFirst + 2,
                          kFirst + 2, kFirst + 2, kFirst + 2, kFirst + 3, kFirst + 3, kFirst + 3, kFirst + 3);
    return {join(L::template quants<2 * kChunk>(block), L::template quants<2 * kChunk + 1>(block)),
            _mm512_permutexvar_ps(each, head.scales)};
  }
  template <int kChunk>
  static INLAY_INLINE void count(const ScaledChunkAvx512<L::kSigned>& chunk, Head& head) {
    const __m512i sums = _mm512_sad_epu8(chunk.quants, _mm512_setzero_si512());
    head.eights = kChunk == 0 ? sums : _mm512_or_si512(head.eights, _mm512_slli_epi64(sums, 16 * kChunk));
    if constexpr (kChunk + 1 == kChunks) head.quant_sums = scaled_sums(head);
  }
  static INLAY_INLINE __m512 finish(const Head& head, __m512 dots, const float* offsets, const float* sums,
                                    __m512 total) {
    dots = _mm512_fmadd_ps(head.quant_sums, Avx512::load_twice(offsets), dots);
    const __m512 minimums = _mm512_mul_ps(head.minimums, _mm512_loadu_ps(sums));
    return _mm512_fmadd_ps(head.minimum, minimums, _mm512_fmadd_ps(head.scale, dots, total));
  }

 private:
  /// Of each group, the sum of its quants times its scale.
  static INLAY_INLINE __m512 scaled_sums(const Head& head) {
    // Group 4 c + g is eights 2 g and 2 g + 1 of chunk c: with its neighbour added, word 8 g + c.
    const __m512i groups = _mm512_add_epi16(head.eights, _mm512_shuffle_epi32(head.eights, _MM_PERM_BADC));
    const __m256i order = _mm256_setr_epi16(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
    const __m512i ordered = _mm512_permutexvar_epi16(_mm512_castsi256_si512(order), groups);
    const __m512i wide = _mm512_cvtepi16_epi32(_mm512_castsi512_si256(ordered));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(wide), head.scales);
  }
  static INLAY_INLINE __m512 broadcast_half(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_set1_epi16(load_as<short>(p)));
  }
};

template <class Format>
struct UnpackKind<Format, Avx512, kSmallBlock> : SmallUnpackAvx512<Format, 2> {};
template <class Format>
struct UnpackKind<Format, Avx512, kSuperBlock> : SuperUnpackAvx512<Format> {};

}  // namespace
}  // namespace inlay::cpu
