// Split softmax (Dao et al. 2023, "Flash-Decoding"): a block takes a range of positions for the query heads that share a
// key head, and keeps the largest score, the sum of weights and the weighted sum of values (Milakov and Gimelshein 2018).
// The last block of a row and head joins the ranges, in their order.
#include "cuda/step_attend.hpp"

#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>

#include "cuda/dependent.cuh"
#include "cuda/launch.hpp"
#include "cuda/record.hpp"

namespace inlay::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kColumns = 8;          // of a head, a lane
constexpr int kLeastPositions = 64;  // a range is not worth a block below
constexpr unsigned kAll = 0xFFFFFFFFU;

/// The positions of a block.
struct Range {
  int begin = 0;
  int end = 0;
  int n_splits = 1;  // that the row uses
};

__device__ __forceinline__ Range range_of(int length, int split, int n_splits) {
  Range range;
  range.n_splits = min(n_splits, (length + kLeastPositions - 1) / kLeastPositions);
  const int each = (length + range.n_splits - 1) / range.n_splits;
  range.begin = min(length, split * each);
  range.end = min(length, range.begin + each);
  return range;
}

/// Eight neighbours of a key or value.
struct Columns {
  float v[kColumns];
};

template <bool kQuantised>
struct Packed;

template <>
struct Packed<false> {
  uint4 bits;
  __device__ __forceinline__ void load(const std::byte* row, int col, int /*head_size*/) {
    bits = *reinterpret_cast<const uint4*>(row + 2 * col);
  }
  __device__ __forceinline__ Columns values() const {
    Columns c;
    const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 two = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
      c.v[2 * i] = two.x, c.v[2 * i + 1] = two.y;
    }
    return c;
  }
};

template <>
struct Packed<true> {
  uint2 bits;
  float scale;
  __device__ __forceinline__ void load(const std::byte* row, int col, int head_size) {
    bits = *reinterpret_cast<const uint2*>(row + col);
    scale = __half2float(*reinterpret_cast<const __half*>(row + head_size + col / 32 * 2));
  }
  __device__ __forceinline__ Columns values() const {
    Columns c;
    const unsigned words[2] = {bits.x, bits.y};
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      c.v[i] = scale * static_cast<float>(static_cast<int>(words[i / 4] << (24 - 8 * (i % 4))) >> 24);
    }
    return c;
  }
};

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

template <int kHeads>
__device__ __forceinline__ void see(Seen<kHeads>& seen, int h, float score, const Columns& value) {
  const float most = fmaxf(seen.most[h], score);
  const float keep = weight_of(seen.most[h], most);
  const float weight = exp2f(score - most);
  seen.most[h] = most;
  seen.total[h] = fmaf(seen.total[h], keep, weight);
#pragma unroll
  for (int i = 0; i < kColumns; ++i) seen.sum[h].v[i] = fmaf(seen.sum[h].v[i], keep, weight * value.v[i]);
}

/// Joins what lanes kLanes apart have seen.
template <int kLanes, int kHeads>
__device__ __forceinline__ void join_lanes(Seen<kHeads>& seen) {
#pragma unroll
  for (int offset = kLanes; offset < kWarp; offset *= 2) {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const float other = __shfl_xor_sync(kAll, seen.most[h], offset);
      const float most = fmaxf(seen.most[h], other);
      const float keep = weight_of(seen.most[h], most);
      seen.most[h] = most;
      seen.total[h] *= keep;
      seen.total[h] += __shfl_xor_sync(kAll, seen.total[h], offset);
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        seen.sum[h].v[i] *= keep;
        seen.sum[h].v[i] += __shfl_xor_sync(kAll, seen.sum[h].v[i], offset);
      }
    }
  }
}

/// What the block's warps, or the ranges of a row, have of one head: largest score, total, sums of head_size values.
struct Part {
  const float* data;
  __device__ __forceinline__ float most() const { return data[0]; }
  __device__ __forceinline__ float total() const { return data[1]; }
  __device__ __forceinline__ float sum(int col) const { return data[2 + col]; }
};

/// Parts `stride` floats apart, joined.
struct Joined {
  float most = -INFINITY;
  float total = 0.0F;
  float sum = 0.0F;
  __device__ __forceinline__ Joined(const float* parts, int n, int stride, int col) {
    for (int i = 0; i < n; ++i) most = fmaxf(most, Part{parts + i * stride}.most());
    for (int i = 0; i < n; ++i) {
      const Part part{parts + i * stride};
      const float weight = weight_of(part.most(), most);
      total += weight * part.total();
      sum += weight * part.sum(col);
    }
  }
};

/// out = the ranges of each head joined, [n_heads, head_size]. `ranges`: [n_heads, stride, head_size + 2], the first n of
/// each head. `weights`: [n_heads, kMostSplits] in shared memory.
__device__ __forceinline__ void join_ranges(const float* ranges, int n_heads, int n, int stride, int head_size,
                                            float* weights, float* out) {
  const int part_floats = head_size + 2;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  __syncthreads();  // `weights` may have been in use
  for (int h = static_cast<int>(threadIdx.x) / kWarp; h < n_heads; h += kWarps) {
    const float* parts = ranges + h * stride * part_floats;
    float most = -INFINITY;
    for (int i = lane; i < n; i += kWarp) most = fmaxf(most, parts[i * part_floats]);
    for (int offset = kWarp / 2; offset > 0; offset /= 2) most = fmaxf(most, __shfl_xor_sync(kAll, most, offset));
    float total = 0.0F;
    for (int i = lane; i < n; i += kWarp) {
      weights[h * kMostSplits + i] = weight_of(parts[i * part_floats], most);
      total += weights[h * kMostSplits + i] * parts[i * part_floats + 1];
    }
    for (int offset = kWarp / 2; offset > 0; offset /= 2) total += __shfl_xor_sync(kAll, total, offset);
    __syncwarp();
    for (int i = lane; i < n; i += kWarp) weights[h * kMostSplits + i] /= total;
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < n_heads * head_size; i += kThreads) {
    const int h = i / head_size;
    const float* sums = ranges + h * stride * part_floats + 2 + i % head_size;
    float sum = 0.0F;
#pragma unroll 8
    for (int split = 0; split < n; ++split) sum = fmaf(weights[h * kMostSplits + split], sums[split * part_floats], sum);
    out[i] = sum;
  }
}

struct HeadChunk {
  int kv_head;
  int first_head;  // of the query heads
  int n_heads;     // of the chunk
};

template <int kHeads>
__device__ __forceinline__ HeadChunk chunk_of_block(const AttendArgs& args) {
  const int group = args.n_heads / args.layout.n_kv_heads;
  const int chunks = (group + kHeads - 1) / kHeads;
  const int kv_head = static_cast<int>(blockIdx.x) / chunks;
  const int chunk = static_cast<int>(blockIdx.x) % chunks;
  return {kv_head, kv_head * group + chunk * kHeads, min(kHeads, group - chunk * kHeads)};
}

/// The positions of a block, kWarp / kLanes a warp at a time.
template <int kLanes, int kHeads, bool kQuantised>
__device__ __forceinline__ void see_range(const AttendArgs& args, const HeadChunk& chunk, const PassRow& row,
                                          const Range& range, Seen<kHeads>& seen) {
  constexpr int kAtOnce = kWarps * (kWarp / kLanes);
  const int head_size = args.layout.head_size;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int col = lane % kLanes * kColumns;
  const bool has_columns = col < head_size;
  Columns query[kHeads] = {};
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (h >= chunk.n_heads || !has_columns) continue;
    const float* q = args.query + (static_cast<std::size_t>(blockIdx.z) * static_cast<std::size_t>(args.n_heads) +
                                   static_cast<std::size_t>(chunk.first_head + h)) *
                                      static_cast<std::size_t>(head_size);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) query[h].v[i] = q[col + i] * args.scale * 1.44269504F;
  }
  const int own = static_cast<int>(threadIdx.x) / kLanes;
  // The next positions are on their way while the current ones are seen. All lanes of a warp go round equally often, for
  // the shuffles.
  const auto load = [&](int position, Packed<kQuantised>& key, Packed<kQuantised>& value) {
    key = value = {};
    if (position >= range.end || !has_columns) return;
    const std::byte* page = args.state.pages[row.first_page + position / 64];
    key.load(page + args.layout.offset(args.layer, 0, chunk.kv_head, position % 64), col, head_size);
    value.load(page + args.layout.offset(args.layer, 1, chunk.kv_head, position % 64), col, head_size);
  };
  Packed<kQuantised> next_key;
  Packed<kQuantised> next_value;
  load(range.begin + own, next_key, next_value);
  for (int first = range.begin; first < range.end; first += kAtOnce) {
    const bool there = first + own < range.end;
    const Columns key = next_key.values();
    const Columns value = next_value.values();
    load(first + kAtOnce + own, next_key, next_value);
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float score = 0.0F;
#pragma unroll
      for (int i = 0; i < kColumns; ++i) score = fmaf(query[h].v[i], key.v[i], score);
#pragma unroll
      for (int offset = 1; offset < kLanes; offset *= 2) score += __shfl_xor_sync(kAll, score, offset);
      if (there) see(seen, h, score, value);
    }
  }
}

/// [head][warp][2 + head_size]
template <int kLanes, int kHeads>
__device__ __forceinline__ void store_warp(const Seen<kHeads>& seen, int head_size, float* parts) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int col = lane * kColumns;
  if (lane >= kLanes || col >= head_size) return;
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    float* part = parts + (h * kWarps + warp) * (head_size + 2);
    if (lane == 0) part[0] = seen.most[h], part[1] = seen.total[h];
#pragma unroll
    for (int i = 0; i < kColumns; ++i) part[2 + col + i] = seen.sum[h].v[i];
  }
}

/// True for the block that is the last of `n`, and then everything that the others wrote before is visible.
__device__ __forceinline__ bool is_last(unsigned* arrived, int n) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(arrived, static_cast<unsigned>(n - 1)) == static_cast<unsigned>(n - 1);
  __syncthreads();
  __threadfence();
  return last;
}

template <int kLanes, int kHeads, bool kQuantised>
__global__ void __launch_bounds__(kThreads) attend_kernel(const __grid_constant__ AttendArgs args) {
  extern __shared__ float parts[];
  allow_next_kernel();
  const PassRow row = args.state.rows[blockIdx.z];  // no kernel between the first and the last of a pass writes it
  const Range range = range_of(row.position + 1, static_cast<int>(blockIdx.y), args.n_splits);
  wait_for_previous_kernel();
  if (static_cast<int>(blockIdx.y) >= range.n_splits) return;
  const HeadChunk chunk = chunk_of_block<kHeads>(args);
  Seen<kHeads> seen;
  clear(seen);
  see_range<kLanes, kHeads, kQuantised>(args, chunk, row, range, seen);
  join_lanes<kLanes>(seen);
  const int head_size = args.layout.head_size;
  store_warp<kLanes, kHeads>(seen, head_size, parts);
  __syncthreads();

  const int part_floats = head_size + 2;
  const std::size_t first_head = static_cast<std::size_t>(blockIdx.z) * static_cast<std::size_t>(args.n_heads) +
                                 static_cast<std::size_t>(chunk.first_head);
  float* out = args.out + first_head * static_cast<std::size_t>(head_size);
  float* ranges = args.partial + first_head * static_cast<std::size_t>(args.n_splits * part_floats);
  for (int i = static_cast<int>(threadIdx.x); i < chunk.n_heads * head_size; i += kThreads) {
    const int h = i / head_size;
    const int col = i % head_size;
    const Joined joined(parts + h * kWarps * part_floats, kWarps, part_floats, col);
    if (range.n_splits == 1) {
      out[i] = joined.sum / joined.total;
    } else {
      float* part = ranges + (h * args.n_splits + static_cast<int>(blockIdx.y)) * part_floats;
      if (col == 0) part[0] = joined.most, part[1] = joined.total;
      part[2 + col] = joined.sum;
    }
  }
  if (range.n_splits == 1) return;
  if (!is_last(args.arrived + blockIdx.z * gridDim.x + blockIdx.x, range.n_splits)) return;
  join_ranges(ranges, chunk.n_heads, range.n_splits, args.n_splits, head_size, parts, out);
}

/// Query heads that a block takes at once.
int heads_of_block(int group) { return group == 1 ? 1 : group <= 4 ? 4 : 8; }

int chunks_of(int group) { return (group + heads_of_block(group) - 1) / heads_of_block(group); }

template <int kLanes, int kHeads>
cudaError_t launch_attend(const AttendArgs& args, cudaStream_t stream) {
  const int group = args.n_heads / args.layout.n_kv_heads;
  const dim3 grid(static_cast<unsigned>(args.layout.n_kv_heads * chunks_of(group)), static_cast<unsigned>(args.n_splits),
                  static_cast<unsigned>(args.n_rows));
  const int floats = kHeads * std::max(kWarps * (args.layout.head_size + 2), kMostSplits);
  const auto bytes = sizeof(float) * static_cast<std::size_t>(floats);
  return args.layout.quantised
             ? launch(attend_kernel<kLanes, kHeads, true>, grid, dim3(kThreads), bytes, stream, args)
             : launch(attend_kernel<kLanes, kHeads, false>, grid, dim3(kThreads), bytes, stream, args);
}

template <int kLanes>
cudaError_t launch_heads(const AttendArgs& args, cudaStream_t stream) {
  switch (heads_of_block(args.n_heads / args.layout.n_kv_heads)) {
    case 1:
      return launch_attend<kLanes, 1>(args, stream);
    case 4:
      return launch_attend<kLanes, 4>(args, stream);
    default:
      return launch_attend<kLanes, 8>(args, stream);
  }
}

}  // namespace

int choose_splits(const KvLayout& layout, int n_heads, int n_rows, int n_processors) {
  const int blocks = layout.n_kv_heads * chunks_of(n_heads / layout.n_kv_heads);
  const int most = std::clamp(kMostPartialRows / n_rows, 1, kMostSplits);
  return std::clamp(2 * n_processors / blocks, 1, most);
}

cudaError_t attend(const AttendArgs& args, cudaStream_t stream) {
  const int lanes = (args.layout.head_size + kColumns - 1) / kColumns;
  if (lanes <= 4) return launch_heads<4>(args, stream);
  if (lanes <= 8) return launch_heads<8>(args, stream);
  if (lanes <= 16) return launch_heads<16>(args, stream);
  return launch_heads<32>(args, stream);
}

}  // namespace inlay::cuda
