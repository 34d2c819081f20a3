#include "cuda/step_quantise.hpp"

#include "cuda/dependent.cuh"
#include "cuda/launch.hpp"
#include "cuda/quantise.cuh"

namespace inlay::cuda {
namespace {

constexpr int kWarps = 8;

/// A warp for each step of a row.
__global__ void quantise_kernel(const float* x, const float* norm, int n_cols,
                                const __grid_constant__ QuantisedRows to) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int step = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x / kWarp);
  if (step * kStepOfInput >= n_cols) return;
  const int row = static_cast<int>(blockIdx.y);
  const int col = step * kStepOfInput + static_cast<int>(threadIdx.x % kWarp);
  const float value =
      x[static_cast<std::size_t>(row) * static_cast<std::size_t>(n_cols) + static_cast<std::size_t>(col)];
  quantise_step(quantised_step(to, row, step), norm == nullptr ? value : value * norm[col], value);
}

}  // namespace

cudaError_t quantise(const float* x, const float* norm, int n_rows, int n_cols, const QuantisedRows& to,
                     cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((to.n_steps + kWarps - 1) / kWarps), static_cast<unsigned>(n_rows));
  return launch(quantise_kernel, grid, dim3(kWarps * kWarp), 0, stream, x, norm, n_cols, to);
}

}  // namespace inlay::cuda
