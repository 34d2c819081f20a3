// The state of a split softmax (Dao et al. 2023, "Flash-Decoding"): the largest score, the sum of weights and the
// weighted sum of values (Milakov and Gimelshein 2018), of lanes, warps and ranges, and how they are joined.
#pragma once

#include <cmath>

#include "cuda/kv_columns.cuh"
#include "cuda/lane.cuh"
#include "cuda/record.hpp"
#include "cuda/step_attend.hpp"

namespace inlay::cuda::attention {

inline constexpr int kWarps = 8;
inline constexpr int kThreads = kWarps * kWarp;
inline constexpr int kBatch = 4;  // positions of a lane that are on their way together

/// What the query heads have seen so far.
template <int kHeads>
struct Seen {
  float most[kHeads];   // largest score, in powers of two
  float total[kHeads];  // of the weights 2^(score - most)
  Columns sum[kHeads];  // of the weighted values
};

template <int kHeads>
__device__ __forceinline__ void clear(Seen<kHeads>& seen) {
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    seen.most[h] = -INFINITY;
    seen.total[h] = 0.0F;
    seen.sum[h] = {};
  }
}

/// 2^(a - b); 0 where nothing was seen yet.
__device__ __forceinline__ float weight_of(float a, float b) { return a == -INFINITY ? 0.0F : exp2f(a - b); }

/// Adds positions, of which those that are not there have the score -infinity.
template <int kHeads>
__device__ __forceinline__ void see(Seen<kHeads>& seen, int h, const float (&scores)[kBatch],
                                    const Columns (&values)[kBatch]) {
  float most = seen.most[h];
#pragma unroll
  for (const float score : scores) most = fmaxf(most, score);
  const float keep = weight_of(seen.most[h], most);
  seen.most[h] = most;
  seen.total[h] *= keep;
#pragma unroll
  for (float& sum : seen.sum[h].v) sum *= keep;
#pragma unroll
  for (int i = 0; i < kBatch; ++i) {
    const float weight = weight_of(scores[i], most);
    seen.total[h] += weight;
#pragma unroll
    for (int col = 0; col < kColumns; ++col) {
      seen.sum[h].v[col] = fmaf(weight, values[i].v[col], seen.sum[h].v[col]);
    }
  }
}

/// Heads whose ranges are in shared memory together when they are joined.
inline constexpr int kJoinedHeads = 2;

/// Shared memory for that.
inline int joining_floats(int head_size) { return kJoinedHeads * kMostSplits * (head_size + 4); }

/// Calls store(column, four of the ranges of each head joined, [n_heads, head_size]). `ranges`: [n_heads, stride, 4 +
/// head_size], the first n of each head. They come to `shared` together (joining_floats), and are joined by loops: few
/// blocks run this, so that unrolled it would take longer to load than to execute. Every thread of the block calls it.
template <class Store>
__device__ __forceinline__ void join_ranges(const float* ranges, int n_heads, int n, int stride, int head_size,
                                            float* shared, const Store& store) {
  const int part_floats = head_size + 4;
#pragma unroll 1
  for (int first = 0; first < n_heads; first += kJoinedHeads) {
    const int n_joined = min(kJoinedHeads, n_heads - first);
    const int n_fours = n * part_floats / 4;
    constexpr int kThreadsOfHead = kThreads / kJoinedHeads;
    const int copied = static_cast<int>(threadIdx.x) / kThreadsOfHead;
    if (copied < n_joined) {
      const auto* from = reinterpret_cast<const float4*>(ranges + (first + copied) * stride * part_floats);
      auto* to = reinterpret_cast<float4*>(shared) + copied * n_fours;
#pragma unroll 4
      for (int i = static_cast<int>(threadIdx.x) % kThreadsOfHead; i < n_fours; i += kThreadsOfHead) to[i] = from[i];
    }
    __syncthreads();
#pragma unroll 1
    for (int i = 4 * static_cast<int>(threadIdx.x); i < n_joined * head_size; i += 4 * kThreads) {
      const int h = i / head_size;
      const float* parts = shared + h * n * part_floats;
      const int col = 4 + i - h * head_size;
      float most = -INFINITY;
#pragma unroll 4
      for (int split = 0; split < n; ++split) most = fmaxf(most, parts[split * part_floats]);
      float total = 0.0F;
      float4 sum = {};
#pragma unroll 4
      for (int split = 0; split < n; ++split) {
        const float* part = parts + split * part_floats;
        const float2 seen = *reinterpret_cast<const float2*>(part);  // largest score, total
        const float4 v = *reinterpret_cast<const float4*>(part + col);
        const float weight = weight_of(seen.x, most);
        total = fmaf(weight, seen.y, total);
        sum.x = fmaf(weight, v.x, sum.x), sum.y = fmaf(weight, v.y, sum.y);
        sum.z = fmaf(weight, v.z, sum.z), sum.w = fmaf(weight, v.w, sum.w);
      }
      const float inverse = 1.0F / total;
      store(first * head_size + i, {sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse});
    }
    __syncthreads();
  }
}

/// Joins what the groups of kLanes lanes of a warp have seen: all of them have the same then.
template <int kLanes, int kHeads>
__device__ __forceinline__ void join_lanes(Seen<kHeads>& seen) {
#pragma unroll
  for (int offset = kLanes; offset < kWarp; offset *= 2) {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const float other = __shfl_xor_sync(kAllLanes, seen.most[h], offset);
      const float most = fmaxf(seen.most[h], other);
      const float weight = weight_of(seen.most[h], most);
      seen.most[h] = most;
      seen.total[h] *= weight;
      seen.total[h] += __shfl_xor_sync(kAllLanes, seen.total[h], offset);
#pragma unroll
      for (float& sum : seen.sum[h].v) {
        sum *= weight;
        sum += __shfl_xor_sync(kAllLanes, sum, offset);
      }
    }
  }
}

/// What the warps have seen, in shared memory.
template <int kLanes, int kHeads>
struct Warps {
  float* most;   // [kHeads, kWarps]
  float* total;  // [kHeads, kWarps]
  float* sums;   // [kHeads, kWarps, stride]
  int stride;    // of sums: head_size, and four so that warps lie in other banks

  __device__ __forceinline__ Warps(float* shared, int head_size)
      : most(shared),
        total(most + kHeads * kWarps),
        sums(total + kHeads * kWarps),
        stride(head_size + 4) {}
  static int floats(int head_size) { return kHeads * kWarps * (2 + head_size + 4); }

  __device__ __forceinline__ void store(const Seen<kHeads>& seen, int head_size) {
    const int warp = static_cast<int>(threadIdx.x / kWarp);
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    const int col = lane * kColumns;
    if (lane >= kLanes) return;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (lane == 0) most[h * kWarps + warp] = seen.most[h], total[h * kWarps + warp] = seen.total[h];
      if (col >= head_size) continue;
      auto* at = reinterpret_cast<float4*>(sums + (h * kWarps + warp) * stride + col);
      const float* v = seen.sum[h].v;
      at[0] = {v[0], v[1], v[2], v[3]};
      at[1] = {v[4], v[5], v[6], v[7]};
    }
  }

  /// Four neighbours of the head's weighted values, and what they are weighted with. After a barrier.
  struct Joined {
    float largest = -INFINITY;  // score of all warps
    float total = 0.0F;         // of the weights
    float4 sum = {};
  };
  [[nodiscard]] __device__ __forceinline__ Joined joined(int h, int col) const {
    Joined joined;
    float scores[kWarps];
    float totals[kWarps];
    float4 values[kWarps];
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      scores[warp] = most[h * kWarps + warp];
      totals[warp] = total[h * kWarps + warp];
      values[warp] = *reinterpret_cast<const float4*>(sums + (h * kWarps + warp) * stride + col);
    }
#pragma unroll
    for (const float score : scores) joined.largest = fmaxf(joined.largest, score);
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      const float weight = weight_of(scores[warp], joined.largest);
      const float4& v = values[warp];
      joined.total = fmaf(weight, totals[warp], joined.total);
      joined.sum.x = fmaf(weight, v.x, joined.sum.x), joined.sum.y = fmaf(weight, v.y, joined.sum.y);
      joined.sum.z = fmaf(weight, v.z, joined.sum.z), joined.sum.w = fmaf(weight, v.w, joined.sum.w);
    }
    return joined;
  }
};

}  // namespace inlay::cuda::attention
