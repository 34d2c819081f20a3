// What a lane holds of a record in registers, and operand A of the tensor cores made of it.
#pragma once

#include "cuda/lane.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {
namespace detail {

__device__ __forceinline__ unsigned word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/// The kBits bits at position `from` of every byte, moved to position `to`.
template <int kBits>
__device__ __forceinline__ unsigned field(unsigned bytes, int from, int to) {
  if (kBits == 8) return bytes;
  const unsigned mask = (((1U << kBits) - 1U) << to) * 0x01010101U;
  return (to >= from ? bytes << (to - from) : bytes >> (from - to)) & mask;
}

}  // namespace detail

/// A lane's part of a record of a quantised format.
template <class Format>
struct LaneWeights {
  using R = Record<Format>;
  uint4 planes[R::kLowVectors + R::kHighVectors];
  uint4 headers[2][R::kHeaderVectors];  // of rows g and g + 8
  unsigned halves[2] = {};

  /// From a record in shared memory.
  __device__ __forceinline__ LaneWeights(const std::byte* record, int lane) {
#pragma unroll
    for (int v = 0; v < R::kLowVectors + R::kHighVectors; ++v) {
      planes[v] = *reinterpret_cast<const uint4*>(record + (v * kWarp + lane) * 16);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + 8 * half;
#pragma unroll
      for (int v = 0; v < R::kHeaderVectors; ++v) {
        headers[half][v] =
            *reinterpret_cast<const uint4*>(record + R::kHeaderOffset + (row * R::kHeaderVectors + v) * 16);
      }
      const std::byte* at = record + R::kHalvesOffset + row * 2 * R::kHalves;
      if constexpr (R::kHalves == 1) halves[half] = *reinterpret_cast<const unsigned short*>(at);
      if constexpr (R::kHalves == 2) halves[half] = *reinterpret_cast<const unsigned*>(at);
    }
  }

  /// Of all quants (settle).
  [[nodiscard]] __device__ __forceinline__ unsigned mixed() const {
    unsigned all = 0;
#pragma unroll
    for (const uint4& v : planes) all ^= v.x ^ v.y ^ v.z ^ v.w;
    return all;
  }

  /// Unsigned nibbles of odd steps stay in the upper half of their bytes.
  static constexpr bool kUpperNibbles = !R::kSigned && R::kLowBits == 4 && R::kHighBits == 0;

  /// What undoes the place of the quants of a step of class c in their bytes.
  static __device__ __forceinline__ float factor(int c) {
    return kUpperNibbles && c % 2 == 1 ? 1.0F / 16.0F : 1.0F / static_cast<float>(1 << R::kShift);
  }

  /// The 32 columns of a step as bytes, divided by the factor of its class.
  __device__ __forceinline__ uint4 step(int b) const {
    if (kUpperNibbles && b % 2 == 1) {
      const uint4& v = planes[b / 2];
      return {v.x & 0xF0F0F0F0U, v.y & 0xF0F0F0F0U, v.z & 0xF0F0F0F0U, v.w & 0xF0F0F0F0U};
    }
    return {combine(b, 0), combine(b, 1), combine(b, 2), combine(b, 3)};
  }

 private:
  __device__ __forceinline__ unsigned combine(int b, int r) const {
    constexpr int kLowBlocks = 8 / R::kLowBits;
    const unsigned low =
        detail::field<R::kLowBits>(detail::word(planes[b / kLowBlocks], r), R::kLowBits * (b % kLowBlocks), R::kShift);
    if constexpr (R::kHighBits == 0) {
      return low;
    } else {
      constexpr int kHighBlocks = 8 / R::kHighBits;
      return low | detail::field<R::kHighBits>(detail::word(planes[R::kLowVectors + b / kHighBlocks], r),
                                               R::kHighBits * (b % kHighBlocks), R::kShift + R::kLowBits);
    }
  }
};

/// A lane's part of a record of floats.
template <class Format>
struct FloatLaneWeights {
  using R = Record<Format>;
  uint4 steps[kSteps];
  __device__ __forceinline__ FloatLaneWeights(const std::byte* record, int lane) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) steps[s] = *reinterpret_cast<const uint4*>(record + (s * kWarp + lane) * 16);
  }

  __device__ __forceinline__ void settle() const {
    unsigned all = 0;
#pragma unroll
    for (const uint4& v : steps) all ^= v.x ^ v.y ^ v.z ^ v.w;
    inlay::cuda::settle(all);
  }
};

}  // namespace inlay::cuda
