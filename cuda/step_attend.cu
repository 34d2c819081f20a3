// Split softmax (seen.cuh): a block takes a range of positions for the query heads that share a key head. The last
// block of a row and head joins the ranges, in their order.
#include "cuda/step_attend.hpp"

#include <algorithm>

#include "cuda/arrival.cuh"
#include "cuda/dependent.cuh"
#include "cuda/kv_columns.cuh"
#include "cuda/launch.hpp"
#include "cuda/quantise.cuh"
#include "cuda/seen.cuh"

namespace inlay::cuda {
namespace {

using namespace attention;

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
    join_ranges(ranges, chunk.n_heads, range.n_splits, kMostSplits, head_size, shared, store);
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
  const int head_size = args.layout.head_size;
  const auto bytes = sizeof(float) * static_cast<std::size_t>(std::max(Warps<kLanes, kHeads>::floats(head_size),
                                                                       joining_floats(head_size)));
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
