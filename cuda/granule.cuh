// The product of a granule of a record: what tensor cores add up before it is scaled.
#pragma once

#include "cuda/lane.cuh"
#include "cuda/lane_weights.cuh"
#include "cuda/mma.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {

/// Of a record's row.
template <class Format>
inline constexpr int kGranulesOfClass = Record<Format>::kColumns / Record<Format>::kGranuleColumns / 4;

/// A step has two halves of its columns, which may be granules themselves.
template <class Format>
inline constexpr int kHalvesOfGranule = Record<Format>::kGranuleColumns < Record<Format>::kStepColumns ? 1 : 2;

/// Products of the coarse (x, z) and the fine parts (y, w) with rows g (x, y) and g + 8 (z, w), for granule i of the
/// lane's class j, of the record's weights and operands B.
template <class Format, int kTokens>
__device__ __forceinline__ int4 multiply_granule(const LaneWeights<Format>& weights, const uint2 (&x)[kSteps], int j,
                                                 int i) {
  constexpr int kShares = Lane<kTokens>::kShares;
  constexpr int kOfStep = 2 / kHalvesOfGranule<Format>;
  constexpr bool kSigned = Record<Format>::kSigned;
  const int granule = 4 * i + kShares * j;
  int4 c = {};
  if constexpr (kShares < kOfStep) {  // half of a step
    const uint4 a = weights.step(granule / 2);
    if (granule % 2 == 0) {
      mma_bytes<kSigned>(c, a.x, a.y, x[granule / 2].x);
    } else {
      mma_bytes<kSigned>(c, a.z, a.w, x[granule / 2].y);
    }
  } else {
#pragma unroll
    for (int step = granule / kOfStep; step < (granule + kShares) / kOfStep; ++step) {
      mma_bytes<kSigned>(c, weights.step(step), x[step]);
    }
  }
  return c;
}

}  // namespace inlay::cuda
