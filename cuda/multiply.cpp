#include "cuda/multiply.hpp"

#include <algorithm>
#include <cstddef>

#include "cuda/launch.hpp"
#include "cuda/multiply_kernels.hpp"

namespace inlay::cuda {
namespace {

constexpr int kMostPanels = 8;  // of a group: their sums are kept in shared memory
constexpr int kSoonDone = 64;   // records for each processor
constexpr int kMostStaged = 4;  // records of a warp whose columns are in shared memory together
constexpr int kMostSlots = 3;   // of a warp, if it cannot hold all of its records at once

/// Of a block's records on their way: what is more comes when the first are done. So that blocks of the next kernel
/// find room beside it.
constexpr int kMostRecordBytes = 128 * 1024;

int panels_of_parts(const MultiplyArgs& args) {
  int n_panels = 0;
  for (int i = 0; i < args.n_parts; ++i) {
    n_panels += panels_of(args.parts[static_cast<std::size_t>(i)].matrix.n_rows);
  }
  return n_panels;
}

int records_of_rows(const MultiplyArgs& args) {
  int n_records = 1;
  for (int i = 0; i < args.n_parts; ++i) {
    n_records = std::max(n_records, args.parts[static_cast<std::size_t>(i)].matrix.n_records);
  }
  return n_records;
}

bool is_soon_done(const MultiplyArgs& args) {
  return panels_of_parts(args) * records_of_rows(args) <= kSoonDone * args.limits.n_processors;
}

/// SharedLayout::n_ahead, as measured on models of 1.1 and 7 B weights: a large gate, and a product with long rows,
/// which a gate has made, have the most records for a block and the most time before their input comes.
int records_ahead(const MultiplyArgs& args) {
  const bool is_large_gate = args.epilogue == Epilogue::kGated && !is_soon_done(args);
  const bool has_long_rows = args.n_cols > panels_of_parts(args) * kPanelRows;
  return is_large_gate || has_long_rows ? 0 : 1;
}

/// What asynchronous copies write is split where it crosses a line of shared memory.
int aligned(int bytes) { return (bytes + 127) & ~127; }

SharedLayout layout_of(const MultiplyArgs& args, int tokens) {
  const MultiplyShape& shape = args.shape;
  constexpr int kFloat = sizeof(float);
  SharedLayout layout;
  const auto take = [&](int bytes) {
    const int offset = layout.bytes;
    layout.bytes += aligned(bytes);
    return offset;
  };
  int of_warp = 0;
  bool is_of_integers = false;
  for (int i = 0; i < args.n_parts; ++i) {
    const DeviceMatrix& matrix = args.parts[static_cast<std::size_t>(i)].matrix;
    layout.slot_bytes = std::max(layout.slot_bytes, record_info(matrix.format).slot_bytes);
    is_of_integers |= record_info(matrix.format).input == InputKind::kInt8;
    of_warp = std::max(of_warp, (matrix.n_records + shape.warps_of_group - 1) / shape.warps_of_group);
  }
  layout.n_fours = tokens == 1 ? kMostWarps / 4 : (shape.warps_of_group + 3) / 4;
  layout.warp_stride = 4 * (tokens == 1 ? layout.n_fours | 1 : layout.n_fours);
  layout.squares = take(kFloat * tokens * layout.warp_stride);
  if (tokens == 1 && of_warp == 1) {
    layout.apart_warps = (shape.warps_of_group + kApartWarps - 1) / kApartWarps * kApartWarps;
    layout.apart = take(shape.n_panels() * layout.apart_warps * kApartBytes);
  } else {
    layout.partial = take(kFloat * shape.n_panels() * tokens * kPanelRows * layout.warp_stride);
  }
  const int n_outputs = shape.n_panels() / (args.epilogue == Epilogue::kGated ? 2 : 1) * tokens * kPanelRows;
  const int n_threads = shape.n_warps() * kWarp;
  layout.n_places = (std::min(n_outputs, n_threads) + kWarp - 1) / kWarp * kWarp;
  layout.n_rounds = (n_outputs + n_threads - 1) / n_threads;
  layout.places = take(layout.n_places * static_cast<int>(sizeof(OutputPlace)));
  if (tokens == 1 && is_of_integers) {
    layout.n_staged = std::min(of_warp, kMostStaged);
    layout.staged = take(shape.n_warps() * layout.n_staged * kStagedBytes);
  }
  of_warp *= shape.panels_of_group;
  const int room = std::min(kMostRecordBytes, args.limits.shared_bytes - layout.bytes);
  const int fit = std::max(1, room / (shape.n_warps() * layout.slot_bytes));
  layout.n_slots = of_warp <= fit ? of_warp : std::min(fit, kMostSlots);
  layout.n_ahead = records_ahead(args);
  layout.slots = take(shape.n_warps() * layout.n_slots * layout.slot_bytes);
  return layout;
}

}  // namespace

int panels_unit(const MultiplyArgs& args) {
  const bool whole_blocks =
      args.quantised_out.words != nullptr || (args.epilogue == Epilogue::kQkv && args.kv.layout.quantised);
  return (args.epilogue == Epilogue::kGated ? 2 : 1) * (whole_blocks ? 2 : 1);
}

void set_shape(MultiplyArgs& args, int warps_of_group, int n_groups, int panels_of_group) {
  MultiplyShape& shape = args.shape;
  const bool gated = args.epilogue == Epilogue::kGated;
  shape = {warps_of_group,
           n_groups,
           panels_of_group,
           0,
           1.0F / static_cast<float>(warps_of_group),
           1.0F / static_cast<float>(panels_of_group)};
  const int of_block = shape.n_panels() / (gated ? 2 : 1);
  for (int i = 0; i < (gated ? 1 : args.n_parts); ++i) {
    args.parts[static_cast<std::size_t>(i)].first_block = shape.n_blocks;
    shape.n_blocks += (panels_of(args.parts[static_cast<std::size_t>(i)].matrix.n_rows) + of_block - 1) / of_block;
  }
}

void choose_shape(MultiplyArgs& args) {
  const bool gated = args.epilogue == Epilogue::kGated;
  const int n_panels = panels_of_parts(args);
  const int n_records = records_of_rows(args);
  // As measured on models of 1.1 and 7 B weights. A product that is soon done takes half of the processors, so that the
  // blocks of the next kernel can start and wait on the others. A warp takes few records, as each costs it a wait for
  // its columns.
  const int most_warps = gated ? kMostWarps / 2 : kMostWarps;
  const int records_of_warp = (n_records + most_warps - 1) / most_warps;
  const int warps = (n_records + records_of_warp - 1) / records_of_warp;
  const int unit = panels_unit(args);
  // Blocks of half the warps, of which a processor has room for two.
  const bool is_narrow = args.epilogue == Epilogue::kQkv && 2 * warps <= kMostWarps;
  const int n_blocks = std::max(1, args.limits.n_processors / (is_soon_done(args) && !is_narrow ? 2 : 1));
  const int wanted = ((n_panels + n_blocks - 1) / n_blocks + unit - 1) / unit * unit;
  int groups = gated ? 2 : 1;
  while (!is_narrow && 2 * groups * warps <= kMostWarps && 2 * groups <= wanted) groups *= 2;
  int panels = std::min({(wanted + groups - 1) / groups, kMostPanels, 2 * warps});
  if (panels * groups % unit != 0) ++panels;
  set_shape(args, warps, groups, panels);
}

namespace {

MultiplyKernel kernel_of(int tokens, Format first, Format second) {
  return tokens == 1   ? multiply_kernel_1(first, second)
         : tokens == 4 ? multiply_kernel_4(first, second)
                       : multiply_kernel_8(first, second);
}

/// The kernel for the parts of `args`, of which it takes `tokens` rows at a time.
MultiplyKernel kernel_of(const MultiplyArgs& args, int& tokens) {
  const Format first = args.parts[0].matrix.format;
  Format second = first;
  bool is_more = false;
  for (int i = 1; i < args.n_parts; ++i) {
    const Format format = args.parts[static_cast<std::size_t>(i)].matrix.format;
    if (format == first || format == second) continue;
    is_more = second != first;
    second = format;
  }
  const auto is_usual = [&](Format format) { return format == args.formats[0] || format == args.formats[1]; };
  MultiplyKernel kernel = nullptr;
  if (!is_more && is_usual(first) && is_usual(second)) kernel = kernel_of(tokens, args.formats[0], args.formats[1]);
  if (!is_more && kernel == nullptr) kernel = kernel_of(tokens, first, second);
  if (kernel != nullptr) return kernel;
  tokens = 1;
  return multiply_kernel_any();
}

}  // namespace

cudaError_t read_limits(MultiplyLimits& limits) {
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  const auto read = [&](int& value, cudaDeviceAttr attribute) {
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&value, attribute, device);
  };
  read(limits.n_processors, cudaDevAttrMultiProcessorCount);
  read(limits.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  return error;
}

cudaError_t prepare_multiply(const MultiplyArgs& args) {
  cudaError_t error = cudaSuccess;
  for (int tokens : {1, 4, 8}) {
    if (error != cudaSuccess) break;
    const auto* function = reinterpret_cast<const void*>(kernel_of(args, tokens));
    error = cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, args.limits.shared_bytes);
  }
  return error;
}

cudaError_t multiply(MultiplyArgs args, cudaStream_t stream) {
  args.inverse_n_cols = 1.0F / static_cast<float>(args.n_cols);
  if (args.residual == nullptr) args.residual = args.out;
  if (args.epilogue == Epilogue::kQkv) args.kv.inverse_head_size = 1.0F / static_cast<float>(args.kv.layout.head_size);
  int tokens = args.n_rows == 1 ? 1 : args.n_rows <= 4 ? 4 : 8;
  MultiplyKernel kernel = kernel_of(args, tokens);
  SharedLayout layout = layout_of(args, tokens);
  while (layout.bytes > args.limits.shared_bytes && tokens > 1) {
    tokens = tokens == 8 ? 4 : 1;
    kernel = kernel_of(args, tokens);
    layout = layout_of(args, tokens);
  }
  if (tokens == 1 && layout.n_rounds > 1) return cudaErrorInvalidValue;  // not a shape of choose_shape
  const dim3 grid(static_cast<unsigned>(args.shape.n_blocks),
                  static_cast<unsigned>((args.n_rows + tokens - 1) / tokens));
  const dim3 block(static_cast<unsigned>(args.shape.n_warps() * kWarp));
  return launch(kernel, grid, block, static_cast<std::size_t>(layout.bytes), stream, args, layout);
}

}  // namespace inlay::cuda
