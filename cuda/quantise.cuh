// How activations become integers (activations.hpp).
#pragma once

#include "cuda/activations.hpp"
#include "cuda/arrival.cuh"
#include "cuda/half_parts.cuh"
#include "cuda/lane.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {

/// Of a number between 2^-126 and 2^126, off by one bit at most.
__device__ __forceinline__ float inverse_of(float x) {
  float inverse;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(x));
  return inverse;
}

namespace detail {

/// Of the largest magnitude of 32 columns, as bits: those of a NaN or an infinity are the highest.
struct StepScale {
  float scale;
  float inverse;
};
__device__ __forceinline__ StepScale step_scale(unsigned most) {
  constexpr float kMostSteps = 32512.0F;  // 127 * 256: a coarse part of at most 127
  const float scale = most < kInfinityBits ? __uint_as_float(most) * (1.0F / kMostSteps) : __uint_as_float(0x7FC00000U);
  return {scale, scale >= 0x1p-120F ? inverse_of(scale) : 0.0F};
}

/// The addition leaves the rounded number in the lower bits.
__device__ __forceinline__ int quant_of(float x, float inverse) {
  return __float_as_int(fmaf(x, inverse, 12582912.0F)) - 0x4B400000;
}

/// The bytes 0 and 2 of v in turn with those of the next lane: bytes of an even lane and the next one, then the others.
__device__ __forceinline__ unsigned zipped(unsigned v, unsigned other) {
  return threadIdx.x % 2 == 0 ? __byte_perm(v, other, 0x6240U) : __byte_perm(v, other, 0x2604U);
}
__device__ __forceinline__ unsigned zip_pair(unsigned v) { return zipped(v, __shfl_xor_sync(kAllLanes, v, 1)); }

}  // namespace detail

/// Where the lane of a column puts a word in its step, if it does: of four neighbours the first the coarse parts, the
/// second the fine ones.
__device__ __forceinline__ int word_of_lane(unsigned lane) {
  return static_cast<int>(lane % 16U / 4U * 8U + lane / 16U * 4U + lane % 2U * kStepOfInput);
}

/// Quantises 32 columns, one a lane: all lanes of a warp take part. `word`: word_of_lane of the step. `source`: what
/// the column was before it was multiplied with a norm's weight, whose squares are added up. A NaN or an infinity makes
/// all of them NaN. What waits for other lanes is done by turns, so that it waits together. `kSquares`: or they are 0.
template <bool kSquares>
__device__ __forceinline__ void quantise_columns(std::byte* word, StepSums* sums, float x, float source) {
  const unsigned lane = threadIdx.x % kWarp;
  float squares = kSquares ? source * source : 0.0F;
  const auto add_squares = [&squares](int offset) {
    if constexpr (kSquares) squares += __shfl_xor_sync(kAllLanes, squares, offset);
  };
  const unsigned most = __reduce_max_sync(kAllLanes, magnitude_bits(x));
  add_squares(16);
  const detail::StepScale scale = detail::step_scale(most);
  const int quant = detail::quant_of(x, scale.inverse);
  const auto both = static_cast<unsigned>(quant);
  const unsigned mixed = __byte_perm(both + 128U, both, 0x0401U);
  const unsigned other = __shfl_xor_sync(kAllLanes, mixed, 1);
  const int all = __reduce_add_sync(kAllLanes, quant);
  add_squares(8);
  const unsigned pair = detail::zipped(mixed, other);
  const unsigned next = __shfl_xor_sync(kAllLanes, pair, 2);
  const int low = __reduce_add_sync(kAllLanes, lane < 16 ? quant : 0);
  add_squares(4);
  const unsigned four = lane % 2 == 0 ? __byte_perm(pair, next, 0x5410U) : __byte_perm(pair, next, 0x7632U);
  if (lane % 4 < 2) store_word(word, present(four));
  add_squares(2);
  add_squares(1);
  if (lane == 0) {
    store_words(reinterpret_cast<float4*>(sums), {scale.scale, scale.scale * static_cast<float>(low),
                                                  scale.scale * static_cast<float>(all - low), squares});
  }
}

/// The same for a whole step.
__device__ __forceinline__ void quantise_step(const QuantisedStep& to, float x, float source) {
  quantise_columns<true>(to.words + word_of_lane(threadIdx.x % kWarp), to.sums, x, source);
}

}  // namespace inlay::cuda
