// Split softmax (Dao et al. 2023, "Flash-Decoding"): a block takes a range of positions for the query heads that share
// a key head, and keeps the largest score, the sum of weights and the weighted sum of values (Milakov and Gimelshein
// 2018). The last block of a row and head joins the ranges, in their order.
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
constexpr int kLeastPositions = 32;  // a range is not worth a block below
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

/// out = the ranges of each head joined, [n_heads, head_size]. `ranges`: [n_heads, stride, 4 + head_size], the first n
/// of each head. `weights`: [n_heads, kMostSplits] in shared memory.
__device__ __forceinline__ void join_ranges(const float* ranges, int n_heads, int n, int stride, int head_size,
                                            float* weights, float* out) {
  const int part_floats = head_size + 4;
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
  for (int i = 4 * static_cast<int>(threadIdx.x); i < n_heads * head_size; i += 4 * kThreads) {
    const int h = i / head_size;
    const float* sums = ranges + h * stride * part_floats + 4 + (i - h * head_size);
    float4 sum = {};
#pragma unroll 16
    for (int split = 0; split < n; ++split) {
      const float weight = weights[h * kMostSplits + split];
      const float4 v = *reinterpret_cast<const float4*>(sums + split * part_floats);
      sum.x = fmaf(weight, v.x, sum.x), sum.y = fmaf(weight, v.y, sum.y);
      sum.z = fmaf(weight, v.z, sum.z), sum.w = fmaf(weight, v.w, sum.w);
    }
    *reinterpret_cast<float4*>(out + i) = sum;
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

/// Null for a position that is not the block's.
__device__ __forceinline__ const std::byte* page_of(const AttendArgs& args, const PassRow& row, const Range& range,
                                                    int position) {
  return position < range.end ? args.state.pages[row.first_page + position / kKvPagePositions] : nullptr;
}

/// The positions of a block, kWarp / kLanes a warp at a time. `first_page`: of the lane's first one.
template <int kLanes, int kHeads, bool kQuantised>
__device__ __forceinline__ void see_range(const AttendArgs& args, const HeadChunk& chunk, const PassRow& row,
                                          const Range& range, const std::byte* first_page, Seen<kHeads>& seen) {
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
  // The next positions are on their way while the current ones are seen, and the pages of those after them. All lanes
  // of a warp go round equally often, for the shuffles.
  const auto load = [&](int position, const std::byte* page, Packed<kQuantised>& key, Packed<kQuantised>& value) {
    key = value = {};
    if (page == nullptr || !has_columns) return;
    key.load(page + args.layout.offset(args.layer, 0, chunk.kv_head, position % kKvPagePositions), col, head_size);
    value.load(page + args.layout.offset(args.layer, 1, chunk.kv_head, position % kKvPagePositions), col, head_size);
  };
  Packed<kQuantised> next_key;
  Packed<kQuantised> next_value;
  load(range.begin + own, first_page, next_key, next_value);
  const std::byte* next_page = page_of(args, row, range, range.begin + own + kAtOnce);
  for (int first = range.begin; first < range.end; first += kAtOnce) {
    const bool there = first + own < range.end;
    const Columns key = next_key.values();
    const Columns value = next_value.values();
    load(first + kAtOnce + own, next_page, next_key, next_value);
    next_page = page_of(args, row, range, first + 2 * kAtOnce + own);
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

/// What the groups of kLanes lanes have seen, in shared memory, and then their weights in the whole.
template <int kLanes, int kHeads>
struct Groups {
  static constexpr int kGroups = kWarps * (kWarp / kLanes);
  float* most;     // [kHeads, kGroups], later the weights
  float* total;    // [kHeads, kGroups]
  float* sums;     // [kHeads, kGroups, stride]
  int stride;      // of sums: head_size, and four so that groups lie in other banks
  float* largest;  // [kHeads] of all groups
  float* whole;    // [kHeads] weighted totals

  __device__ __forceinline__ Groups(float* shared, int head_size)
      : most(shared),
        total(most + kHeads * kGroups),
        sums(total + kHeads * kGroups),
        stride(head_size + 4),
        largest(sums + kHeads * kGroups * stride),
        whole(largest + kHeads) {}
  static int floats(int head_size) { return kHeads * kGroups * (2 + head_size + 4) + 2 * kHeads; }

  __device__ __forceinline__ void store(const Seen<kHeads>& seen, int head_size) {
    const int group = static_cast<int>(threadIdx.x) / kLanes;
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    const int col = lane * kColumns;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (lane == 0) most[h * kGroups + group] = seen.most[h], total[h * kGroups + group] = seen.total[h];
      if (col >= head_size) continue;
      auto* at = reinterpret_cast<float4*>(sums + (h * kGroups + group) * stride + col);
      const float* v = seen.sum[h].v;
      at[0] = {v[0], v[1], v[2], v[3]};
      at[1] = {v[4], v[5], v[6], v[7]};
    }
  }

  /// kGroups lanes for each head. A barrier stands before and after.
  __device__ __forceinline__ void weigh() {
    static_assert(kWarp % kGroups == 0);
    for (int i = static_cast<int>(threadIdx.x); i < kHeads * kGroups; i += kThreads) {
      const unsigned lanes = __activemask();  // whole groups of kGroups lanes
      float highest = most[i];
#pragma unroll
      for (int offset = 1; offset < kGroups; offset *= 2)
        highest = fmaxf(highest, __shfl_xor_sync(lanes, highest, offset));
      const float weight = weight_of(most[i], highest);
      float sum = weight * total[i];
#pragma unroll
      for (int offset = 1; offset < kGroups; offset *= 2) sum += __shfl_xor_sync(lanes, sum, offset);
      most[i] = weight;
      if (i % kGroups == 0) largest[i / kGroups] = highest, whole[i / kGroups] = sum;
    }
  }

  /// Four neighbours of the head's weighted values.
  __device__ __forceinline__ float4 joined(int h, int col) const {
    float4 sum = {};
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      const float weight = most[h * kGroups + group];
      const float4 v = *reinterpret_cast<const float4*>(sums + (h * kGroups + group) * stride + col);
      sum.x = fmaf(weight, v.x, sum.x), sum.y = fmaf(weight, v.y, sum.y);
      sum.z = fmaf(weight, v.z, sum.z), sum.w = fmaf(weight, v.w, sum.w);
    }
    return sum;
  }
};

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
  extern __shared__ __align__(16) float shared[];
  allow_next_kernel();
  const PassRow row = args.state.rows[blockIdx.z];  // no kernel between the first and the last of a pass writes it
  const Range range = range_of(row.position + 1, static_cast<int>(blockIdx.y), args.n_splits);
  const std::byte* first_page = page_of(args, row, range, range.begin + static_cast<int>(threadIdx.x) / kLanes);
  wait_for_previous_kernel();
  if (static_cast<int>(blockIdx.y) >= range.n_splits) return;
  const HeadChunk chunk = chunk_of_block<kHeads>(args);
  Seen<kHeads> seen;
  clear(seen);
  see_range<kLanes, kHeads, kQuantised>(args, chunk, row, range, first_page, seen);
  const int head_size = args.layout.head_size;
  Groups<kLanes, kHeads> groups(shared, head_size);
  groups.store(seen, head_size);
  __syncthreads();
  groups.weigh();
  __syncthreads();

  // A range of a head: largest score, total, two unused, sums of the values.
  const int part_floats = head_size + 4;
  const std::size_t first_head = static_cast<std::size_t>(blockIdx.z) * static_cast<std::size_t>(args.n_heads) +
                                 static_cast<std::size_t>(chunk.first_head);
  float* out = args.out + first_head * static_cast<std::size_t>(head_size);
  float* ranges = args.partial + first_head * static_cast<std::size_t>(args.n_splits * part_floats);
  for (int i = 4 * static_cast<int>(threadIdx.x); i < chunk.n_heads * head_size; i += 4 * kThreads) {
    const int h = i / head_size;
    const int col = i - h * head_size;
    const float4 sum = groups.joined(h, col);
    if (range.n_splits == 1) {
      const float inverse = 1.0F / groups.whole[h];
      *reinterpret_cast<float4*>(out + i) = {sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse};
    } else {
      float* part = ranges + (h * args.n_splits + static_cast<int>(blockIdx.y)) * part_floats;
      if (col == 0) part[0] = groups.largest[h], part[1] = groups.whole[h];
      *reinterpret_cast<float4*>(part + 4 + col) = sum;
    }
  }
  if (range.n_splits == 1) return;
  if (!is_last(args.arrived + blockIdx.z * gridDim.x + blockIdx.x, range.n_splits)) return;
  join_ranges(ranges, chunk.n_heads, range.n_splits, args.n_splits, head_size, shared, out);
}

/// Query heads that a block takes at once.
int heads_of_block(int group) { return group == 1 ? 1 : group <= 4 ? 4 : 8; }

int chunks_of(int group) { return (group + heads_of_block(group) - 1) / heads_of_block(group); }

template <int kLanes, int kHeads>
cudaError_t launch_attend(const AttendArgs& args, cudaStream_t stream) {
  const int group = args.n_heads / args.layout.n_kv_heads;
  const dim3 grid(static_cast<unsigned>(args.layout.n_kv_heads * chunks_of(group)),
                  static_cast<unsigned>(args.n_splits), static_cast<unsigned>(args.n_rows));
  const int floats = std::max(Groups<kLanes, kHeads>::floats(args.layout.head_size), kHeads * kMostSplits);
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
