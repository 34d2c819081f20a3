// A record times the activations of its columns.
#pragma once

#include "cuda/float_operand.cuh"
#include "cuda/granule.cuh"
#include "cuda/lane.cuh"
#include "cuda/lane_scales.cuh"
#include "cuda/lane_weights.cuh"
#include "cuda/quantised_operand.cuh"

namespace inlay::cuda {

/// Results of the lane's token for rows g and g + 8: the lanes of a token among several have the same ones, those of a
/// single token what belongs to their class.
struct RowPair {
  float first = 0.0F;
  float second = 0.0F;
};

namespace detail {

/// Adds the products of a step of floats.
template <class Format>
__device__ __forceinline__ void multiply_step(float4& c, const uint4& a, const uint2& x) {
  if constexpr (kInputKind<Format> == InputKind::kHalf) {
    mma_half(c, a, x);
  } else if constexpr (kInputKind<Format> == InputKind::kBfloat16) {
    mma_bfloat16(c, a, x);
  } else {
    // Twice, for the upper and the lower bits of the weights.
    const uint4 upper = {a.x & 0xFFFFE000U, a.y & 0xFFFFE000U, a.z & 0xFFFFE000U, a.w & 0xFFFFE000U};
    const auto rest = [](unsigned whole, unsigned part) {
      return __float_as_uint(__uint_as_float(whole) - __uint_as_float(part));
    };
    mma_tf32(c, upper, x);
    mma_tf32(c, {rest(a.x, upper.x), rest(a.y, upper.y), rest(a.z, upper.z), rest(a.w, upper.w)}, x);
  }
}

}  // namespace detail

/// A record of a quantised format as it lies in a slot of shared memory (RecordStream).
template <class Format, int kTokens>
struct SlotWeights {
  using L = Lane<kTokens>;
  LaneWeights<Format> quants;
  uint4 kept[L::kClasses];  // what the slot keeps of the scales of the lane's classes

  /// `at`: the slot, from the lane's place on.
  __device__ __forceinline__ SlotWeights(const unsigned char* at, const Lane<kTokens>& lane) : quants(at) {
    const auto* of_lanes = reinterpret_cast<const uint4*>(at) + Record<Format>::kVectors * kWarp;
    if constexpr (L::kShares == 1) of_lanes -= lane.quarter();
#pragma unroll
    for (int j = 0; j < L::kClasses; ++j) kept[j] = of_lanes[j];
  }
};

/// A lane's part of a record, with the scales of its granules.
template <class Format, int kTokens>
struct PreparedWeights {
  using L = Lane<kTokens>;
  static constexpr int kOfClass = kGranulesOfClass<Format>;
  static constexpr bool kMinimums = Record<Format>::kMinimums;

  LaneWeights<Format> quants;
  float scales[2][L::kClasses][kOfClass];    // of rows g and g + 8, times the factor of the quants
  float minimums[2][L::kClasses][kOfClass];  // of formats that have them

  __device__ __forceinline__ PreparedWeights(const SlotWeights<Format, kTokens>& w, const Lane<kTokens>& lane)
      : quants(w.quants) {
#pragma unroll
    for (int j = 0; j < L::kClasses; ++j) {
      const int c = L::class_of(lane.share(), j);
      // A step has two granules of 16 columns.
      const ClassScales<Format> of_class(w.kept[j], c,
                                         LaneWeights<Format>::factor(kHalvesOfGranule<Format> == 1 ? c / 2 : c));
#pragma unroll
      for (int row = 0; row < 2; ++row)
#pragma unroll
        for (int i = 0; i < kOfClass; ++i) {
          scales[row][j][i] = of_class.scales[row][i];
          if constexpr (kMinimums) minimums[row][j][i] = of_class.minimums[row][i];
        }
    }
  }

  __device__ __forceinline__ void settle() const {
    unsigned all = quants.mixed();
#pragma unroll
    for (int row = 0; row < 2; ++row)
#pragma unroll
      for (int j = 0; j < L::kClasses; ++j)
#pragma unroll
        for (int i = 0; i < kOfClass; ++i) {
          all ^= __float_as_uint(scales[row][j][i]);
          if constexpr (kMinimums) all ^= __float_as_uint(minimums[row][j][i]);
        }
    inlay::cuda::settle(all);
  }
};

/// What a lane has of a row's product: the sums of its classes, or of all of them where it has all.
template <int kTokens>
__device__ __forceinline__ float own_sum(const float (&of_classes)[Lane<kTokens>::kClasses]) {
  if constexpr (kTokens == 1) {
    return of_classes[0];
  } else {
    return sum_of_classes(of_classes[0], of_classes[1], of_classes[2], of_classes[3]);
  }
}

/// y = a record of floats times the operand.
template <class Format, int kTokens>
__device__ __forceinline__ void multiply_record(const FloatLaneWeights<Format>& w, const Lane<kTokens>& /*lane*/,
                                                const FloatOperand<Format, kTokens>& x,
                                                RowPair (&y)[Lane<kTokens>::kTiles]) {
  using L = Lane<kTokens>;
#pragma unroll
  for (int n = 0; n < L::kTiles; ++n) {
    float4 sums[L::kClasses] = {};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      detail::multiply_step<Format>(sums[step % 4 / L::kShares], w.steps[step], x.words[n][step]);
    }
    float values[2][L::kClasses];
#pragma unroll
    for (int j = 0; j < L::kClasses; ++j) {
      values[0][j] = sums[j].x + sums[j].y;
      values[1][j] = sums[j].z + sums[j].w;
    }
    y[n].first = x.scale[n] * own_sum<kTokens>(values[0]);  // a power of two: the order does not matter
    y[n].second = x.scale[n] * own_sum<kTokens>(values[1]);
  }
}

/// The same of a quantised one.
template <class Format, int kTokens>
__device__ __forceinline__ void multiply_record(const PreparedWeights<Format, kTokens>& w, const Lane<kTokens>& lane,
                                                const QuantisedOperand<Format, kTokens>& x,
                                                RowPair (&y)[Lane<kTokens>::kTiles]) {
  using L = Lane<kTokens>;
  using R = Record<Format>;
  float values[L::kTiles][2][L::kClasses] = {};
#pragma unroll
  for (int i = 0; i < kGranulesOfClass<Format>; ++i) {
#pragma unroll
    for (int j = 0; j < L::kClasses; ++j) {
#pragma unroll
      for (int n = 0; n < L::kTiles; ++n) {
        const int4 c = multiply_granule<Format, kTokens>(w.quants, x.words[n], j, i);
        const float scale = x.scale(n, j, i);
        const int sums[2] = {256 * c.x + c.y, 256 * c.z + c.w};
#pragma unroll
        for (int row = 0; row < 2; ++row) {
          float& value = values[n][row][j];
          value = fmaf(scale * static_cast<float>(sums[row]), w.scales[row][j][i], value);
          if constexpr (R::kMinimums) value = fmaf(x.sum(lane, n, j, i), w.minimums[row][j][i], value);
          if constexpr (R::kZero != 0) value = fmaf(x.sum(lane, n, j, i), w.scales[row][j][i], value);
        }
      }
    }
  }
#pragma unroll
  for (int n = 0; n < L::kTiles; ++n) {
    y[n].first = own_sum<kTokens>(values[n][0]);
    y[n].second = own_sum<kTokens>(values[n][1]);
  }
}

}  // namespace inlay::cuda
