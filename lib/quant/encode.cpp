#include "quant/encode.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/half.hpp"
#include "quant/group_fit.hpp"
#include "quant/packed_scales.hpp"
#include "quant/scale_fit.hpp"

namespace inlay {
namespace {

constexpr int kHalfBlock = kSmallBlock / 2;
constexpr float kExcessWeight = 1e5F;  // no error is larger than on the grid that spans the block
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

/// The levels of a small block's weights.
using SmallLevels = std::array<int, kSmallBlock>;

/// Sets the block's scale and returns the levels in [low, high].
template <class Block>
SmallLevels fit_scaled(const Weights<Block>& x, int low, int high, Block& block) {
  const Candidates candidates = scale_candidates(x, low, high, StoredAs::kHalf);
  const Line line = candidates.choose({candidates.first().error.largest, kExcessWeight});
  block.d = to_finite_half(line.scale);
  SmallLevels levels;
  nearest_levels(x, line, low, high, levels.data());
  return levels;
}

/// Sets the block's scale and offset and returns the levels in [0, high].
template <class Block>
SmallLevels fit_line(const Weights<Block>& x, int high, Block& block) {
  const Candidates candidates = line_candidates(x, high, OffsetSign::kAny, StoredAs::kHalf);
  const Line line = candidates.choose({candidates.first().error.largest, kExcessWeight});
  block.d = to_finite_half(line.scale);
  block.m = to_finite_half(line.offset);
  SmallLevels levels;
  nearest_levels(x, line, 0, high, levels.data());
  return levels;
}

BlockQ4_0 encode(const Weights<BlockQ4_0>& x, BlockQ4_0 block) {
  const SmallLevels levels = fit_scaled(x, -8, 7, block);
  for (int i = 0; i < kSmallBlock; ++i) set_nibble(block.qs, i, levels[i] + 8);
  return block;
}

BlockQ5_0 encode(const Weights<BlockQ5_0>& x, BlockQ5_0 block) {
  const SmallLevels levels = fit_scaled(x, -16, 15, block);
  for (int i = 0; i < kSmallBlock; ++i) {
    set_nibble(block.qs, i, levels[i] + 16);
    set_bits(block.qh[i / 8], (levels[i] + 16) >> 4, i % 8);
  }
  return block;
}

BlockQ4_1 encode(const Weights<BlockQ4_1>& x, BlockQ4_1 block) {
  const SmallLevels levels = fit_line(x, 15, block);
  for (int i = 0; i < kSmallBlock; ++i) set_nibble(block.qs, i, levels[i]);
  return block;
}

BlockQ5_1 encode(const Weights<BlockQ5_1>& x, BlockQ5_1 block) {
  const SmallLevels levels = fit_line(x, 31, block);
  for (int i = 0; i < kSmallBlock; ++i) {
    set_nibble(block.qs, i, levels[i]);
    set_bits(block.qh[i / 8], levels[i] >> 4, i % 8);
  }
  return block;
}

BlockQ8_0 encode(const Weights<BlockQ8_0>& x, BlockQ8_0 block) {
  const SmallLevels levels = fit_scaled(x, -127, 127, block);
  std::transform(levels.begin(), levels.end(), block.qs, [](int level) { return static_cast<std::int8_t>(level); });
  return block;
}

/// The levels of a super block's weights.
using SuperLevels = std::array<int, kSuperBlock>;

template <int Groups>
SuperLevels levels_of(const SuperWeights& x, const GroupScales<Groups>& scales, int low, int high) {
  SuperLevels levels;
  for (int g = 0; g < Groups; ++g) {
    nearest_levels(group_of<Groups>(x, g), scales.line(g), low, high, &levels[g * kSuperBlock / Groups]);
  }
  return levels;
}

template <int Groups>
SuperLevels levels_of(const SuperWeights& x, const GroupLines<Groups>& lines, int high) {
  SuperLevels levels;
  for (int g = 0; g < Groups; ++g) {
    nearest_levels(group_of<Groups>(x, g), lines.line(g), 0, high, &levels[g * kSuperBlock / Groups]);
  }
  return levels;
}

BlockQ2_K encode(const Weights<BlockQ2_K>& x, BlockQ2_K block) {
  const auto groups = fit_group_lines<16>(x, 3, 15);
  block.d = groups.d;
  block.dmin = groups.dmin;
  for (int g = 0; g < 16; ++g) {
    block.scales[g] = static_cast<std::uint8_t>(groups.levels[g].scale | groups.levels[g].minimum << 4);
  }
  const SuperLevels levels = levels_of(x, groups, 3);
  for (int i = 0; i < kSuperBlock; ++i) set_two_bits_of(block.qs, i, levels[i]);
  return block;
}

BlockQ3_K encode(const Weights<BlockQ3_K>& x, BlockQ3_K block) {
  const auto groups = fit_group_scales<16>(x, -4, 3, -32, 31);
  block.d = groups.d;
  for (int g = 0; g < 16; ++g) pack_q3_scale(block.scales, g, groups.levels[g]);
  const SuperLevels levels = levels_of(x, groups, -4, 3);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int level = levels[i] + 4;
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
  const SuperLevels levels = levels_of(x, groups, 15);
  for (int i = 0; i < kSuperBlock; ++i) set_nibble_of(block.qs, i, levels[i]);
  return block;
}

BlockQ5_K encode(const Weights<BlockQ5_K>& x, BlockQ5_K block) {
  const auto groups = fit_group_lines<8>(x, 31, 63);
  block.d = groups.d;
  block.dmin = groups.dmin;
  for (int g = 0; g < 8; ++g) pack_scale_and_minimum(block.scales, g, groups.levels[g]);
  const SuperLevels levels = levels_of(x, groups, 31);
  for (int i = 0; i < kSuperBlock; ++i) {
    set_nibble_of(block.qs, i, levels[i] & 15);
    set_bits(block.qh[i % 32], levels[i] >> 4, i / 32);
  }
  return block;
}

BlockQ6_K encode(const Weights<BlockQ6_K>& x, BlockQ6_K block) {
  const auto groups = fit_group_scales<16>(x, -32, 31, -128, 127);
  block.d = groups.d;
  for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<std::int8_t>(groups.levels[g]);
  const SuperLevels levels = levels_of(x, groups, -32, 31);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int level = levels[i] + 32;
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
