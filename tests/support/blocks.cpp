#include "support/blocks.hpp"

#include <cmath>
#include <cstring>

#include "base/half.hpp"

namespace inlay::test {
namespace {

/// A finite half of either sign between 2^-10 and 1.
std::uint16_t random_half(Random& random) {
  std::uniform_real_distribution<float> exponent(-10.0F, 0.0F);
  const float magnitude = std::exp2(exponent(random));
  return float_to_half(random() % 2 == 0 ? magnitude : -magnitude);
}

template <class Block>
void set_scales(Random& random, Block& block) {
  if constexpr (requires { block.d; }) block.d = random_half(random);
  if constexpr (requires { block.m; }) block.m = random_half(random);
  if constexpr (requires { block.dmin; }) block.dmin = random_half(random);
}

void set_scales(Random& random, BlockF32& block) { block.value = half_to_float(random_half(random)); }
void set_scales(Random& random, BlockF16& block) { block.value = random_half(random); }
void set_scales(Random& random, BlockBF16& block) {
  block.value = float_to_bfloat16(half_to_float(random_half(random)));
}

template <class Block>
Block make_block(Random& random, Fill fill) {
  Block block;
  std::byte bytes[sizeof(Block)];
  for (std::byte& byte : bytes) {
    switch (fill) {
      case Fill::kRandom:
        byte = static_cast<std::byte>(random());
        break;
      case Fill::kOnes:
        byte = std::byte{0xFF};
        break;
      case Fill::kZeros:
        byte = std::byte{0};
        break;
      case Fill::kSign:
        byte = std::byte{0x80};
        break;
    }
  }
  std::memcpy(&block, bytes, sizeof(Block));
  set_scales(random, block);
  return block;
}

}  // namespace

std::vector<float> random_floats(Random& random, std::size_t n, float deviation) {
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

Blocks::Blocks(Random& random, Format format, int rows, int n_cols, Fill fill)
    : row_bytes_(inlay::row_bytes(format, static_cast<std::size_t>(n_cols))),
      bytes_(1 + static_cast<std::size_t>(rows) * row_bytes_) {
  visit(format, [&](auto traits) {
    using Block = typename decltype(traits)::Block;
    for (std::size_t i = 1; i < bytes_.size(); i += sizeof(Block)) {
      const Block block = make_block<Block>(random, fill);
      std::memcpy(&bytes_[i], &block, sizeof(Block));
    }
  });
}

}  // namespace inlay::test
