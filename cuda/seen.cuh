// The state of a split softmax (Dao et al. 2023, "Flash-Decoding"): the largest score, the sum of weights and the
// weighted sum of values (Milakov and Gimelshein 2018), of warps and ranges, and how they are joined.
//
// Products are those of tensor cores with halves. Eight query heads are the rows of operand A twice: rows g are the
// upper bits of their numbers, rows g + 8 the lower ones, so that a product has 22 bits of queries and weights.
#pragma once

#include <cmath>

#include "cuda/arrival.cuh"
#include "cuda/half_parts.cuh"
#include "cuda/kv_tile.cuh"
#include "cuda/lane.cuh"
#include "cuda/mma.cuh"
#include "cuda/quantise.cuh"
#include "cuda/record.hpp"
#include "cuda/shared_load.cuh"
#include "cuda/step_attend.hpp"

namespace inlay::cuda::attention {

inline constexpr int kHeads = 8;  // of a block, at most

/// 2^(a - b), a <= b, b finite; 0 where nothing was seen yet, and below 2^-126.
__device__ __forceinline__ float weight_of(float a, float b) {
  float weight;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(weight) : "f"(a - b));
  return weight;
}

/// The queries of a block's heads in shared memory, as operands A. Heads and columns that are not there are zeros.
template <class Size>
struct Queries {
  uint4* operands;  // [kSteps, lane]
  float* factors;   // [kHeads] what undoes the scale of a head's halves
  static constexpr int kBytes = Size::kSteps * kWarp * static_cast<int>(sizeof(uint4)) + kHeads * 4;

  __device__ __forceinline__ explicit Queries(unsigned char* memory)
      : operands(reinterpret_cast<uint4*>(memory)),
        factors(reinterpret_cast<float*>(operands + Size::kSteps * kWarp)) {}

  /// Of the heads from n_heads on. By all threads of the block.
  __device__ __forceinline__ void clear(int n_heads) const {
    for (int i = static_cast<int>(threadIdx.x); i < Size::kSteps * kWarp; i += Size::kThreads) {
      if (i % kWarp / 4 >= n_heads) operands[i] = {0, 0, 0, 0};
    }
  }

  /// A head's, by one warp. `scale`: what they are multiplied with. `is_late`: those that are absent are asked for
  /// again.
  __device__ __forceinline__ void set(int head, const float* query, int head_size, float scale, bool is_late) const {
    constexpr int kPairs = (Size::kDims / 2 + kWarp - 1) / kWarp;  // of a lane
    const int lane = lane_of_warp();
    float2 pairs[kPairs];
    bool is_missing = false;
    do {
      is_missing = false;
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        const int col = 2 * (i * kWarp + lane);
        pairs[i] = {0.0F, 0.0F};
        if (col < head_size) load_words(pairs[i], query + col);
        is_missing |= is_absent(pairs[i]);
      }
    } while (is_late && __any_sync(kAllLanes, is_missing));
    unsigned most = 0;
#pragma unroll
    for (float2& pair : pairs) {
      pair.x *= scale, pair.y *= scale;
      most = max(most, max(magnitude_bits(pair.x), magnitude_bits(pair.y)));
    }
    const float factor = half_scale(__reduce_max_sync(kAllLanes, most));
    const float inverse = inverse_of_power(factor);
    if (lane == 0) factors[head] = factor;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int col = 2 * (i * kWarp + lane);
      if (col >= Size::kDims) break;
      const HalfPair split(pairs[i].x * inverse, pairs[i].y * inverse);
      auto* at = reinterpret_cast<uint2*>(operands + col / 16 * kWarp + 4 * head + col % 8 / 2);
      at[col % 16 / 8] = {split.upper, split.lower};
    }
  }
};

/// What a warp has seen. Lane 4 g + t has columns 8 n + 2 t and 8 n + 2 t + 1 of head g, 0 <= n < 2 kSteps.
template <class Size>
struct Seen {
  float most = -INFINITY;              // largest score, in powers of two
  float total = 0.0F;                  // of the weights 2^(score - most), of the lane's positions
  float4 sums[2 * Size::kSteps] = {};  // of weighted values: from the upper halves of weights (x, y) and the lower ones

  /// Adds 16 positions of a tile from `row` on, of which the first n > 0 are there. `is_first`: there are none before.
  __device__ __forceinline__ void see(const KvTile<Size>& tile, const Queries<Size>& queries, int row, int n,
                                      bool is_first) {
    const int lane = lane_of_warp();
    const int col = 2 * (lane % 4);  // of the lane's scores: columns col, col + 1, and eight more
    float scores[4];
    score(tile, queries, row, col, scores);
    const float factor = queries.factors[lane / 4];
    float largest = most;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scores[i] = col + i / 2 * 8 + i % 2 < n ? scores[i] * factor : -INFINITY;
      largest = fmaxf(largest, scores[i]);
    }
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    if (!is_first) {
      const float keep = weight_of(most, largest);
      total *= keep;
#pragma unroll
      for (float4& sum : sums) sum.x *= keep, sum.y *= keep, sum.z *= keep, sum.w *= keep;
    }
    most = largest;
#pragma unroll
    for (float& score : scores) {
      score = weight_of(score, largest);
      total += score;
    }
    if constexpr (Size::kQuantised) {
      add_scaled(tile, row, col, scores);
    } else {
      const uint4 a = operand(scores);
#pragma unroll
      for (int step = 0; step < Size::kSteps; ++step) {
        const uint4 b = tile.values(row, step);
        mma_half(sums[2 * step], a, {b.x, b.y});
        mma_half(sums[2 * step + 1], a, {b.z, b.w});
      }
    }
  }

 private:
  /// Weights of a lane's positions as operand A.
  static __device__ __forceinline__ uint4 operand(const float (&weights)[4]) {
    const HalfPair first(weights[0], weights[1]);
    const HalfPair second(weights[2], weights[3]);
    return {first.upper, first.lower, second.upper, second.lower};
  }

  static __device__ __forceinline__ void score(const KvTile<Size>& tile, const Queries<Size>& queries, int row, int col,
                                               float (&scores)[4]) {
    constexpr int kStepsOfScale = Size::kQuantised ? kScaleColumns / 16 : Size::kSteps;
    const int lane = lane_of_warp();
#pragma unroll
    for (float& score : scores) score = 0.0F;
#pragma unroll
    for (int first = 0; first < Size::kSteps; first += kStepsOfScale) {
      float4 c[2] = {};
#pragma unroll
      for (int step = first; step < min(first + kStepsOfScale, Size::kSteps); ++step) {
        const uint4 a = queries.operands[step * kWarp + lane];
        const uint4 b = tile.keys(row, step);
        mma_half(c[0], a, {b.x, b.y});
        mma_half(c[1], a, {b.z, b.w});
      }
      const float sums[4] = {c[0].x + c[0].z, c[0].y + c[0].w, c[1].x + c[1].z, c[1].y + c[1].w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if constexpr (Size::kQuantised) {
          scores[i] = fmaf(sums[i], tile.scale(0, row + col + i / 2 * 8 + i % 2, first / kStepsOfScale), scores[i]);
        } else {
          scores[i] = sums[i];
        }
      }
    }
  }

  /// Values of a cache of 8 bits: weights are multiplied with the scales of their positions, and these with a power of
  /// two, so that halves hold them.
  __device__ __forceinline__ void add_scaled(const KvTile<Size>& tile, int row, int col, const float (&weights)[4]) {
#pragma unroll
    for (int block = 0; block < Size::kScales; ++block) {
      float scaled[4];
      unsigned largest = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float scale = tile.scale(1, row + col + i / 2 * 8 + i % 2, block);
        largest = max(largest, __float_as_uint(scale) & kInfinityBits);
        scaled[i] = weights[i] * scale;
      }
      largest = max(largest, __shfl_xor_sync(kAllLanes, largest, 1));
      largest = max(largest, __shfl_xor_sync(kAllLanes, largest, 2));
      const float power = __uint_as_float(max(largest, 1U << 23U));
      const float inverse = 1.0F / power;
#pragma unroll
      for (float& weight : scaled) weight *= inverse;
      const uint4 a = operand(scaled);
#pragma unroll
      for (int step = 2 * block; step < min(2 * block + 2, Size::kSteps); ++step) {
        const uint4 b = tile.values(row, step);
        add_product(sums[2 * step], a, {b.x, b.y}, power);
        add_product(sums[2 * step + 1], a, {b.z, b.w}, power);
      }
    }
  }
  static __device__ __forceinline__ void add_product(float4& sum, const uint4& a, const uint2& b, float power) {
    float4 c = {};
    mma_half(c, a, b);
    sum.x = fmaf(c.x, power, sum.x), sum.y = fmaf(c.y, power, sum.y);
    sum.z = fmaf(c.z, power, sum.z), sum.w = fmaf(c.w, power, sum.w);
  }
};

/// What the warps have seen, in shared memory, of n heads.
template <class Size>
struct Warps {
  float* most;                                     // [n, kWarps]
  float* total;                                    // [n, kWarps]
  float* sums;                                     // [n, kWarps, stride]
  static constexpr int kStride = Size::kDims + 4;  // so that warps lie in other banks

  __device__ __forceinline__ Warps(unsigned char* memory, int n)
      : most(reinterpret_cast<float*>(memory)), total(most + n * Size::kWarps), sums(total + n * Size::kWarps) {}
  [[nodiscard]] __host__ __device__ static constexpr int bytes(int n) {
    return n * Size::kWarps * (2 + kStride) * static_cast<int>(sizeof(float));
  }

  /// By all lanes of a warp, of heads that are there.
  __device__ __forceinline__ void store(const Seen<Size>& seen, int n_heads) const {
    const int warp = warp_of_block();
    const int lane = lane_of_warp();
    const int head = lane / 4;
    float all = seen.total + __shfl_xor_sync(kAllLanes, seen.total, 1);
    all += __shfl_xor_sync(kAllLanes, all, 2);
    if (head >= n_heads) return;
    const int at = head * Size::kWarps + warp;
    if (lane % 4 == 0) most[at] = seen.most, total[at] = all;
#pragma unroll
    for (int n = 0; n < 2 * Size::kSteps; ++n) {
      const float4& v = seen.sums[n];
      *reinterpret_cast<float2*>(sums + at * kStride + 8 * n + lane % 4 * 2) = {v.x + v.z, v.y + v.w};
    }
  }

  /// Where the scores of a head and a column of its weighted values lie: addresses of shared memory.
  struct Place {
    int scores;
    int totals;
    int sums;
  };
  [[nodiscard]] __device__ __forceinline__ Place place_of(int h, int col) const {
    return {shared_address(most + h * Size::kWarps), shared_address(total + h * Size::kWarps),
            shared_address(sums + h * Size::kWarps * kStride + col)};
  }

  /// A column of a head's weighted values, and what they are weighted with. After a barrier.
  struct Joined {
    float largest = -INFINITY;  // score of all warps
    float total = 0.0F;         // of the weights
    float sum = 0.0F;
  };
  [[nodiscard]] static __device__ __forceinline__ Joined joined(const Place& place) {
    constexpr int kWarps = Size::kWarps;
    float4 scores[kWarps / 4];
    float4 totals[kWarps / 4];
    float values[kWarps];
#pragma unroll
    for (int i = 0; i < kWarps / 4; ++i) load_shared(scores[i], place.scores + 16 * i);
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      load_shared(values[warp], place.sums + warp * kStride * static_cast<int>(sizeof(float)));
    }
#pragma unroll
    for (int i = 0; i < kWarps / 4; ++i) load_shared(totals[i], place.totals + 16 * i);
    Joined joined;
#pragma unroll
    for (const float4& four : scores) {
      joined.largest = fmaxf(joined.largest, fmaxf(fmaxf(four.x, four.y), fmaxf(four.z, four.w)));
    }
#pragma unroll
    for (int i = 0; i < kWarps / 4; ++i) {
      const float of_warps[4] = {scores[i].x, scores[i].y, scores[i].z, scores[i].w};
      const float of_totals[4] = {totals[i].x, totals[i].y, totals[i].z, totals[i].w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float weight = weight_of(of_warps[k], joined.largest);
        joined.total = fmaf(weight, of_totals[k], joined.total);
        joined.sum = fmaf(weight, values[4 * i + k], joined.sum);
      }
    }
    return joined;
  }
};

/// A column of a head's weighted values, of n ranges, each kRangeFloats (floats_of_range) behind the one before. All
/// that it needs is asked for together: the way to memory takes longer than the rest.
template <int kRangeFloats>
__device__ __forceinline__ float join_ranges(const float* ranges, int n, int col) {
  const float* of_column = ranges + kFirstSum + col;
  float2 seen[kMostSplits];
  float sums[kMostSplits];
#pragma unroll
  for (int split = 0; split < kMostSplits; ++split) {
    seen[split] = {-INFINITY, 0.0F}, sums[split] = 0.0F;
    if (split >= n) continue;
    load_words(seen[split], ranges + split * kRangeFloats);
    load_word(sums[split], of_column + split * kRangeFloats);
  }
  float most = -INFINITY;
#pragma unroll
  for (const float2& of_range : seen) most = fmaxf(most, of_range.x);
  float total = 0.0F;
  float sum = 0.0F;
#pragma unroll
  for (int split = 0; split < kMostSplits; ++split) {
    const float weight = weight_of(seen[split].x, most);
    total = fmaf(weight, seen[split].y, total);
    sum = fmaf(weight, sums[split], sum);
  }
  return sum * inverse_of(total);
}

}  // namespace inlay::cuda::attention
