// Panels of quantised weights (cpu/panel.hpp) in registers: quants as bytes, scales as floats.
#pragma once

#include <immintrin.h>

#include "cpu/isa_code.hpp"
#include "cpu/panel.hpp"
#include "quant/formats.hpp"

namespace inlay::cpu {
namespace {

inline constexpr int kSteps = 8;                     // of four columns in 32
inline constexpr int kMaxGroups = kSuperBlock / 16;  // with a scale each, in a block

/// Bits of step kStep: kBits of each byte, moved kLeft bits to the left.
template <class Isa, int kBits, int kStep, int kLeft>
INLAY_INLINE typename Isa::Bytes field(const std::byte* planes) {
  typename Isa::Bytes bytes = Isa::load_bytes(planes + kStep % kBits * kPlaneBytes);
  constexpr int kShift = kBits * (kStep / kBits) - kLeft;
  if constexpr (kShift > 0) bytes = Isa::template shift_right<kShift>(bytes);
  if constexpr (kShift < 0) bytes = Isa::template shift_left<-kShift>(bytes);
  if constexpr (kBits == 8) return bytes;
  return Isa::and_bytes(bytes, Isa::set1_bytes(((1 << kBits) - 1) << kLeft));
}

/// How the quants of a format are read.
template <class Isa, class FormatT>
struct Unpack {
  using Format = FormatT;
  using P = Panel<Format>;
  using Dot = typename Isa::template Dot<P::kMaxQuant, P::kGroup / 4>;
  using Count = typename Isa::template Count<P::kMaxQuant>;
  static constexpr int kZero = Dot::kSigned ? 0 : P::kZero;  // what bytes of quants are counted from

  /// Four columns of kLanes rows. `planes` of the 32 columns, moved on to the first of the rows.
  template <int kStep>
  static INLAY_INLINE typename Isa::Bytes quants(const std::byte* planes) {
    const typename Isa::Bytes low = field<Isa, P::kLowBits, kStep, 0>(planes);
    if constexpr (P::kLowBits == 8) return Dot::kSigned ? low : Isa::xor_bytes(low, Isa::set1_bytes(0x80));
    if constexpr (P::kHighBits == 0)
      return low;
    else
      return Isa::or_bytes(low, field<Isa, P::kHighBits, kStep, P::kLowBits>(planes + P::kLowBits * kPlaneBytes));
  }
};

/// Weights of a float format.
template <class Isa, class FormatT>
INLAY_INLINE typename Isa::Vec load_floats(const std::byte* p) {
  if constexpr (FormatT::format == inlay::Format::kF32) return Isa::load(reinterpret_cast<const float*>(p));
  if constexpr (FormatT::format == inlay::Format::kF16) return Isa::load_half(p);
  if constexpr (FormatT::format == inlay::Format::kBF16) return Isa::load_bfloat16(p);
}

/// The scale and the minimum of a group of columns, a byte for each row.
struct GroupBytes {
  __m128i scale;
  __m128i minimum;
};

INLAY_INLINE __m128i bits_of(__m128i bytes, int mask) {
  return _mm_and_si128(bytes, _mm_set1_epi8(static_cast<char>(mask)));
}

/// `byte(i)` is byte i of the block's scales as the file has them, for kLanes rows. Each group as in
/// quant/packed_scales.hpp and quant/formats.hpp.
template <class Format, int kGroup, class Byte>
INLAY_INLINE GroupBytes group_bytes(const Byte& byte) {
  if constexpr (Panel<Format>::kScaleBytes == 12 && Panel<Format>::kGroup == 32) {
    if constexpr (kGroup < 4) {
      return {bits_of(byte(kGroup), 63), bits_of(byte(kGroup + 4), 63)};
    } else {
      const __m128i low = byte(kGroup + 4);
      return {_mm_or_si128(bits_of(low, 15), bits_of(_mm_srli_epi16(byte(kGroup - 4), 2), 48)),
              _mm_or_si128(bits_of(_mm_srli_epi16(low, 4), 15), bits_of(_mm_srli_epi16(byte(kGroup), 2), 48))};
    }
  } else if constexpr (Panel<Format>::kScaleBytes == 12) {
    const __m128i low = kGroup < 8 ? byte(kGroup) : _mm_srli_epi16(byte(kGroup % 8), 4);
    constexpr int kShift = 2 * (kGroup / 4) - 4;
    const __m128i pair = byte(8 + kGroup % 4);
    const __m128i high = kShift < 0 ? _mm_slli_epi16(pair, -kShift) : _mm_srli_epi16(pair, kShift);
    return {_mm_sub_epi8(_mm_or_si128(bits_of(low, 15), bits_of(high, 48)), _mm_set1_epi8(32)), __m128i{}};
  } else if constexpr (Panel<Format>::kMinimums) {
    return {bits_of(byte(kGroup), 15), bits_of(_mm_srli_epi16(byte(kGroup), 4), 15)};
  } else {
    return {byte(kGroup), __m128i{}};
  }
}

/// Writes the scales and minimums of one block's groups for kLanes rows: [group][kPanelRows] floats from `scales` on.
template <class Isa, class Format>
INLAY_INLINE void read_scales(const std::byte* body, const std::byte* halves, int row, float* scales, float* minimums) {
  using P = Panel<Format>;
  using Vec = typename Isa::Vec;
  const Vec scale = Isa::load_half(halves + 2 * row);
  Vec minimum = Isa::zero();
  if constexpr (P::kMinimums) minimum = Isa::load_half(halves + 2 * (kPanelRows + row));
  if constexpr (P::kScaleBytes == 0) {
    Isa::store(scales + row, scale);
    if constexpr (P::kMinimums) Isa::store(minimums + row, minimum);
  } else {
    const Vec negative = Isa::sub(Isa::zero(), minimum);
    const auto byte = [&](int i) INLAY_INLINE_LAMBDA { return Isa::load_row_bytes(body + kPanelRows * i + row); };
    unroll<kSuperBlock / P::kGroup>([&](auto g) INLAY_INLINE_LAMBDA {
      const GroupBytes group = group_bytes<Format, g.value>(byte);
      Isa::store(scales + g.value * kPanelRows + row, Isa::mul(scale, Isa::signed_to_floats(group.scale)));
      if constexpr (P::kMinimums) {
        Isa::store(minimums + g.value * kPanelRows + row, Isa::mul(negative, Isa::signed_to_floats(group.minimum)));
      }
    });
  }
}

}  // namespace
}  // namespace inlay::cpu
