// One plain decoder per format, in the order of the formulas in formats.hpp: group scales first, then the weight.
#include "quant/reference.hpp"

#include <cstring>

#include "base/half.hpp"
#include "quant/packed_scales.hpp"
#include "quant/quants.hpp"

namespace inlay {
namespace {

constexpr int kSmallGroup = 16;  // weights per group of Q2_K, Q3_K and Q6_K
constexpr int kLargeGroup = 32;  // weights per group of Q4_K and Q5_K

void decode(const BlockF32& block, float* out) { *out = block.value; }
void decode(const BlockF16& block, float* out) { *out = half_to_float(block.value); }
void decode(const BlockBF16& block, float* out) { *out = bfloat16_to_float(block.value); }

void decode(const BlockQ4_0& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(quant(block, i) - 8);
}

void decode(const BlockQ4_1& block, float* out) {
  const float d = half_to_float(block.d);
  const float m = half_to_float(block.m);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(quant(block, i)) + m;
}

void decode(const BlockQ5_0& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(quant(block, i) - 16);
}

void decode(const BlockQ5_1& block, float* out) {
  const float d = half_to_float(block.d);
  const float m = half_to_float(block.m);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(quant(block, i)) + m;
}

void decode(const BlockQ8_0& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(quant(block, i));
}

void decode(const BlockQ2_K& block, float* out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  for (int i = 0; i < kSuperBlock; ++i) {
    const std::uint8_t group = block.scales[i / kSmallGroup];
    const float scale = d * static_cast<float>(group & 15);
    const float minimum = dmin * static_cast<float>(group >> 4);
    out[i] = scale * static_cast<float>(quant(block, i)) - minimum;
  }
}

void decode(const BlockQ3_K& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const float scale = d * static_cast<float>(unpack_q3_scale(block.scales, i / kSmallGroup));
    out[i] = scale * static_cast<float>(quant(block, i) - 4);
  }
}

void decode(const BlockQ4_K& block, float* out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  for (int i = 0; i < kSuperBlock; ++i) {
    const ScaleAndMinimum group = unpack_scale_and_minimum(block.scales, i / kLargeGroup);
    const float scale = d * static_cast<float>(group.scale);
    const float minimum = dmin * static_cast<float>(group.minimum);
    out[i] = scale * static_cast<float>(quant(block, i)) - minimum;
  }
}

void decode(const BlockQ5_K& block, float* out) {
  const float d = half_to_float(block.d);
  const float dmin = half_to_float(block.dmin);
  for (int i = 0; i < kSuperBlock; ++i) {
    const ScaleAndMinimum group = unpack_scale_and_minimum(block.scales, i / kLargeGroup);
    const float scale = d * static_cast<float>(group.scale);
    const float minimum = dmin * static_cast<float>(group.minimum);
    out[i] = scale * static_cast<float>(quant(block, i)) - minimum;
  }
}

void decode(const BlockQ6_K& block, float* out) {
  const float d = half_to_float(block.d);
  for (int i = 0; i < kSuperBlock; ++i) {
    const float scale = d * static_cast<float>(block.scales[i / kSmallGroup]);
    out[i] = scale * static_cast<float>(quant(block, i) - 32);
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
