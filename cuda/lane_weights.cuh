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

/// A lane's quants of a record of a quantised format.
template <class Format>
struct LaneWeights {
  using R = Record<Format>;
  uint4 planes[R::kVectors];

  /// From a slot in shared memory, from the lane's place on.
  __device__ __forceinline__ explicit LaneWeights(const unsigned char* at) {
#pragma unroll
    for (int v = 0; v < R::kVectors; ++v) planes[v] = reinterpret_cast<const uint4*>(at)[v * kWarp];
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

  /// What undoes the place of the quants of step b in their bytes.
  static __device__ __forceinline__ float factor(int b) {
    if (R::kZero != 0) return SixBitQuants::is_upper(b) ? 1.0F / (1 << R::kHighBits) : 1.0F;
    return kUpperNibbles && b % 2 == 1 ? 1.0F / 16.0F : 1.0F / static_cast<float>(1 << R::kShift);
  }

  /// The 32 columns of a step as bytes, divided by its factor; kZero is still in them.
  __device__ __forceinline__ uint4 step(int b) const {
    if (kUpperNibbles && b % 2 == 1) {
      const uint4& v = planes[b / 2];
      return {v.x & 0xF0F0F0F0U, v.y & 0xF0F0F0F0U, v.z & 0xF0F0F0F0U, v.w & 0xF0F0F0F0U};
    }
    return {combine(b, 0), combine(b, 1), combine(b, 2), combine(b, 3)};
  }

 private:
  /// SixBitQuants: a nibble of the low plane with what the high one has beside it, and no more.
  __device__ __forceinline__ unsigned six_bits(int b, int r) const {
    constexpr unsigned kLowers = 0x0F0F0F0FU;
    const unsigned low = detail::word(planes[b / 2], r);
    unsigned high = detail::word(planes[R::kLowVectors + b / 4], r);
    if (b % 4 == 2) high <<= 4U;
    if (b % 4 == 3) high >>= 4U;
    if (SixBitQuants::is_upper(b)) return ((low & ~kLowers) | (high & kLowers)) & 0xFCFCFCFCU;
    return ((low & kLowers) | (high & ~kLowers)) & 0x3F3F3F3FU;
  }

  __device__ __forceinline__ unsigned combine(int b, int r) const {
    constexpr int kLowBlocks = 8 / R::kLowBits;
    const unsigned low =
        detail::field<R::kLowBits>(detail::word(planes[b / kLowBlocks], r), R::kLowBits * (b % kLowBlocks), R::kShift);
    if constexpr (R::kZero != 0) {
      return six_bits(b, r);
    } else if constexpr (R::kHighBits == 0) {
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
  template <class AnyLane>
  __device__ __forceinline__ FloatLaneWeights(const unsigned char* at, const AnyLane& /*lane*/) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) steps[s] = reinterpret_cast<const uint4*>(at)[s * kWarp];
  }

  /// They are used as they are.
  template <class AnyLane>
  __device__ __forceinline__ FloatLaneWeights(const FloatLaneWeights& taken, const AnyLane& /*lane*/)
      : FloatLaneWeights(taken) {}

  __device__ __forceinline__ void settle() const {
    unsigned all = 0;
#pragma unroll
    for (const uint4& v : steps) all ^= v.x ^ v.y ^ v.z ^ v.w;
    inlay::cuda::settle(all);
  }
};

}  // namespace inlay::cuda
