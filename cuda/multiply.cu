#include "cuda/multiply.hpp"

#include <algorithm>

#include "cuda/dependent.cuh"
#include "cuda/lane_weights.cuh"
#include "cuda/launch.hpp"

namespace inlay::cuda {
namespace {

constexpr int kMostWarps = 16;  // of a block: with 128 registers a thread they fill a multiprocessor

/// The work of a warp: records [begin, end) of a panel.
struct WarpTask {
  const MultiplyPart* part = nullptr;
  int panel = 0;
  int begin = 0;
  int end = 0;
};

__device__ __forceinline__ int warp_of_block() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ __forceinline__ int lane_of_warp() { return static_cast<int>(threadIdx.x) % kWarp; }

/// The part that a slot of the block belongs to.
__device__ __forceinline__ int part_of(const MultiplyArgs& args, int slot) {
  if (args.epilogue == Epilogue::kGated) return slot % 2;
  const int block = static_cast<int>(blockIdx.x);
  int part = 0;
  while (part + 1 < args.n_parts && block >= args.parts[part + 1].first_block) ++part;
  return part;
}

__device__ __forceinline__ int panel_of(const MultiplyArgs& args, int part, int slot) {
  const int block = static_cast<int>(blockIdx.x);
  if (args.epilogue == Epilogue::kGated) return block * (args.shape.panels_per_block / 2) + slot / 2;
  return (block - args.parts[part].first_block) * args.shape.panels_per_block + slot;
}

__device__ __forceinline__ WarpTask task_of_warp(const MultiplyArgs& args) {
  const int slot = warp_of_block() / args.shape.warps_per_panel;
  const int share = warp_of_block() % args.shape.warps_per_panel;
  const int part = part_of(args, slot);
  WarpTask task;
  task.part = &args.parts[part];
  task.panel = panel_of(args, part, slot);
  const int n = task.part->matrix.n_records;
  if (task.panel >= (task.part->matrix.n_rows + kPanelRows - 1) / kPanelRows) return task;
  task.begin = n * share / args.shape.warps_per_panel;
  task.end = n * (share + 1) / args.shape.warps_per_panel;
  return task;
}

/// All warps of the block. Not __syncthreads: warps reach it from the code of different formats.
__device__ __forceinline__ void block_barrier() {
  asm volatile("barrier.sync.aligned 1, %0;" ::"r"(static_cast<int>(blockDim.x)) : "memory");
}

template <class Format>
using WeightsOfLane = std::conditional_t<Format::block_weights == 1, FloatLaneWeights<Format>, LaneWeights<Format>>;

/// The sums of the lane's rows and tokens over the warp's records. The first records are on their way before the kernel
/// waits for its input.
template <int kTiles, class Format>
__device__ __forceinline__ void run_warp(const MultiplyArgs& args, const WarpTask& task, const TileLayout& tile,
                                         unsigned char* shared, RowPair (&totals)[kTiles]) {
  constexpr int kAhead = 2;
  using R = Record<Format>;
  const int lane = lane_of_warp();
  const std::byte* record = task.part->matrix.records +
                            (static_cast<std::size_t>(task.panel) * static_cast<std::size_t>(task.part->matrix.n_records) +
                             static_cast<std::size_t>(task.begin)) *
                                R::kBytes;
  WeightsOfLane<Format> weights[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (task.begin + i < task.end) weights[i].load(record + i * R::kBytes, lane);
  }
  wait_for_previous_kernel();
  const InputRows rows{args.x, args.norm, args.row_map, args.n_rows, args.n_cols};
  fill_tile<kInputKind<Format>>(tile, shared, rows, static_cast<int>(blockIdx.y) * tile.tokens);
  block_barrier();
  const TileLane at{shared, tile, lane};
  for (int first = task.begin; first < task.end; first += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (first + i >= task.end) break;
      add_record(weights[i], at, first + i, totals);
      record += R::kBytes;
      if (first + i + kAhead < task.end) weights[i].load(record + (kAhead - 1) * R::kBytes, lane);
    }
  }
}

/// [warp][token][row]
__device__ __forceinline__ float* partial_sums(const TileLayout& tile, unsigned char* shared) {
  return reinterpret_cast<float*>(shared + ((tile.end() + 15) & ~15));
}

template <int kTiles>
__device__ __forceinline__ void store_partial(const TileLayout& tile, unsigned char* shared,
                                              const RowPair (&totals)[kTiles]) {
  float* partial = partial_sums(tile, shared) + warp_of_block() * tile.tokens * kPanelRows;
  const int lane = lane_of_warp();
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    const int token = n * kTileTokens + lane % 4;
    if (token >= tile.tokens) continue;
    partial[token * kPanelRows + lane / 4] = totals[n].first;
    partial[token * kPanelRows + lane / 4 + 8] = totals[n].second;
  }
}

/// 1 / sqrt(mean of the squares + epsilon) of a token.
__device__ __forceinline__ float norm_factor(const MultiplyArgs& args, const TileLayout& tile,
                                             const unsigned char* shared, int token) {
  const float* squares = reinterpret_cast<const float*>(shared + tile.squares_offset()) + token * tile.n_records;
  float sum = 0.0F;
  for (int i = 0; i < tile.n_records; ++i) sum += squares[i];
  return rsqrtf(sum / static_cast<float>(args.n_cols) + args.epsilon);
}

/// One output of the product: row of a part, token.
struct Output {
  int part = 0;
  int row = 0;
  int token = 0;  // row of the pass
  float value = 0.0F;
};

__device__ __forceinline__ float silu(float x) { return x / (1.0F + __expf(-x)); }

__device__ __forceinline__ void store_kv(const MultiplyArgs& args, const Output& y) {
  const KvStore& kv = args.kv;
  const PassRow row = kv.state.rows[y.token];
  std::byte* page = kv.state.pages[row.first_page + row.position / 64];
  const int head = y.row / kv.layout.head_size;
  const int col = y.row % kv.layout.head_size;
  std::byte* at = page + kv.layout.offset(kv.layer, y.part - 1, head, row.position % 64);
  if (!kv.layout.quantised) {
    reinterpret_cast<__half*>(at)[col] = __float2half_rn(y.value);
    return;
  }
  // The warp holds 32 neighbours of the head: a block of Q8_0. Quants first, then the scales of the row.
  const unsigned most = __reduce_max_sync(0xFFFFFFFFU, __float_as_uint(y.value) & 0x7FFFFFFFU);
  const float scale = __uint_as_float(most) / 127.0F;
  const float inverse = scale > 0.0F ? 1.0F / scale : 0.0F;
  reinterpret_cast<signed char*>(at)[col] = static_cast<signed char>(__float2int_rn(y.value * inverse));
  if (col % 32 == 0) reinterpret_cast<__half*>(at + kv.layout.head_size)[col / 32] = __float2half_rn(scale);
}

/// Neighbours of a head turned by the angle of the row's position. All lanes of a warp take part.
__device__ __forceinline__ float rotated(const MultiplyArgs& args, const Output& y) {
  const KvStore& kv = args.kv;
  const float other = __shfl_xor_sync(0xFFFFFFFFU, y.value, 1);
  const int col = y.row % kv.layout.head_size;
  if (col >= 2 * kv.n_pairs) return y.value;
  const float2 angle = kv.state.rope[y.token * kv.n_pairs + col / 2];
  return col % 2 == 0 ? y.value * angle.x - other * angle.y : y.value * angle.x + other * angle.y;
}

/// All lanes of a warp take part; `valid`: whether the lane's output is there.
__device__ __forceinline__ void write_output(const MultiplyArgs& args, Output y, bool valid) {
  const auto at = static_cast<std::size_t>(y.token) * static_cast<std::size_t>(args.out_stride) +
                  static_cast<std::size_t>(y.row);
  switch (args.epilogue) {
    case Epilogue::kStore:
    case Epilogue::kGated:
      if (valid) args.out[at] = y.value;
      break;
    case Epilogue::kAdd:
      if (valid) args.out[at] += y.value;
      break;
    case Epilogue::kQkv:
      if (y.part < 2) y.value = rotated(args, y);
      if (y.part == 0) {
        if (valid) args.out[at] = y.value;
      } else if (valid) {  // the same for all lanes where they store a block together
        store_kv(args, y);
      }
      break;
  }
}

/// Adds up what the warps of each panel have, and hands it to the epilogue.
__device__ __forceinline__ void finish(const MultiplyArgs& args, const TileLayout& tile, unsigned char* shared) {
  const bool gated = args.epilogue == Epilogue::kGated;
  const int n_slots = gated ? args.shape.panels_per_block / 2 : args.shape.panels_per_block;
  const int n_outputs = n_slots * kPanelRows * tile.tokens;
  const float* partial = partial_sums(tile, shared);
  const auto sum_of = [&](int slot, int token, int row) {
    float sum = 0.0F;
    for (int w = 0; w < args.shape.warps_per_panel; ++w) {
      sum += partial[((slot * args.shape.warps_per_panel + w) * tile.tokens + token) * kPanelRows + row];
    }
    return sum;
  };
  for (int first = 0; first < n_outputs; first += static_cast<int>(blockDim.x)) {
    const int i = first + static_cast<int>(threadIdx.x);
    const int in_slots = i % (n_slots * kPanelRows);
    const int token = min(i / (n_slots * kPanelRows), tile.tokens - 1);
    const int slot = in_slots / kPanelRows * (gated ? 2 : 1);
    Output y;
    y.part = gated ? 0 : part_of(args, slot);
    y.row = panel_of(args, y.part, slot) * kPanelRows + in_slots % kPanelRows;
    y.token = static_cast<int>(blockIdx.y) * tile.tokens + token;
    const MultiplyPart& part = args.parts[y.part];
    const bool valid = i < n_outputs && y.row < part.matrix.n_rows && y.token < args.n_rows;
    const float factor = args.norm == nullptr ? 1.0F : norm_factor(args, tile, shared, token);
    const auto value_of = [&](int which) {
      const float* bias = args.parts[which].bias;
      const float sum = factor * sum_of(slot + (gated ? which : 0), token, in_slots % kPanelRows);
      return bias == nullptr || !valid ? sum : sum + bias[y.row];
    };
    y.value = value_of(y.part);
    if (gated) y.value = silu(y.value) * value_of(1);
    write_output(args, y, valid);
  }
}

template <int kTiles>
__global__ void __launch_bounds__(kMostWarps* kWarp, 1)
    multiply_kernel(const __grid_constant__ MultiplyArgs args, const __grid_constant__ TileLayout tile) {
  extern __shared__ __align__(16) unsigned char shared[];
  allow_next_kernel();
  const WarpTask task = task_of_warp(args);
  RowPair totals[kTiles];
  visit(task.part->matrix.format,
        [&](auto traits) { run_warp<kTiles, decltype(traits)>(args, task, tile, shared, totals); });
  store_partial(tile, shared, totals);
  block_barrier();
  finish(args, tile, shared);
}

TileLayout layout_of(Format format, int n_cols, int tokens) {
  return {tokens, (n_cols + kRecordColumns - 1) / kRecordColumns, record_info(format).input};
}

int shared_bytes(const TileLayout& tile, int n_warps) {
  return ((tile.end() + 15) & ~15) + n_warps * tile.tokens * kPanelRows * static_cast<int>(sizeof(float));
}

constexpr int kMostSharedBytes = 227 * 1024;  // of a block on compute capability 9.0
int most_shared_bytes() {
  int device = 0;
  int bytes = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return bytes;
}

}  // namespace

bool multiply_fits(Format format, int n_cols) {
  return shared_bytes(layout_of(format, n_cols, 1), kMostWarps) <= std::min(most_shared_bytes(), kMostSharedBytes);
}

void choose_shape(MultiplyArgs& args, int n_processors) {
  MultiplyShape& shape = args.shape;
  const bool gated = args.epilogue == Epilogue::kGated;
  int n_panels = 0;
  int n_records = 1;
  for (int i = 0; i < args.n_parts; ++i) {
    n_panels += panels_of(args.parts[i].matrix.n_rows);
    n_records = std::max(n_records, args.parts[i].matrix.n_records);
  }
  constexpr int kRecordsOfWarp = 2;
  shape.warps_per_panel = std::clamp((n_records + kRecordsOfWarp - 1) / kRecordsOfWarp, 1, kMostWarps);
  // Pairs of panels where a block must hold both parts of a gate, or 32 neighbours of a head.
  const int step = gated || (args.epilogue == Epilogue::kQkv && args.kv.layout.quantised) ? 2 : 1;
  if (step * shape.warps_per_panel > kMostWarps) shape.warps_per_panel = kMostWarps / step;
  const int most = kMostWarps / shape.warps_per_panel;
  shape.panels_per_block = std::clamp((n_panels + n_processors - 1) / n_processors / step * step, step, most / step * step);
  shape.n_blocks = 0;
  for (int i = 0; i < (gated ? 1 : args.n_parts); ++i) {
    const int of_block = gated ? shape.panels_per_block / 2 : shape.panels_per_block;
    args.parts[i].first_block = shape.n_blocks;
    shape.n_blocks += (panels_of(args.parts[i].matrix.n_rows) + of_block - 1) / of_block;
  }
}

cudaError_t prepare_multiply() {
  const int bytes = std::min(most_shared_bytes(), kMostSharedBytes);
  const cudaError_t error = cudaFuncSetAttribute(multiply_kernel<1>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  return cudaFuncSetAttribute(multiply_kernel<2>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

cudaError_t multiply(const MultiplyArgs& args, cudaStream_t stream) {
  const int n_warps = args.shape.panels_per_block * args.shape.warps_per_panel;
  const Format format = args.parts[0].matrix.format;
  int tokens = args.n_rows == 1 ? 1 : args.n_rows == 2 ? 2 : args.n_rows <= kTileTokens ? kTileTokens : 2 * kTileTokens;
  const int most = std::min(most_shared_bytes(), kMostSharedBytes);
  while (tokens > 1 && shared_bytes(layout_of(format, args.n_cols, tokens), n_warps) > most) tokens /= 2;
  const TileLayout tile = layout_of(format, args.n_cols, tokens);
  const dim3 grid(static_cast<unsigned>(args.shape.n_blocks), static_cast<unsigned>((args.n_rows + tokens - 1) / tokens));
  const dim3 block(static_cast<unsigned>(n_warps * kWarp));
  const auto bytes = static_cast<std::size_t>(shared_bytes(tile, n_warps));
  return tokens > kTileTokens ? launch(multiply_kernel<2>, grid, block, bytes, stream, args, tile)
                              : launch(multiply_kernel<1>, grid, block, bytes, stream, args, tile);
}

}  // namespace inlay::cuda
