// Split softmax (seen.cuh): a block takes a range of positions for the query heads that share a key head. The last
// block of a row and head joins the ranges, in their order.
#include "cuda/step_attend.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "cuda/arrival.cuh"
#include "cuda/dependent.cuh"
#include "cuda/kv_tile.cuh"
#include "cuda/last_block.cuh"
#include "cuda/launch.hpp"
#include "cuda/multiply_task.cuh"
#include "cuda/quantise.cuh"
#include "cuda/seen.cuh"

namespace inlay::cuda {
namespace {

using namespace attention;

constexpr int kRangePositions = 128;  // of a long sequence
constexpr int kWholePositions = 256;  // a sequence up to here is one range: joining ranges takes longer
constexpr int kFewRows = 8;           // a pass of more reads less if its blocks take more heads
constexpr int kMostStages = 2;        // tiles of a block that are on their way together

/// The positions of a block. Depends on the length alone, so that a row has the same result in any company.
struct Range {
  int begin;
  int end;
  int n_splits;  // that the row uses
};

__device__ __forceinline__ Range range_of(int length, int split) {
  int each = max(length, kWholePositions);
  int n_splits = 1;
  if (length > kMostSplits * kRangePositions) {
    constexpr int kUnit = kMostSplits * kWarpPositions;
    each = (length + kUnit - 1) / kUnit * kWarpPositions;
    n_splits = (length + each - 1) / each;  // none is empty
  } else if (length > kWholePositions) {
    each = kRangePositions;
    n_splits = (length + kRangePositions - 1) / kRangePositions;
  }
  const int begin = min(length, split * each);
  return {begin, min(length, begin + each), n_splits};
}

/// A part of the query heads that share a key head.
struct HeadChunk {
  int kv_head;
  int first_head;  // of the query heads
  int n_heads;     // of the chunk
};

__device__ __forceinline__ HeadChunk chunk_of_block(const AttendArgs& args) {
  const auto block = static_cast<int>(blockIdx.x);
  const int kv_head = quotient(block, args.inverse_chunks);
  const int first = (block - kv_head * args.n_chunks) * args.chunk_heads;
  return {kv_head, kv_head * args.group_heads + first, min(args.chunk_heads, args.group_heads - first)};
}

/// Where a block of n heads keeps what in dynamic shared memory.
template <class Size>
struct AttendMemory {
  unsigned char* queries;
  unsigned char* warps;
  unsigned char* tiles;
  static_assert(Queries<Size>::kBytes % 16 == 0 && Warps<Size>::bytes(1) % 16 == 0);
  __device__ __forceinline__ AttendMemory(unsigned char* shared, int n)
      : queries(shared), warps(queries + Queries<Size>::kBytes), tiles(warps + Warps<Size>::bytes(n)) {}
  static int bytes(int n, int n_stages) {
    return Queries<Size>::kBytes + Warps<Size>::bytes(n) + n_stages * Size::kTileBytes;
  }
};

/// Where the columns of a chunk's heads go, [n_heads, head_size].
class Outputs {
 public:
  __device__ __forceinline__ Outputs(const AttendArgs& args, const HeadChunk& chunk, int row_of_pass) {
    const int head_size = args.layout.head_size;
    if (args.out != nullptr) {
      const std::size_t first = static_cast<std::size_t>(row_of_pass) * static_cast<std::size_t>(args.n_heads) +
                                static_cast<std::size_t>(chunk.first_head);
      out_ = args.out + first * static_cast<std::size_t>(head_size);
    }
    if (args.quantised_out.words == nullptr) return;
    const QuantisedStep to =
        quantised_step(args.quantised_out, row_of_pass, chunk.first_head * head_size / kStepOfInput);
    words_ = to.words + word_of_lane(threadIdx.x % kWarp);
    sums_ = to.sums;
  }
  /// Column i. Where columns are quantised, whole warps have 32 neighbours.
  __device__ __forceinline__ void operator()(int i, float value) const {
    if (words_ != nullptr) {
      const int step = i / kStepOfInput;
      quantise_columns<false>(words_ + step * kStepBytes, sums_ + step, value, 0.0F);
    }
    if (out_ != nullptr) store_word(out_ + i, present(value));
  }

 private:
  float* out_ = nullptr;
  std::byte* words_ = nullptr;  // with the lane's place
  StepSums* sums_ = nullptr;
};

/// The tiles of a range, the last one first: it has the row's own position, whose key and value come with the queries.
template <class Size>
class Tiles {
 public:
  /// Calls for the first ones. They are far away, so this comes before all else.
  __device__ __forceinline__ Tiles(const AttendArgs& args, const HeadChunk& chunk, const PassRow& row,
                                   const Range& range, unsigned char* memory)
      : rows_(args.layout, args.state.pages + row.first_page, args.layer, chunk.kv_head),
        range_(range),
        memory_(memory),
        late_(args.relay == nullptr ? -1 : row.position),
        n_tiles_((range.end - range.begin + Size::kTilePositions - 1) / Size::kTilePositions),
        n_stages_(args.n_stages) {
    if (args.relay == nullptr) wait_for_previous_kernel();  // which stores the keys and values of the pass's rows
    for (int i = 0; i < n_stages_; ++i) call(i, i);
  }

  /// Puts the row's own key and value into the first tile, if it has the position (KvTile::await). By one warp.
  __device__ __forceinline__ void await_own(const KvLayout& layout, const std::byte* relayed) const {
    if (late_ >= range_.begin && late_ < range_.end) at(0).await(layout, relayed, late_ - begin_of(0));
  }

  /// Calls visit(tile, i, positions from the tile's first one on) for each tile when it is there. By all threads.
  template <class Visitor>
  __device__ __forceinline__ void for_each(const Visitor& visit) const {
#pragma unroll 1
    for (int i = 0, stage = 0; i < n_tiles_; ++i) {
      wait_for_groups(n_stages_ - 1);
      __syncthreads();
      visit(at(stage), i, range_.end - begin_of(i));
      if (i + n_stages_ < n_tiles_) __syncthreads();  // before the tile is given up
      call(i + n_stages_, stage);
      if (++stage == n_stages_) stage = 0;
    }
  }

 private:
  [[nodiscard]] __device__ __forceinline__ int begin_of(int i) const {
    return range_.begin + (n_tiles_ - 1 - i) * Size::kTilePositions;
  }
  [[nodiscard]] __device__ __forceinline__ KvTile<Size> at(int stage) const {
    return KvTile<Size>(memory_ + stage * Size::kTileBytes);
  }
  __device__ __forceinline__ void call(int i, int stage) const {
    if (i < n_tiles_) at(stage).call(rows_, begin_of(i), min(begin_of(i) + Size::kTilePositions, range_.end), late_);
    end_group();
  }

  KvRows rows_;
  Range range_;
  unsigned char* memory_;
  int late_;  // the position that comes while the kernel runs, or -1
  int n_tiles_;
  int n_stages_;
};

/// The queries of the chunk's heads, when they are there, and what they come with.
template <class Size>
__device__ __forceinline__ void set_queries(const AttendArgs& args, const HeadChunk& chunk, int row_of_pass,
                                            const Queries<Size>& queries, const Tiles<Size>& tiles) {
  queries.clear(chunk.n_heads);
  const int warp = warp_of_block();
  if (args.relay != nullptr && warp == Size::kWarps - 1) {
    tiles.await_own(args.layout, args.relay + chunk.kv_head * args.layout.row_bytes);
  }
  for (int h = warp; h < chunk.n_heads; h += Size::kWarps) {
    const std::size_t head = static_cast<std::size_t>(row_of_pass) * static_cast<std::size_t>(args.n_heads) +
                             static_cast<std::size_t>(chunk.first_head + h);
    queries.set(h, args.query + head * static_cast<std::size_t>(args.layout.head_size), args.layout.head_size,
                args.scale * 1.44269504F, args.relay != nullptr);
  }
}

/// The block's range of the heads of a chunk.
template <class Size>
__device__ __forceinline__ void attend_chunk(const AttendArgs& args, const HeadChunk& chunk, const PassRow& row,
                                             int row_of_pass, const Range& range, unsigned char* shared) {
  const AttendMemory<Size> memory(shared, args.chunk_heads);
  const Tiles<Size> tiles(args, chunk, row, range, memory.tiles);
  const Warps<Size> warps(memory.warps, args.chunk_heads);
  const int head_size = args.layout.head_size;
  constexpr int kRangeFloats = floats_of_range(Size::kDims);
  const std::size_t first_range = (static_cast<std::size_t>(blockIdx.z) * static_cast<std::size_t>(args.n_heads) +
                                   static_cast<std::size_t>(chunk.first_head)) *
                                  static_cast<std::size_t>(kMostSplits);
  float* ranges = args.partial + first_range * std::size_t{kRangeFloats};
  unsigned* arrived = args.arrived + blockIdx.z * gridDim.x + blockIdx.x;
  const Outputs store(args, chunk, row_of_pass);
  const int n_cols = chunk.n_heads * head_size;
  const float inverse_size = 1.0F / static_cast<float>(head_size);
  struct Column {
    int of_head;
    float* ranges;  // of the head
    typename Warps<Size>::Place place;
  };
  const auto column_of = [&](int i) {
    const int h = quotient(i, inverse_size);
    const int of_head = i - h * head_size;
    return Column{of_head, ranges + h * kMostSplits * kRangeFloats, warps.place_of(h, of_head)};
  };
  // What needs no queries is found out before they come.
  const Column first = column_of(min(static_cast<int>(threadIdx.x), n_cols - 1));
  settle(static_cast<unsigned>(first.place.scores ^ first.place.totals ^ first.place.sums ^ first.of_head) ^
         static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(first.ranges) ^
                               reinterpret_cast<std::uintptr_t>(arrived)));
  const auto for_each_column = [&](const auto& visit) {
    Column column = first;
    int i = static_cast<int>(threadIdx.x);
#pragma unroll 1
    while (i < n_cols) {
      visit(i, column);
      i += Size::kThreads;
      if (i < n_cols) column = column_of(i);
    }
  };
  {
    const Queries<Size> queries(memory.queries);
    set_queries(args, chunk, row_of_pass, queries, tiles);
    Seen<Size> seen;
    const int first_row = warp_of_block() * kWarpPositions;
    tiles.for_each([&](const KvTile<Size>& tile, int i, int n) {
      if (n > first_row) seen.see(tile, queries, first_row, n - first_row, i == 0);
    });
    warps.store(seen, chunk.n_heads);
  }
  __syncthreads();
  for_each_column([&](int i, const Column& column) {
    const auto joined = warps.joined(column.place);
    if (range.n_splits == 1) {
      store(i, joined.sum * inverse_of(joined.total));
    } else {
      float* to = column.ranges + static_cast<int>(blockIdx.y) * kRangeFloats;
      if (column.of_head == 0) *reinterpret_cast<float2*>(to) = {joined.largest, joined.total};
      to[kFirstSum + column.of_head] = joined.sum;
    }
  });
  if (range.n_splits == 1) return;
  if (is_last(arrived, static_cast<unsigned>(range.n_splits))) {
    for_each_column([&](int i, const Column& column) {
      store(i, join_ranges<kRangeFloats>(column.ranges, range.n_splits, column.of_head));
    });
  }
}

template <class Size>
__global__ void __launch_bounds__(Size::kThreads, Size::kDims <= 128 ? 2 : 1)
    attend_kernel(const __grid_constant__ AttendArgs args) {
  extern __shared__ __align__(128) unsigned char shared[];
  allow_next_kernel();
  const int row_of_pass = args.first_row + static_cast<int>(blockIdx.z);
  // No kernel between the first and the last of a pass writes it. Both words are on their way together.
  const PassRow* in_memory = args.state.rows + row_of_pass;
  PassRow row;
  load_word(row.position, &in_memory->position);
  load_word(row.first_page, &in_memory->first_page);
  const auto split = static_cast<int>(blockIdx.y);
  const Range range = range_of(row.position + 1, split);
  const HeadChunk chunk = chunk_of_block(args);
  // Makes room for the next kernel's blocks: the row's first block waits for the previous kernel, so this one does not
  // end before that.
  if (split >= range.n_splits) return;
  attend_chunk<Size>(args, chunk, row, row_of_pass, range, shared);
  wait_for_previous_kernel();  // so that a kernel that has ended says the same of all before it
}

/// How many heads and tiles a block takes, and the bytes of its shared memory: so many tiles that another block finds
/// room beside it on a processor, or one; and fewer heads where that is too much.
struct AttendShape {
  int n_heads;
  int n_stages = kMostStages;
  int bytes = 0;
};
template <class Size>
AttendShape shape_of(int n_heads, int limit) {
  AttendShape shape{n_heads};
  const auto bytes = [&] { return AttendMemory<Size>::bytes(shape.n_heads, shape.n_stages); };
  while (shape.n_stages > 1 && bytes() > limit / 2) --shape.n_stages;
  while (shape.n_heads > 1 && bytes() > limit) --shape.n_heads;
  shape.bytes = bytes();
  return shape;
}

template <class Size>
cudaError_t prepare_size(int shared_bytes) {
  int most = 0;
  for (int n_heads = 1; n_heads <= kHeads; ++n_heads)
    most = std::max(most, shape_of<Size>(n_heads, shared_bytes).bytes);
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(attend_kernel<Size>),
                              cudaFuncAttributeMaxDynamicSharedMemorySize, most);
}

template <class Size>
cudaError_t launch_size(AttendArgs args, cudaStream_t stream) {
  const int group = args.n_heads / args.layout.n_kv_heads;
  const AttendShape shape =
      shape_of<Size>(std::min(group, args.n_rows <= kFewRows ? kHeads / 2 : kHeads), args.shared_bytes);
  args.group_heads = group, args.chunk_heads = shape.n_heads, args.n_stages = shape.n_stages;
  args.n_chunks = (group + shape.n_heads - 1) / shape.n_heads;
  args.inverse_chunks = 1.0F / static_cast<float>(args.n_chunks);
  const int end = args.n_rows;
  for (args.first_row = 0; args.first_row < end; args.first_row += kMostPartialRows) {
    const dim3 grid(static_cast<unsigned>(args.layout.n_kv_heads * args.n_chunks), kMostSplits,
                    static_cast<unsigned>(std::min(kMostPartialRows, end - args.first_row)));
    const cudaError_t error =
        launch(attend_kernel<Size>, grid, dim3(Size::kThreads), static_cast<std::size_t>(shape.bytes), stream, args);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

/// Calls visitor(HeadSize) with the one for the layout.
template <class Visitor>
cudaError_t visit_size(const KvLayout& layout, const Visitor& visitor) {
  const int dims = kernel_dims(layout.head_size);
  cudaError_t error = cudaErrorInvalidValue;
  const auto visit = [&]<int kDims>() {
    if (dims != kDims) return;
    error = layout.quantised ? visitor(HeadSize<kDims / 16, true>{}) : visitor(HeadSize<kDims / 16, false>{});
  };
  [&]<std::size_t... kIndices>(std::index_sequence<kIndices...>) {
    (visit.template operator()<kKernelDims[kIndices]>(), ...);
  }(std::make_index_sequence<kKernelDims.size()>{});
  return error;
}

}  // namespace

cudaError_t prepare_attend(const AttendArgs& args) {
  return visit_size(args.layout, [&](auto size) { return prepare_size<decltype(size)>(args.shared_bytes); });
}

cudaError_t attend(const AttendArgs& args, cudaStream_t stream) {
  return visit_size(args.layout, [&](auto size) { return launch_size<decltype(size)>(args, stream); });
}

}  // namespace inlay::cuda
