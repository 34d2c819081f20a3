#include "cuda/step_choose.hpp"

#include <cmath>

#include "cuda/dependent.cuh"
#include "cuda/launch.hpp"
#include "cuda/record.hpp"

namespace inlay::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr unsigned kAll = 0xFFFFFFFFU;

/// A logit as an integer of the same order, with the id: of equal logits the lowest id is the largest key. A NaN ranks
/// below everything, as in runtime/sampler.cpp.
__device__ __forceinline__ unsigned long long key_of(float logit, int token) {
  unsigned bits = __float_as_uint(isnan(logit) ? -INFINITY : logit + 0.0F);  // + 0: there is one zero
  bits = bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
  return static_cast<unsigned long long>(bits) << 32 | (0xFFFFFFFFU - static_cast<unsigned>(token));
}

__device__ __forceinline__ unsigned long long warp_max(unsigned long long key) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const unsigned long long other = __shfl_xor_sync(kAll, key, offset);
    key = other > key ? other : key;
  }
  return key;
}

__device__ int highest(const float* logits, int n) {
  __shared__ unsigned long long of_warps[kThreads / kWarp];
  unsigned long long best = 0;
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
    const unsigned long long key = key_of(logits[i], i);
    best = key > best ? key : best;
  }
  best = warp_max(best);
  __syncthreads();  // `of_warps` of the row before
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = best;
  __syncthreads();
  best = warp_max(of_warps[threadIdx.x % kWarp]);
  return static_cast<int>(0xFFFFFFFFU - static_cast<unsigned>(best));
}

__global__ void __launch_bounds__(kThreads) choose_kernel(const __grid_constant__ ChooseArgs args) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const PassState& state = args.state;
  const unsigned pass = *state.n_chosen;
  for (int i = 0; i < args.n; ++i) {
    const int token =
        highest(args.logits + static_cast<std::size_t>(i) * static_cast<std::size_t>(args.vocab_size), args.vocab_size);
    if (threadIdx.x != 0) continue;
    PassRow& row = state.rows[state.logit_rows[i]];
    row.token = token;
    ++row.position;
    state.host_tokens[pass % kChoiceRing * kLogitRows + i] = token;
  }
  if (threadIdx.x == 0) *state.n_chosen = pass + 1;
}

}  // namespace

cudaError_t choose(const ChooseArgs& args, cudaStream_t stream) {
  return launch(choose_kernel, dim3(1), dim3(kThreads), 0, stream, args);
}

}  // namespace inlay::cuda
