// Split softmax (Dao et al. 2023, "Flash-Decoding"): a block takes a range of positions for the query heads that share
// a key head, and keeps the largest score, the sum of weights and the weighted sum of values (Milakov and Gimelshein
// 2018). The last block of a row and head joins the ranges, in their order.
#include "cuda/step_attend.hpp"

#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>

#include "cuda/arrival.cuh"
#include "cuda/dependent.cuh"
#include "cuda/launch.hpp"
#include "cuda/quantise.cuh"
#include "cuda/record.hpp"

namespace inlay::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kColumns = 8;           // of a head, a lane
constexpr int kBatch = 4;             // positions of a lane that are on their way together
constexpr int kFewRows = 8;           // of a small pass
constexpr int kRangePositions = 128;  // of a long sequence
constexpr int kWholePositions = 256;  // a sequence up to here is one range: joining ranges takes longer

/// The positions of a block.
struct Range {
  int begin = 0;
  int end = 0;
  int n_splits = 1;  // that the row uses
};

/// Depends on the length alone, so that a row has the same result in any company. `split`: without meaning if there is
/// only one.
__device__ __forceinline__ Range range_of(int length, int split) {
  Range range;
  if (length <= kWholePositions) {
    range.end = length;
    return range;
  }
  range.n_splits = min(kMostSplits, (length + kRangePositions - 1) / kRangePositions);
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
  /// What may not be there yet.
  __device__ __forceinline__ bool load_strong(const std::byte* row, int col, int /*head_size*/) {
    load_words(bits, row + 2 * col);
    return !is_absent(bits);
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
  __device__ __forceinline__ bool load_strong(const std::byte* row, int col, int head_size) {
    unsigned short half = 0;
    load_words(bits, row + col);
    load_half(half, row + head_size + col / 32 * 2);
    scale = __half2float(__ushort_as_half(half));
    return !is_absent(bits) && !is_absent(half);
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

/// Calls store(column, four of the ranges of each head joined, [n_heads, head_size]). `ranges`: [n_heads, stride, 4 +
/// head_size], the first n of each head. All loads come first, so that they wait together.
template <class Store>
__device__ __forceinline__ void join_ranges(const float* ranges, int n_heads, int n, int stride, int head_size,
                                            const Store& store) {
  const int part_floats = head_size + 4;
  for (int i = 4 * static_cast<int>(threadIdx.x); i < n_heads * head_size; i += 4 * kThreads) {
    const int h = i / head_size;
    const float* parts = ranges + h * stride * part_floats;
    const int col = 4 + i - h * head_size;
    float2 seen[kMostSplits];  // largest score, total
    float4 values[kMostSplits];
#pragma unroll
    for (int split = 0; split < kMostSplits; ++split) {
      seen[split] = {-INFINITY, 0.0F};
      values[split] = {};
      if (split >= n) continue;
      seen[split] = *reinterpret_cast<const float2*>(parts + split * part_floats);
      values[split] = *reinterpret_cast<const float4*>(parts + split * part_floats + col);
    }
    float most = -INFINITY;
#pragma unroll
    for (const float2& part : seen) most = fmaxf(most, part.x);
    float total = 0.0F;
    float4 sum = {};
#pragma unroll
    for (int split = 0; split < kMostSplits; ++split) {
      const float weight = weight_of(seen[split].x, most);
      const float4& v = values[split];
      total = fmaf(weight, seen[split].y, total);
      sum.x = fmaf(weight, v.x, sum.x), sum.y = fmaf(weight, v.y, sum.y);
      sum.z = fmaf(weight, v.z, sum.z), sum.w = fmaf(weight, v.w, sum.w);
    }
    const float inverse = 1.0F / total;
    store(i, {sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse});
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
  return position >= range.begin ? args.state.pages[row.first_page + position / kKvPagePositions] : nullptr;
}

/// Calls for the keys and values of a range before the input is there: those of earlier passes come from far away.
__device__ __forceinline__ void prefetch_range(const AttendArgs& args, const HeadChunk& chunk, const PassRow& row,
                                               const Range& range) {
  constexpr int kLine = 128;
  const int lines = (args.layout.row_bytes + kLine - 1) / kLine;
  for (int i = static_cast<int>(threadIdx.x); i < 2 * lines * (range.end - range.begin); i += kThreads) {
    const int plane = i % 2;
    const int position = range.begin + i / 2 / lines;
    const std::byte* page = args.state.pages[row.first_page + position / kKvPagePositions];
    const std::byte* at = page + args.layout.offset(args.layer, plane, chunk.kv_head, position % kKvPagePositions) +
                          i / 2 % lines * kLine;
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
  }
}

/// The pages of a lane's batch of positions.
struct BatchPages {
  const std::byte* page[kBatch];
};

/// The positions that a group of kLanes lanes takes, from the last one of the range on: so the row's own position,
/// which comes last, is the first of a block's first group.
template <int kLanes>
__device__ __forceinline__ int position_of(const Range& range, int taken, int i) {
  return range.end - 1 - taken - i * (kThreads / kLanes) - static_cast<int>(threadIdx.x) / kLanes;
}

template <int kLanes>
__device__ __forceinline__ BatchPages pages_of(const AttendArgs& args, const PassRow& row, const Range& range,
                                               int taken) {
  BatchPages pages;
#pragma unroll
  for (int i = 0; i < kBatch; ++i) pages.page[i] = page_of(args, row, range, position_of<kLanes>(range, taken, i));
  return pages;
}

/// The queries of a block's heads, as far as the lane has columns of them.
template <int kHeads>
struct Queries {
  uint4 bits[kHeads][kColumns / 4] = {};

  /// False if one is not there yet.
  __device__ __forceinline__ bool load(const AttendArgs& args, const HeadChunk& chunk, int row_of_pass, int col) {
    bool is_there = true;
    const float* q = args.query +
                     (static_cast<std::size_t>(row_of_pass) * static_cast<std::size_t>(args.n_heads) +
                      static_cast<std::size_t>(chunk.first_head)) *
                         static_cast<std::size_t>(args.layout.head_size) +
                     col;
#pragma unroll
    for (int h = 0; h < kHeads; ++h, q += args.layout.head_size) {
      if (h >= chunk.n_heads) break;
#pragma unroll
      for (int i = 0; i < kColumns / 4; ++i) {
        load_words(bits[h][i], q + 4 * i);
        is_there &= !is_absent(bits[h][i]);
      }
    }
    return is_there;
  }
  [[nodiscard]] __device__ __forceinline__ Columns scaled(int h, float scale) const {
    Columns c;
#pragma unroll
    for (int i = 0; i < kColumns / 4; ++i) {
      const uint4& four = bits[h][i];
      c.v[4 * i] = __uint_as_float(four.x) * scale, c.v[4 * i + 1] = __uint_as_float(four.y) * scale;
      c.v[4 * i + 2] = __uint_as_float(four.z) * scale, c.v[4 * i + 3] = __uint_as_float(four.w) * scale;
    }
    return c;
  }
};

/// The positions of a block, kBatch * kThreads / kLanes at a time. `pages`: of the first ones.
template <int kLanes, int kHeads, bool kQuantised>
__device__ __forceinline__ void see_range(const AttendArgs& args, const HeadChunk& chunk, const PassRow& row,
                                          int row_of_pass, const Range& range, BatchPages pages, Seen<kHeads>& seen) {
  constexpr int kAtOnce = kThreads / kLanes;
  const int head_size = args.layout.head_size;
  const int col = static_cast<int>(threadIdx.x) % kLanes * kColumns;
  const bool has_columns = col < head_size;
  // The row's own keys and values come with its queries.
  const std::byte* own_key = nullptr;
  if (args.relay != nullptr && position_of<kLanes>(range, 0, 0) == row.position) {
    own_key = args.relay + chunk.kv_head * args.layout.row_bytes;
    pages.page[0] = nullptr;
  }
  Columns query[kHeads];
  // All lanes of a warp go round equally often, for the shuffles.
  for (int taken = 0; taken < range.end - range.begin; taken += kBatch * kAtOnce) {
    Packed<kQuantised> keys[kBatch] = {};
    Packed<kQuantised> packed[kBatch] = {};
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (pages.page[i] == nullptr || !has_columns) continue;
      const int slot = position_of<kLanes>(range, taken, i) % kKvPagePositions;
      keys[i].load(pages.page[i] + args.layout.offset(args.layer, 0, chunk.kv_head, slot), col, head_size);
      packed[i].load(pages.page[i] + args.layout.offset(args.layer, 1, chunk.kv_head, slot), col, head_size);
    }
    bool there[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) there[i] = pages.page[i] != nullptr;
    if (taken == 0) {
      Queries<kHeads> arriving;
      bool has_arrived = true;
      do {
        if (!has_columns) break;
        has_arrived = arriving.load(args, chunk, row_of_pass, col);
        if (own_key == nullptr) continue;
        has_arrived &= keys[0].load_strong(own_key, col, head_size);
        has_arrived &= packed[0].load_strong(own_key + args.layout.n_kv_heads * args.layout.row_bytes, col, head_size);
      } while (args.relay != nullptr && !has_arrived);
      __syncwarp();
#pragma unroll
      for (int h = 0; h < kHeads; ++h) query[h] = arriving.scaled(h, args.scale * 1.44269504F);
      there[0] |= own_key != nullptr;
    }
    pages = pages_of<kLanes>(args, row, range, taken + kBatch * kAtOnce);
    float scores[kHeads][kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const Columns key = keys[i].values();
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        float score = 0.0F;
#pragma unroll
        for (int c = 0; c < kColumns; ++c) score = fmaf(query[h].v[c], key.v[c], score);
        scores[h][i] = score;
      }
    }
#pragma unroll
    for (int offset = 1; offset < kLanes; offset *= 2) {
#pragma unroll
      for (int h = 0; h < kHeads; ++h)
#pragma unroll
        for (float& score : scores[h]) score += __shfl_xor_sync(kAllLanes, score, offset);
    }
    Columns values[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) values[i] = packed[i].values();
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
#pragma unroll
      for (int i = 0; i < kBatch; ++i) scores[h][i] = there[i] ? scores[h][i] : -INFINITY;
      see(seen, h, scores[h], values);
    }
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

/// True for the block that is the last of `n`, and then everything that the others wrote before is visible: a barrier
/// stands between the writes and the counting, and another between that and what is read.
__device__ __forceinline__ bool is_last(unsigned* arrived, int n) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    const auto highest = static_cast<unsigned>(n - 1);
    unsigned before = 0;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "l"(arrived), "r"(highest)
                 : "memory");
    last = before == highest;
  }
  __syncthreads();
  return last;
}

/// The block's range of the heads of a chunk.
template <int kLanes, int kHeads, bool kQuantised>
__device__ __forceinline__ void attend_chunk(const AttendArgs& args, const HeadChunk& chunk, const PassRow& row,
                                             int row_of_pass, const Range& range, const BatchPages& pages,
                                             float* shared) {
  Seen<kHeads> seen;
  clear(seen);
  see_range<kLanes, kHeads, kQuantised>(args, chunk, row, row_of_pass, range, pages, seen);
  join_lanes<kLanes>(seen);
  const int head_size = args.layout.head_size;
  Warps<kLanes, kHeads> warps(shared, head_size);
  warps.store(seen, head_size);
  __syncthreads();

  // A range of a head: largest score, total, two unused, sums of the values.
  const int part_floats = head_size + 4;
  const std::size_t first_head = static_cast<std::size_t>(row_of_pass) * static_cast<std::size_t>(args.n_heads) +
                                 static_cast<std::size_t>(chunk.first_head);
  const std::size_t first_part = static_cast<std::size_t>(blockIdx.z) * static_cast<std::size_t>(args.n_heads) +
                                 static_cast<std::size_t>(chunk.first_head);
  const auto store = [&](int col, const float4& four) {
    if (args.out != nullptr) {
      store_words(reinterpret_cast<float4*>(args.out + first_head * static_cast<std::size_t>(head_size) + col),
                  {present(four.x), present(four.y), present(four.z), present(four.w)});
    }
    if (args.quantised_out.words == nullptr) return;
    const int step = (chunk.first_head * head_size + col) / kStepOfInput;
    quantise_fours(quantised_step(args.quantised_out, row_of_pass, step), four);
  };
  float* ranges = args.partial + first_part * static_cast<std::size_t>(kMostSplits * part_floats);
  for (int i = 4 * static_cast<int>(threadIdx.x); i < chunk.n_heads * head_size; i += 4 * kThreads) {
    const int h = kHeads == 1 ? 0 : i / head_size;
    const int col = i - h * head_size;
    const auto joined = warps.joined(h, col);
    const float4& sum = joined.sum;
    if (range.n_splits == 1) {
      const float inverse = 1.0F / joined.total;
      store(i, {sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse});
    } else {
      float* part = ranges + (h * kMostSplits + static_cast<int>(blockIdx.y)) * part_floats;
      if (col == 0) part[0] = joined.largest, part[1] = joined.total;
      *reinterpret_cast<float4*>(part + 4 + col) = sum;
    }
  }
  if (range.n_splits > 1 && is_last(args.arrived + blockIdx.z * gridDim.x + blockIdx.x, range.n_splits)) {
    join_ranges(ranges, chunk.n_heads, range.n_splits, kMostSplits, head_size, store);
  }
}

template <int kLanes, int kHeads, bool kQuantised>
__global__ void __launch_bounds__(kThreads, kHeads == 4 ? 1 : 2)
    attend_kernel(const __grid_constant__ AttendArgs args) {
  extern __shared__ __align__(16) float shared[];
  allow_next_kernel();
  const int row_of_pass = args.first_row + static_cast<int>(blockIdx.z);
  const PassRow row = args.state.rows[row_of_pass];  // no kernel between the first and the last of a pass writes it
  const auto split = static_cast<int>(blockIdx.y);
  const Range range = range_of(row.position + 1, split);
  HeadChunk chunk = chunk_of_block<kHeads>(args);
  // Of a single row, the blocks that would have further ranges of a short sequence take a head each.
  const bool is_alone = kHeads == 2 && args.n_rows == 1 && range.n_splits == 1;
  // Makes room for the next kernel's blocks: the row's first block waits for the previous kernel, so this one does not
  // end before that.
  if (split >= (is_alone ? chunk.n_heads : range.n_splits)) return;
  if (is_alone) chunk.first_head += split, chunk.n_heads = 1;
  const BatchPages pages = pages_of<kLanes>(args, row, range, 0);
  prefetch_range(args, chunk, row, range);
  if (args.relay == nullptr) wait_for_previous_kernel();
  if (is_alone) {
    attend_chunk<kLanes, 1, kQuantised>(args, chunk, row, row_of_pass, range, pages, shared);
  } else {
    attend_chunk<kLanes, kHeads, kQuantised>(args, chunk, row, row_of_pass, range, pages, shared);
  }
  wait_for_previous_kernel();  // so that a kernel that has ended says the same of all before it
}

template <int kLanes, int kHeads>
cudaError_t launch_attend(AttendArgs args, cudaStream_t stream) {
  const int group = args.n_heads / args.layout.n_kv_heads;
  const int chunks = (group + kHeads - 1) / kHeads;
  const auto bytes = sizeof(float) * static_cast<std::size_t>(Warps<kLanes, kHeads>::floats(args.layout.head_size));
  const int end = args.n_rows;
  for (args.first_row = 0; args.first_row < end; args.first_row += kMostPartialRows) {
    const dim3 grid(static_cast<unsigned>(args.layout.n_kv_heads * chunks), kMostSplits,
                    static_cast<unsigned>(std::min(kMostPartialRows, end - args.first_row)));
    const cudaError_t error =
        args.layout.quantised ? launch(attend_kernel<kLanes, kHeads, true>, grid, dim3(kThreads), bytes, stream, args)
                              : launch(attend_kernel<kLanes, kHeads, false>, grid, dim3(kThreads), bytes, stream, args);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

/// A block takes several query heads that share a key head: few in a small pass, so that more blocks share the work,
/// more in a large one, so that less is read.
template <int kLanes>
cudaError_t launch_heads(const AttendArgs& args, cudaStream_t stream) {
  if (args.n_heads == args.layout.n_kv_heads) return launch_attend<kLanes, 1>(args, stream);
  return args.n_rows <= kFewRows ? launch_attend<kLanes, 2>(args, stream) : launch_attend<kLanes, 4>(args, stream);
}

}  // namespace

cudaError_t attend(const AttendArgs& args, cudaStream_t stream) {
  const int lanes = (args.layout.head_size + kColumns - 1) / kColumns;
  if (lanes <= 4) return launch_heads<4>(args, stream);
  if (lanes <= 8) return launch_heads<8>(args, stream);
  if (lanes <= 16) return launch_heads<16>(args, stream);
  return launch_heads<32>(args, stream);
}

}  // namespace inlay::cuda
