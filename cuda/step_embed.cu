#include "cuda/step_embed.hpp"

#include "cuda/dependent.cuh"
#include "cuda/launch.hpp"
#include "cuda/quantise.cuh"
#include "cuda/record_reader.cuh"

namespace inlay::cuda {
namespace {

/// A block for each row of the pass.
__global__ void embed_kernel(const __grid_constant__ EmbedArgs args) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int row_of_pass = static_cast<int>(blockIdx.x);
  const PassRow row = args.state.rows[row_of_pass];
  for (int i = static_cast<int>(threadIdx.x); i < args.n_pairs; i += static_cast<int>(blockDim.x)) {
    double sine = 0.0;
    double cosine = 0.0;
    sincos(row.position * args.frequencies[i], &sine, &cosine);
    args.state.rope[row_of_pass * args.n_pairs + i] = {static_cast<float>(cosine * args.magnitude),
                                                       static_cast<float>(sine * args.magnitude)};
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
      x[col] = value;
      if (args.quantised_x.words == nullptr) continue;
      const float norm = args.next_norm == nullptr ? 1.0F : args.next_norm[col];
      quantise_step(quantised_step(args.quantised_x, row_of_pass, col / kStepOfInput), value * norm, value);
    }
  });
}

}  // namespace

cudaError_t embed(const EmbedArgs& args, cudaStream_t stream) {
  return launch(embed_kernel, dim3(static_cast<unsigned>(args.n_rows)), dim3(512), 0, stream, args);
}

}  // namespace inlay::cuda
