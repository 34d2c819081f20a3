// A single weight of a record, decoded: for the embedding, and the oracle of what repack makes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/record.hpp"

namespace inlay::cuda {
namespace detail {

/// The kBits bits of block b of a byte that stands at register r, byte i of a lane.
template <int kBits>
__device__ __forceinline__ unsigned plane_bits(const std::byte* planes, int lane, int b, int r, int i) {
  constexpr int kBlocks = 8 / kBits;
  const auto byte = static_cast<unsigned>(planes[(b / kBlocks * kWarp + lane) * 16 + 4 * r + i]);
  return byte >> (kBits * (b % kBlocks)) & ((1U << kBits) - 1U);
}

__device__ __forceinline__ float half_of(const std::byte* p) {
  return __half2float(*reinterpret_cast<const __half*>(p));
}

/// The quant minus its zero.
template <class Format>
__device__ __forceinline__ int quant_at(const std::byte* record, int row, int col) {
  using R = Record<Format>;
  constexpr int kBits = R::kLowBits + R::kHighBits;
  const int b = col / 32;
  const int r = row / 8 + col % 32 / 16 * 2;
  const int lane = row % 8 * 4 + col % 16 / 4;
  unsigned q = plane_bits<R::kLowBits>(record, lane, b, r, col % 4);
  if constexpr (R::kHighBits > 0) {
    q |= plane_bits<R::kHighBits>(record + R::kLowVectors * 16 * kWarp, lane, b, r, col % 4) << R::kLowBits;
  }
  if constexpr (!R::kSigned) return static_cast<int>(q);
  return static_cast<int>(q << (32 - kBits)) >> (32 - kBits);
}

__device__ __forceinline__ int six_bits(const std::byte* scales, int group, bool minimum) {
  const auto at = [&](int i) { return static_cast<int>(scales[i]); };
  if (group < 4) return at(group + (minimum ? 4 : 0)) & 63;
  return minimum ? at(group + 4) >> 4 | at(group) >> 6 << 4 : (at(group + 4) & 15) | at(group - 4) >> 6 << 4;
}

}  // namespace detail

/// Row 0 <= row < 16 and column of a record, bit for bit as quant/reference.hpp decodes it.
template <class Format>
__device__ float weight_at(const std::byte* record, int row, int col) {
  using R = Record<Format>;
  if constexpr (Format::block_weights == 1) {
    constexpr int kBytes = sizeof(typename Format::Block);
    constexpr int kEach = 4 / kBytes;
    const int in_step = col % R::kStepColumns;
    const int r = row / 8 + in_step / (R::kStepColumns / 2) * 2;
    const int lane = row % 8 * 4 + in_step % (R::kStepColumns / 2) / kEach;
    const std::byte* p = record + (col / R::kStepColumns * kWarp + lane) * 16 + 4 * r + in_step % kEach * kBytes;
    if constexpr (Format::format == inlay::Format::kF32) return *reinterpret_cast<const float*>(p);
    if constexpr (Format::format == inlay::Format::kF16) return detail::half_of(p);
    return __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(p));
  } else {
    const auto q = static_cast<float>(detail::quant_at<Format>(record, row, col));
    const std::byte* header = record + R::kHeaderOffset + row * 16 * R::kHeaderVectors;
    const std::byte* halves = record + R::kHalvesOffset + row * 2 * R::kHalves;
    float scale = 0.0F;
    float minimum = -0.0F;  // adding it changes nothing
    if constexpr (R::kScales == Scales::kSixBits) {
      scale = detail::half_of(header) * static_cast<float>(detail::six_bits(header + 4, col / 32, false));
      minimum = -detail::half_of(header + 2) * static_cast<float>(detail::six_bits(header + 4, col / 32, true));
    } else if constexpr (R::kScales == Scales::kBytes) {
      scale = detail::half_of(halves) * static_cast<float>(static_cast<signed char>(header[col / 16]));
    } else if constexpr (R::kScales == Scales::kNibbles) {
      scale = detail::half_of(halves) * static_cast<float>(static_cast<int>(header[col / 16]) & 15);
      minimum = -detail::half_of(halves + 2) * static_cast<float>(static_cast<int>(header[col / 16]) >> 4);
    } else {
      scale = detail::half_of(header + col / 32 * 2);
      if constexpr (R::kScales == Scales::kTwoHalves) minimum = detail::half_of(header + 16 + col / 32 * 2);
    }
    return __fadd_rn(__fmul_rn(scale, q), minimum);
  }
}

}  // namespace inlay::cuda
