#include "cuda/step_embed.hpp"

#include "cuda/arrival.cuh"
#include "cuda/dependent.cuh"
#include "cuda/launch.hpp"
#include "cuda/quantise.cuh"
#include "cuda/record_reader.cuh"

namespace inlay::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kBlankBytes = 16 * 1024;  // of a block

/// By the blocks behind those of the rows.
__device__ __forceinline__ void fill_blank(const EmbedArgs& args) {
  const uint4 absent = {kAbsent, kAbsent, kAbsent, kAbsent};
  const std::size_t first = static_cast<std::size_t>(static_cast<int>(blockIdx.x) - args.n_rows) * kBlankBytes;
  for (std::size_t at = first + threadIdx.x * sizeof(uint4); at < min(first + kBlankBytes, args.blank_bytes);
       at += kThreads * sizeof(uint4)) {
    *reinterpret_cast<uint4*>(static_cast<std::byte*>(args.blank) + at) = absent;
  }
}

/// A block for each row of the pass.
__global__ void __launch_bounds__(kThreads) embed_kernel(const __grid_constant__ EmbedArgs args) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int row_of_pass = static_cast<int>(blockIdx.x);
  if (row_of_pass >= args.n_rows) {
    fill_blank(args);
    return;
  }
  const PassRow row = args.state.rows[row_of_pass];
  for (int i = static_cast<int>(threadIdx.x); i < args.n_pairs; i += static_cast<int>(blockDim.x)) {
    double sine = 0.0;
    double cosine = 0.0;
    sincos(row.position * args.frequencies[i], &sine, &cosine);
    store_words(args.rope + row_of_pass * args.n_pairs + i, {present(static_cast<float>(cosine * args.magnitude)),
                                                             present(static_cast<float>(sine * args.magnitude))});
  }
  const DeviceMatrix& table = args.table;
  visit(table.format, [&](auto traits) {
    using F = decltype(traits);
    using R = Record<F>;
    const std::byte* records = table.records + static_cast<std::size_t>(row.token / kPanelRows) *
                                                   static_cast<std::size_t>(table.n_records) * R::kBytes;
    float* x = args.x + static_cast<std::size_t>(row_of_pass) * static_cast<std::size_t>(table.n_cols);
    for (int col = static_cast<int>(threadIdx.x); col < table.n_cols; col += static_cast<int>(blockDim.x)) {
      const float value = weight_at<F>(records + static_cast<std::size_t>(col / R::kColumns) * R::kBytes,
                                       row.token % kPanelRows, col % R::kColumns);
      store_word(x + col, present(value));
      if (args.quantised_x.words == nullptr) continue;
      const float norm = args.next_norm == nullptr ? 1.0F : args.next_norm[col];
      quantise_step(quantised_step(args.quantised_x, row_of_pass, col / kStepOfInput), value * norm, value);
    }
  });
}

}  // namespace

cudaError_t embed(const EmbedArgs& args, cudaStream_t stream) {
  const auto n_blank = (args.blank_bytes + kBlankBytes - 1) / kBlankBytes;
  const dim3 grid(static_cast<unsigned>(args.n_rows) + static_cast<unsigned>(n_blank));
  return launch(embed_kernel, grid, dim3(kThreads), 0, stream, args);
}

}  // namespace inlay::cuda
