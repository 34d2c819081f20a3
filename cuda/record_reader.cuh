// A single weight of a record, decoded: for the embedding, and the oracle of what repack makes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/record.hpp"

namespace inlay::cuda {
namespace detail {

/// The kBits bits at `place` of block b's byte that stands at register r, byte i of a lane.
template <int kBits>
__device__ __forceinline__ unsigned plane_bits(const std::byte* planes, int lane, int b, int place, int r, int i) {
  constexpr int kBlocks = 8 / kBits;
  const auto byte = static_cast<unsigned>(planes[(b / kBlocks * kWarp + lane) * 16 + 4 * r + i]);
  return byte >> place & ((1U << kBits) - 1U);
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
  unsigned q = plane_bits<R::kLowBits>(record, lane, b, R::kLowBits * (b % (8 / R::kLowBits)), r, col % 4);
  if constexpr (R::kHighBits > 0) {
    const std::byte* planes = record + R::kLowVectors * 16 * kWarp;
    if constexpr (R::kZero != 0) {
      const unsigned high = plane_bits<R::kHighBits>(planes, lane, b, SixBitQuants::high_at(b), r, col % 4);
      q = SixBitQuants::is_upper(b) ? q << R::kHighBits | high : high << R::kLowBits | q;
    } else {
      const int place = R::kHighBits * (b % (8 / R::kHighBits));
      q |= plane_bits<R::kHighBits>(planes, lane, b, place, r, col % 4) << R::kLowBits;
    }
  }
  if constexpr (!R::kSigned) return static_cast<int>(q) - R::kZero;
  return static_cast<int>(q << (32 - kBits)) >> (32 - kBits);
}

/// The scales of lane 4 g + t of a record as a number: those of row g from the lowest bit on, then those of row g + 8.
template <class Format>
__device__ __forceinline__ std::uint64_t lane_scales(const std::byte* record, int lane) {
  using R = Record<Format>;
  const std::byte* main = record + R::kScalesOffset + lane * R::kScaleBytes.main;
  std::uint64_t all = *reinterpret_cast<const unsigned*>(main);
  if constexpr (R::kScaleBytes.rest > 0) {
    all |= static_cast<std::uint64_t>(reinterpret_cast<const std::uint16_t*>(record + R::kRestOffset)[lane]) << 32U;
  } else {
    all |= static_cast<std::uint64_t>(reinterpret_cast<const unsigned*>(main)[1]) << 32U;
  }
  return all;
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
    const int granule = col / R::kGranuleColumns;
    const int lane = row % 8 * 4 + granule % 4;
    const std::uint64_t of_lane = detail::lane_scales<Format>(record, lane);
    const auto field = [&](int bits_of_row, int at, int n_bits) {
      return static_cast<int>(of_lane >> (row / 8 * bits_of_row + at) & ((1U << n_bits) - 1U));
    };
    const std::byte* of_pair = record + R::kPairsOffset + row % 8 * R::kScaleBytes.pair;
    float scale = 0.0F;
    float minimum = -0.0F;  // adding it changes nothing
    if constexpr (R::kScales == Scales::kSixBits) {
      const std::byte* halves = of_pair + row / 8 * 4;
      scale = detail::half_of(halves) * static_cast<float>(field(24, granule / 4 * 12, 6));
      minimum = -detail::half_of(halves + 2) * static_cast<float>(field(24, granule / 4 * 12 + 6, 6));
    } else if constexpr (R::kScales == Scales::kBytes) {
      scale = detail::half_of(of_pair + row / 8 * 2) * static_cast<float>(field(32, granule / 4 * 8, 8) - 128);
    } else if constexpr (R::kScales == Scales::kNibbles) {
      const std::byte* halves = of_pair + row / 8 * 4;
      scale = detail::half_of(halves) * static_cast<float>(field(32, granule / 4 * 8, 4));
      minimum = -detail::half_of(halves + 2) * static_cast<float>(field(32, granule / 4 * 8 + 4, 4));
    } else {
      const std::byte* halves = record + R::kScalesOffset + lane * R::kScaleBytes.main + row / 8 * 4 + granule / 4 * 2;
      scale = detail::half_of(halves);
      if constexpr (R::kScales == Scales::kTwoHalves) minimum = detail::half_of(halves + 8);
    }
    return __fadd_rn(__fmul_rn(scale, q), minimum);
  }
}

}  // namespace inlay::cuda
