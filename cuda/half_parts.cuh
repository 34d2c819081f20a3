// Floats as a sum of an upper and a lower half, which together have 22 bits, times a power of two that keeps them in
// the range of halves. So tensor cores multiply halves about as well as floats.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace inlay::cuda {

inline constexpr unsigned kInfinityBits = 0x7F800000U;

/// As bits: those of a NaN or an infinity are the highest.
__device__ __forceinline__ unsigned magnitude_bits(float x) { return __float_as_uint(x) & 0x7FFFFFFFU; }

/// A power of two, times which numbers up to the one with magnitude_bits `most` are halves below 2^11.
__device__ __forceinline__ float half_scale(unsigned most) {
  most &= kInfinityBits;
  return __uint_as_float(most > (20U << 23U) ? most - (10U << 23U) : 10U << 23U);
}

/// Of a power of two that is a normal number, and whose inverse is.
__device__ __forceinline__ float inverse_of_power(float power) {
  return __uint_as_float((254U << 23U) - __float_as_uint(power));
}

/// Two neighbours.
struct HalfPair {
  unsigned upper;
  unsigned lower;
  __device__ __forceinline__ HalfPair(float a, float b) {
    const float2 x = {a, b};
    const __half2 coarse = __float22half2_rn(x);
    const float2 back = __half22float2(coarse);
    const __half2 rest = __float22half2_rn({x.x - back.x, x.y - back.y});
    upper = *reinterpret_cast<const unsigned*>(&coarse);
    lower = *reinterpret_cast<const unsigned*>(&rest);
  }
};

}  // namespace inlay::cuda
