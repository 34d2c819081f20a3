// A record times the activations of its columns.
#pragma once

#include "cuda/float_operand.cuh"
#include "cuda/granule.cuh"
#include "cuda/lane.cuh"
#include "cuda/lane_scales.cuh"
#include "cuda/lane_weights.cuh"
#include "cuda/quantised_operand.cuh"

namespace inlay::cuda {

/// Results of the lane's token for rows g and g + 8. The lanes of a token have the same ones.
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

/// A lane's part of a record, with the scales of its granules.
template <class Format, int kTokens>
struct PreparedWeights {
  using L = Lane<kTokens>;
  static constexpr int kOfClass = kGranulesOfClass<Format>;
  static constexpr bool kMinimums = Record<Format>::kMinimums;

  LaneWeights<Format> quants;
  float scales[2][L::kClasses][kOfClass];    // of rows g and g + 8, times the factor of the quants
  float minimums[2][L::kClasses][kOfClass];  // of formats that have them

  __device__ __forceinline__ PreparedWeights(const LaneWeights<Format>& w, const Lane<kTokens>& lane) : quants(w) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const RowScales<Format> of_row(w.headers[row], w.halves[row]);
#pragma unroll
      for (int j = 0; j < L::kClasses; ++j) {
        const int c = L::class_of(lane.share(), j);
        // A step has two granules of 16 columns.
        const float factor = of_row.d * w.factor(kHalvesOfGranule<Format> == 1 ? c / 2 : c);
#pragma unroll
        for (int i = 0; i < kOfClass; ++i) {
          scales[row][j][i] = factor * of_row.scale(c, i);
          if constexpr (kMinimums) minimums[row][j][i] = of_row.d_minimum * of_row.minimum(c, i);
        }
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
    y[n].first = x.scale[n] * join_classes<kTokens, 1>(values[0]);
    y[n].second = x.scale[n] * join_classes<kTokens, 1>(values[1]);
  }
}

/// The same of a quantised one.
template <class Format, int kTokens>
__device__ __forceinline__ void multiply_record(const PreparedWeights<Format, kTokens>& w, const Lane<kTokens>& lane,
                                                const QuantisedOperand<Format, kTokens>& x,
                                                RowPair (&y)[Lane<kTokens>::kTiles]) {
  using L = Lane<kTokens>;
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
          if constexpr (Record<Format>::kMinimums) value = fmaf(x.sum(lane, n, j, i), w.minimums[row][j][i], value);
        }
      }
    }
  }
#pragma unroll
  for (int n = 0; n < L::kTiles; ++n) {
    y[n].first = join_classes<kTokens, 1>(values[n][0]);
    y[n].second = join_classes<kTokens, 1>(values[n][1]);
  }
}

}  // namespace inlay::cuda
