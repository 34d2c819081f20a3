#include "cuda/step_choose.hpp"

#include "cuda/dependent.cuh"
#include "cuda/hand_out.cuh"
#include "cuda/launch.hpp"
#include "cuda/logit_key.cuh"

namespace inlay::cuda {
namespace {

/// A thread for each row.
__global__ void choose_kernel(const __grid_constant__ ChooseArgs args) {
  allow_next_kernel();
  const auto row = static_cast<int>(threadIdx.x);
  const TokenPlace place(args.state, row, args.n);
  wait_for_previous_kernel();
  place.hand_out(token_of(args.best[row]));
  args.best[row] = 0;
}

}  // namespace

cudaError_t choose(const ChooseArgs& args, cudaStream_t stream) {
  return launch(choose_kernel, dim3(1), dim3(static_cast<unsigned>(args.n)), 0, stream, args);
}

}  // namespace inlay::cuda
