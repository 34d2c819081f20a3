#include "cuda/step_embed.hpp"

#include "cuda/arrival.cuh"
#include "cuda/dependent.cuh"
#include "cuda/launch.hpp"
#include "cuda/quantise.cuh"
#include "cuda/record_reader.cuh"

namespace inlay::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlankBytes = 16 * 1024;  // of a block

__host__ __device__ int blocks_of_columns(const EmbedArgs& args) {
  return (args.table.n_cols + kThreads - 1) / kThreads;
}

/// By the blocks behind those of the rows.
__device__ __forceinline__ void fill_blank(const EmbedArgs& args, int block) {
  const uint4 absent = {kAbsent, kAbsent, kAbsent, kAbsent};
  const std::size_t first = static_cast<std::size_t>(block) * kBlankBytes;
  for (std::size_t at = first + threadIdx.x * sizeof(uint4); at < min(first + kBlankBytes, args.blank_bytes);
       at += kThreads * sizeof(uint4)) {
    *reinterpret_cast<uint4*>(static_cast<std::byte*>(args.blank) + at) = absent;
  }
}

__device__ __forceinline__ void rotate(const EmbedArgs& args, int row_of_pass) {
  const int position = args.state.rows[row_of_pass].position;
  for (int i = static_cast<int>(threadIdx.x); i < args.n_pairs; i += kThreads) {
    double sine = 0.0;
    double cosine = 0.0;
    sincos(position * args.frequencies[i], &sine, &cosine);
    store_words(args.rope + row_of_pass * args.n_pairs + i, {present(static_cast<float>(cosine * args.magnitude)),
                                                             present(static_cast<float>(sine * args.magnitude))});
  }
}

/// A column for each thread. Where they are quantised, whole warps have one or none.
__device__ __forceinline__ void embed_columns(const EmbedArgs& args, int row_of_pass, int first_col) {
  const int token = args.state.rows[row_of_pass].token;
  const int col = first_col + static_cast<int>(threadIdx.x);
  const DeviceMatrix& table = args.table;
  if (col >= table.n_cols) return;
  float norm = 1.0F;
  if (args.next_norm != nullptr) norm = args.next_norm[col];
  float value = 0.0F;
  visit(table.format, [&](auto traits) {
    using F = decltype(traits);
    using R = Record<F>;
    const std::byte* record = table.records + (static_cast<std::size_t>(token / kPanelRows) *
                                                   static_cast<std::size_t>(table.n_records) +
                                               static_cast<std::size_t>(col / R::kColumns)) *
                                                  R::kBytes;
    value = weight_at<F>(record, token % kPanelRows, col % R::kColumns);
  });
  store_word(args.x + static_cast<std::size_t>(row_of_pass) * static_cast<std::size_t>(table.n_cols) + col,
             present(value));
  if (args.quantised_x.words == nullptr) return;
  quantise_step(quantised_step(args.quantised_x, row_of_pass, col / kStepOfInput), value * norm, value);
}

/// Of each row a block for its rotations and some for its columns.
__global__ void __launch_bounds__(kThreads) embed_kernel(const __grid_constant__ EmbedArgs args) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int of_row = 1 + blocks_of_columns(args);
  const auto block = static_cast<int>(blockIdx.x);
  const int row = block / of_row;
  if (row >= args.n_rows) {
    fill_blank(args, block - args.n_rows * of_row);
  } else if (block % of_row == 0) {
    rotate(args, row);
  } else {
    embed_columns(args, row, (block % of_row - 1) * kThreads);
  }
}

}  // namespace

cudaError_t embed(const EmbedArgs& args, cudaStream_t stream) {
  const auto n_blank = (args.blank_bytes + kBlankBytes - 1) / kBlankBytes;
  const int of_rows = args.n_rows * (1 + blocks_of_columns(args));
  const dim3 grid(static_cast<unsigned>(of_rows) + static_cast<unsigned>(n_blank));
  return launch(embed_kernel, grid, dim3(kThreads), 0, stream, args);
}

}  // namespace inlay::cuda
