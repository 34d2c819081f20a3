#include "cuda/step_choose.hpp"

#include "cuda/block_sums.cuh"
#include "cuda/dependent.cuh"
#include "cuda/hand_out.cuh"
#include "cuda/launch.hpp"
#include "cuda/logit_key.cuh"

namespace inlay::cuda {
namespace {

constexpr int kThreads = 1024;

/// A block for each row.
__global__ void __launch_bounds__(kThreads) choose_kernel(const __grid_constant__ ChooseArgs args) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const auto row = static_cast<int>(blockIdx.x);
  const float* logits = args.logits + static_cast<std::size_t>(row) * static_cast<std::size_t>(args.vocab_size);
  LogitKey best = 0;
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x); i < args.vocab_size; i += kThreads) {
    best = Highest{}(best, key_of(logits[i], i));
  }
  best = reduce_block<kThreads>(best, Highest{});
  if (threadIdx.x == 0) hand_out(args.state, row, args.n, token_of(best));
}

}  // namespace

cudaError_t choose(const ChooseArgs& args, cudaStream_t stream) {
  return launch(choose_kernel, dim3(static_cast<unsigned>(args.n)), dim3(kThreads), 0, stream, args);
}

}  // namespace inlay::cuda
