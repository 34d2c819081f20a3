// A candidate as one integer: sorted descending, such keys are in the order of runtime/sampler.cpp.
#pragma once

#include <cmath>
#include <cstdint>

namespace inlay::cuda {

using LogitKey = unsigned long long;

/// A NaN ranks below all numbers, as on the host.
__device__ __forceinline__ float ranked(float logit) { return isnan(logit) ? -INFINITY : logit; }

/// The ranked logit as an integer of the same order above, the id below: of equal logits the lowest id has the largest
/// key.
__device__ __forceinline__ LogitKey key_of(float logit, int token) {
  unsigned bits = __float_as_uint(ranked(logit) + 0.0F);  // + 0: there is one zero
  bits = bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
  return static_cast<LogitKey>(bits) << 32 | (0xFFFFFFFFU - static_cast<unsigned>(token));
}

__device__ __forceinline__ float logit_of(LogitKey key) {
  const auto bits = static_cast<unsigned>(key >> 32);
  return __uint_as_float(bits >> 31 != 0 ? bits & 0x7FFFFFFFU : ~bits);
}

__device__ __forceinline__ int token_of(LogitKey key) {
  return static_cast<int>(0xFFFFFFFFU - static_cast<unsigned>(key));
}

}  // namespace inlay::cuda
