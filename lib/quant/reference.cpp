// One plain decoder per format, in the order of the formulas in formats.hpp: group scales first, then the weight.
#include "quant/reference.hpp"

#include <cstring>

#include "base/half.hpp"
#include "quant/packed_scales.hpp"

namespace inlay {
namespace {

constexpr int kHalfBlock = kSmallBlock / 2;
constexpr int kSmallGroup = 16;  // weights per group of Q2_K, Q3_K and Q6_K
constexpr int kLargeGroup = 32;  // weights per group of Q4_K and Q5_K

constexpr int low_nibble(std::uint8_t byte) { return byte & 15; }
constexpr int high_nibble(std::uint8_t byte) { return byte >> 4; }
constexpr int bit(std::uint8_t byte, int position) { return (byte >> position) & 1; }
constexpr int two_bits(std::uint8_t byte, int position) { return (byte >> position) & 3; }

/// Weight i of a block of 32 nibbles.
constexpr int nibble(const std::uint8_t* qs, int i) {
  return i < kHalfBlock ? low_nibble(qs[i]) : high_nibble(qs[i - kHalfBlock]);
}

/// Weight i of a super block of 256 2-bit numbers.
constexpr int two_bits_of(const std::uint8_t* qs, int i) { return two_bits(qs[i / 128 * 32 + i % 32], i / 32 % 4 * 2); }

/// Weight i of a super block of 256 nibbles.
constexpr int nibble_of(const std::uint8_t* qs, int i) {
  const std::uint8_t byte = qs[i / 64 * 32 + i % 32];
  return i / 32 % 2 == 0 ? low_nibble(byte) : high_nibble(byte);
}

void decode(const BlockF32& block, float* out) { *out = block.value; }
void decode(const BlockF16& block, float* out) { *out = half_to_float(block.value); }
void decode(const BlockBF16& block, float* out) { *out = bfloat16_to_float(block.value); }

void decode(const BlockQ4_0& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(nibble(block.qs, i) - 8);
}

void decode(const BlockQ4_1& block, float* out) {
  const float d = half_to_float(block.d);
  const float m = half_to_float(block.m);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(nibble(block.qs, i)) + m;
}

void decode(const BlockQ5_0& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int q = nibble(block.qs, i) | bit(block.qh[i / 8], i % 8) << 4;
    out[i] = d * static_cast<float>(q - 16);
  }
}

void decode(const BlockQ5_1& block, float* out) {
  const float d = half_to_float(block.d);
  const float m = half_to_float(block.m);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int q = nibble(block.qs, i) | bit(block.qh[i / 8], i % 8) << 4;
    out[i] = d * static_cast<float>(q) + m;
  }
}

void decode(const BlockQ8_0& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(block.qs[i]);
}

void decode(const BlockQ2_K& block, float* out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  for (int i = 0; i < kSuperBlock; ++i) {
    const std::uint8_t group = block.scales[i / kSmallGroup];
    const float scale = d * static_cast<float>(low_nibble(group));
    const float minimum = dmin * static_cast<float>(high_nibble(group));
    out[i] = scale * static_cast<float>(two_bits_of(block.qs, i)) - minimum;
  }
}

void decode(const BlockQ3_K& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const float scale = d * static_cast<float>(unpack_q3_scale(block.scales, i / kSmallGroup));
    const int q = two_bits_of(block.qs, i) | bit(block.hmask[i % 32], i / 32) << 2;
    out[i] = scale * static_cast<float>(q - 4);
  }
}

void decode(const BlockQ4_K& block, float* out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  for (int i = 0; i < kSuperBlock; ++i) {
    const ScaleAndMinimum group = unpack_scale_and_minimum(block.scales, i / kLargeGroup);
    const float scale = d * static_cast<float>(group.scale);
    const float minimum = dmin * static_cast<float>(group.minimum);
    out[i] = scale * static_cast<float>(nibble_of(block.qs, i)) - minimum;
  }
}

void decode(const BlockQ5_K& block, float* out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  for (int i = 0; i < kSuperBlock; ++i) {
    const ScaleAndMinimum group = unpack_scale_and_minimum(block.scales, i / kLargeGroup);
    const float scale = d * static_cast<float>(group.scale);
    const float minimum = dmin * static_cast<float>(group.minimum);
    const int q = nibble_of(block.qs, i) | bit(block.qh[i % 32], i / kLargeGroup) << 4;
    out[i] = scale * static_cast<float>(q) - minimum;
  }
}

void decode(const BlockQ6_K& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const float scale = d * static_cast<float>(block.scales[i / kSmallGroup]);
    const int half = i / 128;
    const int quarter = i / 32 % 4;
    const std::uint8_t low_byte = block.ql[64 * half + 32 * (quarter % 2) + i % 32];
    const int low = quarter < 2 ? low_nibble(low_byte) : high_nibble(low_byte);
    const int q = low | two_bits(block.qh[32 * half + i % 32], 2 * quarter) << 4;
    out[i] = scale * static_cast<float>(q - 32);
  }
}

}  // namespace

void decode_row(Format format, const std::byte* blocks, std::size_t weights, float* out) {
  visit(format, [&](auto traits) {
    using Traits = decltype(traits);
    for (std::size_t i = 0; i < weights; i += Traits::block_weights) {
      typename Traits::Block block;
      std::memcpy(&block, blocks, sizeof(block));
      decode(block, out + i);
      blocks += sizeof(block);
    }
  });
}

}  // namespace inlay
