#include "cuda/multiply.hpp"

#include <algorithm>

#include "cuda/dependent.cuh"
#include "cuda/lane_weights.cuh"
#include "cuda/launch.hpp"

namespace inlay::cuda {
namespace {

constexpr int kMostWarps = 16;  // of a block
constexpr int kRegisters =
    96;  // of a thread: with fewer the compiler spills, with more fewer blocks wait beside others

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

/// Where the block keeps what in dynamic shared memory, in bytes.
struct SharedLayout {
  TileLayout tile;
  int partial = 0;     // float [warp][token][row]
  int records = 0;     // of each warp
  int warp_bytes = 0;  // of the records that a warp holds at a time
  int bytes = 0;
};

__device__ __forceinline__ void copy_vector(unsigned char* to, const std::byte* from) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from));
}
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// Puts records of the warp's panel on their way to shared memory. They stand together in the matrix.
__device__ __forceinline__ void fetch_records(const WarpTask& task, int begin, int end, unsigned char* to,
                                              int record_bytes) {
  const DeviceMatrix& matrix = task.part->matrix;
  const std::byte* from =
      matrix.records + (static_cast<std::size_t>(task.panel) * static_cast<std::size_t>(matrix.n_records) +
                        static_cast<std::size_t>(begin)) *
                           static_cast<std::size_t>(record_bytes);
  const int bytes = (end - begin) * record_bytes;
  for (int at = lane_of_warp() * 16; at < bytes; at += kWarp * 16) copy_vector(to + at, from + at);
}

/// One output of the product: row of a part, row of the pass, and where its parts lie.
struct Output {
  int part = 0;
  int slot = 0;   // of the block's panels
  int token = 0;  // of the tile
  int row = 0;
  int row_of_pass = 0;
  bool valid = false;
};

/// The output that a thread finishes in round `round`.
template <int kTokens>
__device__ __forceinline__ Output output_of_thread(const MultiplyArgs& args, int round) {
  const bool gated = args.epilogue == Epilogue::kGated;
  const int n_slots = gated ? args.shape.panels_per_block / 2 : args.shape.panels_per_block;
  const int i = round * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  const bool inside = i < n_slots * kTokens * kPanelRows;
  const int panel = inside ? i / kPanelRows : 0;  // [token][slot]
  Output y;
  y.token = kTokens == 1 ? 0 : panel / n_slots;
  y.slot = (panel - y.token * n_slots) * (gated ? 2 : 1);
  y.part = gated ? 0 : part_of(args, y.slot);
  y.row = panel_of(args, y.part, y.slot) * kPanelRows + i % kPanelRows;
  y.row_of_pass = static_cast<int>(blockIdx.y) * kTokens + y.token;
  y.valid = inside && y.row < args.parts[y.part].matrix.n_rows && y.row_of_pass < args.n_rows;
  return y;
}

/// Where a row of the pass keeps the keys (plane 0) or values of a position and head.
__device__ __forceinline__ std::byte* kv_row(const KvStore& kv, int row_of_pass, int plane, int head) {
  const PassRow row = kv.state.rows[row_of_pass];
  return kv.state.pages[row.first_page + row.position / kKvPagePositions] +
         kv.layout.offset(kv.layer, plane, head, row.position % kKvPagePositions);
}

/// What the epilogue reads besides the product, asked for early so that nothing waits for it at the end.
struct EpilogueInput {
  float bias = 0.0F;         // of the output's part
  float second_bias = 0.0F;  // of a gate's other part
  int head = 0;              // kQkv: of the output
  int col = 0;               // of the head
  std::byte* kv = nullptr;   // where the position's head is stored
  float old = 0.0F;          // kAdd: what is added to
  float2 angle = {1.0F, 0.0F};

  /// Before the wait: what no kernel of the layer writes.
  __device__ __forceinline__ void load_early(const MultiplyArgs& args, const Output& y) {
    if (!y.valid) return;
    if (args.parts[y.part].bias != nullptr) bias = args.parts[y.part].bias[y.row];
    if (args.epilogue == Epilogue::kGated && args.parts[1].bias != nullptr) second_bias = args.parts[1].bias[y.row];
    if (args.epilogue != Epilogue::kQkv) return;
    head = y.row / args.kv.layout.head_size;
    col = y.row - head * args.kv.layout.head_size;
    if (y.part > 0) kv = kv_row(args.kv, y.row_of_pass, y.part - 1, head);
  }
  /// After it.
  __device__ __forceinline__ void load_late(const MultiplyArgs& args, const Output& y) {
    if (!y.valid) return;
    if (args.epilogue == Epilogue::kAdd) {
      old = args.out[static_cast<std::size_t>(y.row_of_pass) * static_cast<std::size_t>(args.out_stride) + y.row];
    }
    if (args.epilogue == Epilogue::kQkv && y.part < 2 && col < 2 * args.kv.n_pairs) {
      angle = args.kv.state.rope[y.row_of_pass * args.kv.n_pairs + col / 2];
    }
  }
};

template <int kTokens>
using Totals = RowPair[TileLane<kTokens>::kTiles];

/// The sums of the lane's rows and tokens over the warp's records, which are on their way before the kernel waits for
/// its input.
template <int kTokens, class Format>
__device__ __forceinline__ void run_warp(const MultiplyArgs& args, const WarpTask& task, const SharedLayout& layout,
                                         unsigned char* shared, const Output& y, EpilogueInput& epilogue,
                                         Totals<kTokens>& totals) {
  using R = Record<Format>;
  constexpr int kBytes = R::kBytes;
  unsigned char* records = shared + layout.records + warp_of_block() * layout.warp_bytes;
  const int n_held = layout.warp_bytes / kBytes;
  fetch_records(task, task.begin, min(task.begin + n_held, task.end), records, kBytes);
  const InputRows rows{args.x, args.norm, args.row_map, args.n_rows, args.n_cols};
  const int first_row = static_cast<int>(blockIdx.y) * kTokens;
  const EarlyInput early = early_input<kTokens>(layout.tile, rows, first_row);
  wait_for_previous_kernel();
  epilogue.load_late(args, y);
  const float squares = fill_tile<kInputKind<Format>, kTokens>(layout.tile, shared, rows, early, first_row);
  wait_for_copies();
  block_barrier();
  const TileLane<kTokens> at{shared, layout.tile, lane_of_warp()};
  for (int record = task.begin, held = 0; record < task.end; ++record, ++held) {
    if (held == n_held) {
      held = 0;
      __syncwarp();
      fetch_records(task, record, min(record + n_held, task.end), records, kBytes);
      wait_for_copies();
      __syncwarp();
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(records + held * kBytes);
    add_record(WeightsOfLane<Format>(bytes, lane_of_warp()), at, record, totals);
  }
  const int n_warps = static_cast<int>(blockDim.x) / kWarp;
  const int n_tasks = kTokens * layout.tile.n_records;
  if (args.norm != nullptr && warp_of_block() < n_tasks) {
    const int last = warp_of_block() + (n_tasks - 1 - warp_of_block()) / n_warps * n_warps;
    store_squares(layout.tile, shared, squares, last);
  }
}

template <int kTokens>
__device__ __forceinline__ void store_partial(const SharedLayout& layout, unsigned char* shared,
                                              const Totals<kTokens>& totals) {
  float* partial = reinterpret_cast<float*>(shared + layout.partial) + warp_of_block() * kTokens * kPanelRows;
  const int lane = lane_of_warp();
#pragma unroll
  for (int n = 0; n < TileLane<kTokens>::kTiles; ++n) {
    const int token = n * kTileTokens + lane % 4;
    if (token >= kTokens) continue;
    partial[token * kPanelRows + lane / 4] = totals[n].first;
    partial[token * kPanelRows + lane / 4 + 8] = totals[n].second;
  }
}

/// n floats `stride` apart, in their order; the loads do not wait for each other.
__device__ __forceinline__ float sum_of(const float* values, int n, int stride) {
  float sum = 0.0F;
  for (int first = 0; first < n; first += 8) {
    float loaded[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) loaded[i] = first + i < n ? values[(first + i) * stride] : 0.0F;
#pragma unroll
    for (const float value : loaded) sum += value;
  }
  return sum;
}

/// 1 / sqrt(mean of the squares + epsilon) of a token.
__device__ __forceinline__ float norm_factor(const MultiplyArgs& args, const TileLayout& tile,
                                             const unsigned char* shared, int token) {
  const auto* squares = reinterpret_cast<const float*>(shared + tile.squares) + token * tile.n_records;
  return rsqrtf(fmaf(sum_of(squares, tile.n_records, 1), args.inverse_n_cols, args.epsilon));
}

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0F + __expf(-x)); }

__device__ __forceinline__ void store_kv(const KvLayout& layout, const EpilogueInput& epilogue, float value) {
  const int col = epilogue.col;
  if (!layout.quantised) {
    reinterpret_cast<__half*>(epilogue.kv)[col] = __float2half_rn(value);
    return;
  }
  // The warp holds 32 neighbours of the head: a block of Q8_0. Quants first, then the scales of the row.
  const unsigned most = __reduce_max_sync(0xFFFFFFFFU, __float_as_uint(value) & 0x7FFFFFFFU);
  const float scale = __uint_as_float(most) / 127.0F;
  const float inverse = scale > 0.0F ? 1.0F / scale : 0.0F;
  reinterpret_cast<signed char*>(epilogue.kv)[col] = static_cast<signed char>(__float2int_rn(value * inverse));
  if (col % 32 == 0) reinterpret_cast<__half*>(epilogue.kv + layout.head_size)[col / 32] = __float2half_rn(scale);
}

/// Neighbours of a head turned by the angle. All lanes of a warp take part.
__device__ __forceinline__ float rotated(const EpilogueInput& epilogue, float value) {
  const float other = __shfl_xor_sync(0xFFFFFFFFU, value, 1);
  const float2 angle = epilogue.angle;
  return epilogue.col % 2 == 0 ? value * angle.x - other * angle.y : value * angle.x + other * angle.y;
}

/// All lanes of a warp take part.
__device__ __forceinline__ void write_output(const MultiplyArgs& args, const Output& y, const EpilogueInput& epilogue,
                                             float value) {
  float* out = args.out + static_cast<std::size_t>(y.row_of_pass) * static_cast<std::size_t>(args.out_stride) + y.row;
  if (args.epilogue == Epilogue::kQkv) {
    value = rotated(epilogue, value);                                      // values by no angle
    if (y.valid && y.part > 0) store_kv(args.kv.layout, epilogue, value);  // as a block, all lanes or none are valid
  }
  if (y.valid && (args.epilogue != Epilogue::kQkv || y.part == 0)) *out = epilogue.old + value;
}

/// Adds up what the warps of a panel have, and hands it to the epilogue.
template <int kTokens>
__device__ __forceinline__ void finish(const MultiplyArgs& args, const SharedLayout& layout, unsigned char* shared,
                                       const Output& y, const EpilogueInput& epilogue) {
  const auto* partial = reinterpret_cast<const float*>(shared + layout.partial);
  const int n_warps = args.shape.warps_per_panel;
  const float factor = args.norm == nullptr ? 1.0F : norm_factor(args, layout.tile, shared, y.token);
  const auto value_of = [&](int slot, float bias) {
    const float* first = partial + (slot * n_warps * kTokens + y.token) * kPanelRows + threadIdx.x % kPanelRows;
    return fmaf(factor, sum_of(first, n_warps, kTokens * kPanelRows), bias);
  };
  float value = value_of(y.slot, epilogue.bias);
  if (args.epilogue == Epilogue::kGated) value = silu(value) * value_of(y.slot + 1, epilogue.second_bias);
  write_output(args, y, epilogue, value);
}

template <int kTokens>
__global__ void __maxnreg__(kRegisters)
    multiply_kernel(const __grid_constant__ MultiplyArgs args, const __grid_constant__ SharedLayout layout) {
  extern __shared__ __align__(16) unsigned char shared[];
  allow_next_kernel();
  const WarpTask task = task_of_warp(args);
  Output y = output_of_thread<kTokens>(args, 0);
  EpilogueInput epilogue;
  epilogue.load_early(args, y);
  Totals<kTokens> totals = {};
  visit(task.part->matrix.format,
        [&](auto traits) { run_warp<kTokens, decltype(traits)>(args, task, layout, shared, y, epilogue, totals); });
  store_partial<kTokens>(layout, shared, totals);
  block_barrier();
  finish<kTokens>(args, layout, shared, y, epilogue);
  const int n_rounds = (args.shape.panels_per_block * kPanelRows * kTokens - 1) / static_cast<int>(blockDim.x);
  for (int round = 1; round <= n_rounds; ++round) {
    y = output_of_thread<kTokens>(args, round);
    epilogue = {};
    epilogue.load_early(args, y);
    epilogue.load_late(args, y);
    finish<kTokens>(args, layout, shared, y, epilogue);
  }
}

/// Of a block's records in shared memory: what is more comes when the first are done.
constexpr int kMostRecordBytes = 96 * 1024;

int aligned(int bytes) { return (bytes + 15) & ~15; }

SharedLayout layout_of(const MultiplyArgs& args, int tokens) {
  const InputKind kind = record_info(args.parts[0].matrix.format).input;
  const int n_records = (args.n_cols + kRecordColumns - 1) / kRecordColumns;
  const int n_warps = args.shape.panels_per_block * args.shape.warps_per_panel;
  constexpr int kFloat = sizeof(float);
  SharedLayout layout;
  const auto take = [&](int bytes) {
    const int offset = layout.bytes;
    layout.bytes += aligned(bytes);
    return offset;
  };
  layout.tile.n_records = n_records;
  layout.tile.scales = take(kFloat * n_records * tokens);
  layout.tile.squares = take(kFloat * n_records * tokens);
  layout.tile.sums = take(kind == InputKind::kInt8 ? kSumsBytes * n_records * tokens : 0);
  layout.partial = take(kFloat * n_warps * tokens * kPanelRows);
  const int steps_of_record = kind == InputKind::kInt8 ? 8 : kind == InputKind::kTf32 ? 32 : 16;
  layout.tile.planes = take(n_records * steps_of_record * kStepBytes<1> * tokens);
  for (int i = 0; i < args.n_parts; ++i) {
    const DeviceMatrix& matrix = args.parts[i].matrix;
    const int of_warp = (matrix.n_records + args.shape.warps_per_panel - 1) / args.shape.warps_per_panel;
    const int bytes = static_cast<int>(record_info(matrix.format).bytes);
    const int held = std::clamp(kMostRecordBytes / (n_warps * bytes), 1, of_warp);
    layout.warp_bytes = std::max(layout.warp_bytes, held * bytes);
  }
  layout.records = take(n_warps * layout.warp_bytes);
  return layout;
}

constexpr int kMostSharedBytes = 227 * 1024;  // of a block on compute capability 9.0
int most_shared_bytes() {
  int device = 0;
  int bytes = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return std::min(bytes, kMostSharedBytes);
}

}  // namespace

bool multiply_fits(Format format, int n_cols) {
  MultiplyArgs args;
  args.parts[0].matrix.format = format;
  args.parts[0].matrix.n_records = records_of_row(format, n_cols);
  args.n_cols = n_cols;
  args.shape.panels_per_block = 2;  // a gate's
  args.shape.warps_per_panel = kMostWarps / 2;
  return layout_of(args, 1).bytes <= most_shared_bytes();
}

void set_shape(MultiplyArgs& args, int warps_per_panel, int panels_per_block) {
  MultiplyShape& shape = args.shape;
  const bool gated = args.epilogue == Epilogue::kGated;
  shape = {panels_per_block, warps_per_panel, 0};
  for (int i = 0; i < (gated ? 1 : args.n_parts); ++i) {
    const int of_block = gated ? panels_per_block / 2 : panels_per_block;
    args.parts[i].first_block = shape.n_blocks;
    shape.n_blocks += (panels_of(args.parts[i].matrix.n_rows) + of_block - 1) / of_block;
  }
}

void choose_shape(MultiplyArgs& args, int n_processors) {
  const bool gated = args.epilogue == Epilogue::kGated;
  int n_panels = 0;
  int n_records = 1;
  for (int i = 0; i < args.n_parts; ++i) {
    n_panels += panels_of(args.parts[i].matrix.n_rows);
    n_records = std::max(n_records, args.parts[i].matrix.n_records);
  }
  // Pairs of panels where a block must hold both parts of a gate, or 32 neighbours of a head.
  const int step = gated || (args.epilogue == Epilogue::kQkv && args.kv.layout.quantised) ? 2 : 1;
  // As measured: of a matrix that leaves processors idle every warp takes a record or two, so that it takes little
  // time; of a large one many, so that few blocks prepare their input.
  const bool small = n_panels < 4 * n_processors;
  const int records_of_warp = small ? 2 : n_panels < 8 * n_processors ? 4 : 8;
  const int warps = std::clamp((n_records + records_of_warp - 1) / records_of_warp, 1, kMostWarps / step);
  const int most = kMostWarps / warps / step * step;
  const int panels = std::clamp((small ? 2 : gated ? 4 : n_panels) / step * step, step, most);
  set_shape(args, warps, panels);
}

cudaError_t prepare_multiply() {
  const int bytes = most_shared_bytes();
  for (const auto kernel : {multiply_kernel<1>, multiply_kernel<2>, multiply_kernel<4>, multiply_kernel<8>}) {
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t multiply(MultiplyArgs args, cudaStream_t stream) {
  args.inverse_n_cols = 1.0F / static_cast<float>(args.n_cols);
  int tokens = args.n_rows == 1 ? 1 : args.n_rows == 2 ? 2 : args.n_rows <= 4 ? 4 : 8;
  SharedLayout layout = layout_of(args, tokens);
  for (const int most = most_shared_bytes(); tokens > 1 && layout.bytes > most;) layout = layout_of(args, tokens /= 2);
  const auto kernel = tokens == 1   ? multiply_kernel<1>
                      : tokens == 2 ? multiply_kernel<2>
                      : tokens == 4 ? multiply_kernel<4>
                                    : multiply_kernel<8>;
  const dim3 grid(static_cast<unsigned>(args.shape.n_blocks),
                  static_cast<unsigned>((args.n_rows + tokens - 1) / tokens));
  const dim3 block(static_cast<unsigned>(args.shape.panels_per_block * args.shape.warps_per_panel * kWarp));
  return launch(kernel, grid, block, static_cast<std::size_t>(layout.bytes), stream, args, layout);
}

}  // namespace inlay::cuda
