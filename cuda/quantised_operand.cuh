// Quantised activations (activations.hpp) of a record's columns as operand B of the tensor cores.
#pragma once

#include "cuda/activations.hpp"
#include "cuda/granule.cuh"
#include "cuda/lane.cuh"
#include "cuda/lane_weights.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {

/// Where a lane reads the operand of a record, for four tokens.
template <int kTokens>
struct QuantisedPlace {
  int words = 0;  // bytes from the first step on, of the lane's column of the operand
  int sums = 0;   // steps from the first one on, of the token of the lane's sums

  QuantisedPlace() = default;
  /// The steps are those of the record's first columns, of the input's and the sums' tokens.
  __device__ __forceinline__ QuantisedPlace(const Lane<kTokens>& lane, int input_step, int step)
      : words(input_step * kStepBytes + (lane.is_fine() ? kStepOfInput : 0) + lane.quarter() * 8), sums(step) {}
};

/// Operands of a record, one for each four tokens.
template <class Format, int kTokens>
struct QuantisedOperand {
  using L = Lane<kTokens>;
  static constexpr int kTiles = L::kTiles;
  static constexpr int kShares = L::kShares;
  static constexpr int kOfClass = kGranulesOfClass<Format>;
  static constexpr bool kSixteens = kHalvesOfGranule<Format> == 1;
  static constexpr int kOwn = kShares == 1 ? kSteps : kOfClass;  // sums that the lane's granules need

  uint2 words[kTiles][kSteps];
  float scales[kTiles][kOwn];
  float sums[kTiles][kOwn][kSixteens && kShares == 1 ? 2 : 1];  // of granules' activations (times_zero)

  /// `all_words`, `all_sums`: of steps, as QuantisedRows has them.
  template <class Byte>
  __device__ __forceinline__ void load(const Lane<kTokens>& lane, const Byte* all_words, const StepSums* all_sums,
                                       const QuantisedPlace<kTokens> (&from)[kTiles]) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const Byte* bytes = all_words + from[n].words + step * kStepBytes;
        words[n][step] = {0, 0};
        if constexpr (kShares == 1) {
          words[n][step] = *reinterpret_cast<const uint2*>(bytes);
        } else if constexpr (kSixteens) {  // pair p takes half p % 2 of every other step
          if (step % 2 != lane.input_share() / 2) continue;
          const uint2 both = *reinterpret_cast<const uint2*>(bytes);
          words[n][step] = {lane.input_share() % 2 == 0 ? both.x : 0, lane.input_share() % 2 == 0 ? 0 : both.y};
        } else if (step % kShares == lane.input_share()) {
          words[n][step] = *reinterpret_cast<const uint2*>(bytes);
        }
      }
#pragma unroll
      for (int own = 0; own < kOwn; ++own) {
        const int step = kShares == 1 ? own : kSixteens ? 2 * own + lane.share() / 2 : 4 * own + lane.share();
        const float4 four = *reinterpret_cast<const float4*>(all_sums + from[n].sums + step);
        scales[n][own] = four.x;
        if constexpr (!kSixteens) {
          sums[n][own][0] = times_zero(step, four.y + four.z);
        } else if constexpr (kShares == 1) {
          sums[n][own][0] = times_zero(step, four.y), sums[n][own][1] = times_zero(step, four.z);
        } else {
          sums[n][own][0] = times_zero(step, lane.share() % 2 == 0 ? four.y : four.z);
        }
      }
    }
  }

  /// Of granule i of the lane's class j.
  [[nodiscard]] __device__ __forceinline__ float scale(int tile, int j, int i) const {
    return scales[tile][own_of(j, i)];
  }
  /// The sum of the granule's activations, as quants with a zero need it: times what is to be added to each.
  [[nodiscard]] __device__ __forceinline__ float sum(const Lane<kTokens>& lane, int tile, int j, int i) const {
    const auto& of_step = sums[tile][own_of(j, i)];
    if constexpr (!kSixteens || kShares > 1) return of_step[0];
    return L::class_of(lane.share(), j) % 2 == 0 ? of_step[0] : of_step[1];
  }

 private:
  /// Of quants without a zero nothing is taken off.
  static __device__ __forceinline__ float times_zero(int step, float sum) {
    if constexpr (Record<Format>::kZero == 0) return sum;
    return sum * (static_cast<float>(-Record<Format>::kZero) / LaneWeights<Format>::factor(step));
  }
  static __device__ __forceinline__ int own_of(int j, int i) {
    return kShares == 1 ? (kSixteens ? (4 * i + j) / 2 : 4 * i + j) : i;
  }
};

}  // namespace inlay::cuda
