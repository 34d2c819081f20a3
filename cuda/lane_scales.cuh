// The scales and minimums that a lane keeps of a record (record.hpp): of the granules of a class, for rows g and g + 8.
// A granule's weights are scale * quant + minimum.
//
// Small integers become floats without a conversion: put into the lower bits of a power of two they add to it, and a
// fused multiplication takes the power off again. Every product here is exact, as scales have 11 bits.
#pragma once

#include <cuda_fp16.h>

#include "cuda/granule.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {
namespace detail {

__device__ __forceinline__ float lower_half(unsigned v) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(v)));
}
__device__ __forceinline__ float upper_half(unsigned v) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(v >> 16)));
}

/// d times the number that stands in the bits of `mask` of a word; the lowest of them is bit kFirst.
template <int kFirst>
struct FieldScale {
  static constexpr unsigned kPowerBits = 0x4B000000U;  // 2^23: the last bit counts one
  float factor;
  float less;
  // Products have no third dimension of blocks: so the compiler keeps the number in a register, and one operation masks
  // and adds.
  unsigned power = kPowerBits | blockIdx.z;
  __device__ __forceinline__ explicit FieldScale(float d)
      : factor(d * (1.0F / static_cast<float>(1 << kFirst))), less(factor * -0x1p23F) {}
  __device__ __forceinline__ float of(unsigned word, unsigned mask) const {
    return fmaf(__uint_as_float((word & mask) | power), factor, less);
  }
};

/// d times byte i of a word, less 128.
struct ByteScale {
  static constexpr unsigned kPowerBits = 0x47000000U;  // 2^15: bit 8 counts one
  float d;
  float less;
  __device__ __forceinline__ explicit ByteScale(float scale) : d(scale), less(scale * -(0x1p15F + 128.0F)) {}
  __device__ __forceinline__ float of(unsigned word, int i) const {
    const unsigned bits = __byte_perm(word, kPowerBits, 0x7604U | static_cast<unsigned>(i) << 4U);
    return fmaf(__uint_as_float(bits), d, less);
  }
};

}  // namespace detail

/// Of a class. `factor`: what the quants are to be multiplied with besides (LaneWeights::factor).
template <class Format>
struct ClassScales {
  using R = Record<Format>;
  static constexpr int kOfClass = kGranulesOfClass<Format>;
  float scales[2][kOfClass];    // of rows g and g + 8
  float minimums[2][kOfClass];  // of formats that have them

  /// From what a slot keeps for the lane whose class is c.
  __device__ __forceinline__ ClassScales(const uint4& kept, int c, float factor) {
    if constexpr (R::kScales == Scales::kSixBits) {
      // Bits 0 ... 23 are row g's, 24 ... 47 row g + 8's; the last 16 of them are half c % 2 of the second word.
      set_fields<6>(0, kept.x, kept.z, factor);
      set_fields<6>(1, __byte_perm(kept.x, kept.y, c % 2 == 0 ? 0x7543U : 0x5763U), kept.w, factor);
    } else if constexpr (R::kScales == Scales::kBytes) {
      set_bytes(0, kept.x, detail::lower_half(kept.z) * factor);
      set_bytes(1, kept.y, detail::upper_half(kept.z) * factor);
    } else if constexpr (R::kScales == Scales::kNibbles) {
      set_fields<4>(0, kept.x, kept.z, factor);
      set_fields<4>(1, kept.y, kept.w, factor);
    } else {
      set_halves(scales[0], kept.x, factor);
      set_halves(scales[1], kept.y, factor);
      if constexpr (R::kScales == Scales::kTwoHalves) {
        set_halves(minimums[0], kept.z, 1.0F);
        set_halves(minimums[1], kept.w, 1.0F);
      }
    }
  }

 private:
  /// Scales and minimums in turn, kBits each.
  template <int kBits>
  __device__ __forceinline__ void set_fields(int row, unsigned word, unsigned halves, float factor) {
    constexpr unsigned kMask = (1U << kBits) - 1U;
    const detail::FieldScale<0> scale(detail::lower_half(halves) * factor);
    const detail::FieldScale<kBits> minimum(-detail::upper_half(halves));
#pragma unroll
    for (int i = 0; i < kOfClass; ++i) {
      scales[row][i] = scale.of(word >> (2 * kBits * i), kMask);
      minimums[row][i] = minimum.of(word >> (2 * kBits * i), kMask << kBits);
    }
  }
  __device__ __forceinline__ void set_bytes(int row, unsigned word, float d) {
    const detail::ByteScale scale(d);
#pragma unroll
    for (int i = 0; i < kOfClass; ++i) scales[row][i] = scale.of(word, i);
  }
  static __device__ __forceinline__ void set_halves(float (&to)[kOfClass], unsigned word, float factor) {
    to[0] = detail::lower_half(word) * factor;
    to[1] = detail::upper_half(word) * factor;
  }
};

}  // namespace inlay::cuda
