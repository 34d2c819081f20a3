// Blocks of every quantised format as integers with a scale and a minimum per 16 weights: the plain twin of panels and
// their unpack code.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/half.hpp"
#include "quant/formats.hpp"
#include "quant/packed_scales.hpp"

namespace inlay::cpu {

inline constexpr int kGroup = 16;  // weights that share a scale in every quantised format

/// weight[i] = scales[i / 16] * quants[i] + minimums[i / 16].
struct UnpackedBlock {
  std::int8_t quants[kSuperBlock] = {};
  float scales[kSuperBlock / kGroup] = {};
  float minimums[kSuperBlock / kGroup] = {};
};

/// A block of a small format has one scale and one minimum.
inline void set_small_scales(float scale, float minimum, UnpackedBlock& out) {
  out.scales[0] = out.scales[1] = scale;
  out.minimums[0] = out.minimums[1] = minimum;
}

/// For formats whose quants are stored with an offset.
inline void subtract(int zero, int n, UnpackedBlock& out) {
  for (int i = 0; i < n; ++i) out.quants[i] = static_cast<std::int8_t>(out.quants[i] - zero);
}

inline void unpack_nibbles(const std::uint8_t (&qs)[kSmallBlock / 2], UnpackedBlock& out) {
  for (int i = 0; i < kSmallBlock / 2; ++i) {
    out.quants[i] = static_cast<std::int8_t>(qs[i] & 15U);
    out.quants[kSmallBlock / 2 + i] = static_cast<std::int8_t>(qs[i] >> 4U);
  }
}

inline void add_fifth_bits(const std::uint8_t (&qh)[4], UnpackedBlock& out) {
  for (int i = 0; i < kSmallBlock; ++i) {
    const unsigned bit = (static_cast<unsigned>(qh[i / 8]) >> static_cast<unsigned>(i % 8)) & 1U;
    out.quants[i] = static_cast<std::int8_t>(out.quants[i] + static_cast<int>(16U * bit));
  }
}

inline void unpack(const BlockQ4_0& block, UnpackedBlock& out) {
  set_small_scales(half_to_float(block.d), 0.0F, out);
  unpack_nibbles(block.qs, out);
  subtract(8, kSmallBlock, out);
}

inline void unpack(const BlockQ4_1& block, UnpackedBlock& out) {
  set_small_scales(half_to_float(block.d), half_to_float(block.m), out);
  unpack_nibbles(block.qs, out);
}

inline void unpack(const BlockQ5_0& block, UnpackedBlock& out) {
  set_small_scales(half_to_float(block.d), 0.0F, out);
  unpack_nibbles(block.qs, out);
  add_fifth_bits(block.qh, out);
  subtract(16, kSmallBlock, out);
}

inline void unpack(const BlockQ5_1& block, UnpackedBlock& out) {
  set_small_scales(half_to_float(block.d), half_to_float(block.m), out);
  unpack_nibbles(block.qs, out);
  add_fifth_bits(block.qh, out);
}

inline void unpack(const BlockQ8_0& block, UnpackedBlock& out) {
  set_small_scales(half_to_float(block.d), 0.0F, out);
  std::memcpy(out.quants, block.qs, kSmallBlock);
}

/// Bits 2j, 2j + 1 of qs[32 h + l] for weight 128 h + 32 j + l.
inline unsigned two_bits(const std::uint8_t (&qs)[kSuperBlock / 4], int i) {
  return (static_cast<unsigned>(qs[i / 128 * 32 + i % 32]) >> static_cast<unsigned>(i % 128 / 32 * 2)) & 3U;
}

inline void unpack(const BlockQ2_K& block, UnpackedBlock& out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  for (int i = 0; i < kSuperBlock; ++i) out.quants[i] = static_cast<std::int8_t>(two_bits(block.qs, i));
  for (int g = 0; g < kSuperBlock / kGroup; ++g) {
    out.scales[g] = d * static_cast<float>(block.scales[g] & 15U);
    out.minimums[g] = -dmin * static_cast<float>(block.scales[g] >> 4U);
  }
}

inline void unpack(const BlockQ3_K& block, UnpackedBlock& out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const unsigned third = (static_cast<unsigned>(block.hmask[i % 32]) >> static_cast<unsigned>(i / 32)) & 1U;
    out.quants[i] = static_cast<std::int8_t>(two_bits(block.qs, i) + 4U * third);
  }
  for (int g = 0; g < kSuperBlock / kGroup; ++g) {
    out.scales[g] = d * static_cast<float>(unpack_q3_scale(block.scales, g));
    out.minimums[g] = 0.0F;
  }
  subtract(4, kSuperBlock, out);
}

/// The eight groups of 32 weights of Q4_K and Q5_K.
inline void set_group_scales(const std::uint8_t* packed, float d, float dmin, UnpackedBlock& out) {
  for (int g = 0; g < kSuperBlock / 32; ++g) {
    const ScaleAndMinimum group = unpack_scale_and_minimum(packed, g);
    out.scales[2 * g] = out.scales[2 * g + 1] = d * static_cast<float>(group.scale);
    out.minimums[2 * g] = out.minimums[2 * g + 1] = -dmin * static_cast<float>(group.minimum);
  }
}

/// Weights 64 j + l (l < 32) are the low, 64 j + 32 + l the high nibbles of qs[32 j + l].
inline unsigned four_bits(const std::uint8_t (&qs)[kSuperBlock / 2], int i) {
  return (static_cast<unsigned>(qs[i / 64 * 32 + i % 32]) >> static_cast<unsigned>(i % 64 / 32 * 4)) & 15U;
}

inline void unpack(const BlockQ4_K& block, UnpackedBlock& out) {
  set_group_scales(block.scales, half_to_float(block.d), half_to_float(block.dmin), out);
  for (int i = 0; i < kSuperBlock; ++i) out.quants[i] = static_cast<std::int8_t>(four_bits(block.qs, i));
}

inline void unpack(const BlockQ5_K& block, UnpackedBlock& out) {
  set_group_scales(block.scales, half_to_float(block.d), half_to_float(block.dmin), out);
  for (int i = 0; i < kSuperBlock; ++i) {
    const unsigned fifth = (static_cast<unsigned>(block.qh[i % 32]) >> static_cast<unsigned>(i / 32)) & 1U;
    out.quants[i] = static_cast<std::int8_t>(four_bits(block.qs, i) + 16U * fifth);
  }
}

inline void unpack(const BlockQ6_K& block, UnpackedBlock& out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128;
    const int quarter = i % 128 / 32;
    const unsigned low_byte = block.ql[64 * half + 32 * (quarter % 2) + i % 32];
    const unsigned low = (low_byte >> static_cast<unsigned>(quarter / 2 * 4)) & 15U;
    out.quants[i] = static_cast<std::int8_t>(low + 16U * two_bits(block.qh, i));
  }
  for (int g = 0; g < kSuperBlock / kGroup; ++g) {
    out.scales[g] = d * static_cast<float>(block.scales[g]);
    out.minimums[g] = 0.0F;
  }
  subtract(32, kSuperBlock, out);
}

}  // namespace inlay::cpu
