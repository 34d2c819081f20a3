#include "quant/encode.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/half.hpp"
#include "quant/packed_scales.hpp"
#include "quant/scale_fit.hpp"

namespace inlay {
namespace {

constexpr int kHalfBlock = kSmallBlock / 2;
constexpr float kLargestHalf = 65504.0F;
// Above what any quantised format can express (65504 * 128 * 32), and far from the end of the floats.
constexpr float kLargestWeight = 1e9F;

std::uint16_t to_finite_half(float value) { return float_to_half(std::clamp(value, -kLargestHalf, kLargestHalf)); }

/// Or-s `bits` into a byte that started as zero.
void set_bits(std::uint8_t& byte, int bits, int position) { byte = static_cast<std::uint8_t>(byte | bits << position); }

void set_nibble(std::uint8_t* qs, int i, int level) {
  set_bits(qs[i % kHalfBlock], level & 15, i < kHalfBlock ? 0 : 4);
}

/// Weight i of a super block of 256 2-bit numbers.
void set_two_bits_of(std::uint8_t* qs, int i, int level) { set_bits(qs[i / 128 * 32 + i % 32], level, i / 32 % 4 * 2); }

/// Weight i of a super block of 256 nibbles.
void set_nibble_of(std::uint8_t* qs, int i, int level) { set_bits(qs[i / 64 * 32 + i % 32], level, i / 32 % 2 * 4); }

template <class Block>
using Weights = std::array<float, sizeof(Block) < sizeof(BlockQ2_K) ? kSmallBlock : kSuperBlock>;

BlockQ4_0 encode(const Weights<BlockQ4_0>& x, BlockQ4_0 block) {
  block.d = to_finite_half(fit_scale(x, -8, 7));
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSmallBlock; ++i) set_nibble(block.qs, i, nearest_level(x[i], d, -8, 7) + 8);
  return block;
}

BlockQ5_0 encode(const Weights<BlockQ5_0>& x, BlockQ5_0 block) {
  block.d = to_finite_half(fit_scale(x, -16, 15));
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int level = nearest_level(x[i], d, -16, 15) + 16;
    set_nibble(block.qs, i, level);
    set_bits(block.qh[i / 8], level >> 4, i % 8);
  }
  return block;
}

BlockQ4_1 encode(const Weights<BlockQ4_1>& x, BlockQ4_1 block) {
  const AffineFit fit = fit_affine(x, 15, OffsetSign::kAny);
  block.d = to_finite_half(fit.scale);
  block.m = to_finite_half(fit.offset);
  const float d = half_to_float(block.d);
  const float m = half_to_float(block.m);
  for (int i = 0; i < kSmallBlock; ++i) set_nibble(block.qs, i, nearest_level(x[i] - m, d, 0, 15));
  return block;
}

BlockQ5_1 encode(const Weights<BlockQ5_1>& x, BlockQ5_1 block) {
  const AffineFit fit = fit_affine(x, 31, OffsetSign::kAny);
  block.d = to_finite_half(fit.scale);
  block.m = to_finite_half(fit.offset);
  const float d = half_to_float(block.d);
  const float m = half_to_float(block.m);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int level = nearest_level(x[i] - m, d, 0, 31);
    set_nibble(block.qs, i, level);
    set_bits(block.qh[i / 8], level >> 4, i % 8);
  }
  return block;
}

BlockQ8_0 encode(const Weights<BlockQ8_0>& x, BlockQ8_0 block) {
  block.d = to_finite_half(fit_scale(x, -127, 127));
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSmallBlock; ++i) block.qs[i] = static_cast<std::int8_t>(nearest_level(x[i], d, -127, 127));
  return block;
}

/// The signed scales of a super block's groups, each a multiple of d.
template <int Groups>
struct GroupScales {
  std::uint16_t d = 0;
  std::array<int, Groups> levels = {};
  [[nodiscard]] float scale(int group) const { return half_to_float(d) * static_cast<float>(levels[group]); }
};

/// Scales for weights in [low, high], as levels in [scale_low, scale_high].
template <int Groups>
GroupScales<Groups> fit_group_scales(const std::array<float, kSuperBlock>& x, int low, int high, int scale_low,
                                     int scale_high) {
  constexpr std::size_t kGroup = kSuperBlock / Groups;
  std::array<float, Groups> scales;
  for (std::size_t g = 0; g < Groups; ++g) scales[g] = fit_scale(std::span(x).subspan(g * kGroup, kGroup), low, high);
  GroupScales<Groups> result;
  result.d = to_finite_half(fit_scale(scales, scale_low, scale_high));
  for (std::size_t g = 0; g < Groups; ++g) {
    result.levels[g] = nearest_level(scales[g], half_to_float(result.d), scale_low, scale_high);
  }
  return result;
}

/// The scales and minimums of a super block's groups, each a multiple of d or dmin.
template <int Groups>
struct GroupLines {
  std::uint16_t d = 0;
  std::uint16_t dmin = 0;
  std::array<ScaleAndMinimum, Groups> levels = {};
  /// The level of a weight in [0, high].
  [[nodiscard]] int level(float x, int group, int high) const {
    const float scale = half_to_float(d) * static_cast<float>(levels[group].scale);
    const float minimum = half_to_float(dmin) * static_cast<float>(levels[group].minimum);
    return nearest_level(x + minimum, scale, 0, high);
  }
};

/// Lines for weights in [0, high], as levels in [0, scale_high].
template <int Groups>
GroupLines<Groups> fit_group_lines(const std::array<float, kSuperBlock>& x, int high, int scale_high) {
  constexpr std::size_t kGroup = kSuperBlock / Groups;
  std::array<AffineFit, Groups> fits;
  float largest_scale = 0.0F;
  float largest_minimum = 0.0F;
  for (std::size_t g = 0; g < Groups; ++g) {
    fits[g] = fit_affine(std::span(x).subspan(g * kGroup, kGroup), high, OffsetSign::kNotPositive);
    largest_scale = std::max(largest_scale, fits[g].scale);
    largest_minimum = std::max(largest_minimum, -fits[g].offset);
  }
  GroupLines<Groups> result;
  result.d = to_finite_half(largest_scale / static_cast<float>(scale_high));
  result.dmin = to_finite_half(largest_minimum / static_cast<float>(scale_high));
  for (std::size_t g = 0; g < Groups; ++g) {
    const int scale = nearest_level(fits[g].scale, half_to_float(result.d), 0, scale_high);
    const int minimum = nearest_level(-fits[g].offset, half_to_float(result.dmin), 0, scale_high);
    result.levels[g] = {static_cast<std::uint8_t>(scale), static_cast<std::uint8_t>(minimum)};
  }
  return result;
}

BlockQ2_K encode(const Weights<BlockQ2_K>& x, BlockQ2_K block) {
  const auto groups = fit_group_lines<16>(x, 3, 15);
  block.d = groups.d;
  block.dmin = groups.dmin;
  for (int g = 0; g < 16; ++g) {
    block.scales[g] = static_cast<std::uint8_t>(groups.levels[g].scale | groups.levels[g].minimum << 4);
  }
  for (int i = 0; i < kSuperBlock; ++i) set_two_bits_of(block.qs, i, groups.level(x[i], i / 16, 3));
  return block;
}

BlockQ3_K encode(const Weights<BlockQ3_K>& x, BlockQ3_K block) {
  const auto groups = fit_group_scales<16>(x, -4, 3, -32, 31);
  block.d = groups.d;
  for (int g = 0; g < 16; ++g) pack_q3_scale(block.scales, g, groups.levels[g]);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int level = nearest_level(x[i], groups.scale(i / 16), -4, 3) + 4;
    set_two_bits_of(block.qs, i, level & 3);
    set_bits(block.hmask[i % 32], level >> 2, i / 32);
  }
  return block;
}

BlockQ4_K encode(const Weights<BlockQ4_K>& x, BlockQ4_K block) {
  const auto groups = fit_group_lines<8>(x, 15, 63);
  block.d = groups.d;
  block.dmin = groups.dmin;
  for (int g = 0; g < 8; ++g) pack_scale_and_minimum(block.scales, g, groups.levels[g]);
  for (int i = 0; i < kSuperBlock; ++i) set_nibble_of(block.qs, i, groups.level(x[i], i / 32, 15));
  return block;
}

BlockQ5_K encode(const Weights<BlockQ5_K>& x, BlockQ5_K block) {
  const auto groups = fit_group_lines<8>(x, 31, 63);
  block.d = groups.d;
  block.dmin = groups.dmin;
  for (int g = 0; g < 8; ++g) pack_scale_and_minimum(block.scales, g, groups.levels[g]);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int level = groups.level(x[i], i / 32, 31);
    set_nibble_of(block.qs, i, level & 15);
    set_bits(block.qh[i % 32], level >> 4, i / 32);
  }
  return block;
}

BlockQ6_K encode(const Weights<BlockQ6_K>& x, BlockQ6_K block) {
  const auto groups = fit_group_scales<16>(x, -32, 31, -128, 127);
  block.d = groups.d;
  for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<std::int8_t>(groups.levels[g]);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int level = nearest_level(x[i], groups.scale(i / 16), -32, 31) + 32;
    const int half = i / 128;
    const int quarter = i / 32 % 4;
    set_bits(block.ql[64 * half + 32 * (quarter % 2) + i % 32], level & 15, quarter / 2 * 4);
    set_bits(block.qh[32 * half + i % 32], level >> 4, 2 * quarter);
  }
  return block;
}

BlockF32 encode_one(float x, BlockF32 /*type*/) { return {x}; }
BlockF16 encode_one(float x, BlockF16 /*type*/) { return {float_to_half(x)}; }
BlockBF16 encode_one(float x, BlockBF16 /*type*/) { return {float_to_bfloat16(x)}; }

float expressible(float x) { return std::isnan(x) ? 0.0F : std::clamp(x, -kLargestWeight, kLargestWeight); }

template <class Traits>
typename Traits::Block encode_block(const float* x) {
  using Block = typename Traits::Block;
  if constexpr (Traits::block_weights == 1) {
    return encode_one(*x, Block{});
  } else {
    Weights<Block> weights;
    std::transform(x, x + Traits::block_weights, weights.begin(), expressible);
    return encode(weights, Block{});
  }
}

}  // namespace

void encode_row(Format format, const float* x, std::size_t weights, std::byte* blocks) {
  visit(format, [&](auto traits) {
    using Traits = decltype(traits);
    for (std::size_t i = 0; i < weights; i += Traits::block_weights) {
      const auto block = encode_block<Traits>(x + i);
      std::memcpy(blocks, &block, sizeof(block));
      blocks += sizeof(block);
    }
  });
}

}  // namespace inlay
