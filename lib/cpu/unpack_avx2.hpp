// Weights for the matmul shape (kernels/matmul.inl) on AVX2.
#pragma once

#include "cpu/layout_x86.hpp"
#include "cpu/unpack.hpp"
#include "cpu/vec_avx2.hpp"

namespace inlay::cpu {
namespace {

/// 32 weights with the scales of their pairs: an int16 for two weights.
template <bool kSigned>
struct ChunkAvx2 {
  __m256i quants;
  __m256i pair_scales;

  /// Sums of four scaled products each. |x| <= 127 and w <= 63 (or |w| <= 128 with the signs moved to x): a pair of
  /// products is at most 2 * 128 * 127 < 2^15, so the int16 sums of maddubs are exact.
  [[nodiscard]] INLAY_INLINE __m256 dot(__m256i x) const {
    __m256i pairs;
    if constexpr (kSigned) {
      pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(quants), _mm256_sign_epi8(x, quants));
    } else {
      pairs = _mm256_maddubs_epi16(quants, x);
    }
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, pair_scales));
  }
};

INLAY_INLINE __m256 broadcast_half(const std::byte* p) { return _mm256_cvtph_ps(_mm_set1_epi16(load_as<short>(p))); }

/// What both kinds of blocks share.
struct UnpackAvx2 {
  using Isa = Avx2;
  static constexpr int kChunkWeights = 32;

  static INLAY_INLINE __m256i load_activations(const std::int8_t* quants) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(quants));
  }
  static INLAY_INLINE __m256 activation_scales(const float* scales) { return _mm256_set1_ps(*scales); }
};

/// Blocks of 32 weights with one scale and one minimum.
template <class Format>
struct SmallUnpackAvx2 : UnpackAvx2 {
  using L = Layout<Format>;
  using Tail = SmallUnpackAvx2;
  static constexpr int kWeights = kSmallBlock;
  static constexpr int kChunks = 1;
  static constexpr std::size_t kBytes = sizeof(typename L::Block);

  struct Head {
    __m256 scale;
    __m256 minimum;
    __m256 quant_sums;  // its lanes add up to the sum of the quants
  };
  static INLAY_INLINE Head head(const std::byte* block) {
    Head head;
    head.scale = broadcast_half(block + L::kScale);
    if constexpr (L::kMinimumFactor != 0.0F) {
      head.minimum = _mm256_mul_ps(broadcast_half(block + L::kMinimum), _mm256_set1_ps(L::kMinimumFactor));
    }
    return head;
  }
  template <int kChunk>
  static INLAY_INLINE ChunkAvx2<L::kSigned> chunk(const Head& /*head*/, const std::byte* block) {
    return {L::template quants<kChunk>(block), _mm256_set1_epi16(1)};
  }
  template <int kChunk>
  static INLAY_INLINE void count(const ChunkAvx2<L::kSigned>& chunk, Head& head) {
    if constexpr (L::kSigned) {
      head.quant_sums = chunk.dot(_mm256_set1_epi8(1));
    } else {
      head.quant_sums = _mm256_cvtepi32_ps(_mm256_sad_epu8(chunk.quants, _mm256_setzero_si256()));
    }
  }
  static INLAY_INLINE __m256 finish(const Head& head, __m256 dots, const float* offsets, const float* sums,
                                    __m256 total) {
    dots = _mm256_fmadd_ps(head.quant_sums, _mm256_set1_ps(*offsets), dots);
    total = _mm256_fmadd_ps(head.scale, dots, total);
    if constexpr (L::kMinimumFactor == 0.0F) return total;
    const __m128 both = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(sums)));
    return _mm256_fmadd_ps(head.minimum, _mm256_zextps128_ps256(both), total);
  }
};

/// Blocks of 256 weights with a small integer scale and minimum per group of 16.
template <class Format>
struct SuperUnpackAvx2 : UnpackAvx2 {
  using L = Layout<Format>;
  using Tail = SuperUnpackAvx2;
  static constexpr int kWeights = kSuperBlock;
  static constexpr int kChunks = kSuperBlock / kChunkWeights;
  static constexpr std::size_t kBytes = sizeof(typename L::Block);

  struct Head {
    __m256i scales;        // int16, of the 16 groups
    __m256i scales_of[2];  // int16; [i]: groups 8 i ... 8 i + 7, in both halves
    __m256i eights[2];     // int16: sums of eight quants; [i]: word 4 e + c is of eight e of chunk 4 i + c
    __m256 quant_sums;     // scaled, one lane a chunk
    __m256 minimums[2];    // [i]: groups 8 i ... 8 i + 7
    __m256 scale;
    __m256 minimum;
  };
  static INLAY_INLINE Head head(const std::byte* block) {
    const GroupScales groups = L::group_scales(block);
    Head head;
    head.scales = _mm256_cvtepi8_epi16(groups.scales);
    head.scales_of[0] = _mm256_permute4x64_epi64(head.scales, 0x44);
    head.scales_of[1] = _mm256_permute4x64_epi64(head.scales, 0xEE);
    head.minimums[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(groups.minimums));
    head.minimums[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(groups.minimums, groups.minimums)));
    head.scale = broadcast_half(block + L::kScale);
    head.minimum = _mm256_mul_ps(broadcast_half(block + L::kMinimum), _mm256_set1_ps(L::kMinimumFactor));
    return head;
  }
  template <int kChunk>
  static INLAY_INLINE ChunkAvx2<L::kSigned> chunk(const Head& head, const std::byte* block) {
    constexpr short kFirst = 0x0100 + 0x0202 * (2 * kChunk % 8);  // the bytes of the int16 of group 2 * kChunk
    constexpr short kSecond = kFirst + 0x0202;
    const __m256i pick = _mm256_setr_m128i(_mm_set1_epi16(kFirst), _mm_set1_epi16(kSecond));
    return {L::template quants<kChunk>(block), _mm256_shuffle_epi8(head.scales_of[kChunk / 4], pick)};
  }
  template <int kChunk>
  static INLAY_INLINE void count(const ChunkAvx2<L::kSigned>& chunk, Head& head) {
    constexpr int kWord = kChunk % 4;
    __m256i& eights = head.eights[kChunk / 4];
    const __m256i sums = _mm256_sad_epu8(chunk.quants, _mm256_setzero_si256());
    eights = kWord == 0 ? sums : _mm256_or_si256(eights, _mm256_slli_epi64(sums, 16 * kWord));
    if constexpr (kChunk + 1 == kChunks) head.quant_sums = scaled_sums(head);
  }
  static INLAY_INLINE __m256 finish(const Head& head, __m256 dots, const float* offsets, const float* sums,
                                    __m256 total) {
    dots = _mm256_fmadd_ps(head.quant_sums, _mm256_loadu_ps(offsets), dots);
    __m256 minimums = _mm256_mul_ps(head.minimums[0], _mm256_loadu_ps(sums));
    minimums = _mm256_fmadd_ps(head.minimums[1], _mm256_loadu_ps(sums + 8), minimums);
    return _mm256_fmadd_ps(head.minimum, minimums, _mm256_fmadd_ps(head.scale, dots, total));
  }

 private:
  /// Of each chunk, the sum of its quants times their scales.
  static INLAY_INLINE __m256 scaled_sums(const Head& head) {
    // The first group of a chunk is eights 0 and 1, in the lower half; the second 2 and 3, in the upper half.
    const __m256i groups = _mm256_add_epi16(_mm256_unpacklo_epi64(head.eights[0], head.eights[1]),
                                            _mm256_unpackhi_epi64(head.eights[0], head.eights[1]));
    const __m128i first = _mm256_castsi256_si128(groups);
    const __m128i second = _mm256_extracti128_si256(groups, 1);
    const __m256i ordered = _mm256_setr_m128i(_mm_unpacklo_epi16(first, second), _mm_unpackhi_epi16(first, second));
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(ordered, head.scales));
  }
};

template <class Format>
struct UnpackKind<Format, Avx2, kSmallBlock> : SmallUnpackAvx2<Format> {};
template <class Format>
struct UnpackKind<Format, Avx2, kSuperBlock> : SuperUnpackAvx2<Format> {};

}  // namespace
}  // namespace inlay::cpu
